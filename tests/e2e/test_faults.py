"""stagate fault: what is broken on purpose, what clients, issuers and other gateways then see, that everything it causes
is marked as injected, and that it is whole again afterwards."""
import json
import re
import subprocess

import pytest

import authorities
import backends
import issuing
import lab
import wire
from issuing import PASSWORD, TICKETS, admin, ask, fault, issue, told

MORE = "STAMEMORY"


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


def breakable(make, backend, policy=(), **sections):
    """A gateway with two authorities, both served."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False, policy=dict(policy), admin=issuing.ADMIN, **{
        "authorities": [authorities.embedded(), authorities.embedded(id=MORE, store="memory")],
        "sign-in": {"htpasswd": "users"}, **sections})
    issuing.write_users(gateway.folder / "users", alice=issuing.sha512(PASSWORD))
    return gateway.start()


@pytest.fixture(scope="module")
def shared(make_shared, backend):
    return breakable(make_shared, backend)


@pytest.fixture
def gateway(shared):
    """Each test begins and leaves it whole."""
    yield shared
    assert fault(shared, "clear").stdout == "no faults\n"


@pytest.fixture(scope="module")
def other(make_shared, backend, shared):
    """A gateway that asks the first one's authority over HTTP."""
    return make_shared.gateway([lab.service(backend, tls_floor="none")], authorities=[
        authorities.remote(authorities.url(shared), id=lab.AUTHORITY, bypass="0s", probe="100ms")], admin=issuing.ADMIN)


def injects(gateway, *args, stdin=None):
    """The command's output, parsed."""
    result = fault(gateway, "--json", *args, stdin=stdin)
    assert (result.returncode, result.stderr) == (0, ""), result
    return json.loads(result.stdout)


def shown(gateway, ticket, reason, detail=..., injected=True, door="connect"):
    """Shows the ticket, which has to end so."""
    row, client = lab.reasons_table()[reason], gateway.client()
    if door == "connect":
        answer = client.connect(lab.MAIL, wire.basic(ticket))
        assert (answer.status, answer["X-Stagate-Reason"]) == (row["http"], None if reason == "ok" else reason)
    else:
        host, _, port = lab.MAIL.rpartition(":")
        assert client.socks(host, int(port), password=ticket) == row["socks"]
    if reason == "ok":
        client.echoes()
    entry = client.ended(reason, detail, door=door)
    assert entry.get("injected", False) is injected, entry
    return entry


def state(gateway, ticket):
    """Out of the ticket list: (state, whether it is marked)."""
    listed = json.loads(lab.stagate("ticket", "show", "--json", "-c", gateway.path, ticket["fingerprint"]).stdout)
    return listed[0]["state"], listed[0].get("injected", False)


def ended(gateway):
    """How many connections ended by a fault, by reason."""
    return {re.search('reason="([^"]*)"', k)[1]: v for k, v in issuing.metrics(gateway).items()
            if 'injected="true"' in k and v > 0}


def counted(gateway, name, **labels):
    return authorities.metric(gateway, name, **{"authority": lab.AUTHORITY, **labels})


# ---- list and clear ----------------------------------------------------------------------------------------

