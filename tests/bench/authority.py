"""The ticket authority's part of the benchmark: redeeming from each store, stalls while tickets are issued, what a ticket takes,
and RequestData over HTTP beside nginx serving a file of the same size.

Called by bench.py; what is measured how is in docs/performance.md. storebench.c and staload.c do the work.
"""
import json
import os
import shutil
import socket
import statistics
import subprocess
import time

import peers as peer_list
from procs import BenchError, Process, cpu_ns_at_rest, tail

LINE_S = 900
REDEEM_BAR_NS = 5_000
STALL_BAR_NS = 1_000_000
HTTP_BAR = 2.0
RATE = 1000  # tickets a second that are issued while stalls are looked for
CONNECTIONS = 16
AT_ONCE = 256  # redemptions on their way to Redis
FIRST, SECOND = "and nothing else", f"{RATE:,} tickets a second issued"


class Sizes:
    def __init__(self, quick):
        self.tickets = 100_000 if quick else 1_000_000
        self.redemptions = 50_000 if quick else 500_000
        self.waiting_redemptions = 20_000 if quick else 100_000  # where each is a round trip
        self.single_uses = 5_000 if quick else 20_000
        self.stall_ms = 3_000 if quick else 5_000
        self.requests = 20_000 if quick else 50_000


# ---- stores -----------------------------------------------------------------------------------------------


class Store:
    """A storebench on one store. Samples are kept by name."""

    name = None
    stalls = False

    def __init__(self, bench, folder):
        self.bench = bench
        self.folder = folder
        self.samples = {}

    def url(self):
        raise NotImplementedError

    def start(self):
        self.process = Process([self.bench.tool("storebench"), self.url()], self.bench.cpus, f"{self.folder}/{self.name}.log",
                               stdout=subprocess.PIPE)

    def ask(self, command):
        try:
            self.process.popen.stdin.write(f"{command}\n".encode())
            self.process.popen.stdin.flush()
        except OSError:
            raise BenchError(f"storebench ended: {tail(self.process.log)}") from None
        return json.loads(self.process.read_line(LINE_S))

    def keep(self, name, value):
        self.samples.setdefault(name, []).append(value)

    def fill(self, sizes):
        before = self.ask("memory")
        self.at_rest()
        self.ask(f"fill {sizes.tickets}")
        after = self.ask("memory")
        self.keep("process", (after["anonymous"] - before["anonymous"]) / sizes.tickets)
        self.keep("kept", self.kept(before, after) / sizes.tickets)

    def at_rest(self):
        """Called before the first ticket is there."""

    def kept(self, before, after):
        """Bytes that all tickets take where the store keeps them."""
        return after["pss"] - before["pss"]

    def redeem(self, sizes):
        count = sizes.redemptions
        r = self.ask(f"redeem {count} 1")
        self.keep("redeem", r["cpu_ns"] / r["redeemed"])
        return r

    def single(self, sizes):
        r = self.ask(f"single {sizes.single_uses}")
        self.keep("single", r["cpu_ns"] / r["redeemed"])
        self.keep("single_loop", r["thread_ns"] / r["redeemed"])
        self.keep("single_rate", r["redeemed"] / r["wall_ns"] * 1e9)

    def stop(self):
        self.process.stop()


class Lmdb(Store):
    name = "lmdb"
    kept_where = "on disk"
    stalls = True

    def path(self):
        return f"{self.folder}/tickets"

    def url(self):
        return f"lmdb:{self.path()}"

    def kept(self, before, after):
        return os.stat(f"{self.path()}/data.mdb").st_size


class Memory(Store):
    name = "memory"
    kept_where = "in the process"
    stalls = True

    def url(self):
        return "memory:"


