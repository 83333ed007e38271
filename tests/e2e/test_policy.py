"""Where a ticket may lead: the policy's services, the ticket's own, the address behind a name, and what became of the
connection to it."""
import socket

import pytest

import backends
import lab
import wire


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


def outcome(gateway, ticket, target, expected=None):
    """What CONNECT is told and what the log tells: the same reason. Returns the log line."""
    client = gateway.client()
    answer = client.connect(target, wire.basic(ticket))
    reason = answer["X-Stagate-Reason"] or "ok"
    assert answer.status == lab.reasons_table()[reason]["http"]
    if reason == "ok":
        client.conn.shutdown_write()
        client.conn.recv_all()
    entry = client.ended(reason)
    assert expected is None or reason == expected, entry
    assert entry.get("detail") == answer["X-Stagate-Detail"]
    return entry


# ---- lists -------------------------------------------------------------------------------------------------

LISTS = {  # (the policy's list, {target: reason})
    "nothing": ("", {"mail.example.com:443": "service_not_listed"}),
    "one": ("mail.example.com:443", {"mail.example.com:443": "ok", "MAIL.EXAMPLE.COM:443": "ok",
                                     "mail.example.com.:443": "ok", "mail.example.com:80": "service_not_listed",
                                     "push.example.com:443": "service_not_listed",
                                     "example.com:443": "service_not_listed"}),
    "as published, with blanks": ("mail.example.com: 443, push.example.com :443",
                                  {"mail.example.com:443": "ok", "push.example.com:443": "ok"}),
    "capitals, trailing dot": (["MAIL.Example.com.:443"], {"mail.example.com:443": "ok"}),
    "wildcard": (["*.example.com:443"], {"mail.example.com:443": "ok", "a.b.example.com:443": "ok",
                                         "example.com:443": "service_not_listed",
                                         "badexample.com:443": "service_not_listed",
                                         "mail.example.com:444": "service_not_listed",
                                         "mail.example.com.evil.example:443": "service_not_listed"}),
    "IDN": (["xn--bcher-kva.example:443"], {"XN--BCHER-KVA.example:443": "ok",
                                            "bcher.example:443": "service_not_listed"}),
    "addresses": (["192.0.2.1:443", "[2001:db8::1]:443"],
                  {"192.0.2.1:443": "ok", "[2001:db8:0::1]:443": "ok", "192.0.2.2:443": "service_not_listed",
                   "[2001:db8::2]:443": "service_not_listed"}),
}


@pytest.mark.parametrize("listed, targets", LISTS.values(), ids=LISTS)
def test_lists(make, backend, listed, targets):
    services = [lab.service(backend, name, tls_floor="none") for name in
                ("mail.example.com:443", "push.example.com:443", "*.example.com:443", "xn--bcher-kva.example:443",
                 "192.0.2.1:443", "[2001:db8::1]:443")]
    gateway = make.gateway(services, listed=listed)
    gateway.expect_output("is not in background-network-services", "is empty: no client can reach")
    ticket = gateway.ticket()
    for target, reason in targets.items():
        outcome(gateway, ticket, target, reason)


def test_the_tickets_own_services(make, backend):
    """A ticket's list narrows the policy's, and cannot widen it."""
    gateway = make.gateway([lab.service(backend, "*.example.com:443", tls_floor="none")])
    cases = [([], {"mail.example.com:443": "ok", "push.example.com:443": "ok"}),
             (["mail.example.com:443"], {"mail.example.com:443": "ok", "MAIL.example.com:443": "ok",
                                         "push.example.com:443": "service_not_in_ticket"}),
             (["*.push.example.com:443"], {"a.push.example.com:443": "ok", "mail.example.com:443": "service_not_in_ticket"}),
             (["mail.example.com:443", "other.example.org:443"], {"other.example.org:443": "service_not_listed",
                                                                  "mail.example.com:443": "ok"})]
    for services, targets in cases:
        ticket = gateway.ticket(service=services)
        for target, reason in targets.items():
            outcome(gateway, ticket, target, reason)


def test_an_exact_entry_comes_before_a_wildcard(make, backend):
    other = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, "*.example.com:443", tls_floor="none"),
                            lab.service(other, "mail.example.com:443", tls_floor="none")])
    ticket = gateway.ticket()
    assert outcome(gateway, ticket, "mail.example.com:443", "ok")["address"] == other.address
    assert outcome(gateway, ticket, "push.example.com:443", "ok")["address"] == backend.address


