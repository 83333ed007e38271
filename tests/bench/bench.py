"""Measures stagate beside the programs a user would put in its place, on the same work in alternating rounds.

`make bench` runs this. Every proxy has one worker, alone on the first CPU; load client and sink share the second. The works and the
method are described in docs/performance.md. Progress goes to standard error, the table (Markdown) to standard output.
"""
import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import peers as peer_list
from authority import AuthorityPart
from clients import PhonesPart
from mail import MailPart
from procs import BenchError, Process, cpu_ns_at_rest, descriptor_count, descriptor_limit, pss_bytes, tail
from relay import RelayPart

HELD = 9000  # tunnels or connections in the works that measure memory
PHASE_S = 300
PROXY_WORKS = ("setup", "resumed", "down", "up", "pingpong", "hold", "silent", "hello")
WORK_NAMES = (*PROXY_WORKS, "relay", "authority", "mail", "phones")


class Metric:
    """A column of the table. `bar` is what stagate has to keep: a factor of the best peer, or bytes."""

    def __init__(self, name, title, scale, digits, factor=None, most=None, below_peers=False):
        self.name = name
        self.title = title
        self.scale = scale
        self.digits = digits
        self.factor = factor
        self.most = most
        self.below_peers = below_peers

    def show(self, value):
        return f"{value / self.scale:.{self.digits}f}"

    def bar(self):
        if self.factor:
            return "≤ best"
        if not self.most:
            return ""
        return f"≤ {self.most / self.scale:.0f}" + (", < best" if self.below_peers else "")

    def verdict(self, own, best):
        """PASS or over, on medians; empty without a bar or without anything to hold it to."""
        if not self.bar() or (best is None and not self.most):
            return ""
        kept = not self.most or own <= self.most
        if best is not None:
            kept &= not self.factor or own <= self.factor * best
            kept &= not self.below_peers or own < best
        return "PASS" if kept else "over"


METRICS = [
    Metric("setup", "set-up, µs", 1e3, 0, factor=1),
    Metric("resumed", "resumed, µs", 1e3, 0, factor=1),
    Metric("down", "down, s/GB", 1e9, 2, factor=1),
    Metric("up", "up, s/GB", 1e9, 2, factor=1),
    Metric("pingpong", "round trip, µs", 1e3, 1, factor=1),
    Metric("idle", "idle tunnel, kB", 1e3, 1, most=16e3, below_peers=True),
    Metric("used", "after 32 KiB, kB", 1e3, 1, most=16e3, below_peers=True),
    Metric("silent", "silent, kB", 1e3, 2, most=2e3),
    Metric("hello", "half hello, kB", 1e3, 2),
]