class Redis(Store):
    name = "redis"
    kept_where = "in Redis"

    def start(self):
        binary = shutil.which("redis-server")
        if not binary:
            raise BenchError("redis-server is not installed")
        self.port = peer_list.free_port()
        self.server = Process([binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                               "--dir", self.folder], self.bench.cpus[1], f"{self.folder}/redis-server.log")
        deadline = time.monotonic() + 10
        while self.server.alive() and time.monotonic() < deadline:
            try:
                self.info()
                break
            except OSError:
                time.sleep(0.05)
        super().start()

    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def info(self, section="all"):
        """Redis's figures, as a dictionary of texts."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(f"INFO {section}\r\n".encode())
            f = s.makefile("rb")
            size = int(f.readline()[1:])
            lines = f.read(size).decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def at_rest(self):
        self.used = int(self.info("memory")["used_memory"])

    def kept(self, before, after):
        return int(self.info("memory")["used_memory"]) - self.used

    def traffic(self):
        """(commands asked for, CPU ns of the server); a script counts once."""
        stats = self.info("commandstats")
        calls = {name[len("cmdstat_"):]: int(text.split(",")[0].split("=")[1]) for name, text in stats.items()
                 if name.startswith("cmdstat_")}
        scripts = calls.get("evalsha", 0) + calls.get("eval", 0) + calls.get("fcall", 0)
        return calls, scripts, cpu_ns_at_rest(self.server.pid)

    def redeem(self, sizes):
        alone = self.ask(f"redeem {sizes.waiting_redemptions // 5} 1")
        self.keep("alone", alone["cpu_ns"] / alone["redeemed"])
        self.keep("alone_rate", alone["redeemed"] / alone["wall_ns"] * 1e9)
        calls, scripts, cpu = self.traffic()
        r = self.ask(f"redeem {sizes.waiting_redemptions} {AT_ONCE}")
        self.keep("redeem", r["cpu_ns"] / r["redeemed"])
        calls_after, scripts_after, cpu_after = self.traffic()
        scripted = scripts_after - scripts
        asked = scripted or sum(calls_after.values()) - sum(calls.values()) - 1  # INFO asks, too
        self.keep("trips", asked / r["redeemed"])
        self.keep("server", (cpu_after - cpu) / r["redeemed"])
        return r

    def stop(self):
        super().stop()
        self.server.stop()


# ---- RequestData ------------------------------------------------------------------------------------------


class StagateServer:
    """`stagate run` as an authority alone, on the tickets that storebench left."""

    def __init__(self, part, logs):
        self.part = part
        self.logs = logs
        self.name = "stagate"

    def start(self, folder):
        bench = self.part.bench
        conf = f"{folder}/authority.yaml"
        with open(conf, "w") as f:
            f.write(f"""
