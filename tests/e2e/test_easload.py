"""easload: one phone and many, by every way, against mailsim and servers that misbehave."""
import json
import os
import pathlib
import re
import signal
import subprocess
import types

import pytest
import yaml

import authorities
import issuing
import lab
import wire
from issuing import PASSWORD
from mailsims import Mailsim

ROOT = pathlib.Path(__file__).resolve().parents[2]
INSPECT = "inspect.example.com:443"
ROWS = ["OPTIONS", "Provision", "FolderSync", "Sync", "Ping", "SendMail", "Fetch", "ticket", "TCP", "TLS", "tunnel", "inner TLS",
        "connection", "mail to wake", "mail to sync", "own lag"]


def easload(*args, timeout=120, **options):
    return subprocess.run([str(lab.BIN / "easload"), *map(str, args)], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **options)


def phone(*args, code=0):
    done = easload("phone", *args)
    assert done.returncode == code, done
    assert bool(done.stderr) == (code != 0), done
    return done.stdout


def run(tmp_path, *args, code=0):
    """What a run measured, out of its JSON."""
    done = easload("run", "--json", tmp_path / "result.json", "--quiet", *args)
    assert done.returncode == code, done
    return json.loads((tmp_path / "result.json").read_text())


@pytest.fixture(scope="module")
def plain_for_all():
    m = Mailsim("--mailbox", "60", "--newest", "2026-01-31T12:00:00Z")
    yield m
    m.stop()


@pytest.fixture
def plain(plain_for_all):
    yield plain_for_all
    plain_for_all.ctl("fault", "clear")


@pytest.fixture(scope="module")
def secure(certs):
    m = Mailsim("--mailbox", "30", "--certificate", certs.mail_crt, "--key", certs.mail_key, listen=["https://127.0.0.1:0"])
    yield m
    m.stop()


@pytest.fixture(scope="module")
def gateway(make_shared, certs, secure):
    """Three doors, two relays, tickets for who signs in."""
    mail = types.SimpleNamespace(address=secure.address)
    services = [lab.service(mail, ca=certs.ca_crt),
                lab.service(mail, INSPECT, verify=False, relay="inspect",
                            inspect_ca={"certificate": certs.inspect_ca_crt, "key": certs.inspect_ca_key})]
    g = make_shared.gateway(
        services, start=False, admin={"socket": issuing.SOCKET}, log={"format": "json", "requests": "all"},
        listeners=[lab.listener(certs, doors=["socks", "connect"]), lab.listener(certs, doors=["activesync"])],
        authorities=[authorities.embedded(store="memory:")],
        **{"sign-in": {"htpasswd": "users"}})
    issuing.write_users(g.folder / "users", alice=issuing.sha512(PASSWORD))
    g.expect_output("ANY certificate is taken for the mail server's")
    return g.start()


def through(gateway, certs, *args, listener=0):
    return ["--target", "https://mail.example.com", "--topology", "sta", "--ca", certs.ca_crt,
            "--gateway", f"https://gateway.example.com:{gateway.address(listener)[1]}",
            "--gateway-connect", "%s:%d" % gateway.address(listener), *args]


def sign_in(gateway):
    return ["--sign-in", "http://%s:%d" % gateway.address(of="sta"), "--user", "alice", "--password", PASSWORD]


# ---- one phone -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", ["2.5", "12.0", "12.1", "14.0", "14.1", "16.0", "16.1"])
def test_every_step_in_every_version(plain, version):
    said = phone("-t", f"http://{plain.address}", "--user", f"steps{version}", "--protocol", version,
                 "--folders", "inbox,calendar,contacts,tasks",
                 "--steps", "options,provision,folder-sync,sync,send-mail,sync,attachment")
    lines = [line.split()[0] for line in said.splitlines()]
    assert lines[:6] == ["connect", "OPTIONS", "Provision", "Provision", "FolderSync", "Sync"]
    assert lines.count("SendMail") == 1 and lines.count("Fetch") == 1
    assert "4 of the phone's folders" in said and "HTTP 200" in said


