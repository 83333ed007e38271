"""mailsim's part of the benchmark: answers to Syncs, beside nginx giving away a file of the same size; what a mailbox takes, and
a Ping that waits. Over plain HTTP with keep-alive; wrk asks.

Called by bench.py; what is measured how is in docs/performance.md.
"""
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

import peers as peer_list
from procs import BenchError, Process, cpu_ns_at_rest, descriptor_limit, measured, pss_bytes, ready

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import activesync  # noqa: E402

INBOX = "1"
CONNECTIONS = 64
ANSWERS_AIM = 40_000  # a second on one core
MAILBOX_BAR, PING_BAR = 2048, 3072
PING = activesync.encode(("Ping:Ping", ("HeartbeatInterval", "3540"), ("Folders", ("Folder", ("Id", INBOX), ("Class", "Email")))))


class MailPart:
    WORKS = ("sync", "empty", "file")
    TITLES = {"sync": "Sync with a mail, µs", "empty": "Sync without changes, µs", "file": "nginx: file of that size, µs",
              "mailbox": "mailbox, B", "ping": "waiting Ping, B"}

    def __init__(self, bench, say):
        self.bench, self.say = bench, say
        self.seconds = 2 if bench.options.quick else 6
        self.held = min(2000 if bench.options.quick else 8000, descriptor_limit() // 2 - 500)
        self.samples = {}
        self.size = 0

    def run(self):
        if shutil.which("wrk") is None:
            self.bench.errors.append("mail: wrk is not there")
            return
        for number in range(1, self.bench.options.rounds + 1):
            for work in self.WORKS:
                self.cell(work, f"mail {number}/{self.bench.options.rounds} {work}")
        self.cell("memory", "mail: memory")

    def cell(self, work, label):
        told = measured(self.bench, self.say, f"mail-{work}", label, getattr(self, f"measure_{work}")) or {}
        for name, value in told.items():
            self.samples.setdefault(name, []).append(value)
            self.say(f"{label}: {self.TITLES[name].split(',')[0]} {value:.1f} {self.TITLES[name].split(', ')[1]}")

    # ---- servers ----

    def mailsim(self, folder, *options):
        log = f"{folder}/mailsim.log"
        server = Process([str(pathlib.Path(self.bench.bin) / "mailsim"), "--listen", "http://127.0.0.1:0", "--quiet", "--log", "json",
                          *options], self.bench.cpus[0], log)
        return server, ready(log)["listeners"][0]

    def wrk(self, folder, server, url, script=None):
        """CPU time for each answer, in µs."""
        argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{self.seconds}s", *(["-s", script] if script else []), url]
        before = cpu_ns_at_rest(server.pid)
        load = subprocess.run(["taskset", "-c", str(self.bench.cpus[1]), *argv], capture_output=True, text=True, timeout=120)
        spent = cpu_ns_at_rest(server.pid) - before
        count = re.search(r"(\d+) requests in", load.stdout)
        if not count or "Non-2xx" in load.stdout or "Socket errors" in load.stdout:
            raise BenchError(f"wrk: {load.stdout}{load.stderr}")
        return spent / int(count[1]) / 1000

    def sync(self, folder, document_of):
        server, address = self.mailsim(folder, "--mailbox", "50")
        phone = activesync.Phone(address, "alice", "14.1", "Phone1")
        document = document_of(phone)
        answer = phone.post("Sync", document)
        script = pathlib.Path(folder, "sync.lua")
        script.write_text(f'wrk.method="POST"\nwrk.body=string.char({",".join(map(str, activesync.encode(document)))})\n'
                          + "".join(f'wrk.headers["{k}"]="{v}"\n' for k, v in phone.fields().items()))
        url = f"http://{address}{phone.path}?Cmd=Sync&User=alice&DeviceId=Phone1&DeviceType=Test"
        return self.wrk(folder, server, url, script), len(answer.body)

    def measure_sync(self, folder):
        """The key before the last: the same mail again and again."""
        def document(phone):
            phone.start(INBOX)
            key = phone.keys[INBOX]
            phone.sync(INBOX, ("GetChanges",), ("WindowSize", "1"), phone.bodies())
            return phone.sync_document(INBOX, ("GetChanges",), ("WindowSize", "1"), phone.bodies(), key=key)
        value, self.size = self.sync(folder, document)
        return {"sync": value}

    def measure_empty(self, folder):
        def document(phone):
            phone.everything(INBOX)
            return phone.sync_document(INBOX, ("GetChanges",), phone.bodies())
        value, size = self.sync(folder, document)
        assert size == 0
        return {"empty": value}

    def measure_file(self, folder):
        pathlib.Path(folder, "www").mkdir()
        pathlib.Path(folder, "www", "mail").write_bytes(os.urandom(self.size))
        port = peer_list.free_port()
        conf = pathlib.Path(folder, "nginx.conf")
        paths = "".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        conf.write_text(f"daemon off; {'user root;' if peer_list.is_root() else ''} worker_processes 1; pid {folder}/pid;"
                        f"error_log {folder}/nginx.log error; events {{ worker_connections 1000; }}"
                        f"http {{ access_log off; keepalive_requests 100000000; {paths}"
                        f"server {{ listen 127.0.0.1:{port}; root {folder}/www; }} }}\n")
        server = Process(["nginx", "-c", str(conf)], self.bench.cpus[0], f"{folder}/out.log")
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise BenchError("nginx does not start") from None
                time.sleep(0.02)
        return {"file": self.wrk(folder, server, f"http://127.0.0.1:{port}/mail")}

    def measure_memory(self, folder):
        """Mailboxes of 50 mails that were synced and not changed, then a Ping of each."""
        server, address = self.mailsim(folder, "--mailbox", "50")
        phone = activesync.Phone(address, "nobody", "14.1", "Phone1")
        phone.folders()
        before = pss_bytes(server.pid)
        logins = []
        for i in range(self.held):
            user = activesync.Phone(address, f"user{i}", "14.1", "Phone1")
            user.conn = phone.conn
            user.folders()
            user.start(INBOX)
            user.sync(INBOX, ("GetChanges",), ("WindowSize", "512"), user.bodies("1", "0"))
            logins.append(user.login)
        mailbox = (pss_bytes(server.pid) - before) / self.held
        host, _, port = address.partition(":")
        sockets, before = [], pss_bytes(server.pid)
        for login in logins:
            sockets.append(socket.create_connection((host, int(port))))
            sockets[-1].sendall((f"POST {activesync.EAS}?Cmd=Ping&DeviceId=Phone1&DeviceType=Test HTTP/1.1\r\nHost: x\r\n"
                                 f"Authorization: {login}\r\nMS-ASProtocolVersion: 14.1\r\nContent-Type: application/vnd.ms-sync.wbxml\r\n"
                                 f"Content-Length: {len(PING)}\r\n\r\n").encode() + PING)
        cpu_ns_at_rest(server.pid)
        ping = (pss_bytes(server.pid) - before) / self.held
        for s in sockets:  # all of them still wait
            s.setblocking(False)
            try:
                raise BenchError(f"a Ping was answered: {s.recv(200)!r}")
            except BlockingIOError:
                s.close()
        return {"mailbox": mailbox, "ping": ping}

    # ---- results ----

    def tables(self):
        works = [w for w in self.TITLES if w in self.samples]
        if not works:
            return []
        median = {w: statistics.median(self.samples[w]) for w in works}
        cells, bars, verdicts = ["mailsim"], ["bar"], ["verdict"]
        for w in works:
            values = self.samples[w]
            digits = 0 if w in ("mailbox", "ping") else 1
            cells.append(f"{median[w]:.{digits}f} / {min(values):.{digits}f}")
            bar, good = self.verdict(w, median)
            bars.append(bar)
            verdicts.append("" if good is None else "PASS" if good else "over")
        return [[["median / least"] + [self.TITLES[w] for w in works], cells, bars, verdicts]]

    @staticmethod
    def verdict(work, median):
        if work == "sync":
            return "≤ twice nginx", "file" in median and median["sync"] <= 2 * median["file"]
        most = {"empty": 1e6 / ANSWERS_AIM, "mailbox": MAILBOX_BAR, "ping": PING_BAR}.get(work)
        return ("", None) if most is None else (f"≤ {most:.0f}", median[work] <= most)

    def document(self):
        return {f"mail {name}": values for name, values in self.samples.items()}
