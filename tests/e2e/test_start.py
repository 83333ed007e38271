"""Starting: the ready line, what keeps a gateway from starting and how it says so, and the configuration that the
project ships."""
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess

import pytest

import backends
import lab
import wire


def test_ready(make, certs):
    gateway = make.gateway(listed=[lab.MAIL], listeners=[lab.listener(certs), {**lab.listener(certs),
                                                                              "address": "localhost:0"}])
    ready = gateway.ready
    assert list(ready) == ["event", "time", "level", "listeners", "authorities", "workers", "version"]
    assert ready["authorities"] == [lab.AUTHORITY] and ready["workers"] == 2 and ready["level"] == "info"
    assert len(ready["listeners"]) == 2 and all(a.startswith("127.0.0.1:") for a in ready["listeners"])
    assert lab.stagate("--version").stdout.startswith(f"stagate {ready['version']}\n")
    assert len(gateway.lines) == 1


def test_workers(make):
    assert make.gateway(listed=[lab.MAIL], workers="auto").ready["workers"] == len(os.sched_getaffinity(0))
    assert make.gateway(listed=[lab.MAIL], workers=1).ready["workers"] == 1
    gateway = make.gateway(listed=[lab.MAIL], workers=7)
    assert gateway.ready["workers"] == 7
    for client in [gateway.client() for _ in range(20)]:
        client.close()


def test_warnings_do_not_keep_it_from_starting(make):
    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend)], listed=[])
    gateway.expect_output("warning:")
    assert len(gateway.strays) == 2
    for line in gateway.strays:
        assert line.startswith(f"{gateway.path}:") and ": warning: " in line


# ---- what keeps it from starting ---------------------------------------------------------------------------

@pytest.fixture
def taken():
    sock = socket.create_server(("127.0.0.1", 0))
    yield "127.0.0.1:%d" % sock.getsockname()[1]
    sock.close()


def starts_not(make, complaint, **sections):
    gateway = make.gateway(listed=[lab.MAIL], start=False, **sections)
    result = lab.stagate("run", "-c", gateway.path)
    assert (result.returncode, result.stdout) == (1, "")
    assert complaint in result.stderr, result.stderr
    assert all(line.startswith(str(gateway.path)) for line in result.stderr.splitlines()), result.stderr
    return result.stderr


def test_port_in_use(make, certs, taken):
    starts_not(make, f": listener {taken}: address already in use",
               listeners=[{**lab.listener(certs), "address": taken}])


def test_port_of_another_gateway(make, certs):
    """Its sockets would share the port: that has to be found out all the same."""
    address = make.gateway(listed=[lab.MAIL]).ready["listeners"][0]
    starts_not(make, "address already in use", listeners=[{**lab.listener(certs), "address": address}])


def test_an_address_that_is_not_ours(make, certs):
    starts_not(make, ": listener 192.0.2.1:8443: address not available",
               listeners=[{**lab.listener(certs), "address": "192.0.2.1:8443"}])


def test_every_complaint_is_shown(make, certs, taken, tmp_path):
    (tmp_path / "garbage.crt").write_text("no certificate")
    (tmp_path / "file").write_text("")
    text = starts_not(make, "listener", listeners=[{**lab.listener(certs), "address": taken}],
                      authorities=[{"id": lab.AUTHORITY, "store": f"lmdb:{tmp_path}/file/tickets"}])
    lines = text.splitlines()
    assert len(lines) == 2 and f"authority {lab.AUTHORITY}: " in lines[1]


def test_certificates_are_told_by_place(make, certs, tmp_path):
    (tmp_path / "garbage.crt").write_text("no certificate")
    text = starts_not(make, "is not the key of", listeners=[
        {**lab.listener(certs), "certificate": str(tmp_path / "garbage.crt")},
        {**lab.listener(certs), "key": certs.mail_key},
        {**lab.listener(certs), "key": certs.gateway_rsa_key},
    ])
    lines = text.splitlines()
    assert len(lines) == 3
    assert ":6:19: " in lines[0] and "garbage.crt: " in lines[0] and "no start line" in lines[0]
    assert f"{certs.mail_key} is not the key of {certs.gateway_crt}" in lines[1]
    assert f"{certs.gateway_rsa_key} is not the key of {certs.gateway_crt}" in lines[2]


def test_missing_files_are_told_by_place(make, certs):
    text = starts_not(make, "cannot be read", listeners=[{**lab.listener(certs), "certificate": "missing.crt"}])
    assert ":6:19: " in text and "missing.crt" in text and "make certs" in text


# ---- surroundings ------------------------------------------------------------------------------------------

