"""Revoking cuts: every tunnel of that ticket, at both doors and on all workers, whoever revoked it and from wherever;
and no other."""
import threading

import pytest

import authorities
import backends
import issuing
import lab
import wire
from issuing import PASSWORD, TICKETS, admin, ask, issue, told

WORKERS = 4


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


def start(make, backend, **sections):
    gateway = make.gateway([lab.service(backend, tls_floor="none")], workers=WORKERS, start=False, **{
        "authorities": [authorities.embedded()], "sign-in": {"htpasswd": "users"}, **sections})
    issuing.write_users(gateway.folder / "users", alice=issuing.sha512(PASSWORD))
    return gateway.start()


@pytest.fixture(scope="module")
def with_socket(make_shared, backend):
    return start(make_shared, backend, admin=issuing.ADMIN)


@pytest.fixture(scope="module")
def without_socket(make_shared, backend):
    return start(make_shared, backend)


def tunnels_of(gateway, ticket, count=6):
    tunnels = gateway.tunnels(ticket, count)
    for tunnel in tunnels:
        tunnel.hello()
    return tunnels


def all_cut(tunnels, **fields):
    for tunnel in tunnels:
        tunnel.conn.ends()
        entry = tunnel.ended("ticket_revoked", None, **fields)
        assert "injected" not in entry


def refused_at_both_doors(gateway, ticket):
    assert told(gateway, ticket) == "ticket_revoked"
    client = gateway.client()
    host, _, port = lab.MAIL.rpartition(":")
    assert client.socks(host, int(port), password=ticket) == lab.reasons_table()["ticket_revoked"]["socks"]
    client.ended("ticket_revoked")


# ---- by whom -----------------------------------------------------------------------------------------------

def by_its_user(gateway, ticket):
    assert ask(gateway, "DELETE", f"{TICKETS}/{ticket['fingerprint']}")[0] == 200


def by_the_administrator(gateway, ticket):
    assert admin(gateway, "DELETE", f"{TICKETS}/{ticket['fingerprint']}")[0] == 200


def by_command(gateway, ticket):
    result = lab.stagate("ticket", "revoke", "-c", gateway.path, ticket["fingerprint"])
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


WAYS = {  # with an admin socket, the command asks the gateway; without, it writes into the store by itself
    "its user": (True, by_its_user),
    "the administrator": (True, by_the_administrator),
    "the command, by the socket": (True, by_command),
    "the command, in the store": (False, by_command),
}


@pytest.mark.parametrize("socket, revoke", WAYS.values(), ids=WAYS)
def test_revoked_by(with_socket, without_socket, socket, revoke):
    gateway = with_socket if socket else without_socket
    tickets = [ask(gateway, "POST", body={"device": f"d{i}"})[1] for i in range(3)]
    tunnels = [tunnels_of(gateway, t["ticket"]) for t in tickets]
    revoke(gateway, tickets[1])
    all_cut(tunnels[1], user="alice", device="d1", ticket=tickets[1]["fingerprint"])
    refused_at_both_doors(gateway, tickets[1]["ticket"])
    for i in (0, 2):
        for tunnel in tunnels[i]:
            tunnel.echoes()
            tunnel.ended("ok", None, device=f"d{i}")
        assert told(gateway, tickets[i]["ticket"]) == 200