def test_listing_and_clearing(gateway):
    assert fault(gateway).stdout == fault(gateway, "list").stdout == "no faults\n"
    assert injects(gateway) == []
    since = len(gateway.events)
    down = {"fault": "authority-down", "authority": lab.AUTHORITY}
    slow = [{"fault": "authority-slow", "authority": a, "by": "50ms"} for a in (lab.AUTHORITY, MORE)]
    clock = {"fault": "clock", "by": "-90m"}
    name = {"fault": "authority-id", "authority": MORE, "id": "STA0BAD"}
    error = {"fault": "authority-error", "authority": MORE}
    # each tells all that stands by now
    assert injects(gateway, "authority-down", "--authority", lab.AUTHORITY) == [down]
    assert injects(gateway, "authority-slow", "50ms") == [down, *slow]
    assert injects(gateway, "clock", "--", "-1h30m") == [down, *slow, clock]
    assert injects(gateway, "authority-id", "STA0BAD", "--authority", MORE) == [down, *slow, name, clock]
    # by the ID that it has, and by the one that it should have
    assert injects(gateway, "authority-error", "--authority", "STA0BAD") == [down, slow[0], error, slow[1], name, clock]
    assert injects(gateway, "list") == [down, slow[0], error, slow[1], name, clock]
    lines = [line.split() for line in fault(gateway, "list").stdout.splitlines()]
    assert lines == [["authority-down", lab.AUTHORITY], ["authority-slow", lab.AUTHORITY, "50ms"],
                     ["authority-error", MORE], ["authority-slow", MORE, "50ms"], ["authority-id", MORE, "STA0BAD"],
                     ["clock", "-", "-90m"]]
    assert admin(gateway, "GET", "/v1/faults")[1]["faults"] == [down, slow[0], error, slow[1], name, clock]

    assert injects(gateway, "clear", "authority-slow", "--authority", MORE) == [down, slow[0], error, name, clock]
    assert injects(gateway, "clear", "--authority", MORE) == [down, slow[0], clock]
    assert injects(gateway, "clear", "clock") == [down, slow[0]]
    assert injects(gateway, "clear", "clock") == [down, slow[0]]  # what is not there is clear
    assert injects(gateway, "clear") == []
    gateway.wait_log("the last of it", lambda e: e.get("what") == "all" and "authority" not in e, event="fault", since=since)
    events = [e for e in gateway.events[since:] if e["event"] == "fault"]
    assert [(e["fault"], e.get("authority"), e.get("what")) for e in events] == [
        ("authority-down", lab.AUTHORITY, None), ("authority-slow", None, "50ms"), ("clock", None, "-1h30m"),
        ("authority-id", MORE, "STA0BAD"), ("authority-error", "STA0BAD", None), ("clear", MORE, "authority-slow"),
        ("clear", MORE, "all"), ("clear", None, "clock"), ("clear", None, "clock"), ("clear", None, "all")]
    assert all(e["level"] == "warn" and e["injected"] is True for e in events)


def test_faults_survive_a_reload_and_not_a_restart(make, backend):
    gateway = breakable(make, backend)
    injects(gateway, "authority-down", "--authority", MORE)
    injects(gateway, "clock", "1d")
    standing = injects(gateway)
    gateway.conf["limits"]["connections"] = 500
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    assert injects(gateway) == standing and len(standing) == 2
    gateway.stop()
    gateway.start()
    assert injects(gateway) == []


# ---- authorities -------------------------------------------------------------------------------------------

BROKEN = {"authority-down": ("fault_down", "a fault was injected: the authority is down"),
          "authority-error": ("fault_error", "a fault was injected: the authority answers an error")}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_down(gateway, name):
    """Whoever shows its tickets is told authority_down; open tunnels, and the other authority, are as before."""
    cause, detail = BROKEN[name]
    ticket, elsewhere = issue(gateway, "alice"), issue(gateway, "alice", authority=MORE)
    session = issue(gateway, "alice", **{"class": "session"})
    tunnel = gateway.tunnel(ticket["ticket"])
    before, seen = counted(gateway, "stagate_authority_injected_total"), ended(gateway).get("authority_down", 0)
    failed = counted(gateway, "stagate_authority_failures_total", cause=cause)
    injects(gateway, name, "--authority", lab.AUTHORITY)

    for door in ("connect", "socks"):
        entry = shown(gateway, ticket["ticket"], "authority_down", detail, door=door)
        assert entry["authority"] == lab.AUTHORITY and entry["ticket"] == ticket["fingerprint"] and "user" not in entry
    shown(gateway, session["ticket"], "authority_down", detail)
    tunnel.hello()
    shown(gateway, elsewhere["ticket"], "ok", injected=False)
    # of a pair, the other one is asked
    parts = [t["ticket"].split(";", 2)[2] for t in (ticket, elsewhere)]
    shown(gateway, f";42;{parts[0]};{parts[1]}", "ok", injected=False)

    first, second = admin(gateway, "GET", "/v1/authorities")[1]["authorities"]
    assert (first["cause"], first["detail"]) == (cause, detail) and "cause" not in second
    assert first["state"] == ("down" if name == "authority-down" else "up")
    assert counted(gateway, "stagate_authority_injected_total") == before + 4
    assert counted(gateway, "stagate_authority_failures_total", cause=cause) == failed + 4
    assert ended(gateway)["authority_down"] == seen + 3
    assert counted(gateway, "stagate_authority_up") == (0 if name == "authority-down" else 1)

    injects(gateway, "clear", name)
    # the session ticket was not spent by it
    shown(gateway, session["ticket"], "ok", injected=False)
    shown(gateway, ticket["ticket"], "ok", injected=False)
    tunnel.echoes()
    assert "injected" not in tunnel.ended("ok")
    assert counted(gateway, "stagate_authority_up") == 1