def test_a_ping_is_woken(plain):
    started = subprocess.Popen([str(lab.BIN / "easload"), "phone", "-t", f"http://{plain.address}", "--user", "woken", "--until", "ping"],
                               stdout=subprocess.PIPE, text=True)
    wire.poll(lambda: plain.status().get("waiting", 1) and [e for e in plain.events if e.get("command") == "FolderSync"
                                                            and e.get("user") == "woken"], "the phone")
    wire.poll(lambda: waits(plain, "woken"), "its Ping")
    plain.deliver(user="woken")
    out, _ = started.communicate(timeout=60)
    assert started.returncode == 0
    assert re.search(r"Ping +HTTP 200 .* changes\nSync +HTTP 200 .* 1 items so far", out), out


def waits(mailsim, user):
    """Whether the user's Sync is through: the Ping comes next, and mail that comes before it is not missed either."""
    return len([e for e in mailsim.events if e.get("command") == "Sync" and e.get("user") == user]) >= 2


@pytest.mark.parametrize("door", ["socks", "connect"])
def test_the_sta_path(gateway, certs, door):
    said = phone(*through(gateway, certs, *sign_in(gateway)), "--door", door, "--headers")
    assert re.match(r"sign-in +ticket .*\nconnect +open .*TCP .*, TLS .*\(TLSv1.3\), tunnel .*, inner TLS .*\(TLSv1.3\)\n", said), said
    assert "(hidden)" in said and PASSWORD not in said and ";40;" not in said
    event = gateway.wait_log("its tunnel", event="connection", reason="ok", door=door)
    assert event["target"] == lab.MAIL


def test_a_ticket_of_its_own(gateway, certs, tmp_path):
    ticket = gateway.ticket(device="Phone7")
    said = phone(*through(gateway, certs), "--ticket", ticket, "--steps", "options", "-H", "-x")
    assert ticket not in said and "sign-in" not in said
    pair = ";42;STAFFFFFFFFFFFF;" + "0" * 32 + ";" + ticket.split(";", 2)[2]
    phone(*through(gateway, certs), "--ticket", pair, "--steps", "options")
    (tmp_path / "tickets").write_text(f"# one\n{ticket}\n")
    phone(*through(gateway, certs), "--tickets", tmp_path / "tickets", "--steps", "options")


def test_through_the_activesync_door(gateway, certs):
    host, port = gateway.address(1)
    said = phone("-t", f"https://mail.example.com:{port}", "--connect", f"{host}:{port}", "--topology", "relay", "--ca", certs.ca_crt,
                 *sign_in(gateway), "--insecure", "--headers", "--until", "sync")
    assert "X-STA-Ticket: (hidden)" in said and "sign-in" in said


def test_through_an_inspected_tunnel(gateway, certs):
    said = phone("-t", f"https://{INSPECT}", *through(gateway, certs, *sign_in(gateway))[2:], "--insecure", "--door", "connect",
                 "--until", "provision", "-x")
    assert "<Provision xmlns=\"Provision\">" in said and "<settings:Model>easload</settings:Model>" in said
    gateway.wait_log("its request", event="request", command="Provision", reason="ok")


@pytest.mark.parametrize("system, agent, tls", [("before iOS 9", "Apple-iPhone6C1", "TLSv1.2"), ("iOS 9", "Apple-iPhone8C1", "TLSv1.2"),
                                                ("before Android M", "Android/5", "TLSv1.2"), ("Android M", "Android/6", "TLSv1.2"),
                                                ("Android N", "Android/7", "TLSv1.2"), ("Android O", "Android/8", "TLSv1.2"),
                                                ("current", "easload/", "TLSv1.3")])
def test_client_systems(secure, certs, system, agent, tls):
    said = phone("-t", "https://mail.example.com", "--connect", secure.address, "--ca", certs.ca_crt, "--system", system,
                 "--steps", "options", "-H")
    assert f"> User-Agent: {agent}" in said and f"({tls})" in said


def test_old_tls_only(certs):
    old = Mailsim("--tls-floor", "tls1.0", "--tls-ceiling", "tls1.0", "--certificate", certs.mail_crt, "--key", certs.mail_key,
                  listen=["https://127.0.0.1:0"])
    try:
        way = ["-t", "https://mail.example.com", "--connect", old.address, "--ca", certs.ca_crt, "--steps", "options"]
        assert "(TLSv1)" in phone(*way, "--system", "Android M")
        assert re.search(r"connect +tls ", phone(*way, code=11))
    finally:
        old.stop()