class Sizes:
    def __init__(self, quick):
        self.setups = 1000 if quick else 4000
        self.bytes = 1_000_000_000 if quick else 2_000_000_000
        self.streams = 4
        self.round_trips = 32_000 if quick else 128_000
        self.ping_tunnels = 64
        # each tunnel takes two descriptors of the proxy, which need some for itself
        self.held = min(2000 if quick else HELD, descriptor_limit() // 2 - 500)


class Cell:
    """One peer doing one work once: starts sink, proxy and client, measures, and ends all three."""

    def __init__(self, bench, peer):
        self.bench = bench
        self.peer = peer
        self.notes = {}

    def run(self, work):
        folder = tempfile.mkdtemp(prefix=f"{work}-{self.peer.name}-", dir=self.bench.folder)
        os.chmod(folder, 0o755)
        try:
            return self.measure(work, folder)
        finally:
            Process.stop_all()
            if not self.bench.keep:
                shutil.rmtree(folder, ignore_errors=True)

    def measure(self, work, folder):
        proxy_cpu, load_cpu = self.bench.cpus
        sink = Process([self.bench.tool("sink")], load_cpu, f"{folder}/sink.log", stdout=subprocess.PIPE)
        sink_port = json.loads(sink.read_line(10))["port"]
        place = peer_list.Place(folder, *self.bench.certificate, sink_port, descriptor_limit())
        self.proxy = self.peer.start(place, proxy_cpu)
        options = self.peer.load_options(place)
        mode, more = self.mode(work)
        argv = [self.bench.tool("tunnelload"), mode, "--port", str(place.port), *more, *options]
        self.load = Process(argv, load_cpu, f"{folder}/load.log", stdout=subprocess.PIPE)
        self.place = place
        return self.measure_memory(work) if mode in ("hold", "silent", "hello") else self.measure_cpu(work)

    def mode(self, work):
        """tunnelload's mode and its options for a work."""
        sizes = self.bench.sizes
        if work in ("setup", "resumed"):
            return "setup", ["--tunnels", str(sizes.setups)] + (["--resume"] if work == "resumed" else [])
        if work in ("down", "up"):
            return work, ["--tunnels", str(sizes.streams), "--bytes", str(sizes.bytes)]
        if work == "pingpong":
            return work, ["--tunnels", str(sizes.ping_tunnels), "--round-trips", str(sizes.round_trips)]
        return work, ["--tunnels", str(sizes.held)]

    def phase(self, wanted):
        report = json.loads(self.load.read_line(PHASE_S))
        if report["phase"] != wanted:
            raise BenchError(f"{report.get('error', report)}; log of the proxy: {tail(self.place.path('proxy.log'))}")
        return report

    def measure_cpu(self, work):
        """CPU time of the proxy between the client's `ready` and `done`, for each unit of the work."""
        self.phase("ready")
        before = cpu_ns_at_rest(self.proxy.pid)
        self.load.go_on()
        report = self.phase("done")
        after = cpu_ns_at_rest(self.proxy.pid)
        sizes = self.bench.sizes
        if work == "resumed" and report["resumed"] != sizes.setups:
            raise BenchError(f"only {report['resumed']} of {sizes.setups} handshakes were resumed")
        if work == "setup" and report["resumed"]:
            raise BenchError(f"{report['resumed']} handshakes were resumed")
        if report["cut"]:
            self.notes["cut"] = f"{report['cut']} of {report['jobs']} tunnels ended without close_notify and FIN"
        self.notes["wall_s"] = report["wall_s"]
        self.notes["cpu_s"] = (after - before) / 1e9
        units = {"setup": sizes.setups, "resumed": sizes.setups, "down": sizes.bytes / 1e9, "up": sizes.bytes / 1e9,
                 "pingpong": sizes.round_trips}[work]
        return {work: (after - before) / units}

    def measure_memory(self, work):
        """Growth of PSS for each tunnel or connection held."""
        held = self.bench.sizes.held
        self.phase("ready")
        cpu_ns_at_rest(self.proxy.pid)
        base_pss, base_fds = pss_bytes(self.proxy.pid), descriptor_count(self.proxy.pid)
        self.load.go_on()
        values = {}
        for phase in ("idle", "used") if work == "hold" else ("idle",):
            self.phase(phase)
            self.await_descriptors(base_fds + (2 * held if work == "hold" else held))
            cpu_ns_at_rest(self.proxy.pid)
            values[phase if work == "hold" else work] = (pss_bytes(self.proxy.pid) - base_pss) / held
            self.load.go_on()
        self.phase("end")  # tunnelload has looked whether all are still open
        return values

    def await_descriptors(self, wanted, limit_s=10):
        """The proxy must really hold what the client believes to have opened."""
        deadline = time.monotonic() + limit_s
        while (got := descriptor_count(self.proxy.pid)) < wanted:
            if time.monotonic() > deadline:
                raise BenchError(f"the proxy holds {got} descriptors, {wanted} expected")
            time.sleep(0.05)


class Bench:
    def __init__(self, options):
        self.options = options
        self.keep = options.keep
        self.sizes = Sizes(options.quick)
        self.bin = os.environ.get("STAGATE_BIN", "build/release")
        self.samples = {}  # (metric, peer) -> values in order of rounds
        self.errors = []
        self.notes = []
        self.peers = []
        self.parts = {}  # name -> a part with tables of its own
        cpus = sorted(os.sched_getaffinity(0))
        self.cpus = (cpus[0], cpus[1] if len(cpus) > 1 else cpus[0])
        if len(cpus) < 2:
            say("only one CPU: proxy, client and sink share it")

    def tool(self, name):
        return os.path.join(self.bin, "bench", name)

    def pick_peers(self):
        known = peer_list.all_peers(self.bin)
        wanted = self.options.peers.split(",") if self.options.peers else [p.name for p in known]
        for name in wanted:
            if name not in [p.name for p in known]:
                sys.exit(f"bench: no peer '{name}'; there are {', '.join(p.name for p in known)}")
        self.peers = [p for p in known if p.name in wanted]
        for peer in self.peers:
            if not peer.find():
                say(f"{peer.name}: not there ({peer.binary}), left out")
                self.notes.append(f"{peer.name} was not there")
        self.peers = [p for p in self.peers if p.find()]
        if self.options.peers:
            for peer in self.peers:
                peer.extra_for = None

    def run(self):
        works = self.options.only.split(",") if self.options.only else WORK_NAMES
        for work in works:
            if work not in WORK_NAMES:
                sys.exit(f"bench: no work '{work}'; there are {', '.join(WORK_NAMES)}")
        proxy_works = [work for work in works if work in PROXY_WORKS]
        if proxy_works:
            self.pick_peers()
        for work in proxy_works:
            # memory hardly varies, and takes long
            rounds = min(self.options.rounds, 2) if work in ("hold", "silent", "hello") else self.options.rounds
            for number in range(1, rounds + 1):
                for peer in self.peers:
                    if not peer.extra_for or work in peer.extra_for:
                        self.run_cell(work, peer, f"{work} {number}/{rounds} {peer.name}")
        for name, part in (("relay", RelayPart), ("authority", AuthorityPart), ("mail", MailPart), ("phones", PhonesPart)):
            if name in works:
                self.parts[name] = part(self, say)
                self.parts[name].run()

    def run_cell(self, work, peer, label):
        cell = Cell(self, peer)
        started = time.monotonic()
        try:
            values = cell.run(work)
        except (BenchError, OSError, json.JSONDecodeError) as e:
            self.errors.append(f"{label}: {e}")
            say(f"{label}: FAILED: {e}")
            return
        for metric in METRICS:
            if metric.name in values:
                self.samples.setdefault((metric.name, peer.name), []).append(values[metric.name])
        shown = ", ".join(f"{m.title.split(',')[0]} {m.show(values[m.name])} {m.title.split(', ')[1]}"
                          for m in METRICS if m.name in values)
        busy = f", proxy {100 * cell.notes['cpu_s'] / cell.notes['wall_s']:.0f} % busy" if cell.notes.get("wall_s") else ""
        say(f"{label}: {shown} ({time.monotonic() - started:.1f} s{busy})")
        if "cut" in cell.notes:
            note = f"{peer.name}, {work}: {cell.notes['cut']}"
            if note not in self.notes:
                self.notes.append(note)

    # ---- results ----

    def median(self, metric, peer):
        values = self.samples.get((metric.name, peer))
        return statistics.median(values) if values else None

    def best(self, metric, of=statistics.median):
        values = [of(v) for (m, peer), v in self.samples.items() if m == metric.name and peer != "stagate"]
        return min(values) if values else None

    def table(self):
        metrics = [m for m in METRICS if any(key[0] == m.name for key in self.samples)]
        rows = [["median / least"] + [m.title for m in metrics]]
        for peer in self.peers:
            if not any(key[1] == peer.name for key in self.samples):
                continue
            cells = []
            for m in metrics:
                values = self.samples.get((m.name, peer.name))
                cells.append(f"{m.show(statistics.median(values))} / {m.show(min(values))}" if values else "–")
            rows.append([peer.name] + cells)
        judged = [(m, self.samples.get((m.name, "stagate")), self.best(m)) for m in metrics]
        if any(own for _, own, _ in judged):
            ratios, verdicts = ["stagate / best peer"], ["verdict"]
            for m, own, best in judged:
                both = own and best is not None
                ratios.append(f"{statistics.median(own) / best:.2f} / {min(own) / self.best(m, min):.2f}" if both else "–")
                verdicts.append(m.verdict(statistics.median(own), best) if own else "–")
            rows += [ratios, ["bar"] + [m.bar() for m in metrics], verdicts]
        return markdown(rows)

    def environment(self):
        model = "unknown CPU"
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    model = line.split(":", 1)[1].strip()
                    break
        return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(),
                "openssl": peer_list.first_line("openssl", "version"),
                "versions": {p.name: p.version() for p in self.peers if not p.extra_for},
                "rounds": self.options.rounds, "sizes": vars(self.sizes)}

    def report(self):
        if self.samples:
            print(self.table())
        for part in self.parts.values():
            for rows in part.tables():
                print("\n" + markdown(rows))
        for note in self.notes:
            print(f"\nNote: {note}")
        for error in self.errors:
            print(f"\nFAILED: {error}")
        sys.stdout.flush()
        if self.options.json:
            samples = {}
            for (metric, peer), values in self.samples.items():
                samples.setdefault(metric, {})[peer] = values
            document = {"environment": self.environment(), "units": "ns for each tunnel, GB or round trip; bytes",
                        "samples": samples, "notes": self.notes, "errors": self.errors}
            for name, part in self.parts.items():
                document[name] = part.document()
            with open(self.options.json, "w") as f:
                json.dump(document, f, indent=1)
                f.write("\n")


