"""What the interop tests share: SOGo as sogo.sh started it, a gateway in front of it, socat bridges, tickets, and other
people's programs run as clients, with what they printed kept in build/interop/CLIENT.log.

The gateway's own process is handled by tests/e2e/lab.py. Knows no client: each has its test file.
"""
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import lab  # noqa: E402, F401 (conftest.py takes it from here)

STATE = pathlib.Path(os.environ.get("STAGATE_INTEROP", ROOT / "build" / "interop"))
HOST = "mail.example.com"
UNLISTED = "other.example.com"  # in the mail server's certificate too, but not in the policy
DEADLINE = 60


class Sogo:
    """The mail server."""

    def __init__(self):
        text = (STATE / "sogo.env").read_text()
        self.env = dict(line.split("=", 1) for line in text.splitlines())
        self.address = f"127.0.0.1:{self.env['TLS_PORT']}"
        self.bulk = pathlib.Path(self.env["LAB"], "www", "bulk.bin")

    def deliver(self, user, subject):
        subprocess.run([ROOT / "tests/interop/sogo.sh", "mail", user, subject], check=True, timeout=DEADLINE)


class Bridge:
    """socat: plain on this side, TLS to the gateway on the other, for clients that cannot do TLS to a proxy."""

    def __init__(self, gateway, certs):
        host, port = gateway.address()
        self.argv = ["socat", "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,reuseaddr,fork",
                     f"OPENSSL:{host}:{port},cafile={certs.ca_crt},commonname=gateway.example.com"]
        with open(STATE / "socat.log", "a+") as log:
            start = log.tell()
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
            deadline = time.monotonic() + 10
            while True:
                log.seek(start)
                told = re.search(r"listening on AF=2 (127\.0\.0\.1:\d+)", log.read())
                if told:
                    break
                assert self.process.poll() is None and time.monotonic() < deadline, "socat does not listen"
                time.sleep(0.02)
        self.address = told[1]
        self.port = self.address.rpartition(":")[2]

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)  # its session: a process for each connection
        self.process.wait(10)


class Ended:
    """A client's end: its status and what it printed."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    @property
    def text(self):
        return self.out.decode("utf-8", "replace") + self.err.decode("utf-8", "replace")

    def __repr__(self):
        return f"status {self.status}\n{self.text}"


def keep(client, argv, ended):
    """Adds a run to the client's log: its command as one would type it, and what it printed."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1].split(" ")[0]
    printable = all(b >= 32 or b in b"\r\n\t" for b in ended.out)
    with open(STATE / f"{client}.log", "a") as log:
        log.write(f"==== {test}\n$ {shlex.join(map(str, argv))}\n")
        out = ended.out.decode("utf-8", "replace") if printable else f"({len(ended.out)} bytes, {ended.out[:64].hex()}...)"
        for text in (out, ended.err.decode("utf-8", "replace")):
            if text:
                log.write(text if len(text) < 8000 else text[:8000] + "...\n")
                log.write("" if text.endswith("\n") else "\n")
        log.write(f"(exit status {ended.status})\n\n")


class Client:
    """A program run to its end, or in the background: Client("curl", argv).wait()."""

    running = []

    def __init__(self, client, argv, stdin=b"", env=None):
        self.client = client
        self.argv = argv
        self._err = tempfile.TemporaryFile()
        self._out = b""
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self._err, env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})})
        self._thread = threading.Thread(target=self._talk, args=(stdin,), daemon=True)
        self._thread.start()
        Client.running.append(self)

    def _talk(self, stdin):
        self._out = self.process.communicate(stdin)[0]

    def said(self):
        """What is on its standard error so far."""
        return os.pread(self._err.fileno(), 1 << 20, 0)

    @classmethod
    def end_all(cls):
        """What a failed test has left behind."""
        for client in cls.running[:]:
            client.process.kill()
            client.wait()

    def wait(self, seconds=DEADLINE):
        Client.running.remove(self)
        self._thread.join(seconds)
        late = self._thread.is_alive()
        if late:
            self.process.kill()
            self._thread.join()
        ended = Ended(self.process.returncode, self._out, self.said())
        keep(self.client, self.argv, ended)
        assert not late, f"{self.client} did not end within {seconds} s; {ended}"
        return ended


def run(client, argv, stdin=b"", env=None, seconds=DEADLINE):
    return Client(client, argv, stdin, env).wait(seconds)


class Visit:
    """One test's view of the gateway: tickets for a user of the test's own, by whom its log lines are found."""

    def __init__(self, gateway, user):
        self.gateway = gateway
        self.user = user
        self.since = len(gateway.events)
        host, port = gateway.address()
        self.address = f"{host}:{port}"
        self.port = port

    def ticket(self, **options):
        return self.gateway.ticket(user=self.user, **options)

    def expired_ticket(self):
        ticket = self.ticket(lifetime="1s")
        end = time.time() + 1.001
        while time.time() < end:
            time.sleep(0.05)
        return ticket

    def told(self, reason, user=True, **fields):
        """The gateway's log line of a connection of this test. user=False: for want of a good ticket nobody is known."""
        if user:
            fields["user"] = self.user
        return self.gateway.wait_log("this test's connection", since=self.since, event="connection", reason=reason, **fields)
