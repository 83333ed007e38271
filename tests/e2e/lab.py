"""The lab: gateways under test as real processes, their configuration, their log, and clients in front of them.

A gateway runs in a folder of its own on port 0. Its log is read as it comes; every connection's line is found by
the client's address, so that tests can share a gateway. A gateway has to end cleanly: status 0 on SIGTERM, and
nothing on standard error but its log (so a sanitizer's report fails the test).
"""
import base64
import contextlib
import functools
import http.client as http_client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import wire
from wire import DEADLINE

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("STAGATE_BIN", ROOT / "build" / "release")).resolve()
STAGATE = BIN / "stagate"
AUTHORITY = "STA0A1B2C3D4E5F"
MAIL = "mail.example.com:443"

secrets = set()  # tickets that were issued: no log may hold one
reasons_seen = set()  # what tests have looked at in a log line; conftest.py demands that it is all
UNPROVOKED = {  # but for reasons that nothing can provoke yet, and what has to come first
    "wrong_gateway": "background-network-service-gateway is told to clients, not enforced",
}


def keep_secret(ticket):
    """Every gateway's log is searched for it at its end. Returns it."""
    secrets.update(part for part in ticket.split(";") if len(part) in (30, 32))
    return ticket


def sanitized():
    """Whether the programs are sanitizer builds: their memory says nothing about the gateway's."""
    data = STAGATE.read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


def stagate(*args, stdin=None):
    """Runs a command to its end."""
    return subprocess.run([STAGATE, *map(str, args)], input=stdin, capture_output=True, text=True,
                          timeout=DEADLINE)


@functools.lru_cache
def reasons_table():
    return {row["reason"]: row for row in json.loads(stagate("reasons", "--json").stdout)}


# ---- configuration -----------------------------------------------------------------------------------------

class Certs:
    """The lab's certificates, in a folder made once for the session."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        subprocess.run([ROOT / "certs" / "make-certs.sh", self.folder], check=True, capture_output=True)

    def __getattr__(self, name):
        """certs.gateway_rsa_key is gateway-rsa.key, certs.ca_crt is ca.crt."""
        stem, _, kind = name.rpartition("_")
        path = self.folder / f"{stem.replace('_', '-')}.{kind}"
        if kind not in ("crt", "key") or not path.exists():
            raise AttributeError(name)
        return str(path)


def service(backend, name=MAIL, **keys):
    """A service whose connect override is the backend."""
    return {"name": name, "connect": backend.address, **{k.replace("_", "-"): v for k, v in keys.items()}}


def listener(certs, rsa=False, **keys):
    pair = {"certificate": certs.gateway_crt, "key": certs.gateway_key}
    if rsa:
        pair = {"certificate": [certs.gateway_crt, certs.gateway_rsa_crt],
                "key": [certs.gateway_key, certs.gateway_rsa_key]}
    return {"address": "127.0.0.1:0", **pair, **{k.replace("_", "-"): v for k, v in keys.items()}}


def config(certs, services=(), listed=None, **sections):
    """A whole configuration as a dictionary; written as JSON, which is YAML. listed: the policy's services, by
    default those in services. Keyword arguments replace whole sections; policy's keys are added to it."""
    if listed is None:
        listed = [s["name"] for s in services]
    conf = {
        "workers": 2,
        "listeners": [listener(certs)],
        "authorities": [{"id": AUTHORITY, "store": "lmdb:tickets"}],
        "policy": {"background-network-services": listed, **sections.pop("policy", {})},
        "services": list(services),
        "timeouts": {},
        "limits": {},
        "log": {"format": "json"},
    }
    conf.update(sections)
    conf["timeouts"].setdefault("drain", "20s")
    return conf


# ---- talking to services -------------------------------------------------------------------------------------

