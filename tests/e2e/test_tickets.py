"""The life of tickets: how often and how long they open a tunnel, and what a client is told when they no longer do."""
import json
import resource
import signal
import threading

import pytest

import backends
import lab
import wire


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module")
def gateway(make_shared, backend):
    return make_shared.gateway([lab.service(backend, tls_floor="none")])


def states(gateway):
    """Every ticket's state by its fingerprint, as the command line tells it."""
    return {t["ticket"]: t["state"]
            for t in json.loads(lab.stagate("ticket", "list", "--json", "-c", gateway.path).stdout)}


def opens(gateway, ticket):
    client = gateway.tunnel(ticket)
    client.echoes()
    return client.ended("ok")


def refused(gateway, ticket, reason):
    client = gateway.client()
    answer = client.connect(lab.MAIL, wire.basic(ticket))
    assert (answer.status, answer["X-Stagate-Reason"]) == (lab.reasons_table()[reason]["http"], reason)
    return client.ended(reason)


def test_a_background_ticket_opens_any_number(gateway):
    ticket = gateway.ticket()
    fingerprints = {opens(gateway, ticket)["ticket"] for _ in range(10)}
    assert len(fingerprints) == 1 and states(gateway)[fingerprints.pop()] == "live"


def test_a_session_ticket_opens_one(gateway):
    ticket = gateway.ticket(cls="session", user="carol", device="d1")
    entry = opens(gateway, ticket)
    assert states(gateway)[entry["ticket"]] == "used"
    for _ in range(2):
        again = refused(gateway, ticket, "ticket_used")
        # who it was is known all the same
        assert (again["ticket"], again["user"], again["device"]) == (entry["ticket"], "carol", "d1")


def test_a_session_ticket_is_used_up_by_a_refusal_too(gateway):
    """Redeeming comes before the policy: a ticket shown for a service that is not listed is spent."""
    ticket = gateway.ticket(cls="session")
    client = gateway.client()
    assert client.connect("other.example.com:443", wire.basic(ticket))["X-Stagate-Reason"] == "service_not_listed"
    client.ended("service_not_listed")
    refused(gateway, ticket, "ticket_used")


def test_of_twenty_at_once_one_wins(gateway):
    """Both workers and the store's thread race for a single-use ticket."""
    for _ in range(3):
        ticket = gateway.ticket(cls="session")
        clients = [gateway.client() for _ in range(20)]
        start = threading.Barrier(len(clients))
        told = {}

        def ask(client):
            start.wait(wire.DEADLINE)
            answer = client.connect(lab.MAIL, wire.basic(ticket))
            told[client] = answer["X-Stagate-Reason"] or answer.status

        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(wire.DEADLINE)
        assert sorted(told.values(), key=str) == [200] + ["ticket_used"] * 19
        for client in clients:
            if told[client] == 200:
                client.conn.shutdown_write()
                assert client.conn.recv_all() == b""
                client.ended("ok")
            else:
                client.ended("ticket_used")


def test_expiry(gateway):
    """A ticket's own lifetime; an open tunnel outlives it."""
    for cls in ("background", "session"):
        ticket = gateway.ticket(cls=cls, lifetime="1ms")
        entry = wire.poll(lambda: expired(gateway, ticket), "the ticket to expire")
        assert entry["user"] == "alice" and states(gateway)[entry["ticket"]] == "expired"

    ticket = gateway.ticket(lifetime="1500ms")
    client = gateway.tunnel(ticket)
    wire.poll(lambda: expired(gateway, ticket), "the ticket to expire")
    client.conn.sendall(b"still here")
    assert client.conn.recv_exact(10) == b"still here"
    client.close()


def expired(gateway, ticket):
    client = gateway.client()
    answer = client.connect(lab.MAIL, wire.basic(ticket))
    if answer["X-Stagate-Reason"] != "ticket_expired":
        assert answer.status == 200
        client.close()
        return None
    assert answer.status == 407
    return client.ended("ticket_expired", None)


def test_the_policys_lifetime(make, backend):
    """background-services-ticket-expiration is the default of background tickets; a bare number is hours."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")],
                           policy={"background-services-ticket-expiration": "1s"})
    ticket = gateway.ticket()
    opens(gateway, ticket)
    wire.poll(lambda: expired(gateway, ticket), "the ticket to expire")


def test_revoking(gateway):
    ticket = gateway.ticket(user="dave")
    entry = opens(gateway, ticket)
    tunnel = gateway.tunnel(ticket)
    result = lab.stagate("ticket", "revoke", "-c", gateway.path, ticket)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert refused(gateway, ticket, "ticket_revoked")["user"] == "dave"
    assert states(gateway)[entry["ticket"]] == "revoked"
    # what is open is cut: the gateway hears of it from the store
    tunnel.conn.ends()
    tunnel.ended("ticket_revoked", None, user="dave")


def test_an_unknown_ticket_is_logged_by_its_fingerprint(gateway):
    a = refused(gateway, f";40;{lab.AUTHORITY};{'A' * 32}", "ticket_unknown")
    b = refused(gateway, f";40;{lab.AUTHORITY};{'B' * 32}", "ticket_unknown")
    assert a["ticket"] != b["ticket"] and "user" not in a and a["authority"] == lab.AUTHORITY


def test_tickets_survive_kill_9(make, backend):
    """Acknowledged is on disk: issued, used and revoked."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    good, used, revoked = gateway.ticket(), gateway.ticket(cls="session"), gateway.ticket()
    opens(gateway, good)
    opens(gateway, used)
    assert lab.stagate("ticket", "revoke", "-c", gateway.path, revoked).returncode == 0
    gateway.kill()
    gateway.start()
    opens(gateway, good)
    refused(gateway, used, "ticket_used")
    refused(gateway, revoked, "ticket_revoked")


