#!/usr/bin/python3
"""Fifty thousand phones on one machine: mailsim, stagate and easload, several processes each, with TLS in TLS. All phones wait in
a Ping; then a thousand of them get a mail.

    make bench-phones                      50,000 phones, some five minutes
    make bench-phones PHONES=5000          fewer

Prints what each part took, how long it took to wake the thousand, and what a million phones would take by these figures.
"""
import argparse
import http.client
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from clients import GATEWAY  # noqa: E402
from procs import BenchError, Process, cpu_ns, descriptor_limit, pss_bytes, ready, tail  # noqa: E402
from relay import SERVICE  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CERTS = ROOT / "certs" / "lab"
SPARE = 600  # descriptors that are not for phones
ARRIVALS = 330  # phones a second
SETTLE_S, AFTER_S = 20, 25


def deliver(control, users):
    host, _, port = control.rpartition(":")
    conn = http.client.HTTPConnection(host, int(port), timeout=30)
    for user in users:
        conn.request("POST", f"/deliver?user={user}&subject=News", body=b"")
        answer = conn.getresponse()
        answer.read()
        assert answer.status // 100 == 2, answer.status


def memory_kb():
    """What the machine as a whole has in use, sockets of the kernel included."""
    fields = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemTotal"].split()[0]) - int(fields["MemAvailable"].split()[0])