def http(method, address, path, body=None, user=None, headers=(), context=None, source=None):
    """One request to a service on host:port, or to a Unix socket's path. body: bytes, or something to be sent as JSON.
    source: the address to come from. Returns the status, and the answer: parsed where it is JSON, else its text."""
    if str(address).startswith("/"):
        connection = http_client.HTTPConnection("localhost", timeout=DEADLINE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(DEADLINE)
        connection.sock.connect(str(address))
    elif context is not None:
        connection = http_client.HTTPSConnection(address, timeout=DEADLINE, context=context)
    else:
        connection = http_client.HTTPConnection(address, timeout=DEADLINE, source_address=source and (source, 0))
    fields = dict(headers)
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        fields.setdefault("Content-Type", "application/json")
    if user is not None:
        fields["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    try:
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        text = answer.read().decode()
        http.last = answer  # for its fields
        return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text
    finally:
        connection.close()


class Redis:
    """A real redis-server on a port of its own, which keeps everything in memory, or in its folder where told so."""

    def __init__(self, folder, *options, port=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if port is None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        self.port = port
        self.options = options
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self.folder),
             *self.options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            assert self.process.poll() is None, "redis-server ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.sendall(b"PING\r\n")
                return client.recv(100).startswith((b"+PONG", b"-NOAUTH"))  # and not still loading
            return False
        wire.poll(answers, "redis-server")
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE)

    stop = kill


# ---- the gateway -------------------------------------------------------------------------------------------

class Gateway:
    running = []  # every one whose log a failing test should show

    def __init__(self, folder, conf):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "sta.yaml"
        self.write(conf)
        self.clients = []
        self.lines = []   # raw
        self.events = []  # parsed
        self.strays = []  # what is no log line
        self.expected = []
        self._arrived = threading.Condition()
        self.process = None
        Gateway.running.append(self)

    def write(self, conf):
        """Replaces the configuration file: a dictionary, or text."""
        self.conf = conf
        text = conf if isinstance(conf, str) else json.dumps(conf, indent=1)
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)

    # ---- process

    def start(self, *args, wait=True, before_exec=None):
        since = len(self.events)
        self.process = subprocess.Popen([STAGATE, "run", "-c", self.path, *args], stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, preexec_fn=before_exec)
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        if wait:
            self.ready = self.wait_log("the ready line", event="ready", since=since)
        return self

    def _read(self, pipe):
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            with self._arrived:
                self.lines.append(line)
                if isinstance(event, dict):
                    self.events.append(event)
                else:
                    self.strays.append(line)
                self._arrived.notify_all()
        pipe.close()
        with self._arrived:
            self._arrived.notify_all()

    @property
    def pid(self):
        return self.process.pid

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self):
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        self.process.stderr.close()
        return status

    def kill(self):
        """Ends it without a chance to do anything, as a power cut would."""
        self.signal(signal.SIGKILL)
        self.wait_exit()
        self.process = None

    def expect_output(self, *texts):
        """Lines with these texts may stand on standard error beside the log: what is wrong with a configuration."""
        self.expected += texts

    def stop(self):
        """SIGTERM, and everything that has to be true of the end."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self.process is None:
            self.check_secrets()
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        status = self.wait_exit()
        self.process = None
        self.check_secrets()
        left = [line for line in self.strays if not any(s in line for s in self.expected)]
        assert not left, "the gateway wrote what is no log line:\n" + "\n".join(left[:200])
        assert status == 0, f"the gateway ended with status {status}"
        assert self.events[-1]["event"] == "stopped", f"the last event is {self.events[-1]}"

    def check_secrets(self):
        """The log so far holds no ticket."""
        told = [line for line in self.lines if not secrets.isdisjoint(re.findall("[A-Z0-9]{30,32}", line))]
        assert not told, "a ticket stands in the log:\n" + "\n".join(told[:20])

    def discard(self):
        """For the fixture's end: stops it if the test has not, whatever else is wrong."""
        try:
            self.stop()
        finally:
            if self.process is not None and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            Gateway.running.remove(self)

    def rss_kb(self, field="VmRSS"):
        """RssAnon: without the pages of programs and libraries that are first touched."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {field}")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # ---- log

    def wait_log(self, what, predicate=None, since=0, **fields):
        """The first event (from number since on) with these fields for which predicate holds."""
        def good(event):
            return all(event.get(k) == v for k, v in fields.items()) and (predicate is None or predicate(event))

        def find():
            for event in self.events[since:]:
                if good(event):
                    return event
            return None

        with self._arrived:
            self._arrived.wait_for(lambda: find() or not self._reader.is_alive(), DEADLINE)
            event = find()
        assert event, f"not in the log: {what} {fields}"
        return event

    def reload(self, conf=None):
        """SIGHUP; returns the reloaded or reload_failed event."""
        if conf is not None:
            self.write(conf)
        since = len(self.events)
        self.signal(signal.SIGHUP)
        return self.wait_log("the reload's end", lambda e: e["event"] in ("reloaded", "reload_failed"), since)

    def connection(self, client):
        """The log line of a client's connection."""
        return self.wait_log("a client's connection", event="connection", client=client.local, since=client.since)

    # ---- clients and tickets

    def address(self, index=0, of="listeners"):
        host, _, port = self.ready[of][index].rpartition(":")
        return host.strip("[]"), int(port)

    def ticket(self, user="alice", **options):
        """Issues a ticket string: gateway.ticket(cls="session", service=[...], lifetime="1s")."""
        args = ["ticket", "issue", "-c", self.path, "--user", user]
        for name, value in options.items():
            name = {"cls": "class"}.get(name, name).replace("_", "-")
            for v in value if isinstance(value, (list, tuple)) else [value]:
                args += [f"--{name}", v]
        result = stagate(*args)
        assert result.returncode == 0 and result.stderr == "", result
        return keep_secret(result.stdout.rstrip("\n"))

    def raw(self, index=0, address=None, **options):
        """A TCP connection to a listener, without TLS."""
        since = len(self.events)
        client = Client(self, wire.Tcp.dial(address or self.address(index), **options), since)
        self.clients.append(client)
        return client

    def client(self, index=0, context=None, server_hostname=None, session=None, **options):
        """A client whose TLS to the gateway is up."""
        client = self.raw(index, **options)
        client.start_tls(context, server_hostname, session)
        return client

    def tunnel(self, ticket, target=MAIL, **options):
        """A client with an open tunnel, by CONNECT."""
        client = self.client(**options)
        answer = client.connect(target, wire.basic(ticket))
        assert answer.status == 200, answer
        return client

    def socks_tunnel(self, ticket, target=MAIL):
        client = self.client()
        host, _, port = target.rpartition(":")
        assert client.socks(host, int(port), password=ticket) == 0
        return client

    def tunnels(self, ticket, count=8):
        """Open ones, by both doors in turn, and over all workers as far as chance goes."""
        return [self.tunnel(ticket) if i % 2 == 0 else self.socks_tunnel(ticket) for i in range(count)]


