"""The admin socket: who may speak there, the administrator's side of the ticket API, and everything beside it."""
import http.client
import json
import os
import re
import socket
import stat
import threading

import pytest

import authorities
import backends
import issuing
import lab
import wire
from issuing import TICKETS, admin, issue, told

MORE = "STAMEMORY"
PAGE = 100


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


def administered(make, backend, **sections):
    """Two authorities with a store, and one that is somewhere else."""
    return make.gateway([lab.service(backend, tls_floor="none")], admin=issuing.ADMIN, **{
        "authorities": [authorities.embedded(), {"id": MORE, "store": "memory"},
                        {"id": "STAELSEWHERE", "url": "http://127.0.0.1:1", "learn-id": "no"}], **sections})


@pytest.fixture(scope="module")
def gateway(make_shared, backend):
    return administered(make_shared, backend)


def tickets_of(gateway, query=""):
    """All pages."""
    found, path = [], f"{TICKETS}?{query}"
    while path:
        status, answer = admin(gateway, "GET", path)
        assert status == 200 and set(answer) <= {"tickets", "next"}
        found += answer["tickets"]
        path = f"{TICKETS}?{query}&next={answer['next']}" if "next" in answer else None
    return found


def issue_many(gateway, count, **wish):
    """That many tickets over one connection; their fingerprints."""
    connection = http.client.HTTPConnection("localhost", timeout=wire.DEADLINE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(wire.DEADLINE)
    connection.sock.connect(str(gateway.folder / issuing.SOCKET))
    made = []
    for _ in range(count):
        connection.request("POST", TICKETS, json.dumps(wish), {"Content-Type": "application/json"})
        made.append(json.loads(connection.getresponse().read())["fingerprint"])
    connection.close()
    return made


# ---- the socket --------------------------------------------------------------------------------------------

def test_the_socket_is_its_owners(gateway):
    info = os.stat(gateway.folder / issuing.SOCKET)
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600 and info.st_uid == os.getuid()
    assert gateway.ready["admin_socket"] == str(gateway.folder / issuing.SOCKET)


def test_its_folder_is_made(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")], admin={"socket": "var/stagate.sock"})
    assert lab.http("GET", gateway.folder / "var/stagate.sock", "/v1/status")[0] == 200


def test_it_goes_with_the_gateway_and_comes_back_after_a_kill(make, backend):
    gateway = administered(make, backend)
    path = gateway.folder / issuing.SOCKET
    gateway.kill()
    assert path.is_socket()  # nobody was left to take it away
    result = lab.stagate("authority", "status", "-c", gateway.path)
    assert (result.returncode, result.stdout) == (1, "") and f"no gateway answers on {path}" in result.stderr
    gateway.start()
    assert admin(gateway, "GET", "/v1/status")[0] == 200
    gateway.stop()
    assert not path.exists()


def test_another_gateway_is_not_robbed_of_it(make, backend):
    gateway = administered(make, backend)
    second = make.gateway([lab.service(backend, tls_floor="none")], start=False,
                          admin={"socket": str(gateway.folder / issuing.SOCKET)})
    result = lab.stagate("run", "-c", second.path)
    assert result.returncode == 1
    assert f"admin socket {gateway.folder / issuing.SOCKET}: another process answers there" in result.stderr
    assert admin(gateway, "GET", "/v1/status")[1]["pid"] == gateway.pid


def test_what_is_no_socket_is_not_removed(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False, admin=issuing.ADMIN)
    (gateway.folder / issuing.SOCKET).write_text("precious")
    result = lab.stagate("run", "-c", gateway.path)
    assert result.returncode == 1 and str(gateway.folder / issuing.SOCKET) in result.stderr
    assert (gateway.folder / issuing.SOCKET).read_text() == "precious"


def test_a_reload_moves_it(make, backend):
    gateway = administered(make, backend)
    gateway.conf["admin"] = {"socket": "other.sock"}
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    assert lab.http("GET", gateway.folder / "other.sock", "/v1/status")[0] == 200
    wire.poll(lambda: not (gateway.folder / issuing.SOCKET).exists(), "the old one to go")
    del gateway.conf["admin"]
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    wire.poll(lambda: not (gateway.folder / "other.sock").exists(), "the last one to go")
    gateway.conf["admin"] = issuing.ADMIN
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    assert admin(gateway, "GET", "/v1/status")[0] == 200


def test_it_is_not_removed_by_what_is_long_replaced(make, backend):
    """A tunnel keeps its configuration; when that goes at last, the socket's path has been taken by another."""
    gateway = administered(make, backend)
    tunnel = gateway.tunnel(issuing.issue(gateway, "alice")["ticket"])
    del gateway.conf["admin"]
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    assert not (gateway.folder / issuing.SOCKET).exists()
    gateway.conf["admin"] = issuing.ADMIN
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    tunnel.close()
    tunnel.ended("ok")
    descriptors = gateway.descriptors()
    for _ in range(3):  # behind the old configuration's end, whatever thread it is on
        assert admin(gateway, "GET", "/v1/status")[0] == 200
        assert gateway.reload()["event"] == "reloaded"
    wire.poll(lambda: gateway.descriptors() <= descriptors, "the old configuration to go")
    assert admin(gateway, "GET", "/v1/status")[0] == 200


def test_web_pages_get_no_tickets_there_either(gateway):
    """A browser reaches no Unix socket by itself, but what forwards to one may be reachable for it."""
    for fields in ({"Origin": "http://evil.example.com"}, {"Host": "evil.example.com"}):
        status, answer = admin(gateway, "GET", TICKETS, headers=fields)
        assert (status, answer["error"]) == (403, "access_denied")


# ---- tickets -----------------------------------------------------------------------------------------------

def test_issue_for_anybody_and_for_long(gateway):
    ticket = issue(gateway, "carol", device="d", lifetime="3650d", icaAddress=lab.MAIL, authority=MORE)
    assert (ticket["user"], ticket["authority"], ticket["lifetime"]) == ("carol", MORE, "87600h")
    client = gateway.client()
    assert client.socks(ticket["ticket"]) == 0
    client.echoes()
    client.ended("ok", user="carol", door="socks", target=lab.MAIL, authority=MORE)
    # without a word the first authority issues
    assert issue(gateway, "carol")["authority"] == lab.AUTHORITY


BAD = {  # a document: (status, error, part of the message)
    "nobody": ({}, 400, "bad_request", "user is missing"),
    "user of another type": ({"user": 5}, 400, "bad_request", "are texts"),
    "too long": ({"user": "u", "lifetime": "3661d"}, 400, "bad_request", "between a millisecond and ten years"),
    "no such authority": ({"user": "u", "authority": "STANONE"}, 404, "authority_unknown", "has this ID"),
    "a remote authority": ({"user": "u", "authority": "STAELSEWHERE"}, 404, "authority_unknown", "has this ID"),
    "authority of another type": ({"user": "u", "authority": 5}, 400, "bad_request", "are texts"),
    "a bad address": ({"user": "u", "icaAddress": "mail.example.com"}, 400, "bad_request", "the port is missing"),
    "unknown member": ({"user": "u", "lifetiem": "1h"}, 400, "bad_request", "not known"),
}


@pytest.mark.parametrize("wish, status, error, message", BAD.values(), ids=BAD)
def test_bad_documents(gateway, wish, status, error, message):
    told, answer = admin(gateway, "POST", TICKETS, wish)
    assert (told, answer["error"]) == (status, error) and message in answer["message"]


def test_show_and_revoke_anybodys(gateway):
    for authority in (lab.AUTHORITY, MORE):
        ticket = issue(gateway, "dave", authority=authority)
        path = f"{TICKETS}/{ticket['fingerprint']}"
        assert admin(gateway, "GET", path) == (200, {k: v for k, v in ticket.items() if k != "ticket"})
        tunnel = gateway.tunnel(ticket["ticket"])
        status, answer = admin(gateway, "DELETE", path)
        assert (status, answer["state"], answer["authority"]) == (200, "revoked", authority)
        tunnel.conn.ends()
        tunnel.ended("ticket_revoked", None, user="dave", authority=authority)
        assert told(gateway, ticket["ticket"]) == "ticket_revoked"
        assert admin(gateway, "GET", path) == (200, answer)
    assert admin(gateway, "GET", f"{TICKETS}/{'0' * 64}")[0] == 404


def test_names_that_fit_several(gateway):
    """Among so many, some begin alike: with a little more of it each can be told."""
    made = issue_many(gateway, 600, user="many", authority=MORE)
    begins = {}
    for fingerprint in made:
        begins.setdefault(fingerprint[:4], []).append(fingerprint)
    alike = next((f for f in begins.values() if len(f) > 1), None)
    if alike is not None:  # of 600 it is nearly certain (a chance of 0.94)
        status, answer = admin(gateway, "GET", f"{TICKETS}/{alike[0][:4]}")
        assert (status, answer["error"]) == (409, "ambiguous")
    assert admin(gateway, "GET", f"{TICKETS}/{made[0]}")[1]["fingerprint"] == made[0]

    # so many of one user are not all told at once, and the command finds all the same
    status, answer = admin(gateway, "GET", f"{TICKETS}?user=many")
    assert status == 200 and answer["more"] is True and len(answer["tickets"]) == 500 and "next" not in answer
    assert set(t["fingerprint"] for t in answer["tickets"]) <= set(made)
    listed = json.loads(lab.stagate("ticket", "list", "--json", "--user", "many", "-c", gateway.path).stdout)
    assert sorted(t["ticket"] for t in listed) == sorted(made)


def test_pages(make, backend):
    """250 of one authority and 130 of the other, to the last one, and each once."""
    gateway = administered(make, backend)
    made = issue_many(gateway, 250, user="u", authority=MORE) + issue_many(gateway, 130, user="v")
    status, first = admin(gateway, "GET", TICKETS)
    assert status == 200 and len(first["tickets"]) == PAGE and re.fullmatch("0-[0-9a-f]{64}", first["next"])
    found = tickets_of(gateway)
    assert sorted(t["fingerprint"] for t in found) == sorted(made)
    assert [t["authority"] for t in found] == [lab.AUTHORITY] * 130 + [MORE] * 250
    # what comes and goes meanwhile does not disturb those that stay
    page = admin(gateway, "GET", TICKETS)[1]
    issue_many(gateway, 20, user="late", authority=MORE)
    rest = page["tickets"]
    while "next" in page:
        page = admin(gateway, "GET", f"{TICKETS}?next={page['next']}")[1]
        rest = rest + page["tickets"]
    assert set(made) <= {t["fingerprint"] for t in rest} and len({t["fingerprint"] for t in rest}) == len(rest)

    assert sorted(t["fingerprint"] for t in tickets_of(gateway, "user=v")) == sorted(made[250:])
    assert tickets_of(gateway, "user=nobody") == []
    listed = json.loads(lab.stagate("ticket", "list", "--json", "-c", gateway.path).stdout)
    assert len(listed) == 400
    of_one = json.loads(lab.stagate("ticket", "list", "--json", "--user", "v", "-c", gateway.path).stdout)
    assert sorted(t["ticket"] for t in of_one) == sorted(made[250:])


@pytest.mark.parametrize("next_page", ["x", "0", "0-", "0-12", "-" + "0" * 64, "0-" + "g" * 64, "0-" + "0" * 65,
                                       "0-" + "A" * 64])
def test_pages_that_are_none(gateway, next_page):
    status, answer = admin(gateway, "GET", f"{TICKETS}?next={next_page}")
    assert (status, answer["error"]) == (400, "bad_request") and "next is what" in answer["message"]


def test_a_page_behind_all(gateway):
    assert admin(gateway, "GET", f"{TICKETS}?next=99-{'0' * 64}") == (200, {"tickets": []})


def test_users_whose_names_a_url_cannot_carry(gateway):
    name = "Jürgen & Söhne/a=b?c%41+"
    fingerprint = issue(gateway, name)["fingerprint"]
    listed = json.loads(lab.stagate("ticket", "list", "--json", "--user", name, "-c", gateway.path).stdout)
    assert [(t["ticket"], t["user"]) for t in listed] == [(fingerprint, name)]


# ---- beside it ---------------------------------------------------------------------------------------------

def test_status(gateway):
    status, answer = admin(gateway, "GET", "/v1/status")
    assert status == 200 and list(answer) == ["version", "pid", "started", "now", "workers", "listeners", "sta"]
    assert answer["pid"] == gateway.pid and answer["workers"] == 2 and answer["started"] <= answer["now"]
    assert answer["listeners"] == gateway.ready["listeners"] and answer["sta"] == gateway.ready["sta"]
    assert lab.stagate("--version").stdout.startswith(f"stagate {answer['version']}\n")


def test_authorities(make, backend):
    gateway = administered(make, backend)
    ticket = issue(gateway, "erin")["ticket"]
    assert told(gateway, ticket) == 200 and told(gateway, ticket) == 200
    assert told(gateway, f";40;STAELSEWHERE;{'0' * 32}") == "authority_down"
    status, answer = admin(gateway, "GET", "/v1/authorities")
    assert status == 200
    first, second, remote = answer["authorities"]
    assert (first["id"], first["kind"], first["state"]) == (lab.AUTHORITY, "embedded", "up")
    assert first["store"] == f"lmdb:{gateway.folder}/tickets" and "cause" not in first
    assert {k: first["counters"][k] for k in ("asked", "answered", "down", "issued", "injected")} == {
        "asked": 2, "answered": 2, "down": 0, "issued": 1, "injected": 0}
    assert second["id"] == MORE and second["counters"]["asked"] == 0
    assert (remote["kind"], remote["url"], remote["state"], remote["cause"]) == (
        "remote", "http://127.0.0.1:1", "down", "refused")
    assert remote["counters"]["down"] == 1 and remote["history"][0]["cause"] == "refused" and "bypassedFor" in remote
    result = lab.stagate("authority", "status", "-c", gateway.path)
    assert result.returncode == 0
    assert re.search(rf"^{lab.AUTHORITY} +up +embedded +asked 2, answered 2, down 0, issued 1 ", result.stdout, re.M)
    assert re.search(r"^STAELSEWHERE +down +remote +asked 1, answered 0, down 1, ", result.stdout, re.M)
    assert json.loads(lab.stagate("authority", "status", "--json", "-c", gateway.path).stdout)


def test_purge(make, backend):
    gateway = administered(make, backend, authorities=[
        authorities.embedded(**{"keep-ended": "1s"}), {"id": MORE, "store": "memory", "keep-ended": "24h"}])
    ended = [issue(gateway, "frank", lifetime="1ms") for _ in range(3)] + [
        issue(gateway, "frank", lifetime="1ms", authority=MORE)]
    kept = issue(gateway, "frank")

    def purge():
        status, answer = admin(gateway, "POST", "/v1/purge")
        assert status == 200 and answer["purge"] == "done"
        return answer["tickets"]
    purged = purge()
    while purged < 3:
        purged += wire.poll(purge, "the rest to be purged")
    assert purged == 3
    assert sorted(t["fingerprint"] for t in tickets_of(gateway)) == sorted([ended[3]["fingerprint"], kept["fingerprint"]])
    assert lab.stagate("ticket", "purge", "-c", gateway.path).stdout == "0 purged\n"


OTHERS = {("GET", "/v1/purge"): 405, ("POST", "/v1/status"): 405, ("PUT", "/v1/faults"): 405, ("POST", "/metrics"): 405,
          ("GET", "/"): 404, ("GET", "/v1"): 404, ("GET", "/scripts/ctxsta.dll"): 404, ("GET", "/v1/statusx"): 404}


@pytest.mark.parametrize("method, path", OTHERS, ids=lambda text: text)
def test_other_methods_and_paths(gateway, method, path):
    assert admin(gateway, method, path)[0] == OTHERS[method, path]


# ---- metrics -----------------------------------------------------------------------------------------------

LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?)")


def test_metrics(gateway, backend):
    """The text is what Prometheus takes: each name explained and typed once and in front, no sample twice."""
    issued = issue(gateway, "grace")
    gateway.tunnel(issued["ticket"]).echoes(b"12345")
    status, text = admin(gateway, "GET", "/metrics")
    assert status == 200 and lab.http.last.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert text.endswith("\n")
    helped, typed, seen, current = set(), {}, set(), None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            current = line.split(" ")[2]
            assert current not in helped and line.endswith(".")
            helped.add(current)
        elif line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            assert name == current and kind in ("counter", "gauge") and name not in typed
            assert name.endswith("_total") == (kind == "counter")
            typed[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match[1] == current and current in typed, line
            assert (match[1], match[2]) not in seen
            seen.add((match[1], match[2]))
    assert helped == set(typed)

    before = issuing.metrics(gateway)
    client = gateway.tunnel(issued["ticket"])
    client.echoes(b"12345")
    client.ended("ok")
    after = issuing.metrics(gateway)
    changed = {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k) and not k.startswith("process_")}
    assert 0 < before["process_cpu_seconds_total"] <= after["process_cpu_seconds_total"] < 1000
    assert 1 << 20 < after["process_resident_memory_bytes"] < 1 << 32
    mine = f'authority="{lab.AUTHORITY}",number="0"'
    assert changed == {
        "stagate_connections_accepted_total": 1,
        'stagate_connections_ended_total{reason="ok",injected="false"}': 1,
        'stagate_tunnel_bytes_total{direction="up"}': 5,
        'stagate_tunnel_bytes_total{direction="down"}': 5,
        f"stagate_authority_asked_total{{{mine}}}": 1,
        f'stagate_authority_answers_total{{{mine},verdict="ok"}}': 1,
    }
    issue(gateway, "grace", authority=MORE)
    name = f'stagate_tickets_issued_total{{authority="{MORE}",number="1"}}'
    assert issuing.metrics(gateway)[name] == after[name] + 1


# ---- the commands, by the socket -----------------------------------------------------------------------------

def test_commands_by_the_socket(gateway):
    """A memory store is the gateway's alone: what the commands know of it, it has told."""
    result = lab.stagate("ticket", "issue", "-c", gateway.path, "--user", "heidi", "--authority", MORE, "--lifetime",
                         "10m", "--service", lab.MAIL, "--device", "d1")
    assert (result.returncode, result.stderr) == (0, "")
    ticket = result.stdout.strip()
    assert ticket.startswith(f";40;{MORE};") and told(gateway, ticket) == 200
    shown = json.loads(lab.stagate("ticket", "show", "--json", "-c", gateway.path, ticket).stdout)
    assert [(t["user"], t["device"], t["state"], t["services"], t["authority"]) for t in shown] == [
        ("heidi", "d1", "live", [lab.MAIL], MORE)]
    tunnel = gateway.tunnel(ticket)
    result = lab.stagate("ticket", "revoke", "-c", gateway.path, "-", stdin=ticket + "\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    tunnel.conn.ends()
    tunnel.ended("ticket_revoked", None)
    result = lab.stagate("ticket", "show", "-c", gateway.path, f";40;{MORE};{'0' * 32}")
    assert (result.returncode, result.stdout) == (1, "") and "no authority here knows this ticket" in result.stderr


def test_what_is_no_text_is_refused(gateway):
    """Names that JSON cannot carry are not taken for none."""
    for args in (["--user", b"\xff"], ["--user", "u", "--device", b"\xff"]):
        result = lab.subprocess.run([lab.STAGATE, "ticket", "issue", "-c", gateway.path, *args], capture_output=True,
                                    timeout=wire.DEADLINE)
        assert (result.returncode, result.stdout) == (1, b"") and b"are texts" in result.stderr


def test_many_at_once(gateway):
    """Asked from several sides at once, everybody gets an answer to the own question."""
    wrong = []

    def ask(user):
        for _ in range(10):
            ticket = issue(gateway, user, authority=MORE)
            shown = admin(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[1]
            if (ticket["user"], shown["user"]) != (user, user):
                wrong.append((ticket, shown))

    threads = [threading.Thread(target=ask, args=(f"t{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.DEADLINE)
    assert not wrong
    for i in range(8):
        assert len(tickets_of(gateway, f"user=t{i}")) == 10


@pytest.mark.parametrize("policy, reason", [({"on-expiry": "cut"}, "ticket_expired"), ({"forced-timeout": "1h"}, "forced_timeout")],
                         ids=["expiry", "forced"])
def test_what_the_clock_ends_is_injected(make, backend, policy, reason):
    """Open tunnels and new ones; but not what would have ended by itself."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")], admin=issuing.ADMIN, policy=policy)
    ticket = issuing.issue(gateway, "alice", lifetime="2h" if reason == "ticket_expired" else "72h")["ticket"]
    tunnel = gateway.tunnel(ticket)
    assert admin(gateway, "POST", "/v1/faults", {"fault": "clock", "by": "1d"})[0] == 200
    entry = gateway.connection(tunnel)
    assert (entry["reason"], entry.get("injected")) == (reason, True)
    late = gateway.client()
    assert late.connect(lab.MAIL, wire.basic(ticket))["X-Stagate-Reason"] == reason
    late.ended(reason, injected=True)
    assert admin(gateway, "DELETE", "/v1/faults")[0] == 200
    gateway.tunnel(ticket).echoes()
    gateway.conf["time-offset"] = "1d"
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    late = gateway.client()
    assert late.connect(lab.MAIL, wire.basic(ticket))["X-Stagate-Reason"] == reason
    late.ended(reason, injected=None)
