"""A fleet: gateways that share their tickets in one real Redis. What one of them does holds for all; and what they do
while that Redis is away, stopped, or comes back with less than it had."""
import json
import signal
import threading

import pytest

import authorities
import backends
import issuing
import lab
import wire
from issuing import TICKETS, admin, fault, issue, told


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory):
    server = lab.Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path):
    """Starts servers that a test may kill."""
    started = []

    def start(*options):
        started.append(lab.Redis(tmp_path / f"redis{len(started)}", *options))
        return started[-1]
    yield start
    for server in started:
        server.kill()


def member(make, backend, redis, query="", policy=(), start=True, **keys):
    """One gateway of the fleet. query: what stands behind the URL, such as a prefix of its own."""
    entry = authorities.embedded(store=f"redis://{redis.address}{query}", **{"timeout": "5s", **keys})
    return make.gateway([lab.service(backend, tls_floor="none")], start=start, policy=dict(policy), admin=issuing.ADMIN,
                        authorities=[entry])


@pytest.fixture(scope="module")
def fleet(make_shared, backend, shared_redis):
    return [member(make_shared, backend, shared_redis) for _ in range(2)]


def shown(gateway, ticket, reason, detail=...):
    client = gateway.client()
    answer = client.connect(lab.MAIL, wire.basic(ticket))
    assert (answer.status, answer["X-Stagate-Reason"]) == (lab.reasons_table()[reason]["http"],
                                                           None if reason == "ok" else reason)
    if reason == "ok":
        client.echoes()
    return client.ended(reason, detail)


def in_threads(count, work):
    start = threading.Barrier(count)

    def run(i):
        start.wait(wire.DEADLINE)
        work(i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.DEADLINE)


# ---- together ----------------------------------------------------------------------------------------------