def test_no_core_dumps_unless_asked(make):
    """They would hold tickets and keys."""
    def limit(gateway):
        for line in pathlib.Path(f"/proc/{gateway.pid}/limits").read_text().splitlines():
            if line.startswith("Max core file size"):
                return line.split()[4]
        return None

    def some_core():
        resource.setrlimit(resource.RLIMIT_CORE, (4096, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 or lab.sanitized():
        pytest.skip("core dumps are off here, or the sanitizer turns them off")
    assert limit(make.gateway(listed=[lab.MAIL])) == "0"
    gateway = make.gateway(listed=[lab.MAIL], start=False)
    assert limit(gateway.start("--core-dumps", before_exec=some_core)) == "4096"


def test_the_store_is_private(make):
    gateway = make.gateway(listed=[lab.MAIL])
    gateway.ticket()
    folder = gateway.folder / "tickets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not any(file.stat().st_mode & 0o077 for file in folder.iterdir())


def test_the_log_as_text(make):
    """For people: no JSON, and one line for each event all the same."""
    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False, log={"format": "text"})
    gateway.start(wait=False)
    line = wire.poll(lambda: next((line for line in gateway.lines if " ready " in line), None), "the ready line")
    address = line.split("listeners=[")[1].split("]")[0]
    assert "authorities=[STA0A1B2C3D4E5F]" in line and "workers=2" in line
    host, _, port = address.rpartition(":")
    client = gateway.raw(address=(host, int(port)))
    client.start_tls()
    assert client.connect(lab.MAIL, wire.basic(gateway.ticket(user="with blanks"))).status == 200
    client.echoes()
    line = wire.poll(lambda: next((line for line in gateway.lines if " connection " in line), None), "the line")
    assert " reason=ok door=connect user=\"with blanks\"" in line and "bytes={up=15 down=15}" in line
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    gateway.process = None


def test_a_log_that_nobody_reads(make):
    """The reader of the pipe goes away: the gateway goes on."""
    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False)
    read, write = os.pipe()
    gateway.process = subprocess.Popen([lab.STAGATE, "run", "-c", gateway.path], stderr=write)
    os.close(write)
    with os.fdopen(read) as pipe:
        gateway.ready = json.loads(pipe.readline())
    try:
        ticket = gateway.ticket()
        for _ in range(3):
            gateway.tunnel(ticket).echoes()
        gateway.signal(signal.SIGHUP)
        gateway.tunnel(ticket).echoes()
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(wire.DEADLINE) == 0
    finally:
        gateway.process.kill()
        gateway.process = None


# ---- the configurations that are shipped -------------------------------------------------------------------

class Shipped:
    """The configurations in a copy of the project's folders, on any port, against a mail server where the lab has one."""

    def __init__(self, make, certs, folder, backend):
        self.make, self.folder, self.backend = make, folder, backend
        (folder / "certs").mkdir()
        (folder / "certs" / "lab").symlink_to(certs.folder)

    def start(self, name, **replaced):
        text = (lab.ROOT / "config" / name).read_text()
        place = self.folder / name.removesuffix(".yaml")
        place.mkdir()
        (place / name).write_text(text)
        result = lab.stagate("check", "-c", place / name)
        assert (result.returncode, result.stdout, result.stderr) == (0, f"{place / name}: good\n", "")
        for old, new in {"127.0.0.1:8443": "127.0.0.1:0", "127.0.0.1:8080": "127.0.0.1:0",
                         "127.0.0.1:9443": self.backend.address, **replaced}.items():
            text = text.replace(old, new)
        assert "127.0.0.1:8" not in text and "127.0.0.1:9443" not in text
        return self.make.adopt(lab.Gateway(place, text)).start()


@pytest.fixture
def shipped(make, certs, tmp_path, mail_context):
    return Shipped(make, certs, tmp_path, make.backend(backends.echo, mail_context))


def reaches_mail(gateway, ticket, certs):
    client = gateway.tunnel(ticket, context=wire.client_context(certs.ca_crt), server_hostname="gateway.example.com")
    client.inner_tls(wire.client_context(certs.ca_crt))
    client.echoes()
    return client


def test_shipped_fleet(shipped, certs, tmp_path):
    redis = lab.Redis(tmp_path / "redis")
    try:
        one = shipped.start("fleet.yaml", **{"127.0.0.1:6379": redis.address})
        reaches_mail(one, one.ticket(), certs).ended("ok")
        one.stop()
    finally:
        redis.stop()


def test_shipped_authority_and_gateway(shipped, certs):
    authority = shipped.start("authority.yaml", **{"127.0.0.1:8444": "127.0.0.1:0"})
    plain, tls = authority.ready["sta"]
    gateway = shipped.start("gateway.yaml", **{"127.0.0.1:8444": tls})
    assert gateway.ready["authorities"] == [lab.AUTHORITY]
    status, answer = lab.http("POST", plain, "/v1/tickets", {"device": "phone1"}, user="alice:alice-in-the-lab")
    assert (status, answer["gateway"]) == (201, "gateway.example.com:8443")
    client = reaches_mail(gateway, answer["ticket"], certs)
    client.ended("ok", user="alice", device="phone1", authority=lab.AUTHORITY)
    reaches_mail(gateway, authority.ticket(), certs).ended("ok")


def test_shipped_sta(shipped, certs, tmp_path):
    gateway = shipped.start("sta.yaml")
    backend = shipped.backend
    ticket = gateway.ticket()
    client = gateway.tunnel(ticket, context=wire.client_context(certs.ca_crt), server_hostname="gateway.example.com")
    client.inner_tls(wire.client_context(certs.ca_crt))
    client.echoes()
    client.ended("ok", door="connect", target=lab.MAIL, address=backend.address)
    client = gateway.client()
    assert client.socks(ticket) == 0
    client.inner_tls(wire.client_context(certs.ca_crt))
    client.echoes()
    client.ended("ok", door="socks", target=lab.MAIL)
    assert (tmp_path / "var" / "tickets").is_dir()


def test_every_shipped_configuration_has_its_test():
    assert sorted(path.name for path in (lab.ROOT / "config").glob("*.yaml")) == [
        "authority.yaml", "fleet.yaml", "gateway.yaml", "relay.yaml", "sta.yaml", "traveler.yaml"]