def test_kill_9_under_load(make, backend):
    """Session tickets redeemed while the gateway is killed: whoever got a 200 has used up the ticket."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    tickets = [gateway.ticket(cls="session") for _ in range(30)]
    clients = [gateway.client() for _ in tickets]
    won = []

    def ask(client, ticket):
        try:
            if client.connect(lab.MAIL, wire.basic(ticket)).status == 200:
                won.append(ticket)
        except (OSError, AssertionError):
            pass  # the gateway is gone

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(clients, tickets)]
    for thread in threads:
        thread.start()
    wire.poll(lambda: won, "a first one to win")
    gateway.kill()
    for thread in threads:
        thread.join(wire.DEADLINE)
    gateway.start()
    for ticket in tickets:
        client = gateway.client()
        answer = client.connect(lab.MAIL, wire.basic(ticket))
        if ticket in won:
            assert answer["X-Stagate-Reason"] == "ticket_used"
        else:  # redeemed without an answer, or not at all
            assert answer.status == 200 or answer["X-Stagate-Reason"] == "ticket_used"
        client.close()


def test_a_memory_store_forgets_at_a_restart(make, backend):
    """Nobody issues into it from outside yet, so that the command line says where tickets have to be."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")],
                           authorities=[{"id": lab.AUTHORITY, "store": "memory:"}])
    result = lab.stagate("ticket", "issue", "-c", gateway.path, "--user", "alice")
    assert (result.returncode, result.stdout) == (1, "")
    assert "in the memory of the gateway, and no gateway answers" in result.stderr and "lmdb:PATH" in result.stderr
    refused(gateway, f";40;{lab.AUTHORITY};{'A' * 32}", "ticket_unknown")
    gateway.stop()
    gateway.start()
    refused(gateway, f";40;{lab.AUTHORITY};{'A' * 32}", "ticket_unknown")


def test_purged_tickets_are_unknown(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")],
                           authorities=[{"id": lab.AUTHORITY, "store": "lmdb:tickets", "keep-ended": "1s"}])
    live, used = gateway.ticket(), gateway.ticket(cls="session")
    opens(gateway, used)

    def purged():
        result = lab.stagate("ticket", "purge", "-c", gateway.path)
        assert result.returncode == 0 and result.stdout.startswith(lab.AUTHORITY + ": ")
        client = gateway.client()
        reason = client.connect(lab.MAIL, wire.basic(used))["X-Stagate-Reason"]
        client.close()
        return reason == "ticket_unknown"
    wire.poll(purged, "the purge to take the used ticket")
    refused(gateway, used, "ticket_unknown")
    opens(gateway, live)


def test_ended_tickets_are_kept_by_default(gateway):
    ticket = gateway.ticket(cls="session")
    opens(gateway, ticket)
    result = lab.stagate("ticket", "purge", "-c", gateway.path)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{lab.AUTHORITY}: 0 purged\n", "")
    refused(gateway, ticket, "ticket_used")


def test_two_gateways_on_one_store(make, backend):
    """A session ticket is redeemed once in all, not once in each."""
    one = make.gateway([lab.service(backend, tls_floor="none")])
    store = str(one.folder / "tickets")
    two = make.gateway([lab.service(backend, tls_floor="none")],
                       authorities=[{"id": lab.AUTHORITY, "store": f"lmdb:{store}"}])
    ticket = one.ticket(cls="session")
    opens(two, ticket)
    refused(one, ticket, "ticket_used")
    background = two.ticket()
    opens(one, background)


def test_a_store_that_cannot_write_is_authority_down(make, backend):
    """As on a full disk. What needs no write goes on, and so does the gateway."""
    def no_room_for_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # stays ignored in the gateway, which then sees an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False)
    session, background = gateway.ticket(cls="session"), gateway.ticket()
    gateway.start(before_exec=no_room_for_files)
    entry = refused(gateway, session, "authority_down")
    assert (entry["detail"], entry["authority"]) == ("the ticket store is full", lab.AUTHORITY)
    opens(gateway, background)
    gateway.stop()
    gateway.start()
    opens(gateway, session)