def test_issued_at_one_good_at_both(fleet):
    one, two = fleet
    ticket = issue(one, "alice", device="d", icaAddress=lab.MAIL)
    for gateway in (two, one, two):
        assert shown(gateway, ticket["ticket"], "ok")["user"] == "alice"
        client = gateway.client()
        assert client.socks(ticket["ticket"]) == 0
        client.echoes()
        client.ended("ok", None, user="alice", device="d", target=lab.MAIL, door="socks")
    seen = [admin(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[1] for gateway in fleet]
    assert all(t["state"] == "live" and t["expires"] == ticket["expires"] for t in seen)
    # by STA XML, too
    session = authorities.service(one).issue(user="carol")
    assert authorities.service(two).redeem(session) == "ok"
    assert authorities.service(one).redeem(session) == "ticket-used"
    shown(two, f";40;{lab.AUTHORITY};{'0' * 32}", "ticket_unknown")


def test_a_session_ticket_is_good_once_in_all(fleet):
    """Twenty clients at two gateways show it at the same moment."""
    for _ in range(3):
        ticket = issue(fleet[0], "alice", **{"class": "session"})["ticket"]
        clients = [fleet[i % 2].client() for i in range(20)]
        answers = [None] * len(clients)

        def show(i, clients=clients, answers=answers, ticket=ticket):
            answer = clients[i].connect(lab.MAIL, wire.basic(ticket))
            answers[i] = answer["X-Stagate-Reason"] or answer.status
        in_threads(len(clients), show)
        assert sorted(answers, key=str) == [200] + ["ticket_used"] * 19
        for client in clients:
            client.close()


@pytest.mark.parametrize("by", ["the administrator", "the command", "the command without a gateway"])
def test_revoked_at_one_cut_at_both(fleet, by):
    one, two = fleet
    ticket, other = issue(one, "alice"), issue(one, "bob")
    tunnels = [gateway.tunnel(ticket["ticket"]) for gateway in fleet for _ in range(4)]
    others = [gateway.tunnel(other["ticket"]) for gateway in fleet]
    if by == "the administrator":
        assert admin(one, "DELETE", f"{TICKETS}/{ticket['fingerprint']}")[0] == 200
    else:
        path = one.path
        if by == "the command without a gateway":
            path = one.folder / "alone.yaml"
            path.write_text(json.dumps({**one.conf, "admin": {}}))
        result = lab.stagate("ticket", "revoke", "-c", path, ticket["fingerprint"])
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for tunnel in tunnels:
        tunnel.conn.ends()
        tunnel.ended("ticket_revoked", None, user="alice")
    for gateway in fleet:
        shown(gateway, ticket["ticket"], "ticket_revoked")
    for tunnel in others:
        tunnel.echoes()
        tunnel.ended("ok", None)


def test_refreshed_at_one_good_at_both(make, backend, shared_redis):
    one, two = (member(make, backend, shared_redis, "?prefix=refresh", refreshable_lifetime="2s",
                       policy={"on-expiry": "cut"}) for _ in range(2))
    ticket = issue(one, "alice", **{"class": "session", "refreshable": True})
    tunnels = [gateway.tunnel(ticket["ticket"]) for gateway in (one, two)]

    def now(gateway):
        return admin(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[1]
    wire.poll(lambda: now(two)["expires"] > ticket["expires"], "the ticket to be refreshed")
    for tunnel in tunnels:
        tunnel.hello()
    # the tunnel at one is enough for both
    tunnels[1].echoes()
    seen = now(one)["expires"]
    wire.poll(lambda: now(two)["expires"] > seen, "one to refresh it on")
    shown(two, ticket["ticket"], "ok")
    tunnels[0].echoes()


def test_faults_of_tickets_are_everybodys(make, backend, shared_redis):
    """What expires or is forgotten on purpose does so for the whole fleet; standing faults are one gateway's own."""
    one, two = (member(make, backend, shared_redis, "?prefix=faults", policy={"on-expiry": "cut"}) for _ in range(2))
    ticket, other = issue(one, "alice"), issue(one, "bob")
    tunnels = [gateway.tunnel(ticket["ticket"]) for gateway in (one, two) for _ in range(2)]
    others = [gateway.tunnel(other["ticket"]) for gateway in (one, two)]
    assert fault(two, "expire", "--user", "alice").stdout == "expire: 1 tickets\n"
    for tunnel in tunnels:
        tunnel.conn.ends()
        assert tunnel.ended("ticket_expired", None)["injected"] is True
    assert shown(one, ticket["ticket"], "ticket_expired")["injected"] is True
    for tunnel in others:
        tunnel.hello()
    assert fault(two, "forget").stdout == "forget: 1 tickets\n"
    assert shown(one, other["ticket"], "ticket_unknown")["injected"] is True
    for tunnel in others:
        tunnel.echoes()
    third = issue(one, "carol")["ticket"]
    assert fault(two, "authority-down").returncode == 0
    assert told(two, third) == "authority_down" and told(one, third) == 200


@pytest.mark.parametrize("when_full", ["refuse-new", "drop-oldest"])
def test_limits_are_the_fleets(make, backend, shared_redis, when_full):
    one, two = (member(make, backend, shared_redis, f"?prefix={when_full}",
                       max_tickets={"per-user": 5, "when-full": when_full}) for _ in range(2))
    answers = [None] * 20

    def ask(i):
        answers[i] = admin((one, two)[i % 2], "POST", TICKETS, {"user": "alice"})
    in_threads(len(answers), ask)
    live = [t for t in admin(one, "GET", f"{TICKETS}?user=alice")[1]["tickets"] if t["state"] == "live"]
    assert len(live) == 5
    statuses = sorted(status for status, _ in answers)
    assert statuses == ([201] * 5 + [409] * 15 if when_full == "refuse-new" else [201] * 20)
    if when_full == "drop-oldest":
        oldest = min(live, key=lambda t: t["issued"])
        string = next(a["ticket"] for _, a in answers if a["fingerprint"] == oldest["fingerprint"])
        tunnels = [gateway.tunnel(string) for gateway in (one, two)]
        # of one millisecond any may be the oldest: all but the new ones go
        for _ in range(5):
            issue(two, "alice")
        for tunnel in tunnels:
            tunnel.conn.ends()
            tunnel.ended("ticket_revoked", None)
    assert admin(two, "POST", TICKETS, {"user": "bob"})[0] == 201


def test_pages_and_purge(make, backend, shared_redis):
    one, two = (member(make, backend, shared_redis, "?prefix=pages", keep_ended="1s") for _ in range(2))
    made = [issue(one, "u")["fingerprint"] for _ in range(130)]
    found, page = [], {"next": None}
    while "next" in page:
        page = admin(two, "GET", TICKETS + (f"?next={page['next']}" if page["next"] else ""))[1]
        found += [t["fingerprint"] for t in page["tickets"]]
    assert sorted(found) == sorted(made) and len(found) == 130
    ended = [issue(two, "ended", lifetime="1ms") for _ in range(5)]

    def purged():
        result = lab.stagate("ticket", "purge", "-c", one.path)
        assert result.returncode == 0
        return told(two, ended[4]["ticket"]) == "ticket_unknown"
    wire.poll(purged, "those that ended to be purged")
    assert len(admin(one, "GET", f"{TICKETS}?user=u")[1]["tickets"]) == 130


def test_labs_keep_apart(make, backend, shared_redis, fleet):
    """Other prefixes and other databases are other stores, though IDs and server are the same."""
    ticket = issue(fleet[0], "alice")["ticket"]
    for query in ("?prefix=other", "/1", "/1?prefix=other"):
        gateway = member(make, backend, shared_redis, query)
        shown(gateway, ticket, "ticket_unknown")
        own = issue(gateway, "alice")["ticket"]
        shown(gateway, own, "ok")
        shown(fleet[0], own, "ticket_unknown")


# ---- by the command line alone -----------------------------------------------------------------------------

def test_commands_without_a_gateway(make, backend, shared_redis):
    gateway = member(make, backend, shared_redis, "?prefix=alone", start=False, max_tickets={"per-user": 3})
    string = gateway.ticket("alice", device="phone", service=lab.MAIL)
    session = gateway.ticket("alice", cls="session")

    def run(verb, *args):
        result = lab.stagate("ticket", verb, "-c", gateway.path, *args)
        assert (result.returncode, result.stderr) == (0, ""), result
        return result.stdout
    shown_ = json.loads(run("show", "--json", string))
    assert [(t["user"], t["device"], t["state"], t["services"]) for t in shown_] == [("alice", "phone", "live", [lab.MAIL])]
    assert len(json.loads(run("list", "--json"))) == 2 and json.loads(run("list", "--json", "--user", "bob")) == []
    revoked = gateway.ticket("alice")
    result = lab.stagate("ticket", "issue", "-c", gateway.path, "--user", "alice")
    assert (result.returncode, result.stdout) == (1, "") and "could not be issued" in result.stderr
    run("revoke", revoked)
    assert run("purge") == f"{lab.AUTHORITY}: 0 purged\n"
    assert json.loads(run("show", "--json", revoked))[0]["state"] == "revoked"
    gateway.start()
    shown(gateway, string, "ok")
    shown(gateway, session, "ok")
    shown(gateway, session, "ticket_used")
    shown(gateway, revoked, "ticket_revoked")


def test_commands_without_redis(make, backend, own_redis):
    redis = own_redis()
    gateway = member(make, backend, redis, start=False)
    redis.kill()
    for args in (["list"], ["issue", "--user", "alice"], ["show", "0123456789ab"], ["purge"]):
        result = lab.stagate("ticket", args[0], "-c", gateway.path, *args[1:])
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith(("stagate: ",)) and "redis: connection refused" in result.stderr, result


# ---- Redis goes away ---------------------------------------------------------------------------------------

def finds_back(gateway, ticket, reason=200):
    """Workers and the control thread have connections of their own, and each finds back by itself."""
    answer = wire.poll(lambda: (lambda a: a != "authority_down" and a)(told(gateway, ticket)), "a worker to find back")
    assert answer == reason
    return wire.poll(lambda: admin(gateway, "GET", TICKETS)[0] == 200, "the control thread to find back")


def test_killed_and_back_with_everything(make, backend, own_redis):
    redis = own_redis("--appendonly", "yes", "--appendfsync", "always")
    fleet = [member(make, backend, redis) for _ in range(2)]
    one, two = fleet
    ticket, used = issue(one, "alice"), issue(one, "alice", **{"class": "session"})
    revoked, session = issue(one, "alice"), issue(one, "alice", **{"class": "session"})
    assert told(two, used["ticket"]) == 200
    assert admin(two, "DELETE", f"{TICKETS}/{revoked['fingerprint']}")[0] == 200
    tunnels = [gateway.tunnel(ticket["ticket"]) for gateway in fleet]
    redis.kill()

    for gateway in fleet:
        for string in (ticket["ticket"], session["ticket"]):
            entry = shown(gateway, string, "authority_down")
            assert entry["detail"] in ("redis: connection refused", "redis: connection lost"), entry
        wire.poll(lambda gateway=gateway: authorities.status(gateway)[lab.AUTHORITY]["state"] == "down", "the state")
        state = authorities.status(gateway)[lab.AUTHORITY]
        assert state["cause"] == "store" and state["detail"].startswith("redis: ")
        status, answer = admin(gateway, "POST", TICKETS, {"user": "alice"})
        assert (status, answer["error"]) == (503, "store_failed")
        assert admin(gateway, "GET", TICKETS)[0] == 503
        assert authorities.service(gateway).ask(authorities.request_ticket()).error == "internal"
        assert authorities.metric(gateway, "stagate_authority_up", authority=lab.AUTHORITY) == 0
    for tunnel in tunnels:
        tunnel.hello()

    redis.start()
    for gateway in fleet:
        finds_back(gateway, ticket["ticket"])
    finds_back(one, used["ticket"], "ticket_used")
    finds_back(two, revoked["ticket"], "ticket_revoked")
    finds_back(two, session["ticket"])
    finds_back(one, session["ticket"], "ticket_used")
    for gateway in fleet:
        wire.poll(lambda gateway=gateway: authorities.status(gateway)[lab.AUTHORITY]["state"] == "up", "the state")
    # what is told from one to the other is told again, too
    for tunnel in tunnels:
        tunnel.hello()
    assert admin(one, "DELETE", f"{TICKETS}/{ticket['fingerprint']}")[0] == 200
    for tunnel in tunnels:
        tunnel.conn.ends()
        tunnel.ended("ticket_revoked", None)


def test_revoked_while_a_gateway_did_not_hear(make, backend, own_redis):
    """One that was cut off looks after its tunnels' tickets when it is back."""
    redis = own_redis("--appendonly", "yes", "--appendfsync", "always")
    gateway = member(make, backend, redis)
    ticket, other = issue(gateway, "alice"), issue(gateway, "bob")
    tunnels = [gateway.tunnel(ticket["ticket"]) for _ in range(3)]
    keeps = gateway.tunnel(other["ticket"])
    alone = gateway.folder / "alone.yaml"
    alone.write_text(json.dumps({**gateway.conf, "admin": {}}))
    gateway.signal(signal.SIGSTOP)
    try:
        redis.kill()
        redis.start()
        assert lab.stagate("ticket", "revoke", "-c", alone, ticket["fingerprint"]).returncode == 0
    finally:
        gateway.signal(signal.SIGCONT)
    for tunnel in tunnels:
        tunnel.conn.ends()
        tunnel.ended("ticket_revoked", None)
    keeps.echoes()


def test_killed_and_back_with_nothing(make, backend, own_redis):
    redis = own_redis()
    gateway = member(make, backend, redis)
    ticket = issue(gateway, "alice")
    tunnel = gateway.tunnel(ticket["ticket"])
    redis.kill()
    shown(gateway, ticket["ticket"], "authority_down")
    redis.start()
    finds_back(gateway, ticket["ticket"], "ticket_unknown")
    finds_back(gateway, issue(gateway, "alice")["ticket"])
    tunnel.echoes()  # forgetting cuts nobody
    tunnel.ended("ok", None)


def test_redis_that_does_not_answer(make, backend, own_redis):
    """Stopped, not dead: connections stand, and nothing comes."""
    redis = own_redis()
    gateway = member(make, backend, redis, timeout="300ms")
    ticket, session = issue(gateway, "alice")["ticket"], issue(gateway, "alice", **{"class": "session"})["ticket"]
    tunnel = gateway.tunnel(ticket)
    redis.process.send_signal(signal.SIGSTOP)
    try:
        for string in (ticket, session, ticket):
            shown(gateway, string, "authority_down", "redis: no answer in time")
        assert admin(gateway, "POST", TICKETS, {"user": "alice"})[0] == 503
        result = lab.stagate("ticket", "list", "-c", gateway.path)
        assert (result.returncode, result.stdout) == (1, "")
        tunnel.hello()
    finally:
        redis.process.send_signal(signal.SIGCONT)
    finds_back(gateway, ticket)
    # asked and not answered: spent or not, but never twice
    first = wire.poll(lambda: (lambda a: a != "authority_down" and a)(told(gateway, session)), "a worker to find back")
    assert first in (200, "ticket_used")
    finds_back(gateway, session, "ticket_used")
    tunnel.echoes()


def test_stopping_while_redis_does_not_answer(make, backend, own_redis):
    redis = own_redis()
    gateway = member(make, backend, redis, timeout="1s")
    ticket = issue(gateway, "alice")["ticket"]
    redis.process.send_signal(signal.SIGSTOP)
    try:
        waiting = gateway.client()
        waiting.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket)))
        gateway.signal(signal.SIGTERM)
        waiting.conn.ends()
        waiting.ended("shutting_down", None)
        gateway.stop()
    finally:
        redis.process.send_signal(signal.SIGCONT)


