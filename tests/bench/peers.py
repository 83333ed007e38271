"""The programs that are measured, and the configuration each gets. One worker, one thread, no access log, long time-outs.

A peer is started for each cell afresh, in a folder of its own, beside a sink on a port of its own. Used by bench.py.
"""
import base64
import json
import os
import pwd
import shutil
import socket
import subprocess
import time

from procs import BenchError, Process, tail

NGINX_STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
STAGATE_SERVICE = "mail.example.com:443"
STAGATE_USER = "bench"
READY_S = 20


class Place:
    """Where one cell runs: folder, ports, certificate."""

    def __init__(self, folder, certificate, key, sink_port, descriptors):
        self.folder = folder
        self.certificate = certificate
        self.key = key
        self.port = free_port()
        self.sink_port = sink_port
        self.descriptors = descriptors
        self.pem = self.write("both.pem", open(certificate).read() + open(key).read())

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_root():
    return os.geteuid() == 0


class Peer:
    """What differs from peer to peer. configure() writes files and returns the command."""

    binary = None
    speaks_connect = False
    extra_for = None  # works a variant is measured in unless asked for by name; None: all

    def __init__(self, name):
        self.name = name

    def find(self):
        """The program's path, or None where it is not installed."""
        return shutil.which(self.binary, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

    def version(self):
        raise NotImplementedError

    def configure(self, place):
        raise NotImplementedError

    def start(self, place, cpu):
        process = Process(self.configure(place), cpu, place.path("proxy.log"))
        self.wait_ready(process, place)
        return process

    def wait_ready(self, process, place):
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and process.alive():
            try:
                socket.create_connection(("127.0.0.1", place.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise BenchError(f"{self.name} did not start: {tail(process.log)}")

    def load_options(self, place):
        """What tunnelload has to say to get to the sink."""
        if self.speaks_connect:
            return ["--connect", f"127.0.0.1:{place.sink_port}"]
        return []


def first_line(*argv):
    out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return out.split("\n", 1)[0].strip()


class Haproxy(Peer):
    binary = "haproxy"

    def __init__(self, name, buffer_bytes=None):
        super().__init__(name)
        self.buffer_bytes = buffer_bytes
        if buffer_bytes:
            self.extra_for = ("down", "up")

    def version(self):
        return first_line(self.find(), "-v")

    def configure(self, place):
        bufsize = f"  tune.bufsize {self.buffer_bytes}\n" if self.buffer_bytes else ""
        conf = place.write("haproxy.cfg", f"""
global
  nbthread 1
  maxconn {place.descriptors // 2 - 300}
  ssl-default-bind-options ssl-min-ver TLSv1.3
{bufsize}
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h

listen bench
  bind 127.0.0.1:{place.port} ssl crt {place.pem} backlog 4096
  server sink 127.0.0.1:{place.sink_port}
""")
        return [self.find(), "-db", "-f", conf]


class Nginx(Peer):
    binary = "nginx"

    def __init__(self, name, buffer_bytes=None):
        super().__init__(name)
        self.buffer_bytes = buffer_bytes
        if buffer_bytes:
            self.extra_for = ("down", "up")

    def find(self):
        return super().find() if os.path.exists(NGINX_STREAM_MODULE) else None

    def version(self):
        return first_line(self.find(), "-v")

    def configure(self, place):
        buffers = f"proxy_buffer_size {self.buffer_bytes};" if self.buffer_bytes else ""
        conf = place.write("nginx.conf", f"""
load_module {NGINX_STREAM_MODULE};
daemon off;
{"user root;" if is_root() else ""}
worker_processes 1;
worker_rlimit_nofile {place.descriptors};
pid {place.path("nginx.pid")};
error_log {place.path("proxy.log")} error;
events {{ worker_connections {place.descriptors - 100}; }}
stream {{
  server {{
    listen 127.0.0.1:{place.port} ssl backlog=4096;
    ssl_certificate {place.certificate};
    ssl_certificate_key {place.key};
    ssl_protocols TLSv1.3;
    ssl_handshake_timeout 1h;
    proxy_timeout 1h;
    {buffers}
    proxy_pass 127.0.0.1:{place.sink_port};
  }}
}}
""")
        return [self.find(), "-c", conf, "-p", place.folder, "-e", place.path("proxy.log")]


class Squid(Peer):
    binary = "squid"
    speaks_connect = True

    def version(self):
        return first_line(self.find(), "-v")

    def configure(self, place):
        user = ""
        if is_root():  # squid refuses to stay root, and then writes its log and pid as this user
            shutil.chown(place.folder, "proxy")
            user = "cache_effective_user proxy"
        conf = place.write("squid.conf", f"""
https_port 127.0.0.1:{place.port} tls-cert={place.certificate} tls-key={place.key}
visible_hostname bench
{user}
workers 1
max_filedescriptors {place.descriptors}
http_access allow all
cache deny all
access_log none
cache_log {place.path("proxy.log")}
cache_store_log none
pid_filename {place.path("squid.pid")}
coredump_dir {place.folder}
pinger_enable off
shutdown_lifetime 0 seconds
request_start_timeout 1 hour
read_timeout 1 hour
client_lifetime 1 day
""")
        return [self.find(), "-N", "-f", conf]


class Hitch(Peer):
    binary = "hitch"

    def version(self):
        return first_line(self.find(), "--version")

    def configure(self, place):
        user = f'user = "{pwd.getpwuid(os.geteuid()).pw_name}"' if is_root() else ""
        conf = place.write("hitch.conf", f"""
frontend = {{ host = "127.0.0.1" port = "{place.port}" }}
backend = "[127.0.0.1]:{place.sink_port}"
pem-file = "{place.pem}"
tls-protos = TLSv1.3
workers = 1
backlog = 4096
daemon = off
log-level = 0
{user}
""")
        return [self.find(), f"--config={conf}"]


class Stagate(Peer):
    """The product: ticket, policy and log included."""

    speaks_connect = True

    def __init__(self, name, folder):
        super().__init__(name)
        self.binary = os.path.join(folder, "stagate")

    def version(self):
        return first_line(self.binary, "--version")

    def configure(self, place):
        conf = place.write("stagate.yaml", f"""
workers: 1
listeners:
  - address: "127.0.0.1:0"
    certificate: {place.certificate}
    key: {place.key}
    doors: [socks, connect]
    tls-floor: tls1.2
authorities:
  - id: STA0BENCH
    store: "lmdb:{place.path("tickets")}"
policy:
  network-access: tunneled
  background-network-services: ["{STAGATE_SERVICE}"]
services:
  - name: "{STAGATE_SERVICE}"
    connect: "127.0.0.1:{place.sink_port}"
    tls-floor: none
limits: {{connections: {place.descriptors}}}
log: {{format: json}}
""")
        return [self.binary, "run", "-c", conf]

    def wait_ready(self, process, place):
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and process.alive():
            with open(process.log) as f:
                for line in f:
                    if line.endswith("\n") and '"event":"ready"' in line.replace(" ", ""):
                        place.port = int(json.loads(line)["listeners"][0].rpartition(":")[2])
                        return
            time.sleep(0.02)
        raise BenchError(f"stagate did not start: {tail(process.log)}")

    def ticket(self, place, user):
        issue = [self.binary, "ticket", "issue", "-c", place.path("stagate.yaml"), "--user", user]
        done = subprocess.run(issue, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ticket = done.stdout.strip()
        if done.returncode or not ticket:
            raise BenchError(f"no ticket: {done.stderr.strip()}")
        return ticket

    def load_options(self, place):
        basic = base64.b64encode(f"{STAGATE_USER}:{self.ticket(place, STAGATE_USER)}".encode()).decode()
        return ["--connect", STAGATE_SERVICE, "--basic", basic]


def all_peers(stagate_folder):
    """stagate first; the variants with larger buffers stand for what a careful operator gets out of a peer in the relay."""
    return [
        Stagate("stagate", stagate_folder),
        Haproxy("haproxy"),
        Haproxy("haproxy-64k", 65536),
        Nginx("nginx"),
        Nginx("nginx-64k", 65536),
        Squid("squid"),
        Hitch("hitch"),
    ]