def test_down_for_issuers_and_gateways(gateway, other):
    """Its STA service hangs up without a word."""
    ticket = issue(gateway, "alice")
    sta, elsewhere = authorities.service(gateway), authorities.service(gateway, 1)
    assert sta.redeem(ticket["ticket"]) == "ok" and shown(other, ticket["ticket"], "ok", injected=False)
    before = counted(gateway, "stagate_authority_injected_total")
    injects(gateway, "authority-down", "--authority", lab.AUTHORITY)
    for message in (authorities.request_ticket(), authorities.request_data(ticket["ticket"]), authorities.request_id()):
        with pytest.raises(OSError):
            sta.ask(message)
    assert counted(gateway, "stagate_authority_injected_total") >= before + 3
    assert gateway.wait_log("what was dropped", event="sta", result="dropped")["injected"] is True
    assert elsewhere.ask(authorities.request_id()).id == MORE
    # for the other gateway it is a real failure: it knows of no fault
    entry = shown(other, ticket["ticket"], "authority_down", injected=False)
    assert entry["detail"] == "the authority closed the connection without an answer"
    # who signs in gets tickets all the same: that is no STA
    assert ask(gateway, "POST", body={})[0] == 201
    injects(gateway, "clear")
    assert sta.redeem(ticket["ticket"]) == "ok"
    wire.poll(lambda: told(other, ticket["ticket"]) == 200, "the other gateway to find back")


def test_error_for_issuers_and_gateways(gateway, other):
    ticket = issue(gateway, "alice")
    sta = authorities.service(gateway)
    injects(gateway, "authority-error")
    for message, kind in ((authorities.request_ticket(), "ResponseTicket"), (authorities.request_id(), "ResponseAuthorityID"),
                          (authorities.request_data(ticket["ticket"]), "ResponseData")):
        answer = sta.ask(message)
        assert (answer.kind, answer.error) == (kind, "internal")
    event = gateway.wait_log("an exchange", lambda e: e.get("injected"), event="sta", message="RequestTicket")
    assert event["result"] == "internal"
    wire.poll(lambda: shown(other, ticket["ticket"], "authority_down", injected=False)["detail"] ==
              "the authority answered that it failed", "the other gateway to be told")
    injects(gateway, "clear")
    assert sta.redeem(ticket["ticket"]) == "ok"
    wire.poll(lambda: told(other, ticket["ticket"]) == 200, "the other gateway to find back")