def markdown(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row):
        return "| " + " | ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                                 for i, (cell, w) in enumerate(zip(row, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule] + [line(row) for row in rows[1:]])


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def make_certificate(folder, name, mode, *more):
    """A throwaway ECDSA P-256 certificate and its key."""
    certificate, key = f"{folder}/{name}.crt", f"{folder}/{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7",
                    "-subj", f"/CN={name}", "-keyout", key, "-out", certificate, *more], check=True, stderr=subprocess.DEVNULL)
    os.chmod(key, mode)
    return certificate, key


def on_signal(number, frame):
    raise KeyboardInterrupt


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, help="rounds of each work (5; 2 with --quick; memory at most 2)")
    parser.add_argument("--quick", action="store_true", help="smaller cells: good for a look, not for a verdict")
    parser.add_argument("--only", metavar="WORK,...", help=f"some of {' '.join(WORK_NAMES)}")
    parser.add_argument("--peers", metavar="NAME,...", help="some of stagate haproxy haproxy-64k nginx nginx-64k squid hitch; "
                        "a -64k variant named here does every work, otherwise only the relay")
    parser.add_argument("--json", metavar="FILE", help="every sample, and the machine")
    parser.add_argument("--keep", action="store_true", help="keep the scratch folder with configurations and logs")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 2 if options.quick else 5
    if options.rounds < 1:
        parser.error("--rounds wants at least 1")
    return options


def main():
    bench = Bench(arguments())
    for tool in ("tunnelload", "sink", "storebench", "staload", "relayload"):
        if not os.access(bench.tool(tool), os.X_OK):
            sys.exit(f"bench: {bench.tool(tool)} is missing: run `make bench`, or set STAGATE_BIN to the build folder")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    bench.folder = tempfile.mkdtemp(prefix="stagate-bench-")
    os.chmod(bench.folder, 0o755)
    interrupted = False
    try:
        # readable by a proxy that gives up root, for it protects nothing
        bench.certificate = make_certificate(bench.folder, "localhost", 0o644)
        bench.inspect_ca = make_certificate(bench.folder, "inspect-ca", 0o600)
        bench.run()
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted")
        bench.notes.append("interrupted: not every peer has had its rounds")
    finally:
        Process.stop_all()
        if bench.keep:
            say(f"kept {bench.folder}")
        else:
            shutil.rmtree(bench.folder, ignore_errors=True)
    bench.report()
    return 130 if interrupted else 1 if bench.errors else 0


if __name__ == "__main__":
    sys.exit(main())