class Many:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.parts = math.ceil(options.phones / (descriptor_limit() // 2 - SPARE))  # a tunnel takes two of a gateway's
        self.servers = math.ceil(options.phones / (descriptor_limit() - SPARE))
        self.ramp = max(math.ceil(options.phones / ARRIVALS), 5)
        self.cpus = set(os.sched_getaffinity(0))
        self.mailsims, self.gateways, self.phones = [], [], []

    def say(self, text):
        print(f"{time.monotonic() - self.started:6.0f} s  {text}", file=sys.stderr, flush=True)

    def start(self):
        self.started = time.monotonic()
        self.before_kb = memory_kb()
        binaries = self.options.bin
        for i in range(self.servers):
            log = f"{self.folder}/mailsim{i}.log"
            process = Process([f"{binaries}/mailsim", "--listen", "https://127.0.0.1:0", "--control", "http://127.0.0.1:0", "--certificate",
                               f"{CERTS}/mail.crt", "--key", f"{CERTS}/mail.key", "--log", "json", "--mailbox", "5"], self.cpus, log)
            self.mailsims.append((process, ready(log)))
        for i in range(self.parts):
            folder = pathlib.Path(self.folder, f"gateway{i}")
            folder.mkdir()
            conf = folder / "stagate.yaml"
            sink = self.mailsims[i % self.servers][1]["listeners"][0].rpartition(":")[2]
            conf.write_text(GATEWAY.format(certificate=f"{CERTS}/gateway.crt", key=f"{CERTS}/gateway.key", folder=folder, service=SERVICE,
                                           sink=sink, descriptors=descriptor_limit()))
            process = Process([f"{binaries}/stagate", "run", "-c", str(conf)], self.cpus, str(folder / "log"))
            address = ready(folder / "log")["listeners"][0]
            ticket = subprocess.run([f"{binaries}/stagate", "ticket", "issue", "-c", str(conf), "--user", "lab"], check=True,
                                    capture_output=True, text=True).stdout.strip()
            self.gateways.append((process, address, ticket))
        length = self.ramp + SETTLE_S + AFTER_S
        for i, (_, address, ticket) in enumerate(self.gateways):
            process = Process([f"{binaries}/easload", "run", "-t", f"https://{SERVICE}", "--topology", "sta", "--gateway",
                               "https://gateway.example.com:" + address.rpartition(":")[2], "--gateway-connect", address, "--ca",
                               f"{CERTS}/ca.crt", "--ticket", ticket, "-n", str(self.options.phones), "--part", f"{i + 1}/{self.parts}",
                               "-d", f"{length}s", "--ramp", f"{self.ramp}s", "--requests", "10000000", "--heartbeat", "30m",
                               "--json", f"{self.folder}/part{i}.json"], self.cpus, f"{self.folder}/easload{i}.log")
            self.phones.append(process)
        self.say(f"{self.options.phones} phones in {self.parts} processes, {self.parts} gateways, {self.servers} mail servers; "
                 f"all there after {self.ramp} s")

    def measure(self):
        groups = {"easload": self.phones, "stagate": [g[0] for g in self.gateways], "mailsim": [m[0] for m in self.mailsims]}
        bytes_of = {name: sum(pss_bytes(p.pid) for p in group) for name, group in groups.items()}
        bytes_of["kernel and rest"] = (memory_kb() - self.before_kb) * 1024 - sum(bytes_of.values())
        cpu = {name: sum(cpu_ns(p.pid) for p in group) / 1e9 for name, group in groups.items()}
        return bytes_of, cpu

    def run(self):
        self.start()
        time.sleep(max(self.ramp + SETTLE_S - (time.monotonic() - self.started), 0) + 1)
        bytes_of, cpu = self.measure()
        self.say("measured; now the mail")
        woken = min(self.options.mails, self.options.phones)
        by_server = [[] for _ in self.mailsims]
        for n in range(woken):
            number = n * self.options.phones // woken  # spread over all
            by_server[number % self.parts % self.servers].append(f"user{number + 1}")
        sent = time.monotonic()
        for (_, told), users in zip(self.mailsims, by_server):
            deliver(told["control"], users)
        self.say(f"{woken} mails delivered in {time.monotonic() - sent:.1f} s")
        _, cpu_idle_from = self.measure()
        for process in self.phones:
            if process.popen.wait(AFTER_S + 120) not in (0, 1):
                raise BenchError(f"easload: {tail(process.log)}")
        files = [f"{self.folder}/part{i}.json" for i in range(self.parts)]
        out = self.options.out
        out.mkdir(parents=True, exist_ok=True)
        merged = subprocess.run([f"{self.options.bin}/easload", "merge", *files, "--json", str(out / "phones.json"), "--report",
                                 str(out / "phones.html")], check=True, capture_output=True, text=True)
        print(merged.stdout)
        self.report(json.loads((out / "phones.json").read_text()), bytes_of, cpu, woken)
        print(f"\nReport: {os.path.relpath(out / 'phones.html')}")

    def report(self, result, bytes_of, cpu, woken):
        phones = self.options.phones
        waiting = max(b["waiting"] for b in result["bins"])
        print(f"{waiting} phones waited at once; {result['rows']['mail to wake']['count']} of {woken} were woken by their mail.\n")
        print(f"{'':16} {'memory':>10} {'a phone':>10} {'CPU, ramp':>10} {'a phone':>10} {'a million phones':>34}")
        for name, size in bytes_of.items():
            spent = cpu.get(name)
            more = f"{size / phones * 1e6 / 1e9:.0f} GB" + (f", {spent / phones * 1e6 / 60:.0f} core minutes to arrive" if spent else "")
            print(f"{name:16} {size / 1e6:7.0f} MB {size / phones / 1e3:7.1f} kB " + (f"{spent:8.1f} s {spent / phones * 1e3:7.2f} ms" if spent else " " * 21)
                  + f" {more:>34}")
        total = sum(bytes_of.values())
        print(f"{'all':16} {total / 1e6:7.0f} MB {total / phones / 1e3:7.1f} kB {sum(cpu.values()):8.1f} s {sum(cpu.values()) / phones * 1e3:7.2f} ms "
              f"{total / phones * 1e6 / 1e9:.0f} GB".rjust(10))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default="build/release")
    parser.add_argument("--phones", type=int, default=50_000)
    parser.add_argument("--mails", type=int, default=1000)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "phones")
    options = parser.parse_args()
    options.bin = str(pathlib.Path(options.bin).resolve())
    folder = tempfile.mkdtemp(prefix="stagate-phones-")
    try:
        Many(options, folder).run()
    except BenchError as e:
        print(f"bench-phones: {e}", file=sys.stderr)
        return 1
    finally:
        Process.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