def test_slow(gateway, other):
    """Answers come late, and count as injected though nothing else is wrong with them."""
    ticket = issue(gateway, "alice")["ticket"]
    sta = authorities.service(gateway)
    injects(gateway, "authority-slow", "300ms", "--authority", lab.AUTHORITY)
    for door in ("connect", "socks"):
        entry = shown(gateway, ticket, "ok", door=door)
        assert entry["ms"]["ticket"] - entry["ms"]["request"] >= 300
    shown(gateway, f";40;{lab.AUTHORITY};{'0' * 32}", "ticket_unknown")
    assert sta.redeem(ticket) == "ok"
    assert gateway.wait_log("it", lambda e: e.get("injected"), event="sta", message="RequestData", result="ok")
    assert "injected" not in shown(other, ticket, "ok", injected=False)
    # one who does not wait for it
    client = gateway.client()
    client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket)))
    client.tcp.reset()
    client.ended("client_gone")
    injects(gateway, "clear", "authority-slow")
    shown(gateway, ticket, "ok", injected=False)


def test_slower_than_the_gateway_waits(make, backend):
    gateway = breakable(make, backend, timeouts={"ticket": "200ms"})
    ticket = issue(gateway, "alice")["ticket"]
    injects(gateway, "authority-slow", "1m")
    shown(gateway, ticket, "authority_down", "the authority did not answer in time")
    # stopping does not wait for it either
    clients = [gateway.client() for _ in range(4)]
    gateway.conf["timeouts"]["ticket"] = "1h"
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    late = gateway.client()
    late.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket)))
    for client in clients:
        client.close()
    gateway.stop()


def test_another_id(gateway):
    """The gateway's list and the issuer's differ: what was issued before names an ID that nobody has."""
    ticket = issue(gateway, "alice")["ticket"]
    sta = authorities.service(gateway)
    injects(gateway, "authority-id", "STA0BAD", "--authority", lab.AUTHORITY)
    entry = shown(gateway, ticket, "authority_unknown", None)
    assert entry["authority"] == lab.AUTHORITY  # as the ticket has it
    assert sta.ask(authorities.request_id()).id == "STA0BAD"
    # tickets that are issued meanwhile carry the wrong name, however they are issued
    wrong = [sta.issue(), ask(gateway, "POST", body={})[1]["ticket"], issue(gateway, "alice")["ticket"]]
    assert all(t.startswith((";40;STA0BAD;", ";10;STA0BAD;")) for t in wrong)
    assert gateway.wait_log("it", lambda e: e.get("injected"), event="api", result="issued")
    assert gateway.wait_log("it", lambda e: e.get("injected"), event="sta", message="RequestTicket")
    assert shown(gateway, wrong[1], "ok", injected=False)["authority"] == "STA0BAD"
    assert admin(gateway, "GET", "/v1/authorities")[1]["authorities"][0]["id"] == "STA0BAD"
    injects(gateway, "clear")
    shown(gateway, ticket, "ok", injected=False)
    for t in wrong:
        shown(gateway, t, "authority_unknown", None, injected=False)
    # the ticket itself is there
    renamed = wrong[1].replace("STA0BAD", lab.AUTHORITY)
    shown(gateway, renamed, "ok", injected=False)


def test_one_id_for_two(gateway):
    ticket, elsewhere = issue(gateway, "alice"), issue(gateway, "alice", authority=MORE)
    injects(gateway, "authority-id", MORE, "--authority", lab.AUTHORITY)
    shown(gateway, ticket["ticket"], "authority_unknown")
    shown(gateway, elsewhere["ticket"], "authority_down", "two authorities have this ID")
    injects(gateway, "clear")
    shown(gateway, elsewhere["ticket"], "ok", injected=False)


def test_another_gateway_sees_another_id(gateway, other):
    injects(gateway, "authority-id", "STA0BAD", "--authority", lab.AUTHORITY)
    ticket = issue(gateway, "alice")["ticket"].replace("STA0BAD", lab.AUTHORITY)
    wire.poll(lambda: authorities.status(other)[lab.AUTHORITY].get("cause") == "id_mismatch", "the probe")
    entry = shown(other, ticket, "authority_down", injected=False)
    assert entry["detail"] and "ID" in entry["detail"]
    injects(gateway, "clear")
    wire.poll(lambda: authorities.status(other)[lab.AUTHORITY]["state"] == "up", "the probe")
    shown(other, ticket, "ok", injected=False)