def test_many_at_once(without_socket):
    """More ends in one go than can be told one by one: another process revokes forty tickets."""
    gateway = without_socket
    tickets = [ask(gateway, "POST", body={})[1] for _ in range(41)]
    tunnels = [gateway.tunnel(t["ticket"]) for t in tickets]
    threads = [threading.Thread(target=by_command, args=(gateway, t)) for t in tickets[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.DEADLINE)
    all_cut(tunnels[1:])
    tunnels[0].echoes()


# ---- in which state ----------------------------------------------------------------------------------------

def test_a_memory_store(make, backend):
    gateway = start(make, backend, admin=issuing.ADMIN, authorities=[authorities.embedded(store="memory")])
    ticket, other = issue(gateway, "alice"), issue(gateway, "alice")
    tunnels, others = tunnels_of(gateway, ticket["ticket"]), tunnels_of(gateway, other["ticket"], 2)
    by_command(gateway, ticket)
    all_cut(tunnels)
    refused_at_both_doors(gateway, ticket["ticket"])
    for tunnel in others:
        tunnel.echoes()


def test_tunnels_in_every_state(make, certs, mail_context, backend):
    """In front of the inner handshake, within it, half-closed, and with much under way that nobody takes."""
    mail = make.backend(backends.echo, context=mail_context)
    push, dump = "push.example.com:443", "dump.example.com:443"
    source = make.backend(backends.source(bytes(8 << 20)))
    gateway = make.gateway([lab.service(mail), lab.service(backend, push, tls_floor="none"),
                            lab.service(source, dump, tls_floor="none")], workers=2, admin=issuing.ADMIN,
                           authorities=[authorities.embedded()])
    ticket = issue(gateway, "alice")
    before, within, inside = (gateway.tunnel(ticket["ticket"]) for _ in range(3))
    within.conn.sendall(wire.first_flight(wire.client_context(), "mail.example.com")[:50])
    inside.inner_tls()
    inside.hello()
    half = gateway.tunnel(ticket["ticket"], push)
    half.hello()
    half.conn.shutdown_write()
    full = gateway.tunnel(ticket["ticket"], dump)
    wire.poll(full.tcp.readable, "bytes of the source")
    by_command(gateway, ticket)
    for tunnel in (before, within, inside, full):
        tunnel.tcp.ends()
        tunnel.ended("ticket_revoked", None)
    half.tcp.ends()
    assert half.gateway.connection(half)["reason"] in ("ticket_revoked", "ok")  # its end may have been first


@pytest.mark.parametrize("socket, revoke", WAYS.values(), ids=WAYS)
def test_used_and_expired_ones(with_socket, without_socket, socket, revoke):
    """Session tickets are used up by their first tunnel, and tunnels outlive a background ticket: both are revoked all
    the same, which cuts; what they were before they stay."""
    gateway = with_socket if socket else without_socket
    used = ask(gateway, "POST", body={"class": "session"})[1]
    expired = ask(gateway, "POST", body={"lifetime": "1s"})[1]
    tunnels = [gateway.tunnel(used["ticket"]), gateway.tunnel(expired["ticket"])]
    wire.poll(lambda: told(gateway, expired["ticket"]) == "ticket_expired", "the ticket to expire")
    assert told(gateway, used["ticket"]) == "ticket_used"
    for tunnel, ticket, before in zip(tunnels, (used, expired), ("ticket_used", "ticket_expired")):
        tunnel.hello()
        revoke(gateway, ticket)
        tunnel.conn.ends()
        tunnel.ended("ticket_revoked", None, ticket=ticket["fingerprint"])
        assert told(gateway, ticket["ticket"]) == before


def test_while_it_is_being_asked_for(make, backend):
    """Revoked between showing the ticket and the tunnel: it does not open, or is cut, but does not live on."""
    gateway = start(make, backend, admin=issuing.ADMIN)
    for _ in range(5):
        ticket = issue(gateway, "alice")
        clients = [gateway.client() for _ in range(8)]
        for client in clients[:4]:
            client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket["ticket"])))
        revoking = threading.Thread(target=by_the_administrator, args=(gateway, ticket))
        revoking.start()
        for client in clients[4:]:
            client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket["ticket"])))
        revoking.join(wire.DEADLINE)
        for client in clients:
            client.conn.ends()
            client.ended("ticket_revoked")


def test_after_a_reload(make, backend):
    """A ticket whose tunnels belong to several configurations."""
    gateway = start(make, backend, admin=issuing.ADMIN)
    ticket, other = issue(gateway, "alice"), issue(gateway, "alice")
    tunnels, others = [], []
    for limit in range(1000, 1003):
        tunnels += tunnels_of(gateway, ticket["ticket"], 4)
        others += tunnels_of(gateway, other["ticket"], 2)
        gateway.conf["limits"]["connections"] = limit
        assert gateway.reload(gateway.conf)["event"] == "reloaded"
    # the first ones of a ticket end, those of a later configuration are what is left of it
    for tunnel in others[:2]:
        tunnel.echoes()
    by_the_administrator(gateway, ticket)
    all_cut(tunnels)
    by_the_administrator(gateway, other)
    all_cut(others[2:])


def test_two_gateways_on_one_store(make, backend):
    one = start(make, backend, admin=issuing.ADMIN)
    two = start(make, backend, authorities=[authorities.embedded(store=f"lmdb:{one.folder}/tickets")])
    ticket, other = issue(one, "alice"), issue(one, "alice")
    at_one, at_two = tunnels_of(one, ticket["ticket"], 4), tunnels_of(two, ticket["ticket"], 4)
    others = tunnels_of(two, other["ticket"], 2)
    by_the_administrator(one, ticket)
    all_cut(at_one)
    all_cut(at_two)
    refused_at_both_doors(two, ticket["ticket"])
    for tunnel in others:
        tunnel.echoes()