# ---- what goes wrong: each step has its exit status, and says why --------------------------------------------

def test_exit_codes(gateway, certs, plain, secure):
    way = through(gateway, certs)
    unknown = ";40;%s;%s" % (lab.AUTHORITY, "0" * 32)
    wrong = sign_in(gateway)[:-1] + ["wrong"]
    free = "127.0.0.1:1"
    assert "sign_in:sign_in" in phone(*way, *wrong, code=10)
    assert "refused" in phone("-t", "http://" + free, code=11)
    assert "not_tls" in phone("-t", f"https://{plain.address}", "--insecure", code=11)
    assert re.search("connect +tls .*hostname mismatch", phone("-t", "https://mail.example.net", "--connect", secure.address,
                                                         "--ca", certs.ca_crt, code=11))
    assert "ticket_unknown" in phone(*way, "--ticket", unknown, "--door", "connect", code=12)
    assert "socks_2" in phone(*way, "--ticket", unknown, code=12)
    assert "service_not_listed" in phone("-t", "https://elsewhere.example.com", *way[2:], *sign_in(gateway), "--door", "connect", code=12)
    assert re.match("ping +no_folders ", phone("-t", f"http://{plain.address}", "--steps", "ping", code=24))
    steps = ["options", "provision", "folder-sync", "sync", "ping", "send-mail", "attachment"]
    commands = ["OPTIONS", "Provision", "FolderSync", "Sync", "Ping", "SendMail", "ItemOperations"]
    for i, (step, command) in enumerate(zip(steps, commands)):
        assert plain.ctl("fault", f"{command}:503,user=code{i}").returncode == 0
        before = "folder-sync,sync," if i > 3 else "folder-sync," if i == 3 else ""
        said = phone("-t", f"http://{plain.address}", "--user", f"code{i}", "--steps", before + step, code=20 + i)
        assert "http_503" in said


@pytest.mark.parametrize("fault, kind", [("451=http://127.0.0.1:1/", "http_451"), ("malformed", "not_wbxml"), ("truncate", "not_wbxml"),
                                         ("close", "closed"), ("reset", "reset|closed"), ("delay=60s", "timeout")])
def test_a_server_that_misbehaves(plain, fault, kind):
    assert plain.ctl("fault", f"FolderSync:{fault},user=bad").returncode == 0
    said = phone("-t", f"http://{plain.address}", "--user", "bad", "--until", "folder-sync", "--timeout", "1s", code=22)
    assert re.search(rf"FolderSync +({kind}) ", said), said


def test_a_server_that_wants_policies(tmp_path):
    strict = Mailsim("--policy", "required")
    try:
        said = phone("-t", f"http://{strict.address}", "--steps", "folder-sync,sync")
        assert re.search(r"FolderSync +status_142 .*\nProvision +HTTP 200.*\nProvision +HTTP 200.*\nFolderSync +HTTP 200", said), said
        assert re.search("FolderSync +http_449 ", phone("-t", f"http://{strict.address}", "--protocol", "12.1", "--device", "other",
                                                        "--steps", "folder-sync"))
    finally:
        strict.stop()


def test_a_sign_in_form():
    traveler = Mailsim("--personality", "traveler-9.0.1", "--sign-in-form", "--users", "/dev/null")
    try:
        path = f"http://{traveler.address}/traveler/Microsoft-Server-ActiveSync"
        assert "html_answer" in phone("-t", path, "--steps", "folder-sync", code=22)
    finally:
        traveler.stop()


def test_not_http(make):
    """A server that answers in no protocol."""
    def babble(conn, _):
        conn.recv()
        conn.sendall(b"SSH-2.0-nonsense\r\n\r\n" * 100)
        conn.recv_all()
    backend = make.backend(babble)
    assert "not_http" in phone("-t", f"http://{backend.address}", "--steps", "options", code=20)
    assert "not_socks" in phone("-t", "https://mail.example.com", "--topology", "sta", "--gateway", f"http://{backend.address}",
                                "--ticket", "x", code=12)
    assert "not_http" in phone("-t", "https://mail.example.com", "--topology", "micro-vpn", "--gateway", f"http://{backend.address}",
                               code=12)


# ---- the command line and the file ---------------------------------------------------------------------------

