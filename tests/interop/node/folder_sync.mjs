// A FolderSync through stagate as HTTPS proxy: node folder_sync.mjs undici|https-proxy-agent GATEWAY CA-FILE TICKET URL
// The body is on standard input. Prints the status and the answer's length; of a refusal, all that the package tells.
import { readFileSync } from "node:fs";
import https from "node:https";
import { ProxyAgent, request } from "undici";
import { HttpsProxyAgent } from "https-proxy-agent";

const [client, gateway, caFile, ticket, url] = process.argv.slice(2);
const ca = readFileSync(caFile);
const body = readFileSync(0);
const headers = {
  "Content-Type": "application/vnd.ms-sync.wbxml",
  "MS-ASProtocolVersion": "14.1",
  Authorization: "Basic " + Buffer.from("alice:alice-secret").toString("base64"),
};

async function withUndici() {
  const dispatcher = new ProxyAgent({
    uri: `https://${gateway}`,
    token: `Bearer ${ticket}`,
    proxyTls: { ca },
    requestTls: { ca },
  });
  const answer = await request(url, { method: "POST", headers, body, dispatcher });
  const data = await answer.body.arrayBuffer();
  console.log(answer.statusCode, data.byteLength);
  await dispatcher.close();
}

function withAgent() {
  const agent = new HttpsProxyAgent(`https://phone:${encodeURIComponent(ticket)}@${gateway}`, { ca });
  return new Promise((resolve, reject) => {
    const sent = https.request(url, { method: "POST", headers, agent, ca }, async (answer) => {
      let length = 0;
      for await (const chunk of answer) length += chunk.length;
      console.log(answer.statusCode, length);
      resolve();
    });
    // a refused CONNECT comes as the answer itself; this tells the two apart
    sent.on("proxyConnect", (proxy) => {
      if (proxy.statusCode !== 200) reject(new Error(`proxy: ${proxy.statusCode} ${proxy.statusText}`));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

try {
  await (client === "undici" ? withUndici() : withAgent());
} catch (error) {
  for (let e = error; e; e = e.cause) console.error(`${e.code ?? e.name}: ${e.message}`);
  process.exit(1);
}
