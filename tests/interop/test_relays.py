"""The relays that look into HTTP, between curl as a phone and SOGo: in a tunnel with the inner TLS ended at the gateway
(inspect), with plain HTTP in the tunnel and to the server (http), and at the activesync door."""
import time

import eas
import pytest
from interop import HOST, Client, Visit, lab, run

RELAYS = ["inspect", "http", "activesync"]
SOGO_PATH = "/SOGo/Microsoft-Server-ActiveSync"  # where SOGo itself has it; nginx gives it the usual one


class Way:
    """A gateway with one relay, and curl's options to go through it."""

    def __init__(self, relay, folder, certs, sogo, **rules):
        self.relay = relay
        self.certs = certs
        self.path = "/Microsoft-Server-ActiveSync"
        service = {"name": lab.MAIL, "connect": sogo.address, "relay": "http", "ca": str(certs.ca_crt), **rules}
        if relay == "inspect":
            service["relay"] = "inspect"
            service["inspect-ca"] = {"certificate": str(certs.inspect_ca_crt), "key": str(certs.inspect_ca_key)}
        if relay == "http":
            self.path = SOGO_PATH
            del service["ca"]
            service |= {"name": f"{HOST}:80", "connect": f"127.0.0.1:{sogo.env['WO_PORT']}", "paths": [SOGO_PATH]}
        conf = lab.config(certs, [service])
        conf["listeners"][0]["doors"] = ["activesync" if relay == "activesync" else "connect"]
        self.gateway = lab.Gateway(folder, conf).start()
        self.visit = Visit(self.gateway, f"phone-{relay}")
        self.ticket = self.visit.ticket()
        self.url = ("http://" if relay == "http" else "https://") + HOST + self.path

    def options(self):
        host, port = self.gateway.address()
        if self.relay == "activesync":  # the gateway is the server, under whatever name the client calls the service
            return ["curl", "-sS", "--cacert", self.certs.ca_crt, "--connect-to", f"gateway.example.com:443:{host}:{port}",
                    "-H", f"Host: {HOST}", "-H", f"X-STA-Ticket: {self.ticket}"]
        return ["curl", "-sS", "--suppress-connect-headers", "--proxytunnel", "--proxy", f"https://{host}:{port}",
                "--proxy-cacert", self.certs.ca_crt, "--proxy-user", f"phone:{self.ticket}", "--cacert", self.certs.ca_crt]

    def at(self, query=""):
        url = self.url if self.relay != "activesync" else f"https://gateway.example.com{self.path}"
        return url + query

    def request(self, **fields):
        """The gateway's line of a request."""
        return self.gateway.wait_log("a request", since=self.visit.since, event="request", **fields)

    def phone(self, device, version="14.1"):
        return Phone(self, device, version)

    def stop(self):
        self.gateway.discard()


class Phone:
    def __init__(self, way, device, version):
        self.way = way
        self.device = device
        self.version = version

    def argv(self, command, *extra):
        query = f"?Cmd={command}&User=alice&DeviceId={self.device}&DeviceType=Interop"
        return [*self.way.options(), "--max-time", "150", *extra, "-u", "alice:alice-secret", "-H", f"Content-Type: {eas.WBXML}",
                "-H", f"MS-ASProtocolVersion: {self.version}", "--data-binary", "@-", self.way.at(query)]

    def ask(self, command, body):
        """What curl shows, with the answer's head in front."""
        ended = run("curl", self.argv(command, "-i"), stdin=body)
        assert ended.status == 0, ended
        return ended

    def post(self, command, body):
        ended = run("curl", self.argv(command, "--fail"), stdin=body)
        assert ended.status == 0, ended
        return ended.out

    def sync_all(self, folder):
        """Syncs from nothing until nothing is new; returns the key."""
        key, answer = "0", b"more"
        for _ in range(10):
            answer = self.post("Sync", eas.sync(key, folder))
            if not answer:
                return key
            key = eas.sync_key(answer)
        raise AssertionError("there is always more to sync")


@pytest.fixture
def ways(tmp_path, certs, sogo):
    """ways(relay, rules...) starts a gateway; all end with the test."""
    started = []

    def start(relay, **rules):
        started.append(Way(relay, tmp_path / f"gateway{len(started)}", certs, sogo, **rules))
        return started[-1]
    yield start
    Client.end_all()
    for way in started:
        way.stop()


def versions(ended):
    lines = [line for line in ended.text.splitlines() if line.lower().startswith("ms-asprotocolversions:")]
    assert len(lines) == 1, ended
    return lines[0].partition(": ")[2]


