"""The view: `stagate trace` follows the running gateway over the admin socket, saves, and shows what was saved."""
import base64
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import threading

import pytest

import backends
import issuing
import lab
import wire
from issuing import admin, issue

TRACE = "/v1/trace"
NOBODY = "a" * 32


@pytest.fixture(scope="module")
def backend(make_shared, certs):
    return make_shared.backend(backends.echo, wire.server_context(certs.mail_crt, certs.mail_key, "tls1.2", "tls1.3"))


@pytest.fixture(scope="module")
def gateway(make_shared, backend):
    return make_shared.gateway([lab.service(backend)], admin=issuing.ADMIN)


class Follower:
    """`stagate trace -c FILE ...`, until it is told to end."""

    def __init__(self, gateway, *args):
        self.process = subprocess.Popen([lab.STAGATE, "trace", "-c", gateway.path, *map(str, args)], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.lines, self.errors = [], []
        self.readers = [threading.Thread(target=self._read, args=pair, daemon=True)
                        for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for reader in self.readers:
            reader.start()
        wire.poll(lambda: self.errors, "the view to begin")
        assert self.errors == ["stagate: watching, Ctrl-C ends\n"]

    @staticmethod
    def _read(pipe, lines):
        for line in pipe:
            lines.append(line)

    def wait(self, text):
        return wire.poll(lambda: next((line for line in self.lines if text in line), None), f"{text} in {self.lines}")

    def end(self, signum=signal.SIGINT):
        self.process.send_signal(signum)
        return self.ends()

    def ends(self):
        status = self.process.wait(wire.DEADLINE)
        for reader in self.readers:
            reader.join(wire.DEADLINE)
        return status, "".join(self.lines), "".join(self.errors)


@pytest.fixture
def follow():
    followers = []

    def start(*args):
        followers.append(Follower(*args))
        return followers[-1]

    yield start
    for follower in followers:
        if follower.process.poll() is None:
            follower.process.kill()
            follower.process.wait()


def handshake(gateway, ticket, **options):
    client = gateway.tunnel(ticket)
    client.inner_tls(**options)
    client.echoes()
    return client


def listen(gateway, **wish):
    status, answer = admin(gateway, "POST", TRACE, json.dumps(wish).encode())
    assert (status, answer["lapses_after"]) == (201, 30)
    return f"{TRACE}/{answer['id']}"


def fetch(gateway, path):
    status, text = admin(gateway, "GET", path)
    assert status == 200
    if isinstance(text, (dict, list)):
        return [text]  # one line is a document
    return [json.loads(line) for line in (text or "").splitlines()]


# ---- tunnels -----------------------------------------------------------------------------------------------

def test_an_opaque_tunnel(gateway, follow):
    ticket, other = issue(gateway, "alice", device="phone1"), issue(gateway, "bob")
    view = follow(gateway, "--user", "alice")
    handshake(gateway, other["ticket"])
    client = handshake(gateway, ticket["ticket"])
    line = view.wait("tunnel")
    entry = client.ended("ok")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  #\d+  alice  phone1  tunnel → mail\.example\.com:443  tls1\.3"
                        rf"  {entry['inner']['cipher']}  server name mail\.example\.com\n", line), line
    status, out, errors = view.end()
    assert (status, out.count("\n")) == (0, 1) and "bob" not in out and "\x1b" not in out
    assert ticket["ticket"] not in out + errors


@pytest.mark.parametrize("filters", [["--device", "PHONE1"], ["--ticket", "FINGERPRINT"], ["-u", "Alice", "-d", "phone1"], []])
def test_filters(gateway, follow, filters):
    ticket, other = issue(gateway, "alice", device="phone1"), issue(gateway, "alice", device="phone2")
    view = follow(gateway, *[ticket["fingerprint"] if f == "FINGERPRINT" else f for f in filters])
    handshake(gateway, other["ticket"], context=wire.client_context(highest="tls1.2"))
    handshake(gateway, ticket["ticket"], server_hostname=None)
    line = view.wait("phone1")
    assert "server name" not in line
    status, out, _ = view.end(signal.SIGTERM)
    assert status == 0 and ("phone2" in out) == (filters == [])
    assert filters or "tls1.2 (offered up to" not in out and "  tls1.2  TLS_" in out


def test_what_the_floor_cuts(make, certs, follow):
    backend = make.backend(backends.echo, wire.server_context(certs.mail_crt, certs.mail_key, "tls1.0", "tls1.1"))
    gateway = make.gateway([lab.service(backend)], admin=issuing.ADMIN)
    view = follow(gateway)
    client = gateway.tunnel(gateway.ticket())
    with pytest.raises(OSError):
        client.inner_tls(wire.client_context(lowest="tls1.0", highest="tls1.2"))
    client.ended("tls_floor")
    assert "  tls1.1 (offered up to tls1.2)  TLS_" in view.wait("tunnel")
    assert view.end()[0] == 0


def test_it_ends_its_subscription(gateway, follow):
    for _ in range(10):  # there are eight places
        assert follow(gateway).end()[0] == 0
    told = ["begin", "end"] * 10
    wire.poll(lambda: [e["what"] for e in gateway.events if e["event"] == "trace"][-20:] == told, "the log")


def test_the_gateway_goes(make, backend, follow):
    gateway = make.gateway([lab.service(backend)], admin=issuing.ADMIN)
    view = follow(gateway)
    gateway.stop()
    status, out, errors = view.ends()
    assert (status, out) == (1, "")
    assert f"no gateway answers on {gateway.folder / issuing.SOCKET} any more" in errors or "did not answer" in errors


# ---- saving and showing again ------------------------------------------------------------------------------

def test_saving(gateway, follow, tmp_path):
    path = tmp_path / "trace.json"
    ticket = issue(gateway, "alice", device="phone1")
    view = follow(gateway, "--save", path)
    client = handshake(gateway, ticket["ticket"])
    shown = view.wait("tunnel")
    cipher = client.ended("ok")["inner"]["cipher"]
    assert view.end()[0] == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    event = json.loads(path.read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time")) and event.pop("id") > 0
    assert event == {"event": "trace_tunnel", "door": "connect", "target": lab.MAIL, "client": client.local, "user": "alice",
                     "device": "phone1", "ticket": ticket["fingerprint"], "offered": "tls1.3", "version": "tls1.3",
                     "cipher": cipher, "sni": "mail.example.com"}
    again = lab.stagate("trace", path)
    assert (again.returncode, again.stdout, again.stderr) == (0, shown, "")
    again = lab.stagate("trace", "-", stdin=path.read_text())
    assert (again.returncode, again.stdout, again.stderr) == (0, shown, "")


def test_nothing_is_overwritten(gateway, tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    result = lab.stagate("trace", "-c", gateway.path, "--save", path)
    assert (result.returncode, result.stdout) == (1, "") and f"{path} is there already" in result.stderr
    assert path.read_text() == "precious"
    result = lab.stagate("trace", "-c", gateway.path, "--save", tmp_path / "no/where")
    assert (result.returncode, result.stdout) == (1, "") and "No such file" in result.stderr


# ---- requests, from a file ---------------------------------------------------------------------------------

WBXML = bytes.fromhex("03016a00")
FOLDER_SYNC = WBXML + b"\x00\x07\x56\x52\x030\x00\x01\x01"
PASSWORD = WBXML + b"\x00\x0f\x45\x5f\x03secret\x00\x01\x01"


def event(name, number, at=0, **members):
    return {"event": f"trace_{name}", "time": f"2026-11-26T12:00:01.{123 + at:03}Z", "id": number, **members}


def request(number, command="FolderSync", body=FOLDER_SYNC, fields=(), **members):
    fields = [["Content-Type", "application/vnd.ms-sync.wbxml"], ["Content-Length", str(len(body))], *map(list, fields)]
    return event("request", number, user="alice", device="iPhone123", command=command, version="14.1", target=lab.MAIL,
                 method="POST", uri=f"/Microsoft-Server-ActiveSync?Cmd={command}", fields=fields, **members)


def body(number, data, origin="client", at=1, **members):
    return event("body", number, at, **{"from": origin, "data": base64.b64encode(data).decode(), **members})


def answer(number, status=200, kind="application/vnd.ms-sync.wbxml", at=12):
    return event("answer", number, at, status=status, fields=[["Content-Type", kind]])


def end(number, at=14, **members):
    return event("end", number, at, ms=float(at), up=1, down=1, **{"reason": "ok", **members})


def show(events, *options):
    text = "".join(e if isinstance(e, str) else json.dumps(e) + "\n" for e in events)
    result = lab.stagate("trace", *options, "-", stdin=text)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", result.stdout)
    return result.stdout


ASKED = """\
12:00:01.123  #17  alice  iPhone123  FolderSync 14.1 → mail.example.com:443
  POST /Microsoft-Server-ActiveSync?Cmd=FolderSync
  <FolderSync xmlns="FolderHierarchy">
    <SyncKey>0</SyncKey>
  </FolderSync>
"""
ANSWERED = """\
12:00:01.137  #17  200 OK  14 ms
  <FolderSync xmlns="FolderHierarchy">
    <SyncKey>0</SyncKey>
  </FolderSync>
"""


def test_a_request():
    assert show([request(17), body(17, FOLDER_SYNC), answer(17), body(17, FOLDER_SYNC, "server", 13), end(17)]) == ASKED + ANSWERED


@pytest.mark.parametrize("cut", range(1, len(FOLDER_SYNC)))
def test_a_body_in_pieces(cut):
    pieces = [FOLDER_SYNC[:cut], FOLDER_SYNC[cut:]]
    events = [request(17), *[body(17, p) for p in pieces], answer(17), *[body(17, p, "server") for p in pieces], end(17)]
    assert show(events) == ASKED + ANSWERED


def test_requests_side_by_side():
    ping = request(18, "Ping", b"", [["Transfer-Encoding", "chunked"]])
    ping["fields"].pop(1)
    shown = show([request(17), ping, body(17, FOLDER_SYNC), body(18, WBXML + b"\x00\x0d\x45"), body(18, b"\x08"),
                  request(19, "Sync", b""), body(18, b"\x01"), answer(17), end(17), end(19, reason="backend_down", detail="refused"),
                  answer(18)])
    assert [line for line in shown.splitlines() if "#" in line] == [
        ASKED.splitlines()[0],
        "12:00:01.123  #19  alice  iPhone123  Sync 14.1 → mail.example.com:443",
        "12:00:01.123  #18  alice  iPhone123  Ping 14.1 → mail.example.com:443",
        "12:00:01.137  #17  200 OK  14 ms",
        "12:00:01.137  #19  14 ms  backend_down: refused",
        "12:00:01.135  #18  200 OK  (its end was not seen)"]


OTHERS = {  # content type, body: what is shown of it
    "XML": ("text/xml", b"<?xml?>\r\n<a>\xc3\xa4</a>", "  <?xml?>\n  <a>ä</a>\n"),
    "binary XML": ("text/xml", b"<a>\x1b[2J", "  (7 bytes  text/xml)\n"),
    "multipart": ("application/vnd.ms-sync.multipart", b"\x01\0\0\0", "  (4 bytes  application/vnd.ms-sync.multipart)\n"),
    "an image": ("image/png", b"\x89PNG" + bytes(20000), "  (20 KB  image/png)\n"),
    "malformed": ("application/vnd.ms-sync.wbxml", WBXML + b"\x45\x02",
                  '  <Sync xmlns="AirSync">\n  <!-- malformed at byte 5: a character entity, which ActiveSync does not use -->\n'),
    "a password": ("application/vnd.ms-sync.wbxml", PASSWORD,
                   '  <Search xmlns="Search">\n    <Password>(hidden)</Password>\n  </Search>\n'),
}


@pytest.mark.parametrize("kind, data, expected", OTHERS.values(), ids=OTHERS)
def test_other_bodies(kind, data, expected):
    shown = show([request(1, body=b""), answer(1, 500, kind), body(1, data, "server"), end(1)])
    assert shown.partition("500 Internal Server Error  14 ms\n")[2] == expected


def test_what_is_left_out():
    shown = show([request(1), body(1, b"", hidden=True), answer(1), body(1, FOLDER_SYNC[:9], "server", truncated=True), end(1)])
    assert "  (its body is hidden)\n" in shown
    assert shown.endswith("the document ends before its root element does -->\n  (its body goes on)\n")
    assert show([{"event": "trace_lost", "lines": 7}]).startswith("(7 events were lost")
    assert show([{"event": "trace_of_tomorrow"}]) == ""


def test_fields():
    shown = show([request(1, body=b"", fields=[["Authorization", "(hidden)"]]), answer(1), end(1)], "--fields")
    assert "\n  Authorization: (hidden)\n" in shown and shown.endswith("ms\n  Content-Type: application/vnd.ms-sync.wbxml\n")


def test_nothing_reaches_the_terminal():
    """Strings of strangers, in every member: show() looks for control characters."""
    evil = "\x1b[2J\x9b1m\u202e\n12:00:00.000  #1  root\r\x07é"
    events = []
    for e in (request(1), body(1, FOLDER_SYNC), answer(1), end(1, reason="bad"),
              event("tunnel", 2, user="u", device="d", target="t", version="v", offered="o", cipher="c", sni="s")):
        for key in e:
            if isinstance(e[key], str) and key != "event":
                events.append({**e, key: evil})
    events.append(request(3, fields=[[evil, evil]]))
    events.append({"event": "trace_request", "id": "x", "fields": [[], 7, [1, 2], "x"], "time": 7, "user": None})
    for options in ([], ["--fields"]):
        shown = show(events, *options)
        assert "\\x1b[2J\\x9b1m\\u202e\\n12:00:00.000  #1  root\\r\\x07é" in shown
        assert "\n12:00:00.000" not in shown


def test_what_is_no_trace(tmp_path):
    path = tmp_path / "trace"
    path.write_text(json.dumps(request(17, body=b"")) + '\nnonsense\n{"event":"connection"}\n[]\n')
    result = lab.stagate("trace", path)
    assert result.returncode == 1 and "#17" in result.stdout
    assert result.stderr.splitlines() == [f"stagate: {path}:{n}: this is no line of a saved trace" for n in (2, 3, 4)]
    result = lab.stagate("trace", tmp_path / "nowhere")
    assert result.returncode == 1 and "nowhere: No such file" in result.stderr


# ---- the command's mistakes --------------------------------------------------------------------------------

USAGE = {  # arguments: part of the message; C is -c FILE
    "": "-c FILE is missing, or a saved FILE to show",
    "--user alice": "-c FILE is missing",
    "C file": "a saved FILE is shown as it is",
    "--save x file": "a saved FILE is shown as it is",
    "one two": 'unexpected argument "two"',
    "--frobnicate": "unknown option --frobnicate",
    "C --user": "--user needs a value",
}


@pytest.mark.parametrize("line", USAGE)
def test_usage_errors(gateway, line):
    args = [a for word in line.split() for a in (["-c", gateway.path] if word == "C" else [word])]
    result = lab.stagate("trace", *args)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("stagate trace: ") and USAGE[line] in result.stderr
    assert result.stderr.endswith("Try `stagate trace --help`.\n")


def test_failures(make, gateway, backend, tmp_path):
    result = lab.stagate("trace", "-c", gateway.path, "--ticket", f";40;{lab.AUTHORITY};{'0' * 32}", "--save", tmp_path / "x")
    assert (result.returncode, result.stdout) == (1, "") and "ticket is a fingerprint" in result.stderr
    assert not (tmp_path / "x").exists()
    other = make.gateway([lab.service(backend)])
    result = lab.stagate("trace", "-c", other.path)
    assert (result.returncode, result.stdout) == (1, "") and "names no admin socket" in result.stderr
    assert lab.stagate("trace", "--help").stdout.startswith("Usage: stagate trace")


# ---- the admin socket --------------------------------------------------------------------------------------

def test_subscriptions(make, backend):
    gateway = make.gateway([lab.service(backend)], admin=issuing.ADMIN)
    paths = [listen(gateway, user="alice") for _ in range(8)]
    assert len(set(paths)) == 8
    status, refused = admin(gateway, "POST", TRACE, b"{}")
    assert (status, refused["error"]) == (429, "too_many") and "eight" in refused["message"]
    handshake(gateway, issue(gateway, "alice")["ticket"])
    for path in paths:
        [told] = fetch(gateway, path)
        assert told["event"] == "trace_tunnel"
        assert fetch(gateway, path) == []
        assert admin(gateway, "DELETE", path)[0] == 200
        for method in ("GET", "DELETE"):
            assert admin(gateway, method, path)[0] == 404
    listen(gateway)


def test_unknown_ones(gateway):
    for path in (f"{TRACE}/{NOBODY}", f"{TRACE}/", f"{TRACE}/x/y"):
        for method in ("GET", "DELETE"):
            status, refused = admin(gateway, method, path)
            assert (status, refused["error"]) == (404, "not_found")
    assert admin(gateway, "PUT", f"{TRACE}/{NOBODY}")[0] == 405
    assert admin(gateway, "GET", TRACE)[0] == 405


BAD = [b"", b"[]", b'{"user":7}', b'{"user":""}', b'{"usr":"alice"}', b'{"bodies":"yes"}', b'{"ticket":"0123456789a"}',
       b'{"user":null}', b'{"user":"a","user":"b"}', b'{"device":"%s"}' % (b"x" * 257)]


@pytest.mark.parametrize("document", BAD, ids=lambda d: d.decode()[:20])
def test_bad_documents(gateway, document):
    """What is not understood must not show everybody's mail."""
    status, refused = admin(gateway, "POST", TRACE, document)
    assert (status, refused["error"]) == (400, "bad_request")


def test_the_page_tells_what_the_code_does():
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "trace.md").read_text()
    for name in ("trace_request", "trace_body", "trace_answer", "trace_end", "trace_tunnel", "trace_lost"):
        assert f"`{name}`" in page
