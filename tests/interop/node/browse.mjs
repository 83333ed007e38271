// Chromium through stagate as its HTTPS proxy: node browse.mjs GATEWAY TICKET URL PROFILE-FOLDER SCREENSHOT NET-LOG
// The 407 is answered as a person would in the window that asks: any name, and the ticket as the password.
// Signs in to SOGo's web page as alice and waits for her inbox. Prints as JSON what the page is, or the error that the
// browser shows instead; takes a picture of either.
import { chromium } from "playwright-core";

const [gateway, ticket, url, home, screenshot, netLog] = process.argv.slice(2);
const context = await chromium.launchPersistentContext(`${home}/profile`, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  proxy: { server: `https://${gateway}`, username: "phone", password: ticket },
  env: { ...process.env, HOME: home }, // whose .pki/nssdb holds the lab's CA
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    `--log-net-log=${netLog}`, // what chrome://net-export writes
  ],
});
const page = await context.newPage();
let status = 0;
const report = {};
try {
  const answer = await page.goto(url, { timeout: 40000 });
  report.status = answer.status();
  report.title = await page.title();
  report.tls = await answer.securityDetails();
  await page.fill('input[ng-model="app.creds.username"]', "alice");
  await page.fill('input[ng-model="app.creds.password"]', "alice-secret");
  await page.click('button[type="submit"]');
  await page.waitForURL("**/SOGo/so/alice/**");
  await page.goto(new URL("/SOGo/so/alice/Mail/view#!/Mail/0/INBOX", url).href);
  await page.getByText("Welcome to the lab").first().waitFor({ timeout: 40000 });
} catch (error) {
  report.error = error.message.split("\n")[0];
  status = 1;
}
report.text = await page.innerText("body");
await page.screenshot({ path: screenshot });
console.log(JSON.stringify(report));
await context.close(); // ends the net log too
process.exit(status);
