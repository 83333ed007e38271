#!/usr/bin/python3
"""The demo: a phone, the gateway and a mail server, on this machine, for a minute. Shows what the phone saw beside what the gateway logged.

make demo            every act
make demo ACT=ping   one of them: --list names them
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import wire  # noqa: E402
from lab import http as lab_http  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CERTS = ROOT / "certs" / "lab"
MAIL = "mail.example.com:443"
STA = "STA0A1B2C3D4E5F"

CONFIG = f"""
listeners:
  - address: 127.0.0.1:0
    certificate: [{CERTS}/gateway.crt, {CERTS}/gateway-rsa.crt]
    key: [{CERTS}/gateway.key, {CERTS}/gateway-rsa.key]
authorities:
  - {{id: {STA}, store: "lmdb:tickets", listen: "http://127.0.0.1:0"}}
sign-in: {{htpasswd: {CERTS}/users}}
admin: {{socket: stagate.sock}}
policy:
  network-access: tunneled
  background-network-services: ["{MAIL}"]
services:
  - {{name: "{MAIL}", connect: "127.0.0.1:%d", tls-floor: tls1.2}}
log: {{format: json}}
"""


# The same as three parties on three machines would have it: an authority, and a gateway that knows only where it is.
AUTHORITY = f"""
authorities:
  - {{id: STA7E57, store: "lmdb:authority", listen: "http://127.0.0.1:%d", requested-class: background}}
log: {{format: json}}
"""
GATEWAY = f"""
listeners:
  - address: 127.0.0.1:0
    certificate: {CERTS}/gateway.crt
    key: {CERTS}/gateway.key
authorities:
  - {{url: "http://%s", bypass: 100ms}}
policy:
  background-network-services: ["{MAIL}"]
services:
  - {{name: "{MAIL}", connect: "%s"}}
log: {{format: json}}
"""
# Three hundred phones, as `easload run` takes them.
LOAD = f"""
target: https://mail.example.com
topology: sta
gateway: https://gateway.example.com:%s
gateway-connect: 127.0.0.1:%s
ca: {CERTS}/ca.crt
user: phone%%d
requests: 100000
stages:
  - {{for: 8s, devices: 300}}
  - {{for: 12s, devices: 300}}
kinds:
  - {{name: waiting, share: 8, does: push}}
  - {{name: polling, share: 1, does: poll, every: 1s}}
  - {{name: sending, share: 1, does: send, every: 3s}}
events:
  - {{at: 15s, do: drop, share: 50}}
