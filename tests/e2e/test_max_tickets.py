"""max-tickets: how many live tickets there may be, who is told what at the limit, and who gives way."""
import threading

import pytest

import authorities
import backends
import issuing
import lab
import wire
from issuing import PASSWORD, TICKETS, admin, ask, issue, told

STORES = ["lmdb:tickets", "memory"]


@pytest.fixture
def run(make):
    backend = make.backend(backends.echo)

    def run(store="lmdb:tickets", **limits):
        gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False, admin=issuing.ADMIN, **{
            "authorities": [authorities.embedded(store=store, max_tickets={k.replace("_", "-"): v for k, v in limits.items()})],
            "sign-in": {"htpasswd": "users"}})
        issuing.write_users(gateway.folder / "users", alice=issuing.sha512(PASSWORD))
        return gateway.start()
    return run


def tries(gateway, user, **wish):
    """The ticket's document, or the error."""
    status, answer = admin(gateway, "POST", TICKETS, {"user": user, **wish})
    assert (status, answer.get("error")) in ((201, None), (409, "too_many_tickets")), answer
    return answer


def in_turn(gateway, user, **wish):
    """Issues one that is older than the next: of one millisecond, either may count as the older one."""
    ticket = issue(gateway, user, **wish)
    wire.poll(lambda: admin(gateway, "GET", "/v1/status")[1]["now"] > ticket["issued"], "the next millisecond")
    return ticket


def full(gateway, user, **wish):
    return tries(gateway, user, **wish).get("error") == "too_many_tickets"


def revoke(gateway, ticket):
    assert admin(gateway, "DELETE", f"{TICKETS}/{ticket['fingerprint']}")[0] == 200