@pytest.mark.parametrize("access", ["unrestricted", "blocked"])
def test_network_access(make, backend, access):
    """Told before the ticket is looked at: a session ticket is not spent on it."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")], policy={"network-access": access})
    ticket = gateway.ticket(cls="session")
    for _ in range(2):
        outcome(gateway, ticket, lab.MAIL, f"network_{access}")
    client = gateway.client()
    assert client.socks(ticket) == lab.reasons_table()[f"network_{access}"]["socks"]
    client.ended(f"network_{access}", None, door="socks")
    gateway.conf["policy"]["network-access"] = "tunneled"
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    outcome(gateway, ticket, lab.MAIL, "ok")


# ---- addresses ---------------------------------------------------------------------------------------------

def test_loopback_needs_an_override(make, backend):
    """A listed name that resolves to loopback is refused; the same address in a connect override is not."""
    names = [f"localhost:{backend.port}", backend.address, f"[::1]:{backend.port}",
             f"[::ffff:127.0.0.1]:{backend.port}", f"[64:ff9b::7f00:1]:{backend.port}", f"0.0.0.0:{backend.port}",
             f"[::]:{backend.port}", f"169.254.169.254:{backend.port}", f"[fe80::1]:{backend.port}",
             f"224.0.0.1:{backend.port}", f"[ff02::1]:{backend.port}"]
    overridden = f"127.0.0.2:{backend.port}"
    gateway = make.gateway([lab.service(backend, overridden, tls_floor="none")], listed=names + [overridden])
    ticket = gateway.ticket()
    for name in names:
        entry = outcome(gateway, ticket, name, "address_not_allowed")
        assert "address" not in entry  # nothing was dialled
    assert outcome(gateway, ticket, overridden, "ok")["address"] == backend.address
    assert len(backend.accepted) > 0


def test_a_ticket_is_spent_before_the_address_is_known(make, backend):
    gateway = make.gateway(listed=[f"localhost:{backend.port}"])
    ticket = gateway.ticket(cls="session")
    client = gateway.client()
    assert client.socks(ticket) == lab.reasons_table()["address_not_allowed"]["socks"]
    client.ended("address_not_allowed", target=f"localhost:{backend.port}")


# ---- backends that cannot be reached -----------------------------------------------------------------------

class Full:
    """A listening socket that takes no more: connections to it are neither accepted nor refused."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.fillers = []
        while True:
            filler = socket.socket()
            filler.settimeout(0.2)
            self.fillers.append(filler)
            try:
                filler.connect(self.sock.getsockname())
            except TimeoutError:
                return

    def close(self):
        for filler in self.fillers:
            filler.close()
        self.sock.close()


@pytest.fixture
def full():
    full = Full()
    yield full
    full.close()


@pytest.fixture
def closed_port():
    """A port that nobody listens on, and that nobody gets meanwhile: it is bound."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    yield "127.0.0.1:%d" % sock.getsockname()[1]
    sock.close()


def both_doors(gateway, ticket, target, reason, **fields):
    """CONNECT's status and SOCKS' reply, beside the log."""
    entry = outcome(gateway, ticket, target, reason)
    host, _, port = target.rpartition(":")
    client = gateway.client()
    assert client.socks(host, int(port), password=ticket) == lab.reasons_table()[reason]["socks"]
    again = client.ended(reason, entry.get("detail"), door="socks", target=target)
    for name, value in fields.items():
        assert entry.get(name) == again.get(name) == value
    return entry


def test_refused(make, closed_port):
    gateway = make.gateway([{"name": lab.MAIL, "connect": closed_port}])
    entry = both_doors(gateway, gateway.ticket(), lab.MAIL, "backend_refused", address=closed_port)
    assert "refused" in entry["detail"]


def test_timeout(make, full):
    gateway = make.gateway([{"name": lab.MAIL, "connect": full.address}], timeouts={"connect": "200ms"})
    entry = both_doors(gateway, gateway.ticket(), lab.MAIL, "backend_timeout", address=full.address)
    assert "timed out" in entry["detail"]


def test_unresolved(make):
    """.invalid never exists (RFC 6761). A resolver that gives no answer at all comes to the same reason."""
    gateway = make.gateway(listed=["mail.invalid:443"], timeouts={"connect": "3s"})
    entry = both_doors(gateway, gateway.ticket(), "mail.invalid:443", "backend_unresolved")
    assert entry["detail"] and "address" not in entry


def test_an_override_may_be_a_name(make, backend):
    gateway = make.gateway([{"name": lab.MAIL, "connect": f"localhost:{backend.port}", "tls-floor": "none"}])
    assert outcome(gateway, gateway.ticket(), lab.MAIL, "ok")["address"] == backend.address


def test_every_address_is_tried(make, backend):
    """localhost is ::1 and 127.0.0.1 in most places; the backend listens on the latter only."""
    addresses = {a[4][0] for a in socket.getaddrinfo("localhost", backend.port, type=socket.SOCK_STREAM)}
    if len(addresses) < 2:
        pytest.skip(f"localhost is only {addresses} here")
    gateway = make.gateway([{"name": lab.MAIL, "connect": f"localhost:{backend.port}", "tls-floor": "none"}])
    for _ in range(3):
        assert outcome(gateway, gateway.ticket(), lab.MAIL, "ok")["address"] == backend.address


def test_an_ipv6_backend(make):
    backend = make.backend(backends.echo, family=socket.AF_INET6)
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    assert outcome(gateway, gateway.ticket(), lab.MAIL, "ok")["address"] == backend.address


def test_a_client_that_leaves_while_the_gateway_dials(make, full):
    gateway = make.gateway([{"name": lab.MAIL, "connect": full.address}], timeouts={"connect": "300ms"})
    client = gateway.client()
    client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(gateway.ticket())))
    gone = gateway.client()
    gone.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(gateway.ticket())))
    gone.tcp.reset()
    client.ended("backend_timeout")
    assert gateway.connection(gone)["reason"] in ("backend_timeout", "client_gone")