"""
REQUEST_TICKET = f"""<?xml version="1.0"?>
<!DOCTYPE CtxSTAProtocol SYSTEM "CtxSTA.dtd">
<CtxSTAProtocol version="4.0"><RequestTicket><AllowedTicketType>STA-v4</AllowedTicketType>
<AllowedAuthorityIDType>STA-v1</AllowedAuthorityIDType><TicketData><Value name="ICAAddress">{MAIL}</Value>
<Value name="XData">&lt;CtxConnInfo version="1.0"&gt;&lt;UserName&gt;bob&lt;/UserName&gt;&lt;ApplicationName&gt;Mail&lt;/ApplicationName&gt;&lt;/CtxConnInfo&gt;</Value>
</TicketData></RequestTicket></CtxSTAProtocol>"""


class Paint:
    """Colours on a terminal, nothing elsewhere."""

    on = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    @classmethod
    def _wrap(cls, code, text):
        return f"\033[{code}m{text}\033[0m" if cls.on else text

    bold = classmethod(lambda cls, t: cls._wrap("1", t))
    phone = classmethod(lambda cls, t: cls._wrap("36", t))
    gate = classmethod(lambda cls, t: cls._wrap("33", t))


def say_phone(text):
    print(textwrap.fill(text, 100, initial_indent=Paint.phone("  phone    "), subsequent_indent="           "))


def say_gateway(text):
    print(textwrap.fill(text, 100, initial_indent=Paint.gate("  gateway  "), subsequent_indent="           ",
                        break_long_words=False, break_on_hyphens=False))


class Program:
    """One of ours, with its JSON log in a file."""

    def __init__(self, command, log):
        self.log = log
        self.position = 0
        self.process = subprocess.Popen([str(c) for c in command], stderr=open(log, "wb"), stdin=subprocess.DEVNULL,
                                        cwd=log.parent)
        self.ready = self.wait("ready")

    def events(self):
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def wait(self, event, **fields):
        """The next event of that kind that was not given out yet."""
        def find():
            if self.process.poll() is not None and self.process.returncode != 0:
                raise SystemExit(f"{self.process.args[0]} ended:\n{self.log.read_text()}")
            for i, e in enumerate(self.events()):
                if i >= self.position and e["event"] == event and all(e.get(k) == v for k, v in fields.items()):
                    self.position = i + 1
                    return e
            return None
        return wire.poll(find, f"{event} of {self.process.args[0]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


# ---- the phone's WBXML, by hand: tag, then text or children, then END ------------------------------------------

def el(token, *content):
    inner = b"".join(b"\x03" + c.encode() + b"\0" if isinstance(c, str) else c for c in content)
    return bytes([token | 0x40]) + inner + b"\x01"


def document(page, root):
    return b"\x03\x01\x6a\x00" + bytes([0, page]) + root


FOLDER_SYNC = document(7, el(0x16, el(0x12, "0")))
PING = document(13, el(0x05, el(0x08, "60"), el(0x09, el(0x0A, el(0x0B, "1"), el(0x0C, "Email")))))


def sync(key, window="5"):
    return document(0, el(0x05, el(0x1C, el(0x0F, el(0x0B, key), el(0x12, "1"), el(0x15, window)))))


def strings(body):
    """The inline strings of a WBXML answer that follow each tag, as (page, token, text)."""
    page, i, tag, found = 0, 4, 0, []
    while i < len(body):
        if body[i] == 0:
            page, i = body[i + 1], i + 2
        elif body[i] == 3:
            end = body.index(0, i)
            found.append((page, tag, body[i + 1:end].decode()))
            i = end + 1
        else:
            if body[i] != 1:
                tag = body[i] & 0x3F
            i += 1
    return found


def texts(body, page, token):
    return [t for p, k, t in strings(body) if (p, k) == (page, token)]


class Phone:
    """A mail client with a ticket."""

    def __init__(self, gateway, ticket):
        self.port = int(gateway.ready["listeners"][0].rsplit(":", 1)[1])
        self.ticket = ticket
        self.inner = None

    def dial(self):
        self.tcp = wire.Tcp.dial(("127.0.0.1", self.port))
        outer = wire.Tls(self.tcp, wire.client_context(str(CERTS / "ca.crt")), server_hostname="gateway.example.com")
        return outer.handshake()

    def by_socks(self):
        """As the real client does it: the ticket is the destination. Returns the reply code."""
        outer = self.dial()
        outer.sendall(wire.socks_request(self.ticket))
        code = outer.recv_exact(wire.SOCKS_REPLY_BYTES)[1]
        self.tunnel = outer
        return code

    def by_connect(self, target=MAIL):
        outer = self.dial()
        outer.sendall(wire.connect_head(target, wire.basic(self.ticket, "alice"), fields=["User-Agent: DemoPhone/1.0"]))
        self.tunnel = outer
        return wire.read_answer(outer)

    def open_mail(self, highest="tls1.3", lowest="tls1.2"):
        context = wire.client_context(str(CERTS / "ca.crt"), lowest=lowest, highest=highest)
        self.inner = wire.Tls(self.tunnel, context, server_hostname="mail.example.com").handshake()

    def post(self, command, body, wait=True):
        head = (f"POST /Microsoft-Server-ActiveSync?Cmd={command}&User=alice&DeviceId=DEMOPHONE1&DeviceType=Demo HTTP/1.1\r\n"
                f"Host: mail.example.com\r\nAuthorization: {wire.basic('secret', 'alice')}\r\nMS-ASProtocolVersion: 14.1\r\n"
                f"Content-Type: application/vnd.ms-sync.wbxml\r\nContent-Length: {len(body)}\r\n\r\n")
        self.inner.sendall(head.encode() + body)
        return self.answer() if wait else None

    def answer(self):
        head = self.inner.recv_until(b"\r\n\r\n").decode()
        length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        return head.split("\r\n")[0], self.inner.recv_exact(length)

    def hang_up(self):
        if self.inner is not None:
            self.inner.shutdown_write()
        self.tunnel.shutdown_write()
        self.tunnel.ends()
        self.tcp.close()


class Stage:
    """Gateway and mail server, and where their logs are."""

    def __init__(self, binaries):
        self.stagate = binaries / "stagate"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stagate-demo-"))
        self.programs = []
        self.mail = self.start([binaries / "mailsim", "--listen", "https://127.0.0.1:0", "--certificate",
                                CERTS / "mail.crt", "--key", CERTS / "mail.key", "--mailbox", "3",
                                "--control", "http://127.0.0.1:0", "--log", "json"], "mailsim.log")
        port = int(self.mail.ready["listeners"][0].rsplit(":", 1)[1])
        (self.folder / "sta.yaml").write_text(CONFIG % port)
        self.gateway = self.start([self.stagate, "run", "-c", "sta.yaml"], "stagate.log")

    def start(self, command, log):
        program = Program(command, self.folder / log)
        self.programs.append(program)
        return program

    def ticket(self, *options):
        command = [self.stagate, "ticket", "issue", "-c", self.folder / "sta.yaml", "--user", "alice", "--device",
                   "DEMOPHONE1", *options]
        return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout.strip()

    def deliver(self, subject, user="alice"):
        url = f"http://{self.mail.ready['control']}/deliver?user={user}&subject={subject.replace(' ', '%20')}"
        urllib.request.urlopen(urllib.request.Request(url, data=b"", method="POST"), timeout=10).close()

    def fault(self, *words):
        command = [self.stagate, "fault", "-c", self.folder / "sta.yaml", *words]
        subprocess.run([str(c) for c in command], check=True, capture_output=True)
        print("  admin    stagate fault " + " ".join(words))

    def show_log(self, gateway=None, **wanted):
        e = (gateway or self.gateway).wait("connection", **wanted)
        parts = [f"reason={e['reason']}"]
        parts += [f"{k}={e[k]!r}" if " " in str(e[k]) else f"{k}={e[k]}" for k in
                  ("detail", "injected", "door", "user", "device", "ticket", "target", "address") if k in e]
        if "version" in e.get("tls", {}):
            parts.append(f"tls={e['tls']['version']}")
        if "inner" in e:
            parts.append("inner=" + "/".join(e["inner"].get(k, "-") for k in ("offered", "version", "sni")))
        parts.append(f"up={e['bytes']['up']} down={e['bytes']['down']} ms={e['ms']['total']}")
        say_gateway(" ".join(parts))

    def stop(self):
        for program in reversed(self.programs):
            program.stop()


# ---- the acts -------------------------------------------------------------------------------------------------

def act_sync(stage):
    """A ticket, a tunnel, and mail"""
    ticket = stage.ticket()
    say_phone(f"signed in, and holds the ticket {ticket[:24]}... for 168 hours")
    phone = Phone(stage.gateway, ticket)
    code = phone.by_socks()
    say_phone(f"TLS to the gateway, SOCKS5 CONNECT with the ticket as destination: reply {code} (succeeded)")
    phone.open_mail()
    say_phone(f"its own TLS through the tunnel, with mail.example.com: {phone.inner.ssl.version()}")
    status, body = phone.post("FolderSync", FOLDER_SYNC)
    say_phone(f"FolderSync: {status}, folder {texts(body, 7, 0x07)[0]}")
    key = texts(phone.post("Sync", sync("0"))[1], 0, 0x0B)[0]
    status, body = phone.post("Sync", sync(key))
    subjects = texts(body, 2, 0x14)
    assert len(subjects) == 3, subjects
    say_phone(f"Sync: {status}, {len(subjects)} mails: " + "; ".join(subjects))
    phone.hang_up()
    stage.show_log(reason="ok")


def act_ping(stage):
    """Ping wakes up on a new mail"""
    phone = Phone(stage.gateway, stage.ticket())
    answer = phone.by_connect()
    say_phone(f"TLS to the gateway, CONNECT {MAIL}, ticket in Proxy-Authorization: {answer.status} {answer.text}")
    phone.open_mail()
    key = texts(phone.post("Sync", sync("0"))[1], 0, 0x0B)[0]
    key = texts(phone.post("Sync", sync(key, "100"))[1], 0, 0x0B)[0]
    phone.post("Ping", PING, wait=False)
    say_phone("Ping, heartbeat 60 s: waits")
    time.sleep(1)  # so that the wait can be seen; nothing depends on it
    stage.deliver("Server room is on fire")
    print("  mailsim  a mail arrives for alice: Server room is on fire")
    status, body = phone.answer()
    assert texts(body, 13, 0x07) == ["2"], body
    say_phone(f"Ping returns: {status}, status 2, changes in folder {texts(body, 13, 0x0A)[0]}")
    subjects = texts(phone.post("Sync", sync(key))[1], 2, 0x14)
    assert subjects == ["Server room is on fire"], subjects
    say_phone(f"Sync: {subjects[0]}")
    phone.hang_up()
    stage.show_log(reason="ok")


def refused(stage, reason, phone, target=MAIL):
    answer = phone.by_connect(target)
    assert answer["X-Stagate-Reason"] == reason, answer
    say_phone(f"CONNECT {target}: {answer.status} {answer.text}")
    for line in answer.body.splitlines():
        say_phone(line)
    phone.hang_up()
    stage.show_log(reason=reason)


def act_host(stage):
    """A host that is not on the list"""
    refused(stage, "service_not_listed", Phone(stage.gateway, stage.ticket()), "intranet.example.com:443")


def act_expired(stage):
    """An expired ticket"""
    ticket = stage.ticket("--lifetime", "1s")
    say_phone("holds a ticket with a lifetime of one second, and waits for two")
    time.sleep(2)
    refused(stage, "ticket_expired", Phone(stage.gateway, ticket))


def act_floor(stage):
    """A client below the floor"""
    phone = Phone(stage.gateway, stage.ticket())
    phone.by_connect()
    say_phone("tunnel is open; its own TLS offers TLS 1.0 at most, the service's floor is tls1.2")
    phone.tunnel.sendall(wire.client_hello(0x0301, sni="mail.example.com"))
    level, description, _ = wire.alert_of(phone.tunnel.recv_exact(7))
    say_phone(f"gets a TLS alert: level {level} (fatal), description {description} (protocol_version)")
    phone.hang_up()
    stage.show_log(reason="tls_floor")


def act_signin(stage):
    """Signing in for a ticket"""
    address = stage.gateway.ready["sta"][0]
    for password in ("wrong", "alice-in-the-lab"):
        status, answer = lab_http("POST", address, "/v1/tickets", {"device": "DEMOPHONE1"}, user=f"alice:{password}")
        say_phone(f"POST /v1/tickets as alice, password {password}: {status}")
        for line in json.dumps(answer, indent=1).splitlines() if status != 201 else [
                f"{k}: {v[:24] + '...' if k == 'ticket' else v}" for k, v in answer.items()]:
            print("           " + line)
    phone = Phone(stage.gateway, answer["ticket"])
    phone.by_connect()
    phone.open_mail()
    status, body = phone.post("FolderSync", FOLDER_SYNC)
    say_phone(f"FolderSync with that ticket: {status}")
    phone.hang_up()
    stage.show_log(reason="ok")


def act_week(stage):
    """A week in a second, and back"""
    phone = Phone(stage.gateway, stage.ticket())
    stage.fault("clock", "8d")
    refused(stage, "ticket_expired", phone)
    stage.fault("clear")
    phone = Phone(stage.gateway, phone.ticket)
    answer = phone.by_connect()
    say_phone(f"with the clock set right, CONNECT {MAIL}: {answer.status} {answer.text}")
    phone.hang_up()
    stage.show_log(reason="ok")


def act_three(stage):
    """Issuer, authority and gateway as three processes, and the authority killed"""
    (stage.folder / "authority.yaml").write_text(AUTHORITY % 0)
    authority = stage.start([stage.stagate, "run", "-c", "authority.yaml"], "authority.log")
    address = authority.ready["sta"][0]
    (stage.folder / "authority.yaml").write_text(AUTHORITY % int(address.rsplit(":", 1)[1]))
    (stage.folder / "gateway.yaml").write_text(GATEWAY % (address, stage.mail.ready["listeners"][0]))
    gateway = stage.start([stage.stagate, "run", "-c", "gateway.yaml"], "gateway.log")
    print(f"  gateway  knows http://{address}, and has learnt that this is {gateway.ready['authorities'][0]}")
    status, answer = lab_http("POST", address, "/scripts/ctxsta.dll", REQUEST_TICKET.encode(),
                              headers={"Content-Type": "text/xml"})
    ticket = ";40;STA7E57;" + answer.split("<Ticket>")[1].split("</Ticket>")[0]
    print(f"  issuer   RequestTicket for bob: {status}, ticket {ticket[:24]}...")
    print(f"  authority {authority.wait('sta', message='RequestTicket')['result']}")

    def goes(reason):
        phone = Phone(gateway, ticket)
        code = phone.by_socks()
        say_phone(f"SOCKS5 CONNECT with the ticket as destination: reply {code}")
        phone.hang_up()
        stage.show_log(gateway, reason=reason)

    goes("ok")
    authority.process.kill()
    authority.process.wait()
    print("  authority is killed")
    goes("authority_down")
    authority = stage.start([stage.stagate, "run", "-c", "authority.yaml"], "authority2.log")
    print("  authority is there again, with the tickets it acknowledged")
    time.sleep(0.2)  # the time for which the gateway bypasses an authority that failed
    goes("ok")


def act_load(stage):
    """Three hundred phones for 20 seconds: most wait, some poll, some send; half of them lose their connection"""
    port = stage.gateway.ready["listeners"][0].rsplit(":", 1)[1]
    (stage.folder / "load.yaml").write_text(LOAD % (port, port))
    kept = ROOT / "build" / "demo"
    kept.mkdir(parents=True, exist_ok=True)
    report = kept / "load.html"
    command = [stage.stagate.parent / "easload", "run", "-c", "load.yaml", "--ticket", stage.ticket(), "--report", report,
               "--gateway-metrics", "unix:stagate.sock"]
    load = subprocess.Popen([str(c) for c in command], cwd=stage.folder, stdout=subprocess.PIPE, text=True)
    time.sleep(11)
    for number in range(1, 41):
        stage.deliver("Board meeting moved", f"phone{number}")
    out, _ = load.communicate(timeout=60)
    table, _, _ = out.partition("\nThe gateway's own figures")
    print(textwrap.indent(table.strip(), "  "))
    assert load.returncode == 0, out
    say_phone(f"report with plots, for a browser: {os.path.relpath(report)}")


ACTS = {"sync": act_sync, "ping": act_ping, "host": act_host, "expired": act_expired, "floor": act_floor,
        "signin": act_signin, "week": act_week, "three": act_three, "load": act_load}


def main():
    parser = argparse.ArgumentParser(description="Shows a phone reaching its mail through stagate.")
    parser.add_argument("--bin", default="build/release", help="folder of the programs")
    parser.add_argument("--act", choices=ACTS, help="one act only")
    parser.add_argument("--list", action="store_true", help="name the acts")
    args = parser.parse_args()
    if args.list:
        for name, act in ACTS.items():
            print(f"{name:8} {act.__doc__}")
        return 0

    stage = None
    try:
        stage = Stage(pathlib.Path(args.bin).resolve())
        print(f"stagate listens on {stage.gateway.ready['listeners'][0]}, the mail server on "
              f"{stage.mail.ready['listeners'][0]} as {MAIL}\n")
        for number, (name, act) in enumerate([(n, a) for n, a in ACTS.items() if args.act in (None, n)], 1):
            print(Paint.bold(f"{number}. {act.__doc__}") + f"   (make demo ACT={name})")
            act(stage)
            print()
    finally:
        if stage is not None:
            stage.stop()
    kept = ROOT / "build" / "demo"
    kept.mkdir(parents=True, exist_ok=True)
    for log in stage.folder.glob("*.log"):
        shutil.copy(log, kept / log.name)
    shutil.copy(stage.folder / "sta.yaml", kept / "sta.yaml")
    shutil.rmtree(stage.folder)
    print(f"Everything is stopped. Full logs and the configuration: {os.path.relpath(kept)}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