def state(gateway, ticket):
    return admin(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[1]["state"]


def request_ticket(gateway):
    """An issuer asks for one: the answer."""
    return authorities.service(gateway).ask(authorities.request_ticket(user="carol"))


# ---- refuse-new --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("store", STORES)
def test_per_user(run, store):
    gateway = run(store, per_user=3)
    mine = [issue(gateway, "alice", device=f"d{i}") for i in range(3)]
    assert full(gateway, "alice") and full(gateway, "alice", **{"class": "session"})
    # everybody is told in their own way
    status, answer = ask(gateway, "POST", body={})
    assert (status, answer["error"]) == (409, "too_many_tickets") and "as many live tickets" in answer["message"]
    gateway.wait_log("the refusal", event="api", result="too_many_tickets", user="alice", status=409)
    result = lab.stagate("ticket", "issue", "-c", gateway.path, "--user", "alice")
    assert (result.returncode, result.stdout) == (1, "") and "as many live tickets" in result.stderr
    # others are not concerned, and those that are there stay as they are
    issue(gateway, "bob")
    assert [state(gateway, t) for t in mine] == ["live"] * 3 and told(gateway, mine[0]["ticket"]) == 200
    # whatever ends makes room: revoked, used, expired
    revoke(gateway, mine[0])
    session = issue(gateway, "alice", **{"class": "session"})
    assert full(gateway, "alice")
    assert told(gateway, session["ticket"]) == 200
    issue(gateway, "alice", lifetime="1ms")
    wire.poll(lambda: not full(gateway, "alice"), "the expired one to make room")
    assert full(gateway, "alice")


def test_by_the_command_without_a_gateway(run):
    gateway = run(per_user=2)
    gateway.stop()
    for _ in range(2):
        gateway.ticket("alice")
    result = lab.stagate("ticket", "issue", "-c", gateway.path, "--user", "alice")
    assert (result.returncode, result.stdout) == (1, "") and "the ticket could not be issued: " in result.stderr
    gateway.ticket("bob")
    gateway.start()
    assert full(gateway, "alice") and not full(gateway, "bob")


@pytest.mark.parametrize("store", STORES)
def test_per_device(run, store):
    gateway = run(store, per_device=1)
    phone = issue(gateway, "alice", device="phone")
    assert full(gateway, "alice", device="phone")
    issue(gateway, "alice", device="tablet")
    issue(gateway, "bob", device="phone")  # a device of that name, but another one's
    issue(gateway, "alice")  # without a name: one device more
    assert full(gateway, "alice")
    revoke(gateway, phone)
    assert not full(gateway, "alice", device="phone")


@pytest.mark.parametrize("store", STORES)
def test_in_all(run, store):
    gateway = run(store, total=3)
    tickets = [issue(gateway, f"user{i}") for i in range(2)]
    assert request_ticket(gateway).ticket
    for user in ("user0", "another"):
        assert full(gateway, user)
    # an issuer is told, too
    answer = request_ticket(gateway)
    assert (answer.kind, answer.error) == ("ResponseTicket", "limit") and answer.element.find("Ticket") is None
    revoke(gateway, tickets[0])
    assert not full(gateway, "another")


@pytest.mark.parametrize("store", STORES)
def test_no_more_than_that_at_once(run, store):
    """However many ask at the same moment."""
    gateway = run(store, per_user=5)
    start, got = threading.Barrier(20), []

    def ask_for_one():
        start.wait(wire.DEADLINE)
        got.append(full(gateway, "alice"))
    threads = [threading.Thread(target=ask_for_one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.DEADLINE)
    assert sorted(got) == [False] * 5 + [True] * 15


# ---- drop-oldest -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("store", STORES)
def test_the_oldest_of_a_user_gives_way(run, store):
    gateway = run(store, per_user=2, when_full="drop-oldest")
    tickets = [in_turn(gateway, "alice", device=f"d{i}") for i in range(2)]
    other = in_turn(gateway, "bob")
    tunnels = [gateway.tunnel(t["ticket"]) for t in tickets for _ in range(2)]
    third = in_turn(gateway, "alice")
    # revoked, and its tunnels cut; nobody else's
    for tunnel in tunnels[:2]:
        tunnel.conn.ends()
        tunnel.ended("ticket_revoked", None, device="d0")
    assert told(gateway, tickets[0]["ticket"]) == "ticket_revoked"
    assert [state(gateway, t) for t in (*tickets, third, other)] == ["revoked", "live", "live", "live"]
    for tunnel in tunnels[2:]:
        tunnel.echoes()
    # which is the oldest is a matter of issuing, not of who ends first
    short = in_turn(gateway, "carol", lifetime="1h")
    long = in_turn(gateway, "carol")
    shorter = in_turn(gateway, "carol", lifetime="1m")
    assert [state(gateway, t) for t in (short, long, shorter)] == ["revoked", "live", "live"]
    in_turn(gateway, "carol")
    assert [state(gateway, t) for t in (long, shorter)] == ["revoked", "live"]


@pytest.mark.parametrize("store", STORES)
def test_the_oldest_of_a_device_gives_way(run, store):
    gateway = run(store, per_device=1, when_full="drop-oldest")
    old, tablet = in_turn(gateway, "alice", device="phone"), in_turn(gateway, "alice", device="tablet")
    tunnel = gateway.tunnel(old["ticket"])
    new = in_turn(gateway, "alice", device="phone")
    tunnel.conn.ends()
    tunnel.ended("ticket_revoked", None, device="phone")
    assert [state(gateway, t) for t in (old, tablet, new)] == ["revoked", "live", "live"]


@pytest.mark.parametrize("store", STORES)
def test_of_all_the_one_that_would_end_first_gives_way(run, store):
    gateway = run(store, total=2, when_full="drop-oldest")
    long, short = in_turn(gateway, "alice"), in_turn(gateway, "bob", lifetime="1h")
    tunnel = gateway.tunnel(short["ticket"])
    assert request_ticket(gateway).ticket
    tunnel.conn.ends()
    tunnel.ended("ticket_revoked", None, user="bob")
    assert [state(gateway, t) for t in (long, short)] == ["live", "revoked"]


def test_dropped_by_the_command_in_the_store(make):
    """Another process issues beyond the limit: the gateway hears whom that cost his ticket."""
    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, tls_floor="none")], authorities=[
        authorities.embedded(max_tickets={"per-user": 1, "when-full": "drop-oldest"})])
    tunnel = gateway.tunnel(gateway.ticket("alice"))
    ticket = gateway.ticket("alice")
    tunnel.conn.ends()
    tunnel.ended("ticket_revoked", None, user="alice")
    assert told(gateway, ticket) == 200


# ---- reload ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("store", STORES)
def test_a_reload_changes_the_limits(run, store):
    gateway = run(store)
    tickets = [in_turn(gateway, "alice") for _ in range(4)]

    def now(**limits):
        gateway.conf["authorities"][0]["max-tickets"] = {k.replace("_", "-"): v for k, v in limits.items()}
        assert gateway.reload(gateway.conf)["event"] == "reloaded"
    now(per_user=2)
    # nobody loses what he has by that
    assert [state(gateway, t) for t in tickets] == ["live"] * 4 and full(gateway, "alice")
    now(per_user=5)
    tickets.append(issue(gateway, "alice"))
    assert full(gateway, "alice")
    now(per_user=5, when_full="drop-oldest")
    in_turn(gateway, "alice")
    assert [state(gateway, t) for t in tickets] == ["revoked"] + ["live"] * 4
    now()
    assert not full(gateway, "alice")
