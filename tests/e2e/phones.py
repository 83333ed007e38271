"""Phones in front of the relays that look into HTTP, and the mail server behind them: requests and answers of ActiveSync,
one at a time and read strictly."""
import base64

import lab
import wire

FOLDER_SYNC = bytes.fromhex("03016a00000756520330000101")  # FolderSync, SyncKey 0
PING = bytes.fromhex("03016a00000d45480338300001" + "01")   # Ping, HeartbeatInterval 80
PATH = "/Microsoft-Server-ActiveSync"
WBXML = "application/vnd.ms-sync.wbxml"
RELAYS = ["http", "inspect", "activesync"]


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __getitem__(self, name):
        return self.fields.get(name.lower())


def read_head(conn):
    lines = conn.recv_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
    fields = {}
    for line in lines[1:-2]:
        name, _, value = line.partition(": ")
        assert name.lower() not in fields
        fields[name.lower()] = value
    return lines[0], fields


def read_body(conn, fields):
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(conn.recv_until(b"\r\n"), 16):
            body += conn.recv_exact(size)
            assert conn.recv_exact(2) == b"\r\n"
        assert conn.recv_exact(2) == b"\r\n"
        return body
    return conn.recv_exact(int(fields.get("content-length", 0)))


def read_answer(conn, head=False):
    line, fields = read_head(conn)
    return Answer(int(line.split()[1]), fields, b"" if head else read_body(conn, fields))


def mail_server(conn, backend):
    """Notes every request, answers each with what stands in backend.answers, or 200 and its body."""
    while True:
        try:
            line, fields = read_head(conn)
        except AssertionError:
            return
        if fields.get("expect") == "100-continue":
            conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = read_body(conn, fields)
        backend.requests.append((line, fields, body))
        answer = backend.answers.pop(0) if backend.answers else None
        if answer is None:
            answer = (f"HTTP/1.1 200 OK\r\nContent-Type: {WBXML}\r\nMS-ASProtocolVersions: 2.5,12.0,12.1,14.0,14.1,16.1\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        if answer == b"hang":
            backend.go.wait(wire.DEADLINE)
            return
        conn.sendall(answer)
        if b"Connection: close" in answer:
            return


class Phone:
    """A client in front of one of the three relays, signed in as alice."""

    def __init__(self, gateway, relay, backend, certs, index=0, target=lab.MAIL):
        self.gateway, self.relay, self.backend = gateway, relay, backend
        self.ticket = gateway.ticket()
        if relay == "activesync":
            self.client = gateway.client(index)
            self.conn = self.client.conn
        else:
            self.client = gateway.client(index)
            assert self.client.connect(target, wire.basic(self.ticket)).status == 200
            self.conn = self.client.conn
        if relay == "inspect":
            self.conn = wire.Tls(self.conn, wire.client_context(ca=certs.ca_crt), server_hostname="mail.example.com").handshake()

    def send(self, method="POST", command="FolderSync", body=None, version="14.1", path=PATH, query=None, host="mail.example.com",
             fields=(), device="iPhone1", length=True):
        if query is None:
            query = f"?Cmd={command}&User=alice&DeviceId={device}&DeviceType=iPhone" if command else ""
        lines = [f"{method} {path}{query} HTTP/1.1", f"Host: {host}",
                 "Authorization: Basic " + base64.b64encode(b"alice:secret").decode()]
        if version:
            lines.append(f"MS-ASProtocolVersion: {version}")
        if self.relay == "activesync":
            lines.append(f"X-STA-Ticket: {self.ticket}")
        lines += fields
        if body is not None and length:
            lines += [f"Content-Type: {WBXML}", f"Content-Length: {len(body)}"]
        self.conn.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def ask(self, *args, **keys):
        self.send(*args, **keys)
        return read_answer(self.conn)

    def request(self, **fields):
        """The log line of a request."""
        entry = self.gateway.wait_log("a request", event="request", **fields)
        lab.reasons_seen.add(entry["reason"])
        return entry