def test_help():
    for command in ("phone", "run", "merge"):
        done = easload(command, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"Usage: easload {command}") and not done.stderr
    assert easload("--version").stdout.startswith("easload ") and easload("--help").stdout.startswith("Usage: easload")
    assert easload().returncode == 2 and easload("phoen").stderr.startswith("easload: there is no command phoen; did you mean phone?")


@pytest.mark.parametrize("args, message", [
    (["phone"], "target is missing"),
    (["phone", "-t", "mail.example.com"], "not an http:// or https:// URL"),
    (["phone", "-t", "http://127.0.0.1:1", "--steps", "sink"], '"sink" is not one of options, provision, folder-sync, sync, ping, send-mail, attachment: did you mean "sync"?'),
    (["phone", "-t", "http://127.0.0.1:1", "--until", "pingg"], "did you mean ping?"),
    (["phone", "-t", "http://127.0.0.1:1", "--system", "Android P"], "there is no system Android P"),
    (["phone", "-t", "http://127.0.0.1:1", "--protocol", "15.0"], "15.0 is none of 2.5"),
    (["phone", "-t", "http://127.0.0.1:1", "--heartbeat", "900"], "the unit is missing"),
    (["phone", "-t", "http://127.0.0.1:1", "--topology", "sta"], "needs a gateway"),
    (["phone", "-t", "http://127.0.0.1:1", "--ticket", "x"], "topology direct has no use for tickets"),
    (["phone", "-t", "http://127.0.0.1:1", "--nonsense"], "unknown option"),
    (["phone", "-t", "http://192.0.2.1"], "--i-own-this-target"),
    (["phone", "-t", "http://127.0.0.1:1", "more"], "unexpected argument"),
    (["run", "-t", "http://127.0.0.1:1", "-n", "5", "--requests", "5"], "duration is missing"),
    (["run", "-t", "http://127.0.0.1:1", "-n", "5", "-d", "5s"], "requests is missing"),
    (["run", "-t", "http://127.0.0.1:1", "-d", "5s", "--requests", "5"], "devices is missing"),
    (["run", "-t", "http://192.0.2.1", "-n", "5", "-d", "5s", "--requests", "5"], "--i-own-this-target"),
    (["run", "-t", "http://127.0.0.1:1", "-n", "5", "-d", "5s", "--requests", "5", "--does", "pool"], "did you mean poll?"),
    (["run", "-t", "http://127.0.0.1:1", "-n", "5", "-d", "5s", "--requests", "5", "--part", "3/2"], "second of three"),
    (["run", "-t", "http://127.0.0.1:1", "-n", "5", "-d", "5s", "--requests", "5", "--source", "nowhere"], "not an address"),
    (["run", "-t", "http://127.0.0.1:1", "-n", "9000000", "-d", "5s", "--requests", "5"], "--part 1/"),
    (["run", "-c", "/does/not/exist.yaml"], "No such file"),
    (["merge"], "which results?"),
])
def test_wrong_command_lines(args, message):
    done = easload(*args)
    assert done.returncode == 2 and message in done.stderr.replace("\n", " "), done
    assert done.stdout == ""


