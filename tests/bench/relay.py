"""The ActiveSync relay's part of the benchmark: requests, Pings and waiting Pings through stagate's relays, and through haproxy, nginx
and apache as reverse proxies that look at nothing but HTTP.

Called by bench.py; what is measured how is in docs/performance.md. relayload.c is phones and mail server.
"""
import base64
import json
import os
import statistics
import subprocess

import peers as peer_list
from procs import BenchError, Process, cpu_ns_at_rest, descriptor_count, descriptor_limit, measured, pss_bytes, tail

PHASE_S = 300
PHONES = 64
IDLE_BAR = 32_000
SERVICE = peer_list.STAGATE_SERVICE
APACHE_MODULES = "/usr/lib/apache2/modules"


class Sizes:
    def __init__(self, quick):
        self.requests = 32_000 if quick else 128_000
        self.pings = 32_000 if quick else 128_000
        self.held = min(500 if quick else 4000, descriptor_limit() // 2 - 500)


# ---- relays -----------------------------------------------------------------------------------------------


class HaproxyHttp(peer_list.Haproxy):
    def configure(self, place):
        conf = place.write("haproxy.cfg", f"""
global
  nbthread 1
  maxconn {place.descriptors // 2 - 300}
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
listen bench
  bind 127.0.0.1:{place.port} ssl crt {place.pem} backlog 4096
  server mail 127.0.0.1:{place.sink_port} ssl verify none
""")
        return [self.find(), "-db", "-f", conf]


class NginxHttp(peer_list.Nginx):
    def configure(self, place):
        conf = place.write("nginx.conf", f"""
daemon off;
{"user root;" if peer_list.is_root() else ""}
worker_processes 1;
worker_rlimit_nofile {place.descriptors};
pid {place.path("nginx.pid")};
error_log {place.path("proxy.log")} error;
events {{ worker_connections {place.descriptors - 100}; }}
http {{
  access_log off;
  client_body_temp_path {place.path("body")};
  proxy_temp_path {place.path("proxy")};
  fastcgi_temp_path {place.path("fastcgi")};
  uwsgi_temp_path {place.path("uwsgi")};
  scgi_temp_path {place.path("scgi")};
  keepalive_timeout 1h;
  keepalive_requests 100000000;
  upstream mail {{ server 127.0.0.1:{place.sink_port}; keepalive 8192; keepalive_requests 100000000; keepalive_timeout 1h; }}
  server {{
    listen 127.0.0.1:{place.port} ssl backlog=4096;
    ssl_certificate {place.certificate};
    ssl_certificate_key {place.key};
    ssl_protocols TLSv1.3;
    location / {{
      proxy_pass https://mail;
      proxy_ssl_protocols TLSv1.3;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_read_timeout 1h;
    }}
  }}
}}
""")
        return [self.find(), "-c", conf, "-p", place.folder, "-e", place.path("proxy.log")]


class Apache(peer_list.Peer):
    binary = "apache2"

    def find(self):
        return super().find() if os.path.exists(f"{APACHE_MODULES}/mod_proxy_http.so") else None

    def version(self):
        return peer_list.first_line(self.find(), "-v")

    def configure(self, place):
        modules = "\n".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in
                            ("mpm_event", "authz_core", "socache_shmcb", "ssl", "proxy", "proxy_http"))
        conf = place.write("apache.conf", f"""
{modules}
ServerName mail.example.com
{"User proxy" if peer_list.is_root() else ""}
PidFile {place.path("apache.pid")}
DefaultRuntimeDir {place.folder}
ErrorLog {place.path("proxy.log")}
LogLevel error
Listen 127.0.0.1:{place.port}
StartServers 1
ServerLimit 1
ThreadLimit 128
ThreadsPerChild 128
MinSpareThreads 1
MaxSpareThreads 128
MaxRequestWorkers 128
KeepAlive On
KeepAliveTimeout 3600
MaxKeepAliveRequests 0
Timeout 3600
SSLEngine on
SSLProtocol TLSv1.3
SSLCertificateFile {place.certificate}
SSLCertificateKeyFile {place.key}
SSLProxyEngine on
SSLProxyVerify none
SSLProxyCheckPeerName off
SSLProxyCheckPeerCN off
ProxyPass / https://127.0.0.1:{place.sink_port}/ keepalive=On
ProxyPreserveHost On
""")
        return [self.find(), "-D", "FOREGROUND", "-f", conf]


class Relay(peer_list.Stagate):
    """stagate with every check of its own on: versions, device rules, the user, the root of the body. No line in the log for
    each request, as the peers have none, but where that is what is measured."""

    def __init__(self, name, folder, door, relay, requests="refused"):
        super().__init__(name, folder)
        self.door = door
        self.relay = relay
        self.requests = requests

    def configure(self, place):
        inspect = f"inspect-ca: {{certificate: {place.ca[0]}, key: {place.ca[1]}}}" if self.relay == "inspect" else ""
        conf = place.write("stagate.yaml", f"""
workers: 1
listeners:
  - address: "127.0.0.1:0"
    certificate: {place.certificate}
    key: {place.key}
    doors: [{self.door}]
authorities:
  - id: STA0BENCH
    store: "lmdb:{place.path("tickets")}"
policy:
  network-access: tunneled
  background-network-services: ["{SERVICE}"]
services:
  - name: "{SERVICE}"
    connect: "127.0.0.1:{place.sink_port}"
    relay: {self.relay}
    {inspect}
    verify: no
    activesync-floor: "12.1"
    activesync-ceiling: "16.1"
    bind-user: yes
    devices: [{{action: block, type: "Windows*"}}, {{action: block, id: "EVIL*"}}]
limits: {{connections: {place.descriptors}}}
log: {{format: json, requests: {self.requests}}}
""")
        return [self.binary, "run", "-c", conf]

    def load_options(self, place):
        ticket = self.ticket(place, "alice")
        if self.door == "activesync":
            return ["--ticket", ticket]
        basic = base64.b64encode(f"alice:{ticket}".encode()).decode()
        return ["--connect", SERVICE, "--basic", basic] + (["--inner"] if self.relay == "inspect" else [])