def ask_options(way):
    return run("curl", [*way.options(), "-i", "-X", "OPTIONS", "-u", "alice:alice-secret", way.at()])


@pytest.mark.parametrize("relay", RELAYS)
def test_a_phones_morning(ways, sogo, relay):
    """OPTIONS, FolderSync, Sync, and a Ping that a mail wakes."""
    way = ways(relay)
    ended = ask_options(way)
    assert ended.status == 0 and versions(ended) == "2.5,12.0,12.1,14.0,14.1", ended
    assert way.request(method="OPTIONS")["status"] == 200

    phone = way.phone(f"relay{relay}")
    answer = phone.post("FolderSync", eas.FOLDER_SYNC)
    inbox = eas.inbox(answer)
    line = way.request(command="FolderSync")
    assert line["status"] == 200 and line["version"] == "14.1" and line["device_id"] == f"relay{relay}", line
    assert line["bytes"] == {"up": len(eas.FOLDER_SYNC), "down": len(answer)}
    key = phone.sync_all(inbox)
    assert way.request(command="Sync")["reason"] == "ok"

    subject = f"Through {relay} {time.time_ns()}"
    waiting = Client("curl", phone.argv("Ping", "-v", "--fail"), stdin=eas.ping(300, inbox))
    deadline = time.monotonic() + 20
    while f"> POST {way.path}".encode() not in waiting.said():
        assert waiting.process.poll() is None and time.monotonic() < deadline, waiting.said()
        time.sleep(0.05)
    sogo.deliver("alice", subject)
    ended = waiting.wait()
    assert eas.ping_status(ended.out) == "2", ended
    line = way.request(command="Ping")
    assert line["heartbeat_s"] == 300 and line["ms"] < 150_000, line
    assert subject.encode() in phone.post("Sync", eas.sync(key, inbox))


@pytest.mark.parametrize("relay", RELAYS)
def test_floor_below_what_the_phone_speaks(ways, relay):
    """What is below the floor is not offered, and what is above it works."""
    way = ways(relay, **{"activesync-floor": "12.1", "activesync-ceiling": "14.0"})
    assert versions(ask_options(way)) == "12.1,14.0"
    assert eas.inbox(way.phone("floor", "14.0").post("FolderSync", eas.FOLDER_SYNC))


@pytest.mark.parametrize("relay", RELAYS)
def test_floor_above_what_the_phone_speaks(ways, relay):
    """A new phone is told by status 138 in WBXML, an old one by HTTP 400; the server sees neither."""
    way = ways(relay, **{"activesync-floor": "16.0"})
    new = way.phone("floor", "14.1").ask("FolderSync", eas.FOLDER_SYNC)
    assert new.out.startswith(b"HTTP/1.1 200 ") and b"X-Stagate-Reason: activesync_floor\r\n" in new.out, new
    assert new.out.endswith(eas.HEAD + b"\x00\x07\x56\x4c\x03138\x00\x01\x01"), new.out
    old = way.phone("floor", "12.1").ask("FolderSync", eas.FOLDER_SYNC)
    assert old.out.startswith(b"HTTP/1.1 400 ") and b"X-Stagate-Reason: activesync_floor\r\n" in old.out, old
    way.request(command="FolderSync", reason="activesync_floor", version="14.1", status=200)
    way.request(command="FolderSync", reason="activesync_floor", version="12.1", status=400)
    assert versions(ask_options(way)) == ""


@pytest.mark.parametrize("relay", RELAYS)
def test_the_document_is_another_commands(ways, relay):
    way = ways(relay)
    ended = way.phone("mismatch").ask("Sync", eas.FOLDER_SYNC)
    assert b"X-Stagate-Reason: command_mismatch\r\n" in ended.out, ended
    way.request(command="Sync", reason="command_mismatch")


@pytest.mark.parametrize("relay", RELAYS)
def test_what_is_not_activesync(ways, relay):
    way = ways(relay)
    ended = run("curl", [*way.options(), "-i", way.at().replace(way.path, "/SOGo/")])
    assert ended.status == 0 and b"X-Stagate-Reason: not_activesync\r\n" in ended.out, ended
    way.request(reason="not_activesync", path="/SOGo/")


@pytest.mark.parametrize("relay", RELAYS)
def test_a_wrong_password_is_the_servers_to_refuse(ways, relay):
    way = ways(relay)
    ended = run("curl", [*way.options(), "-i", "-X", "OPTIONS", "-u", "alice:wrong", way.at()])
    assert ended.out.startswith(b"HTTP/1.1 401 "), ended
    assert b"X-Stagate-Reason" not in ended.out
    assert way.request(method="OPTIONS", status=401)["reason"] == "ok"