workers: 1
authorities:
  - id: STA0BENCH
    store: "lmdb:{self.part.tickets_path}"
    listen: [http://127.0.0.1:0]
log: {{format: json, level: {"info" if self.logs else "warn"}}}
""")
        self.port = peer_list.free_port()
        with open(conf) as f:
            text = f.read().replace(":0]", f":{self.port}]")
        with open(conf, "w") as f:
            f.write(text)
        self.process = Process([os.path.join(bench.bin, "stagate"), "run", "-c", conf], bench.cpus[0], f"{folder}/stagate.log")
        self.log = f"{folder}/stagate.log"
        wait_port(self.process, self.port)

    def load(self):
        return ["--tickets", str(self.part.sizes.tickets)]

    def lines(self):
        with open(self.log, "rb") as f:
            return sum(1 for line in f if b'"event":"sta"' in line)


class NginxServer:
    """nginx serving a file as long as stagate's answer, one worker. `tuned`: it keeps the file open, as a careful operator would
    have it."""

    def __init__(self, part, logs, tuned=False):
        self.part = part
        self.logs = logs
        self.tuned = tuned
        self.name = "nginx, file kept open" if tuned else "nginx"

    def start(self, folder):
        if self.part.body_bytes is None:
            raise BenchError("the length of stagate's answer is not known")
        binary = nginx_binary()
        self.port = peer_list.free_port()
        self.log = f"{folder}/access.log"
        os.makedirs(f"{folder}/www", exist_ok=True)
        with open(f"{folder}/www/ticket.xml", "w") as f:
            f.write("x" * self.part.body_bytes)
        conf = f"{folder}/nginx.conf"
        with open(conf, "w") as f:
            f.write(f"""
daemon off;
{"user root;" if peer_list.is_root() else ""}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 1024; }}
http {{
  types {{ text/xml xml; }}
  sendfile on;
  access_log {self.log if self.logs else "off"};
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  {"open_file_cache max=100;" if self.tuned else ""}
  server {{ listen 127.0.0.1:{self.port}; root {folder}/www; }}
}}
""")
        self.process = Process([binary, "-c", conf, "-p", folder, "-e", f"{folder}/nginx.log"], self.part.bench.cpus[0],
                               f"{folder}/nginx.log")
        wait_port(self.process, self.port)

    def load(self):
        return ["--path", "/ticket.xml"]

    def lines(self):
        with open(self.log, "rb") as f:
            return sum(1 for line in f)


def longest_wait(results):
    return max(r["worst_waited"]["waited_ns"] for r in results)


def nginx_binary():
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def wait_port(process, port):
    deadline = time.monotonic() + peer_list.READY_S
    while time.monotonic() < deadline and process.alive():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise BenchError(f"{process.name} did not start: {tail(process.log)}")


# ---- the part ---------------------------------------------------------------------------------------------


class AuthorityPart:
    def __init__(self, bench, say):
        self.bench = bench
        self.say = say
        self.sizes = Sizes(bench.options.quick)
        self.rounds = bench.options.rounds
        self.stores = []
        self.stalls = {}  # (store, with or without issuing) -> answers of storebench
        self.http = {}  # (server, logs) -> ns for each request
        self.tickets_path = None
        self.body_bytes = None
        self.verdicts = {}

    def attempt(self, label, action):
        started = time.monotonic()
        try:
            shown = action()
        except (BenchError, OSError, ValueError, KeyError) as e:
            self.bench.errors.append(f"{label}: {e}")
            self.say(f"{label}: FAILED: {e}")
            return False
        self.say(f"{label}: {shown or 'done'} ({time.monotonic() - started:.1f} s)")
        return True

    def run(self):
        try:
            self.run_stores()
            if self.tickets_path:
                self.run_http()
        finally:
            Process.stop_all()

    # ---- stores ----

    def run_stores(self):
        for kind in (Lmdb, Memory, Redis):
            folder = os.path.join(self.bench.folder, f"authority-{kind.name}")
            os.mkdir(folder)
            store = kind(self.bench, folder)
            if self.attempt(f"authority {store.name}: {self.sizes.tickets:,} tickets", lambda: self.begin(store)):
                self.stores.append(store)
        for number in range(1, self.rounds + 1):
            for store in self.stores[:]:
                self.attempt(f"authority redeem {number}/{self.rounds} {store.name}", lambda: self.redeem(store))
        for store in self.stores:
            self.attempt(f"authority memory {store.name}", lambda: self.resident(store))
        for number in range(1, self.rounds + 1):
            for store in self.stores:
                if store.stalls:
                    for name, rate in ((FIRST, 0), (SECOND, RATE)):
                        self.attempt(f"authority stall {number}/{self.rounds} {store.name}, {name}",
                                     lambda: self.stall(store, name, rate))
        for number in range(1, self.rounds + 1):
            for store in self.stores:
                self.attempt(f"authority single {number}/{self.rounds} {store.name}", lambda: self.single(store))
        for store in self.stores:
            store.stop()
            if isinstance(store, Lmdb):
                self.tickets_path = store.path()

    def begin(self, store):
        store.start()
        store.fill(self.sizes)
        return f"{store.samples['kept'][-1]:.0f} bytes a ticket {store.kept_where}"

    def redeem(self, store):
        r = store.redeem(self.sizes)
        return f"{store.samples['redeem'][-1] / 1e3:.2f} µs, {r['median_ns'] / 1e3:.2f} in the median batch"

    def resident(self, store):
        """Of the process, once tickets all over the store have been redeemed."""
        r = store.ask("memory")
        store.keep("pss", r["pss"])
        store.keep("anonymous", r["anonymous"])
        return f"{r['pss'] / 1e6:.0f} MB PSS, {r['anonymous'] / 1e6:.0f} MB of them its own memory"

    def single(self, store):
        store.single(self.sizes)
        return f"{store.samples['single'][-1] / 1e3:.1f} µs, {store.samples['single_rate'][-1]:,.0f} a second"

    def stall(self, store, name, rate):
        r = store.ask(f"stall {self.sizes.stall_ms} {rate}")
        wanted = self.sizes.stall_ms * rate / 1000
        if r["issued"] < wanted * 0.98:
            raise BenchError(f"only {r['issued']} of {wanted:.0f} tickets were issued")
        self.stalls.setdefault((store.name, name), []).append(r)
        return (f"{r['turns']} turns, longest {r['worst']['wall_ns'] / 1e6:.1f} ms, longest wait "
                f"{r['worst_waited']['waited_ns'] / 1e6:.3f} ms, most CPU time {r['worst_cpu']['cpu_ns'] / 1e6:.2f} ms")

    # ---- RequestData ----

    def run_http(self):
        servers = []
        for logs in (True, False):
            servers.append(StagateServer(self, logs))
            if nginx_binary():
                servers += [NginxServer(self, logs), NginxServer(self, logs, tuned=True)]
        if not nginx_binary():
            self.bench.notes.append("nginx was not there")
        for number in range(1, self.rounds + 1):
            for server in servers:
                label = f"authority http {number}/{self.rounds} {server.name}, log {'on' if server.logs else 'off'}"
                self.attempt(label, lambda: self.http_cell(server))

    def http_cell(self, server):
        folder = os.path.join(self.bench.folder, "authority-http")
        os.mkdir(folder)
        try:
            server.start(folder)
            load = Process([self.bench.tool("staload"), "--port", str(server.port), "--connections", str(CONNECTIONS),
                            "--requests", str(self.sizes.requests), *server.load()], self.bench.cpus[1], f"{folder}/staload.log",
                           stdout=subprocess.PIPE)
            load.read_line(LINE_S)
            before = cpu_ns_at_rest(server.process.pid)
            load.go_on()
            done = json.loads(load.read_line(LINE_S))
            after = cpu_ns_at_rest(server.process.pid)
            if server.logs and server.lines() < done["requests"]:
                raise BenchError(f"{server.lines()} lines in the log for {done['requests']} requests")
            if self.body_bytes is None:
                self.body_bytes = done["body"]
            ns = (after - before) / done["requests"]
            self.http.setdefault((server.name, server.logs), []).append(ns)
            return f"{ns / 1e3:.1f} µs, answer of {done['answer']} bytes, {done['requests'] / done['wall_s']:,.0f} a second"
        finally:
            Process.stop_all()
            shutil.rmtree(folder, ignore_errors=True)

    # ---- results ----

    def tables(self):
        """Each a list of rows; the first is the heading."""
        return [t for t in (self.store_table(), self.stall_table(), self.http_table()) if t]

    def store_table(self):
        def cell(store, name, scale=1.0, form="{:.2f}", best=min):
            values = store.samples.get(name)
            if not values:
                return "–"
            return f"{form.format(statistics.median(values) / scale)} / {form.format(best(values) / scale)}"

        def rate(store):
            values = store.samples.get("redeem")
            return f"{1e9 / statistics.median(values):,.0f} / {1e9 / min(values):,.0f}" if values else "–"

        def one(store, name):
            return f"{store.samples[name][0]:.0f}" if name in store.samples else "–"

        if not self.stores:
            return None
        rows = [["median / best", "redeemed, µs", "a core redeems a second", "single use, µs", "of it on the loop, µs",
                 "single uses a second", "a ticket takes, bytes", "in the process, bytes"]]
        verdicts = []
        for s in self.stores:
            rows.append([s.name, cell(s, "redeem", 1e3), rate(s),
                         cell(s, "single", 1e3, "{:.1f}"), cell(s, "single_loop", 1e3, "{:.1f}"),
                         cell(s, "single_rate", form="{:,.0f}", best=max), f"{one(s, 'kept')} {s.kept_where}",
                         one(s, "process")])
            if s.samples.get("redeem") and not isinstance(s, Redis):
                kept = statistics.median(s.samples["redeem"]) <= REDEEM_BAR_NS
                verdicts.append(f"{s.name} {'PASS' if kept else 'over'}")
        rows.append(["bar (lmdb, memory)", f"≤ {REDEEM_BAR_NS / 1e3:.0f}"] + [""] * 6)
        rows.append(["verdict", ", ".join(verdicts)] + [""] * 6)
        for s in self.stores:
            if s.samples.get("pss"):
                self.bench.notes.append(f"{s.name}: the process with {self.sizes.tickets:,} tickets has {s.samples['pss'][0] / 1e6:.0f} MB "
                                        f"PSS, {s.samples['anonymous'][0] / 1e6:.0f} MB of it anonymous memory")
        for s in self.stores:
            if s.samples.get("trips"):
                self.bench.notes.append(
                    f"{s.name}: {statistics.median(s.samples['trips']):.2f} questions a redemption, {AT_ONCE} on their way at a time; "
                    f"they cost the server {statistics.median(s.samples['server']) / 1e3:.1f} µs of CPU time each. One at a time: "
                    f"{statistics.median(s.samples['alone']) / 1e3:.1f} µs on the loop, "
                    f"{statistics.median(s.samples['alone_rate']):,.0f} a second")
        return rows

    def stall_table(self):
        if not self.stalls:
            return None
        rows = [["the loop redeems, median / least", "turns", "longest of a round, ms", "over 1 ms, of a million", "longest wait, ms", "most CPU time of a round, ms"]]
        for (store, name), results in self.stalls.items():
            turns = sum(r["turns"] for r in results)
            longest = [r["worst"]["wall_ns"] / 1e6 for r in results]
            late = [1e6 * r["late"] / r["turns"] for r in results]
            cpu = [r["worst_cpu"]["cpu_ns"] / 1e6 for r in results]
            rows.append([f"{store}, {name}", f"{turns:,}", f"{statistics.median(longest):.2f} / {min(longest):.2f}",
                         f"{statistics.median(late):.0f} / {min(late):.0f}", f"{longest_wait(results) / 1e6:.3f}",
                         f"{statistics.median(cpu):.2f} / {min(cpu):.2f}"])
        rows.append(["bar (lmdb)", "", f"least ≤ {STALL_BAR_NS / 1e6:.0f}", "", f"≤ {STALL_BAR_NS / 1e6:.0f}", ""])
        own = self.stalls.get(("lmdb", SECOND))
        if own:
            still = min(r["worst"]["wall_ns"] for r in own) <= STALL_BAR_NS
            rows.append(["verdict", "", "PASS" if still else "over", "",
                         "PASS" if longest_wait(own) <= STALL_BAR_NS else "over", ""])
        return rows

    def http_table(self):
        if not self.http:
            return None
        names = list(dict.fromkeys(name for name, _ in self.http))
        rows = [["median / least", "log on, µs", "log off, µs"]]
        for name in names:
            row = [name]
            for logs in (True, False):
                values = self.http.get((name, logs))
                row.append(f"{statistics.median(values) / 1e3:.1f} / {min(values) / 1e3:.1f}" if values else "–")
            rows.append(row)
        for peer in names[1:]:
            row = [f"stagate / {peer}"]
            for logs in (True, False):
                own, theirs = self.http.get(("stagate", logs)), self.http.get((peer, logs))
                row.append(f"{statistics.median(own) / statistics.median(theirs):.2f} / {min(own) / min(theirs):.2f}"
                           if own and theirs else "–")
            rows.append(row)
        verdicts = ["verdict"]
        for logs in (True, False):
            own = self.http.get(("stagate", logs))
            theirs = [statistics.median(v) for (name, l), v in self.http.items() if l == logs and name != "stagate"]
            verdicts.append("" if not own or not theirs else
                            "PASS" if statistics.median(own) <= HTTP_BAR * min(theirs) else "over")
        rows += [["bar", "≤ 2 × best", "≤ 2 × best"], verdicts]
        return rows

    def document(self):
        """For --json."""
        return {"sizes": vars(self.sizes), "stores": {s.name: s.samples for s in self.stores}, "stalls": {f"{store}, {name}": results for (store, name), results in self.stalls.items()},
                "http_ns": {f"{name}, log {'on' if logs else 'off'}": v for (name, logs), v in self.http.items()}}