def test_starting_while_redis_is_away(make, backend, own_redis):
    redis = own_redis("--appendonly", "yes", "--appendfsync", "always")
    first = member(make, backend, redis)
    ticket = issue(first, "alice")["ticket"]
    redis.kill()
    gateway = member(make, backend, redis)
    shown(gateway, ticket, "authority_down", "redis: connection refused")
    assert first.reload()["event"] == "reloaded"
    redis.start()
    for g in (gateway, first):
        finds_back(g, ticket)


# ---- passwords ---------------------------------------------------------------------------------------------

def test_a_password(make, backend, own_redis, tmp_path):
    redis = own_redis("--requirepass", "sesame open")
    password = tmp_path / "password"
    password.write_text("sesame open\n")
    gateway = member(make, backend, redis, password_file=str(password))
    ticket = issue(gateway, "alice")["ticket"]
    shown(gateway, ticket, "ok")
    assert json.loads(lab.stagate("ticket", "list", "--json", "-c", gateway.path).stdout)

    # a wrong one, none, and a file that is not there
    password.write_text("sesame shut\n")
    wrong = member(make, backend, redis, password_file=str(password))
    shown(wrong, ticket, "authority_down", "redis: authentication failed")
    none = member(make, backend, redis)
    shown(none, ticket, "authority_down", "redis: authentication failed")
    result = lab.stagate("ticket", "list", "-c", wrong.path)
    assert result.returncode == 1
    gateway.stop()
    result = lab.stagate("ticket", "list", "-c", gateway.path)
    assert (result.returncode, result.stdout) == (1, "") and "redis: authentication failed" in result.stderr
    # the file is read again at each connection
    password.write_text("sesame open\n")
    finds_back(wrong, ticket)
    for g in (gateway, wrong, none):
        assert not any("sesame" in line for line in g.lines)


def test_a_user_with_a_password(make, backend, own_redis, tmp_path):
    redis = own_redis("--user", "lab", "on", ">secret", "~stagate*", "&stagate*", "+@all", "--user", "default", "off")
    password = tmp_path / "password"
    password.write_text("lab:secret\n")
    gateway = member(make, backend, redis, password_file=str(password))
    shown(gateway, issue(gateway, "alice")["ticket"], "ok")