def all_relays(folder):
    return [
        Relay("stagate, door activesync", folder, "activesync", "http"),
        Relay("stagate, door, each logged", folder, "activesync", "http", requests="all"),
        Relay("stagate, relay http", folder, "connect", "http"),
        Relay("stagate, relay inspect", folder, "connect", "inspect"),
        HaproxyHttp("haproxy"),
        NginxHttp("nginx"),
        Apache("apache"),
    ]


# ---- the works --------------------------------------------------------------------------------------------


class RelayPart:
    WORKS = ("requests", "pings", "hold")
    TITLES = {"requests": "request, µs", "pings": "Ping, µs", "hold": "waiting Ping, kB"}

    def __init__(self, bench, say):
        self.bench = bench
        self.say = say
        self.sizes = Sizes(bench.options.quick)
        self.samples = {}
        self.relays = []

    def run(self):
        for relay in all_relays(self.bench.bin):
            if relay.find():
                self.relays.append(relay)
            else:
                self.bench.notes.append(f"{relay.name} was not there")
        for work in self.WORKS:
            rounds = min(self.bench.options.rounds, 2) if work == "hold" else self.bench.options.rounds
            for number in range(1, rounds + 1):
                for relay in self.relays:
                    if not (work == "hold" and relay.name == "apache"):  # a thread for each: it is not made for this
                        self.cell(work, relay, f"{work} {number}/{rounds} {relay.name}")

    def cell(self, work, relay, label):
        value = measured(self.bench, self.say, f"relay-{work}", label, lambda folder: self.measure(work, relay, folder))
        if value is None:
            return
        self.samples.setdefault((work, relay.name), []).append(value)
        self.say(f"{label}: {self.TITLES[work].split(',')[0]} {value / 1e3:.1f} {self.TITLES[work].split(', ')[1]}")

    def measure(self, work, relay, folder):
        relay_cpu, load_cpu = self.bench.cpus
        tool = self.bench.tool("relayload")
        together = str(PHONES if work == "pings" else 1_000_000)
        mail = Process([tool, "serve", "--certificate", self.bench.certificate[0], "--key", self.bench.certificate[1],
                        "--together", together], load_cpu, f"{folder}/mail.log", stdout=subprocess.PIPE)
        place = peer_list.Place(folder, *self.bench.certificate, json.loads(mail.read_line(10))["port"], descriptor_limit())
        place.ca = self.bench.inspect_ca
        proxy = relay.start(place, relay_cpu)
        peers = self.sizes.held if work == "hold" else PHONES
        argv = [tool, work, "--port", str(place.port), "--peers", str(peers), *relay.load_options(place)]
        if work != "hold":
            argv += ["--count", str(getattr(self.sizes, work))]
        load = Process(argv, load_cpu, f"{folder}/load.log", stdout=subprocess.PIPE)

        def phase(wanted):
            report = json.loads(load.read_line(PHASE_S))
            if report["phase"] != wanted:
                raise BenchError(f"{report.get('error', report)}; log of the relay: {tail(place.path('proxy.log'))}")
            return report

        phase("ready")
        cpu, memory, open_before = cpu_ns_at_rest(proxy.pid), pss_bytes(proxy.pid), descriptor_count(proxy.pid)
        load.go_on()
        if work != "hold":
            answers = phase("done")["answers"]
            return (cpu_ns_at_rest(proxy.pid) - cpu) / answers
        phase("waiting")
        cpu_ns_at_rest(proxy.pid)
        grown = pss_bytes(proxy.pid) - memory
        held = descriptor_count(proxy.pid) - open_before
        load.go_on()
        phase("end")  # relayload has looked whether all still wait
        if held < 2 * peers - 64:  # some connections to the mail server were there before
            raise BenchError(f"the relay holds {held} descriptors more, {2 * peers} expected")
        return grown / peers

    # ---- results ----

    def tables(self):
        works = [w for w in self.WORKS if any(key[0] == w for key in self.samples)]
        if not works:
            return []
        rows = [["median / least"] + [self.TITLES[w] for w in works]]
        for relay in self.relays:
            cells = []
            for w in works:
                values = self.samples.get((w, relay.name))
                cells.append(f"{statistics.median(values) / 1e3:.1f} / {min(values) / 1e3:.1f}" if values else "–")
            rows.append([relay.name] + cells)
        own = self.relays[0].name
        ratios, verdicts, bars = ["door activesync / best peer"], ["verdict"], ["bar"]
        for w in works:
            peers = [statistics.median(v) for (work, name), v in self.samples.items()
                     if work == w and not name.startswith("stagate")]
            mine = self.samples.get((w, own))
            if not mine or not peers:
                ratios.append("–")
                verdicts.append("–")
            else:
                ratio = statistics.median(mine) / min(peers)
                ratios.append(f"{ratio:.2f}")
                verdicts.append("PASS" if ratio <= 1 else "over")
            bars.append("≤ best" if w != "hold" else f"inspect ≤ {IDLE_BAR / 1e3:.0f}")
            inspected = self.samples.get((w, "stagate, relay inspect"))
            if w == "hold" and inspected:
                verdicts[-1] = "PASS" if statistics.median(inspected) <= IDLE_BAR else "over"
        return [rows + [ratios, bars, verdicts]]

    def document(self):
        return {f"{work}, {name}": values for (work, name), values in self.samples.items()}