def test_a_remote_authority_is_broken_from_this_side(gateway, other):
    """Faults of the asking gateway's own: nobody is asked, and it knows why."""
    ticket = issue(gateway, "alice")["ticket"]
    asked = counted(other, "stagate_authority_requests_total")
    for name, (cause, detail) in BROKEN.items():
        injects(other, name)
        shown(other, ticket, "authority_down", detail)
        assert authorities.status(other)[lab.AUTHORITY]["cause"] == cause
        injects(other, "clear")
        shown(other, ticket, "ok", injected=False)
    assert counted(other, "stagate_authority_requests_total") > asked
    injects(other, "authority-slow", "100ms")
    shown(other, ticket, "ok")
    injects(other, "clear")
    # it has no tickets to forget
    result = fault(other, "forget", "--authority", lab.AUTHORITY)
    assert (result.returncode, result.stdout) == (1, "") and "no authority with a store of its own" in result.stderr


# ---- the clock ---------------------------------------------------------------------------------------------

def test_the_clock(make, backend):
    """What it ends is marked, at open tunnels and at new ones; what would have ended anyway is not."""
    gateway = breakable(make, backend, {"on-expiry": "cut", "forced-timeout": "10d"})
    short, week = issue(gateway, "alice", lifetime="1ms"), issue(gateway, "alice")
    wire.poll(lambda: state(gateway, short)[0] == "expired", "its end")
    long = issue(gateway, "alice", lifetime="20d")
    tunnels = [gateway.tunnel(t["ticket"]) for t in (week, long)]
    assert injects(gateway, "clock", "7d") == [{"fault": "clock", "by": "168h"}]
    tunnels[0].conn.ends()
    assert tunnels[0].ended("ticket_expired", None)["injected"] is True
    shown(gateway, week["ticket"], "ticket_expired")
    shown(gateway, short["ticket"], "ticket_expired", injected=False)
    shown(gateway, long["ticket"], "ok", injected=False)
    injects(gateway, "clock", "10d")
    tunnels[1].conn.ends()
    assert tunnels[1].ended("forced_timeout", None)["injected"] is True
    shown(gateway, long["ticket"], "forced_timeout")
    assert issuing.metrics(gateway)["stagate_clock_jump_seconds"] == 10 * 86400
    assert ended(gateway) == {"ticket_expired": 2, "forced_timeout": 2}
    # the ticket bears no mark: it is as it was
    assert state(gateway, week) == ("expired", False)
    injects(gateway, "clear")
    assert state(gateway, week) == ("live", False)
    shown(gateway, week["ticket"], "ok", injected=False)
    assert issuing.metrics(gateway)["stagate_clock_jump_seconds"] == 0


# ---- forget and expire -------------------------------------------------------------------------------------