def test_mistakes_in_a_scenario(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("target: http://127.0.0.1:1\ndevices: many\nkinds:\n  - name: a\n    does: pingpong\n    shar: 3\n"
                    "events:\n  - at: 5\n    do: dorp\n")
    done = easload("run", "-c", path)
    assert done.returncode == 2
    for line in ("s.yaml:2:10: ", "s.yaml:6:5: ", "s.yaml:8:9: ", "s.yaml:9:9: "):
        assert line in done.stderr, done.stderr
    path.write_text("target: http://127.0.0.1:1\ndevices: 5\nduration: 1s\nrequests: 5\nkinds:\n  - name: a\n    does: posh\n"
                    "    every: 1s\n    pause: 1s\n")
    done = easload("run", "-c", path)
    assert "s.yaml:7:11: there is no behaviour posh; did you mean push?" in done.stderr and "s.yaml:9:12: every and pause" in done.stderr


# ---- many phones ---------------------------------------------------------------------------------------------

def test_a_run_ends_by_its_requests(plain, tmp_path):
    result = run(tmp_path, "-t", f"http://{plain.address}", "-n", 10, "-d", "60s", "--ramp", "0s", "--requests", 500, "--does", "flood")
    total = sum(result["rows"][name]["count"] for name in ROWS[:7])
    assert 490 <= total <= 500 and result["lasted_ms"] < 30000 and not result["errors"]
    assert result["devices"] == 10 and result["rows"]["Sync"]["times"]["count"] == result["rows"]["Sync"]["count"]


def test_a_scenario(gateway, certs, secure, tmp_path):
    """Kinds by shares, stages up and down, a drop in the middle, mail that wakes, the gateway's own figures."""
    ticket = gateway.ticket()
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(json.dumps({
        "target": "https://mail.example.com", "topology": "sta", "gateway": "https://gateway.example.com:%d" % gateway.address()[1],
        "gateway-connect": "%s:%d" % gateway.address(), "ca": str(certs.ca_crt), "user": "many%d", "requests": 100000,
        "stages": [{"for": "1s", "devices": 40}, {"for": "4s", "devices": 40}, {"for": "1s", "devices": 10}],
        "kinds": [{"name": "idle", "share": 3, "does": "push"}, {"name": "busy", "share": 1, "does": "poll", "every": "200ms"}],
        "events": [{"at": "3s", "do": "drop", "share": 100}]}))
    started = subprocess.Popen([str(lab.BIN / "easload"), "run", "-c", str(scenario), "--ticket", ticket, "--json", str(tmp_path / "r.json"),
                                "--report", str(tmp_path / "r.html"), "--gateway-metrics", f"unix:{gateway.ready['admin_socket']}"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=gateway.folder)
    done = set()

    def all_there():
        done.update(e.get("user") for e in secure.events if e.get("command") == "FolderSync")
        return {f"many{i}" for i in range(1, 41)} <= done
    wire.poll(all_there, "all phones")
    for i in range(1, 41):
        secure.deliver(user=f"many{i}")
    out, err = started.communicate(timeout=60)
    assert started.returncode == 0, (out, err)
    result = json.loads((tmp_path / "r.json").read_text())
    rows = {name: result["rows"][name]["count"] for name in ROWS}
    assert rows["OPTIONS"] == 40 and rows["connection"] >= 80 and rows["tunnel"] == rows["inner TLS"] == rows["TLS"] == rows["connection"]
    assert rows["Sync"] > 80 + 10 * 5 and not result["errors"] and result["dropped"] >= 30
    assert result["open_max"] == 40 and max(b["waiting"] for b in result["bins"]) == 30
    assert max(b["devices"] for b in result["bins"]) == 40
    assert result["gateway"]["stagate_connections_accepted_total"][1] - result["gateway"]["stagate_connections_accepted_total"][0] >= 80
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.count("<svg") >= 4 and "<script" not in page and "http://" not in page
    assert ticket not in page + out + err + (tmp_path / "r.json").read_text()
    assert "phones 40" in err and "connection " in out


def test_kinds_come_by_their_shares(plain, tmp_path):
    scenario = tmp_path / "s.yaml"
    scenario.write_text(json.dumps({
        "target": f"http://{plain.address}", "requests": 100000, "devices": 20, "duration": "2s", "ramp": "0s", "user": "share%d",
        "kinds": [{"name": "a", "share": 3, "start": "options", "does": "poll", "every": "1h"},
                  {"name": "b", "share": 1, "start": "options,provision", "does": "poll", "every": "1h"}]}))
    result = run(tmp_path, "-c", scenario)
    assert (result["rows"]["OPTIONS"]["count"], result["rows"]["Provision"]["count"]) == (20, 10)


def test_an_open_model_counts_from_when_it_was_due(plain, tmp_path):
    """Each phone polls 10 times a second; the server takes 0.3 s: what waits behind counts, and nothing is left out."""
    plain.ctl("fault", "Sync:delay=300ms,user=open1")
    result = run(tmp_path, "-t", f"http://{plain.address}", "-n", 1, "--user", "open%d", "-d", "5s", "--ramp", "0s", "--requests", 1000,
                 "--does", "poll", "--every", "100ms")
    slow = result["rows"]["Sync"]["times"]["max_us"]
    assert slow > 1_500_000, "a closed model would have seen 0.3 s and no more"
    result = run(tmp_path, "-t", f"http://{plain.address}", "-n", 1, "--user", "open%d", "-d", "3s", "--ramp", "0s", "--requests", 1000,
                 "--does", "poll", "--pause", "10ms")
    assert 300_000 <= result["rows"]["Sync"]["times"]["p50_us"] < 1_500_000


def test_expired_tickets_are_replaced(gateway, certs, tmp_path):
    """A storm: all tickets run out, all connections drop, everybody has to sign in anew."""
    scenario = tmp_path / "s.yaml"
    scenario.write_text(json.dumps({"events": [{"at": "3s", "do": "drop"}], "ticket-lifetime": "2s"}))
    result = run(tmp_path, "-c", scenario, *through(gateway, certs, *sign_in(gateway)), "--door", "connect", "-n", 8, "-d", "9s",
                 "--ramp", "0s", "--requests", 10000, code=1)
    kinds = {(e["row"], e["kind"]): e["count"] for e in result["errors"]}
    assert kinds == {("connection", "ticket_expired"): 8}, kinds
    assert result["rows"]["ticket"]["count"] == 16 and result["rows"]["connection"]["count"] == 16


def test_failures_are_counted_by_kind(plain, tmp_path):
    plain.ctl("fault", "Sync:503,user=fails1", "FolderSync:malformed,user=fails2", "Provision:close,user=fails3")
    result = run(tmp_path, "-t", f"http://{plain.address}", "-n", 4, "--user", "fails%d", "-d", "2s", "--ramp", "0s",
                 "--requests", 10000, code=1)
    kinds = {(e["row"], e["kind"]) for e in result["errors"]}
    assert kinds == {("Sync", "http_503"), ("FolderSync", "not_wbxml"), ("Provision", "closed")}
    result = run(tmp_path, "-t", "http://127.0.0.1:1", "-n", 3, "-d", "1s", "--ramp", "0s", "--requests", 100, code=1)
    assert {(e["row"], e["kind"]) for e in result["errors"]} == {("connection", "refused")}


def shorter(duration, by):
    """A tenth of a time as scenarios write them, or so."""
    ms = sum(int(n) * {"ms": 1, "s": 1000, "m": 60000}[unit] for n, unit in re.findall(r"(\d+)(ms|s|m)", duration))
    return f"{max(ms // by, 1)}ms"


@pytest.mark.parametrize("path", sorted((ROOT / "config/scenarios").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_scenarios_that_come_with_it(plain, gateway, certs, tmp_path, path):
    """Each runs as it is, but shorter and with fewer phones."""
    scenario = yaml.safe_load(path.read_text())
    for stage in scenario.get("stages", []):
        stage.update({"for": shorter(stage["for"], 40), "devices": stage["devices"] // 50})
    for event in scenario.get("events", []):
        event["at"] = shorter(event["at"], 20)
    for kind in [scenario, *scenario.get("kinds", [])]:
        kind.update({k: shorter(kind[k], 20) for k in ("every", "duration", "ramp", "ticket-lifetime") if k in kind})
    if "devices" in scenario:
        scenario["devices"] //= 10
    if scenario.get("topology") == "sta":
        scenario.update({"gateway": "https://gateway.example.com:%d" % gateway.address()[1], "gateway-connect": "%s:%d" % gateway.address(),
                         "sign-in": "http://%s:%d" % gateway.address(of="sta"), "password": PASSWORD, "ca": str(certs.ca_crt)})
    else:
        scenario.update({"target": f"http://{plain.address}", "user": path.stem + "%d"})
    (tmp_path / "s.yaml").write_text(json.dumps(scenario))
    result = run(tmp_path, "-c", tmp_path / "s.yaml", code=1 if path.stem == "expired-tickets" else 0)
    assert result["rows"]["Sync"]["count"] >= 10 and result["devices"] > 0
    assert {e["kind"] for e in result["errors"]} == ({"ticket_expired"} if path.stem == "expired-tickets" else set())


def test_sources(plain, tmp_path):
    result = run(tmp_path, "-t", f"http://{plain.address}", "-n", 6, "-d", "2s", "--ramp", "0s", "--requests", 100,
                 "--source", "127.0.9.1-127.0.9.3", "--user", "source%d")
    assert not result["errors"] and result["connections"] == 6
    seen = {e["client"].split(":")[0] for e in plain.events if str(e.get("user", "")).startswith("source") and "client" in e}
    assert seen in (set(), {"127.0.9.1", "127.0.9.2", "127.0.9.3"})


def test_no_keep_alive_and_no_resumption(secure, certs, tmp_path):
    way = ["-t", "https://mail.example.com", "--connect", secure.address, "--ca", certs.ca_crt, "-n", 1, "-d", "3s", "--ramp", "0s",
           "--requests", 6, "--user", "short%d"]
    assert run(tmp_path, *way)["connections"] == 1
    assert run(tmp_path, *way, "--no-keep-alive")["connections"] >= 5
    assert run(tmp_path, *way, "--no-keep-alive", "--no-resumption")["connections"] >= 5


def test_interrupted(plain, tmp_path):
    started = subprocess.Popen([str(lab.BIN / "easload"), "run", "-t", f"http://{plain.address}", "-n", "5", "--user", "cut%d", "-d", "300s",
                                "--ramp", "0s", "--requests", "100000", "--json", str(tmp_path / "r.json")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wire.poll(lambda: len({e.get("user") for e in plain.events if str(e.get("user", "")).startswith("cut")}) == 5, "all phones")
    started.send_signal(signal.SIGINT)
    out, _ = started.communicate(timeout=30)
    assert started.returncode == 130 and out.startswith("Interrupted. ")
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["interrupted"] and result["devices"] == 5 and result["lasted_ms"] < 60000


def test_parts_make_a_whole(plain, tmp_path):
    """Three processes have the phones of one, and their results add up."""
    files = []
    for part in (1, 2, 3):
        name = tmp_path / f"{part}.json"
        done = easload("run", "-t", f"http://{plain.address}", "-n", 10, "-d", "1500ms", "--ramp", "0s", "--requests", 3000,
                       "--user", "part%d", "--part", f"{part}/3", "--json", name, "-q")
        assert done.returncode == 0, done
        files.append(name)
    users = {e["user"] for e in plain.events if str(e.get("user", "")).startswith("part")}
    assert users == {f"part{i}" for i in range(1, 11)}
    done = easload("merge", *files, "--json", "-", "--report", tmp_path / "all.html")
    assert done.returncode == 0, done
    whole, parts = json.loads(done.stdout), [json.loads(f.read_text()) for f in files]
    assert [p["devices"] for p in parts] == [4, 3, 3] and whole["devices"] == 10 and whole["parts"] == 3
    for name in ROWS:
        assert whole["rows"][name]["count"] == sum(p["rows"][name]["count"] for p in parts)
    assert whole["rows"]["Sync"]["times"]["max_us"] == max(p["rows"]["Sync"]["times"]["max_us"] for p in parts)
    assert (tmp_path / "all.html").read_text().startswith("<!DOCTYPE html>")

    (tmp_path / "bad.json").write_text('{"easload": 1')
    (tmp_path / "other.json").write_text("{}")
    for name, message in (("bad.json", "bad.json:1:"), ("other.json", "not a result of easload run"), ("none.json", "none.json: unable to open")):
        done = easload("merge", files[0], tmp_path / name)
        assert done.returncode == 1 and message in done.stderr


def test_files_that_cannot_be_written_stop_the_start(plain, tmp_path):
    for option in ("--json", "--report"):
        done = easload("run", "-t", f"http://{plain.address}", "-n", 1, "-d", "300s", "--requests", 100, option, tmp_path / "no" / "file", timeout=20)
        assert done.returncode == 1 and "cannot be written: No such file or directory" in done.stderr and done.stdout == ""


def test_a_full_disk(plain, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    done = easload("run", "-t", f"http://{plain.address}", "-n", 1, "-d", "1s", "--requests", 100, "-q", "--report", "/dev/full",
                   "--json", "/dev/full")
    assert done.returncode == 1 and done.stderr.count("cannot be written") == 2


def test_the_manual_page_names_every_option():
    text = (ROOT / "docs/man/easload.1").read_text()
    for command in ("phone", "run", "merge"):
        for option in set(re.findall(r"--[a-z][a-z-]+", easload(command, "--help").stdout)) - {"--help"}:
            assert f"Fl {option[1:]}" in text, option