class Client:
    """One connection to the gateway: tcp, then tls, then whatever the test says on it. conn is the topmost."""

    def __init__(self, gateway, tcp, since):
        self.gateway = gateway
        self.since = since  # where in the log its line may stand
        self.tcp = tcp
        self.conn = tcp
        host, port = tcp.sock.getsockname()[:2]
        self.local = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start_tls(self, context=None, server_hostname=None, session=None):
        self.tls = wire.Tls(self.tcp, context or wire.client_context(), server_hostname, session=session)
        self.tls.handshake()
        self.conn = self.tls
        return self

    def connect(self, target, authorization=None, **options):
        """Sends a CONNECT request, and returns the answer."""
        self.conn.sendall(wire.connect_head(target, authorization, **options))
        return wire.read_answer(self.conn)

    def socks(self, host, port=1494, password=None, greeting=True):
        """A whole SOCKS5 exchange; returns the reply code, None where the gateway just closed."""
        if password is not None:
            self.conn.sendall(wire.SOCKS_LOGIN_GREETING)
            assert self.conn.recv_exact(2) == b"\x05\x02"
            self.conn.sendall(wire.socks_login(password))
            assert self.conn.recv_exact(2) == b"\x01\x00"
        elif greeting:
            self.conn.sendall(wire.SOCKS_GREETING)
            assert self.conn.recv_exact(2) == b"\x05\x00"
        self.conn.sendall(wire.socks_request(host, port))
        return self.socks_reply()

    def socks_reply(self):
        first = self.conn.recv(1)
        if not first:
            return None
        reply = first + self.conn.recv_exact(wire.SOCKS_REPLY_BYTES - 1)
        assert reply == b"\x05" + reply[1:2] + b"\x00\x01\0\0\0\0\0\0", reply
        return reply[1]

    def inner_tls(self, context=None, server_hostname="mail.example.com"):
        """TLS to the mail server through the open tunnel."""
        self.conn = wire.Tls(self.conn, context or wire.client_context(), server_hostname).handshake()
        return self.conn

    def end(self):
        """Ends every layer in the ordinary way, and returns what still came on the topmost."""
        self.conn.shutdown_write()
        rest = self.conn.recv_all()
        if self.conn is not self.tls:
            self.tls.shutdown_write()
            self.tls.recv_all()
        return rest

    def hello(self, text=b"hello"):
        """The backend sends back what it gets; the tunnel stays open."""
        self.conn.sendall(text)
        assert self.conn.recv_exact(len(text)) == text

    def echoes(self, text=b"over the tunnel"):
        """The backend sends back what it gets, and ends when we do."""
        self.hello(text)
        assert self.end() == b""

    def ended(self, reason, detail=..., **fields):
        """The connection's log line, which must tell this reason, and detail and fields where given. Closes our
        side, which the gateway waits for when it has refused something."""
        self.close()
        entry = self.gateway.connection(self)
        told = (entry["reason"], entry.get("detail"))
        assert told == (reason, told[1] if detail is ... else detail), entry
        for name, value in fields.items():
            assert entry.get(name) == value, f"{name}: {entry.get(name)!r}, expected {value!r}, in {entry}"
        reasons_seen.add(reason)
        return entry

    def close(self):
        self.tcp.close()