def test_forget_one(gateway):
    ticket, other = issue(gateway, "alice"), issue(gateway, "alice")
    tunnel = gateway.tunnel(ticket["ticket"])
    result = fault(gateway, "forget", "--ticket", ticket["ticket"])
    assert (result.returncode, result.stdout, result.stderr) == (0, "forget: 1 tickets\n", "")
    entry = shown(gateway, ticket["ticket"], "ticket_unknown")
    assert "user" not in entry  # it never was
    shown(gateway, other["ticket"], "ok", injected=False)
    tunnel.hello()  # a classic STA that restarts cuts no tunnel
    assert authorities.service(gateway).redeem(ticket["ticket"]) == "ticket-unknown"
    # the administrator sees what became of it, its user does not
    assert state(gateway, ticket) == ("forgotten", True) and state(gateway, other) == ("live", False)
    assert ask(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[0] == 404
    assert ticket["fingerprint"] not in [t["fingerprint"] for t in ask(gateway, "GET")[1]["tickets"]]
    # one that had ended stays as it ended
    assert admin(gateway, "DELETE", f"{TICKETS}/{other['fingerprint']}")[0] == 200
    injects(gateway, "forget", "--ticket", "-", stdin=other["ticket"] + "\n")
    shown(gateway, other["ticket"], "ticket_revoked", injected=False)
    tunnel.echoes()
    assert "injected" not in tunnel.ended("ok")


def test_expire_one(gateway):
    ticket, other = issue(gateway, "alice"), issue(gateway, "alice")
    tunnel = gateway.tunnel(ticket["ticket"])
    assert injects(gateway, "expire", "--ticket", "-", stdin=ticket["ticket"] + "\n") == {"fault": "expire", "tickets": 1}
    assert shown(gateway, ticket["ticket"], "ticket_expired")["user"] == "alice"
    shown(gateway, other["ticket"], "ok", injected=False)
    assert state(gateway, ticket) == ("expired", True) and state(gateway, other) == ("live", False)
    text = lab.stagate("ticket", "list", "-c", gateway.path).stdout
    assert re.search(rf"^{ticket['fingerprint']} .* expired", text, re.M)
    assert admin(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[1]["injected"] is True
    tunnel.hello()  # on-expiry: keep
    tunnel.echoes()
    event = gateway.wait_log("an exchange", event="fault", fault="expire")
    assert ticket["ticket"].rpartition(";")[2] not in json.dumps(event)


def test_tickets_that_are_none(gateway):
    unknown = f";40;{lab.AUTHORITY};{'0' * 32}"
    assert injects(gateway, "forget", "--ticket", unknown) == {"fault": "forget", "tickets": 0}
    for text in ("nonsense", "", ";40;STA1;", "0123456789ab"):
        result = fault(gateway, "forget", "--ticket", text)
        assert (result.returncode, result.stdout) == (1, "")
        assert "a fingerprint is not enough here" in result.stderr
    result = fault(gateway, "expire", "--ticket", "-", stdin="")
    assert result.returncode == 1


@pytest.mark.parametrize("name, reason, after", [("forget", "ticket_unknown", "forgotten"),
                                                 ("expire", "ticket_expired", "expired")])
def test_a_users_and_all(make, backend, name, reason, after):
    gateway = breakable(make, backend)
    first = [issue(gateway, user, authority=a) for user in ("alice", "bob") for a in (lab.AUTHORITY, MORE)]
    revoked = issue(gateway, "alice")
    assert lab.stagate("ticket", "revoke", "-c", gateway.path, revoked["fingerprint"]).returncode == 0
    alices, bobs = first[:2], first[2:]
    assert injects(gateway, name, "--user", "alice") == {"fault": name, "tickets": 2}
    for ticket in alices:
        shown(gateway, ticket["ticket"], reason)
        assert state(gateway, ticket) == (after, True)
    for ticket in bobs:
        shown(gateway, ticket["ticket"], "ok", injected=False)
    shown(gateway, revoked["ticket"], "ticket_revoked", injected=False)
    assert injects(gateway, name, "--user", "nobody") == {"fault": name, "tickets": 0}
    # one authority's, then all
    assert injects(gateway, name, "--authority", MORE) == {"fault": name, "tickets": 1}
    shown(gateway, bobs[0]["ticket"], "ok", injected=False)
    result = fault(gateway, name)
    assert (result.returncode, result.stdout) == (0, f"{name}: 1 tickets\n")
    shown(gateway, bobs[0]["ticket"], reason)
    assert state(gateway, revoked) == ("revoked", False)
    # a new ticket is a good one; nothing stands
    shown(gateway, issue(gateway, "alice")["ticket"], "ok", injected=False)
    assert injects(gateway) == []
    assert ended(gateway) == {reason: 3}
    # it is in the store: a restart does not heal it
    gateway.stop()
    gateway.start()
    shown(gateway, alices[0]["ticket"], reason)


POLICIES = {"keep": None, "cut": "ticket_expired", "drain": "ticket_expired"}


@pytest.mark.parametrize("on_expiry", POLICIES)
@pytest.mark.parametrize("target", [["--user", "alice"], [], "ticket"], ids=["a user", "all", "one"])
def test_open_tunnels_of_what_expires(make, backend, on_expiry, target):
    gateway = breakable(make, backend, {"on-expiry": on_expiry}, workers=4, timeouts={"linger": "100ms"})
    for authority in (lab.AUTHORITY, MORE):
        ticket, other = issue(gateway, "alice", authority=authority), issue(gateway, "bob", authority=authority)
        tunnels = [gateway.tunnel(ticket["ticket"]) for _ in range(6)]
        others = [gateway.tunnel(other["ticket"]) for _ in range(2)]
        injects(gateway, "expire", *(["--ticket", ticket["ticket"]] if target == "ticket" else target))
        concerned = tunnels + (others if target == [] else [])
        for tunnel in concerned:
            if on_expiry == "keep":
                tunnel.echoes()
                tunnel.ended("ok", None)
            else:
                tunnel.conn.ends()
                assert tunnel.ended("ticket_expired", None)["injected"] is True
        if target != []:
            for tunnel in others:
                tunnel.echoes()
                assert "injected" not in tunnel.ended("ok", None)


def test_open_tunnels_of_what_is_forgotten(make, backend):
    """They live on, whatever expiry means, and a refreshable one is not refreshed any more."""
    gateway = breakable(make, backend, {"on-expiry": "cut"}, authorities=[
        authorities.embedded(refreshable_lifetime="1s"), authorities.embedded(id=MORE, store="memory")])
    tickets = [issue(gateway, "alice", authority=a) for a in (lab.AUTHORITY, MORE)]
    refreshable = issue(gateway, "alice", **{"class": "session", "refreshable": True})
    tunnels = [gateway.tunnel(t["ticket"]) for t in tickets for _ in range(3)]
    session = gateway.tunnel(refreshable["ticket"])
    assert injects(gateway, "forget") == {"fault": "forget", "tickets": 3}
    session.conn.ends()
    session.ended("ticket_expired", None)
    for tunnel in tunnels:
        tunnel.echoes()
        tunnel.ended("ok", None)


# ---- the command and its mistakes ----------------------------------------------------------------------------

USAGE = {  # arguments behind `stagate fault`: part of the message; C is -c FILE
    "list": "-c FILE is missing",
    "C authority-donw": 'unknown fault "authority-donw": did you mean "authority-down"?',
    "C frobnicate": 'unknown fault "frobnicate"',
    "C authority-slow": "authority-slow wants a value",
    "C authority-id": "authority-id wants a value",
    "C clock": "clock wants a value",
    "C authority-down now": "authority-down takes no value",
    "C forget alice": "forget takes no value",
    "C list all": 'unexpected argument "all"',
    "C clear authority-down now": 'unexpected argument "now"',
    "C clear forget": '"forget" is no fault that stays',
    "C clear everything": '"everything" is no fault that stays',
    "C clock -1h -2h": "unknown option -2",
    "C --frobnicate": "unknown option --frobnicate",
    "C expire --user": "--user needs a value",
    "C authority-down --user alice": "--user and --ticket go with forget and expire",
    "C clear --ticket T": "--user and --ticket go with forget and expire",
    "C expire --user alice --ticket T": "--user or --ticket, not both",
    "C clock 1h --authority STA1": "--authority goes with faults of authorities and of tickets",
    "C list --authority STA1": "--authority goes with faults of authorities and of tickets",
    "C clear clock --authority STA1": "--authority goes with faults of authorities and of tickets",
    "C clear --authority a&b": "--authority is 1 to 16 letters and digits",
    "C forget --authority 12345678901234567": "--authority is 1 to 16 letters and digits",
}


@pytest.mark.parametrize("line", USAGE)
def test_usage_errors(gateway, line):
    args = [a for word in line.split() for a in (["-c", gateway.path] if word == "C" else [word])]
    result = lab.stagate("fault", *args, stdin="")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("stagate fault: ") and USAGE[line] in result.stderr, result.stderr
    assert result.stderr.endswith("Try `stagate fault --help`.\n")


FAILURES = {  # arguments: part of what the gateway says
    "authority-slow 61s": "a duration of up to a minute",
    "authority-slow 0s": "a duration of up to a minute",
    "authority-slow fast": "a duration of up to a minute",
    "authority-id STA-0": "1 to 16 letters and digits",
    "authority-id 12345678901234567": "1 to 16 letters and digits",
    "authority-id STA0BAD --authority STANONE": "no authority has this ID",
    "authority-down --authority STANONE": "no authority has this ID",
    "clear authority-down --authority STANONE": "no authority has this ID",
    "expire --authority STANONE": "no authority with a store of its own has this ID",
    "clock soon": "a duration such as 7d or -1h",
    "clock 999999d": "a duration such as 7d or -1h",
}


@pytest.mark.parametrize("line", FAILURES)
def test_failures(gateway, line):
    ticket = issue(gateway, "alice")["ticket"]
    result = fault(gateway, *line.split())
    assert (result.returncode, result.stdout) == (1, "") and FAILURES[line] in result.stderr
    assert result.stderr.startswith("stagate: ") and injects(gateway) == []
    shown(gateway, ticket, "ok", injected=False)


BAD = [b"", b"{", b"[]", b"null", b'{"fault":7}', b'{"fault":"clock"}', b'{"fault":"clock","by":7}', b'{"fault":"nothing"}',
       b'{"fault":"forget","usr":"alice"}', b'{"fault":"forget","user":7}', b'{"fault":"expire","ticket":["x"]}',
       b'{"fault":"expire","authority":null}', b'{"fault":"expire","user":"\xff"}', b'{"fault":"expire","fault":"forget"}']


@pytest.mark.parametrize("body", BAD, ids=lambda body: body.decode("latin-1"))
def test_bad_documents(gateway, body):
    """What is not understood does nothing: least of all to everybody's tickets."""
    ticket = issue(gateway, "alice")["ticket"]
    status, answer = admin(gateway, "POST", "/v1/faults", body, headers={"Content-Type": "application/json"})
    assert (status, answer["error"]) == (400, "bad_request")
    shown(gateway, ticket, "ok", injected=False)


def test_a_name_that_is_no_text_is_nobody(gateway):
    ticket = issue(gateway, "alice")["ticket"]
    result = subprocess.run([lab.STAGATE, "fault", "-c", gateway.path, "expire", "--user", b"\xff"], capture_output=True,
                            timeout=wire.DEADLINE)
    assert result.returncode == 1 and b"are texts" in result.stderr
    shown(gateway, ticket, "ok", injected=False)


def test_clearing_what_is_no_fault(gateway):
    status, answer = admin(gateway, "DELETE", "/v1/faults?fault=forget")
    assert (status, answer["error"]) == (400, "bad_request")


def test_nobody_to_break(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    result = fault(gateway, "list")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "stagate: the configuration names no admin socket: add admin: {socket: PATH}\n"
    gateway.conf["admin"] = issuing.ADMIN
    gateway.write(gateway.conf)
    for args in (["list"], ["clear"], ["authority-down"], ["expire"]):
        result = fault(gateway, *args)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == f"stagate: no gateway answers on {gateway.folder / issuing.SOCKET}\n"
    result = lab.stagate("fault", "-c", "/nowhere/sta.yaml")
    assert result.returncode == 1 and "/nowhere/sta.yaml: cannot be read" in result.stderr
    assert lab.stagate("fault", "--help").stdout.startswith("Usage: stagate fault")
