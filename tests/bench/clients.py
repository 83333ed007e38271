"""easload's part of the benchmark: what a request costs the generator, beside wrk sending the same bytes; what a phone takes
that waits in a Ping through a tunnel, with TLS in TLS; and the relays once more, driven by phones instead of relayload.

Called by bench.py; what is measured how is in docs/performance.md.
"""
import json
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

import peers as peer_list
import relay as relay_part
from mail import INBOX
from procs import BenchError, Process, cpu_ns_at_rest, descriptor_limit, measured, pss_bytes, ready, tail

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import activesync  # noqa: E402

PHONES = 64
RATE_AIM, WRK_SHARE, PHONE_BAR = 50_000, 0.7, 40_000
GATEWAY = """
workers: 1
listeners:
  - {{address: "127.0.0.1:0", certificate: {certificate}, key: {key}, doors: [socks]}}
authorities:
  - {{id: STA0BENCH, store: "lmdb:{folder}/tickets"}}
policy:
  background-network-services: ["{service}"]
services:
  - {{name: "{service}", connect: "127.0.0.1:{sink}"}}
limits: {{connections: {descriptors}}}
log: {{format: json}}
"""


class PhonesPart:
    TITLES = {"easload": "easload: a Sync, µs", "wrk": "wrk: the same, µs", "phone": "phone that waits, kB"}

    def __init__(self, bench, say):
        self.bench, self.say = bench, say
        self.requests = 100_000 if bench.options.quick else 300_000
        self.relayed = 20_000 if bench.options.quick else 60_000
        self.held = min(1000 if bench.options.quick else 4000, descriptor_limit() // 2 - 500)
        self.samples, self.relays = {}, []

    def run(self):
        self.relays = [r for r in relay_part.all_relays(self.bench.bin) if r.find() and "each logged" not in r.name]
        for number in range(1, self.bench.options.rounds + 1):
            label = f"phones {number}/{self.bench.options.rounds}"
            for work in ("easload", "wrk"):
                if work != "wrk" or shutil.which("wrk"):
                    self.cell(work, getattr(self, f"measure_{work}"), f"{label} {work}")
            for relay in self.relays:
                self.cell(("relay", relay.name), lambda folder, r=relay: self.measure_relay(r, folder), f"{label} {relay.name}")
        self.cell("phone", self.measure_phone, "phones: memory")

    def cell(self, name, measure, label):
        value = measured(self.bench, self.say, "phones", label, measure)
        if value is None:
            return
        self.samples.setdefault(name, []).append(value)
        unit = "kB" if name == "phone" else "µs"
        self.say(f"{label}: {value / 1e3:.1f} {unit}")

    # ---- programs ----

    def mailsim(self, folder, tls=False):
        log = f"{folder}/mailsim.log"
        options = ["--certificate", self.bench.certificate[0], "--key", self.bench.certificate[1]] if tls else []
        server = Process([f"{self.bench.bin}/mailsim", "--listen", f"http{'s' if tls else ''}://127.0.0.1:0", "--quiet", "--log", "json",
                          *options], self.bench.cpus[0] if not tls else self.bench.cpus[1], log)
        return server, ready(log)["listeners"][0]

    def easload(self, folder, *options):
        """A run that floods; its result."""
        argv = ["taskset", "-c", str(self.bench.cpus[1]), f"{self.bench.bin}/easload", "run", "-n", str(PHONES), "-d", "120s", "--ramp", "0s",
                "--does", "flood", "--protocol", "14.1", "-q", "--json", f"{folder}/result.json", *map(str, options)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
        if done.returncode:
            raise BenchError(f"easload: {done.stdout}{done.stderr}")
        return json.loads(pathlib.Path(folder, "result.json").read_text())

    # ---- what a request costs the generator ----

    def measure_easload(self, folder):
        _, address = self.mailsim(folder)
        result = self.easload(folder, "-t", f"http://{address}", "--requests", self.requests)
        return result["cpu_s"] * 1e9 / sum(result["rows"][verb]["count"] for verb in ("OPTIONS", "Provision", "FolderSync", "Sync"))

    def measure_wrk(self, folder):
        """The same Sync with the same fields, from as many connections."""
        _, address = self.mailsim(folder)
        phone = activesync.Phone(address, "user1", "14.1", "easload1", password="easload")
        phone.everything(INBOX)
        document = phone.sync_document(INBOX, ("DeletesAsMoves",), ("GetChanges",), ("WindowSize", "50"), phone.bodies())
        fields = {**phone.fields(), "User-Agent": "easload/0.1.0", "X-MS-PolicyKey": "3942919513"}
        script = pathlib.Path(folder, "sync.lua")
        script.write_text(f'wrk.method="POST"\nwrk.body=string.char({",".join(map(str, activesync.encode(document)))})\n'
                          + "".join(f'wrk.headers["{k}"]="{v}"\n' for k, v in fields.items()))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        load = subprocess.run(["taskset", "-c", str(self.bench.cpus[1]), "wrk", "-t1", f"-c{PHONES}", "-d", "4s" if self.bench.options.quick
                               else "8s", "-s", str(script), f"http://{address}{phone.path}?Cmd=Sync&User=user1&DeviceId=easload1&DeviceType="
                               "easload"], capture_output=True, text=True, timeout=120)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        count = re.search(r"(\d+) requests in", load.stdout)
        if not count or "Non-2xx" in load.stdout or "Socket errors" in load.stdout:
            raise BenchError(f"wrk: {load.stdout}{load.stderr}")
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return spent * 1e9 / int(count[1])

    # ---- relays ----

    def measure_relay(self, relay, folder):
        _, address = self.mailsim(folder, tls=True)
        place = peer_list.Place(folder, *self.bench.certificate, int(address.rpartition(":")[2]), descriptor_limit())
        place.ca = self.bench.inspect_ca
        proxy = relay.start(place, self.bench.cpus[0])
        way = ["-t", "https://mail.example.com", "--connect", f"127.0.0.1:{place.port}", "--topology", "relay"]
        if isinstance(relay, relay_part.Relay):
            if relay.door == "connect":
                scheme = "https" if relay.relay == "inspect" else "http"
                way = ["-t", f"{scheme}://{relay_part.SERVICE}", "--topology", "sta", "--door", "connect",
                       "--gateway", f"https://127.0.0.1:{place.port}"]
            way += ["--ticket", relay.ticket(place, "alice")]
        before = cpu_ns_at_rest(proxy.pid)
        result = self.easload(folder, *way, "--insecure", "--user", "alice", "--requests", self.relayed)
        return (cpu_ns_at_rest(proxy.pid) - before) / sum(row["count"] for row in list(result["rows"].values())[:7])

    # ---- memory ----

    def measure_phone(self, folder):
        """Growth of PSS from few phones to many, all of them waiting."""
        few = 200
        _, address = self.mailsim(folder, tls=True)
        conf = pathlib.Path(folder, "stagate.yaml")
        conf.write_text(GATEWAY.format(certificate=self.bench.certificate[0], key=self.bench.certificate[1], folder=folder,
                                       service=relay_part.SERVICE, sink=address.rpartition(":")[2], descriptors=descriptor_limit()))
        stagate = f"{self.bench.bin}/stagate"
        Process([stagate, "run", "-c", str(conf)], self.bench.cpus[0], f"{folder}/stagate.log")
        port = ready(f"{folder}/stagate.log")["listeners"][0].rpartition(":")[2]
        ticket = subprocess.run([stagate, "ticket", "issue", "-c", str(conf), "--user", "alice"], check=True, capture_output=True,
                                text=True).stdout.strip()
        grown = [self.waiting(folder, n, port, ticket) for n in (few, self.held)]
        return (grown[1] - grown[0]) / (self.held - few)

    def waiting(self, folder, phones, port, ticket):
        """The memory of an easload whose phones all wait."""
        log = pathlib.Path(folder, f"easload{phones}.log")
        load = Process([f"{self.bench.bin}/easload", "run", "-t", f"https://{relay_part.SERVICE}", "--topology", "sta", "--insecure",
                        "--gateway", f"https://127.0.0.1:{port}", "--ticket", ticket, "-n", str(phones), "-d", "600s", "--ramp",
                        f"{max(phones // 200, 1)}s", "--requests", "1000000"], self.bench.cpus[1], str(log))
        end = time.monotonic() + 200
        while f"in Ping {phones} " not in log.read_text():
            if time.monotonic() > end or not load.alive():
                raise BenchError(f"the phones do not come to wait: {tail(str(log))}")
            time.sleep(0.2)
        pss = pss_bytes(load.pid)
        load.stop()
        return pss

    # ---- results ----

    def tables(self):
        rows, told = [], []
        if self.samples:
            names = [n for n in self.TITLES if n in self.samples]
            median = {n: statistics.median(self.samples[n]) for n in names}
            cells, bars, verdicts = ["easload"], ["bar"], ["verdict"]
            for n in names:
                cells.append(f"{median[n] / 1e3:.1f} / {min(self.samples[n]) / 1e3:.1f}")
                bar, good = self.verdict(n, median)
                bars.append(bar)
                verdicts.append("" if good is None else "PASS" if good else "over")
            told.append([["median / least"] + [self.TITLES[n] for n in names], cells, bars, verdicts])
        for relay in self.relays:
            values = self.samples.get(("relay", relay.name))
            if values:
                rows.append([relay.name, f"{statistics.median(values) / 1e3:.1f} / {min(values) / 1e3:.1f}"])
        if rows:
            told.append([["driven by easload: median / least", "CPU of the relay for a request, µs"]] + rows)
        return told

    @staticmethod
    def verdict(name, median):
        if name == "easload":
            most = min(1e9 / RATE_AIM, median["wrk"] / WRK_SHARE if "wrk" in median else 1e9)
            return f"≤ {most / 1e3:.1f}", median[name] <= most
        return (f"≤ {PHONE_BAR / 1e3:.0f}", median[name] <= PHONE_BAR) if name == "phone" else ("", None)

    def document(self):
        return {f"phones {' '.join(name) if isinstance(name, tuple) else name}": values for name, values in self.samples.items()}
