"""The handshake inside the tunnel: it passes untouched, is noted, and ends the tunnel where it breaks the service's
rules. An alert in clear then goes to both sides."""
import ssl

import pytest

import backends
import lab
import wire

TLS_MAIL, PUSH, PLAIN, STRICT, OLD = (
    lab.MAIL, "push.example.com:443", "traveler.example.com:80", "strict.example.com:443", "old.example.com:443")
PROTOCOL_VERSION, UNRECOGNIZED_NAME = 70, 112


@pytest.fixture(scope="module")
def servers(make_shared, certs):
    def context(lowest, highest):
        return wire.server_context(certs.mail_crt, certs.mail_key, lowest, highest)
    return {
        "any": make_shared.backend(backends.echo, context("tls1.0", "tls1.3")),
        "at most 1.1": make_shared.backend(backends.echo, context("tls1.0", "tls1.1")),
        "at most 1.2": make_shared.backend(backends.echo, context("tls1.0", "tls1.2")),
        "plain": make_shared.backend(backends.echo),
    }


@pytest.fixture(scope="module")
def gateway(make_shared, servers):
    services = [
        lab.service(servers["any"]),
        lab.service(servers["any"], PUSH, sni="match"),
        lab.service(servers["any"], STRICT, tls_floor="tls1.3"),
        lab.service(servers["any"], OLD, tls_floor="ssl3"),
        lab.service(servers["plain"], PLAIN, tls_floor="none"),
        lab.service(servers["any"], "any.example.com:443", tls_floor="none"),
        lab.service(servers["at most 1.1"], "s11.example.com:443"),
        lab.service(servers["at most 1.2"], "s12.example.com:443", tls_floor="tls1.3"),
        lab.service(servers["plain"], "echo.example.com:443"),
    ]
    return make_shared.gateway(services)


@pytest.fixture(scope="module")
def ticket(gateway):
    return gateway.ticket()


# ---- what passes -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("target, lowest, highest", [
    (TLS_MAIL, "tls1.2", "tls1.2"), (TLS_MAIL, "tls1.2", "tls1.3"), (TLS_MAIL, "tls1.0", "tls1.2"),
    (STRICT, "tls1.2", "tls1.3"), (STRICT, "tls1.3", "tls1.3"), (PUSH, "tls1.2", "tls1.3"),
    (OLD, "tls1.0", "tls1.0"), (OLD, "tls1.1", "tls1.1"), ("any.example.com:443", "tls1.0", "tls1.0"),
    ("any.example.com:443", "tls1.2", "tls1.3"),
])
def test_versions(gateway, certs, ticket, target, lowest, highest):
    """The mail server's certificate is verified from end to end: nobody is between."""
    name = target.rpartition(":")[0]
    client = gateway.tunnel(ticket, target)
    inner = client.inner_tls(wire.client_context(certs.ca_crt, lowest, highest), name)
    assert inner.ssl.version() == {"tls1.0": "TLSv1", "tls1.1": "TLSv1.1", "tls1.2": "TLSv1.2",
                                   "tls1.3": "TLSv1.3"}[highest]
    cipher = inner.ssl.cipher()[0]
    client.echoes()
    entry = client.ended("ok", None, target=target)
    assert (entry["inner"]["offered"], entry["inner"]["version"], entry["inner"]["sni"]) == (highest, highest, name)
    # the log has the standard's name, Python OpenSSL's
    if highest == "tls1.3":
        assert entry["inner"]["cipher"] == cipher
    else:
        assert entry["inner"]["cipher"].startswith("TLS_") and entry["tls"]["version"] == "tls1.3"


def test_no_server_name(gateway, ticket):
    client = gateway.tunnel(ticket)
    client.inner_tls(server_hostname=None)
    client.echoes()
    assert "sni" not in client.ended("ok")["inner"]


def test_another_server_name_where_any_will_do(gateway, ticket):
    client = gateway.tunnel(ticket)
    client.inner_tls(server_hostname="other.example.org")
    client.echoes()
    assert client.ended("ok")["inner"]["sni"] == "other.example.org"


def test_what_need_not_be_tls(gateway, ticket):
    client = gateway.tunnel(ticket, PLAIN)
    client.echoes(b"POST /servlet/traveler HTTP/1.1\r\n\r\n")
    assert "inner" not in client.ended("ok", None, target=PLAIN)


def test_server_speaks_first_where_it_need_not_be_tls(make, gateway, ticket):
    backend = make.backend(backends.says(b"220 hello\r\n"))
    own = make.gateway([lab.service(backend, tls_floor="none")])
    client = own.tunnel(own.ticket())
    assert client.conn.recv_exact(11) == b"220 hello\r\n"
    client.conn.shutdown_write()
    assert client.conn.recv_all() == b""
    client.ended("ok")


@pytest.mark.parametrize("size", [1, 7, 100])
def test_hello_in_fragments(gateway, ticket, size):
    """Records cut small, each sent by itself: it passes, and is understood."""
    client = gateway.tunnel(ticket, PUSH)

    class Fragments(wire.Conn):
        """Fragments the first flight."""
        first = True

        def sendall(self, data):
            if self.first:
                self.first = False
                data = wire.fragment_records(data, size)
                for i in range(0, len(data), 50):
                    client.tls.sendall(data[i:i + 50])
            else:
                client.tls.sendall(data)

        def _recv(self, n):
            return client.tls.recv(n)

    inner = wire.Tls(Fragments(), wire.client_context(), "push.example.com").handshake()
    inner.sendall(b"inside")
    assert inner.recv_exact(6) == b"inside"
    client.tls.shutdown_write()
    client.tls.ends()
    entry = client.ended("ok")
    assert entry["inner"]["version"] == "tls1.3" and entry["inner"]["sni"] == "push.example.com"


def test_hello_right_behind_the_request(gateway, ticket):
    """Watched even where it came before the tunnel was open."""
    for floor, target in (("ok", TLS_MAIL), ("tls_floor", STRICT)):
        hello = wire.first_flight(wire.client_context(highest="tls1.2"), "mail.example.com")
        client = gateway.client()
        client.conn.sendall(wire.connect_head(target, wire.basic(ticket)) + hello)
        assert wire.read_answer(client.conn).status == 200
        if floor == "ok":
            assert client.conn.recv(1)[0] == wire.HANDSHAKE
            client.close()
            assert gateway.connection(client)["inner"]["version"] == "tls1.2"
        else:
            assert wire.alert_of(client.conn.recv_all())[:2] == (2, PROTOCOL_VERSION)
            assert client.ended("tls_floor")["inner"]["offered"] == "tls1.2"


# ---- what is cut -------------------------------------------------------------------------------------------

# name: (service's keys, what the client sends, reason, alert or None, record version, part of the detail, inner)
CLIENT_SENDS = {
    "TLS 1.1": ({}, wire.client_hello(0x0302), "tls_floor", PROTOCOL_VERSION, 0x0301, "client offers",
                {"offered": "tls1.1"}),
    "TLS 1.0": ({}, wire.client_hello(0x0301, sni="mail.example.com"), "tls_floor", PROTOCOL_VERSION, 0x0301,
                "client offers", {"offered": "tls1.0", "sni": "mail.example.com"}),
    "SSLv3": ({}, wire.client_hello(0x0300, record_version=0x0300), "tls_floor", PROTOCOL_VERSION, 0x0300,
              "client offers", {"offered": "ssl3"}),
    "SSLv2": ({}, wire.sslv2_hello(0x0002), "tls_floor", PROTOCOL_VERSION, 0x0300, "client offers",
              {"offered": "ssl2"}),
    "TLS 1.0 in SSLv2 format": ({}, wire.sslv2_hello(0x0301), "tls_floor", PROTOCOL_VERSION, 0x0301,
                                "client offers", {"offered": "tls1.0"}),
    "TLS 1.2 at tls1.3": ({"tls_floor": "tls1.3"}, wire.client_hello(0x0303), "tls_floor", PROTOCOL_VERSION, 0x0301,
                          "client offers", {"offered": "tls1.2"}),
    "TLS 1.1 in fragments": ({}, wire.fragment_records(wire.client_hello(0x0302), 5), "tls_floor", PROTOCOL_VERSION,
                             0x0301, "client offers", {"offered": "tls1.1"}),
    "another name": ({"sni": "match"}, wire.client_hello(0x0303, sni="other.example.com"), "sni_mismatch",
                     UNRECOGNIZED_NAME, 0x0301, None, {"offered": "tls1.2", "sni": "other.example.com"}),
    "a name with the right end": ({"sni": "match"}, wire.client_hello(0x0303, sni="xmail.example.com"),
                                  "sni_mismatch", UNRECOGNIZED_NAME, 0x0301, None, {"offered": "tls1.2",
                                                                                   "sni": "xmail.example.com"}),
    "no name": ({"sni": "match"}, wire.client_hello(0x0303), "sni_mismatch", UNRECOGNIZED_NAME, 0x0301,
                "carries no server name", {"offered": "tls1.2"}),
    "a malformed name": ({"sni": "match"}, wire.client_hello(0x0303, sni="mail..example.com"), "sni_mismatch",
                         UNRECOGNIZED_NAME, 0x0301, None, {"offered": "tls1.2", "sni": "mail..example.com"}),
    "HTTP": ({}, b"GET / HTTP/1.1\r\nHost: mail.example.com\r\n\r\n", "not_tls", None, None, None, None),
    "SSH": ({}, b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls", None, None, None, None),
    "zeroes": ({}, bytes(64), "not_tls", None, None, None, None),
    "another record": ({}, wire.record(23, b"data"), "not_tls", None, None, None, None),
    "a ServerHello": ({}, wire.record(wire.HANDSHAKE, b"\x02\0\0\x02\x03\x03"), "not_tls", None, None, None, None),
    "a hello that breaks off": ({}, wire.record(wire.HANDSHAKE, b"\x01\0\0\x20\x03\x03") + bytes(40), "not_tls", None,
                                None, None, None),
    "a hello above 64 KB": ({}, wire.record(wire.HANDSHAKE, b"\x01\x02\0\0" + bytes(100)), "not_tls", None, None, None,
                            None),
}


@pytest.mark.parametrize("keys, sent, reason, alert, version, detail, inner", CLIENT_SENDS.values(), ids=CLIENT_SENDS)
def test_what_the_client_sends(make, keys, sent, reason, alert, version, detail, inner):
    backend = make.backend(backends.collects)
    gateway = make.gateway([lab.service(backend, **keys)])
    client = gateway.tunnel(gateway.ticket())
    client.conn.sendall(sent)
    expected = b"" if alert is None else wire.record(wire.ALERT, bytes([2, alert]), version)
    assert client.conn.recv_all() == expected and client.tls.clean
    assert lab.reasons_table()[reason]["alert"] == (alert or 0)
    entry = client.ended(reason, door="connect", target=lab.MAIL)
    assert entry.get("inner") == inner
    assert detail is None or detail in entry["detail"], entry
    # the mail server saw nothing of it but the end
    assert backend.wait_notes() == ["eof"] and not backend.got.startswith(sent[:1] or b"x") or reason == "not_tls"
    if alert is not None:
        assert backend.got == expected


@pytest.mark.parametrize("cut", [1, 5, 9, 11, 44])
def test_split_hellos_below_the_floor(make, cut):
    """A hello that comes in pieces: what went on before the verdict went on, but no whole hello arrives."""
    hello = wire.client_hello(0x0302)
    backend = make.backend(backends.collects)
    gateway = make.gateway([lab.service(backend)])
    client = gateway.tunnel(gateway.ticket())
    client.conn.sendall(hello[:cut])
    client.conn.sendall(hello[cut:])
    alert = wire.record(wire.ALERT, bytes([2, PROTOCOL_VERSION]), 0x0301)
    assert client.conn.recv_all() == alert
    client.ended("tls_floor")
    backend.wait_notes()
    assert backend.got in (alert, hello[:cut] + alert)


@pytest.mark.parametrize("target, offered, version", [("s11.example.com:443", "tls1.2", "tls1.1"),
                                                      ("s12.example.com:443", "tls1.3", "tls1.2")])
def test_server_chooses_below_the_floor(gateway, ticket, target, offered, version):
    client = gateway.tunnel(ticket, target)
    context = wire.client_context(lowest="tls1.0", highest=offered)
    with pytest.raises(ssl.SSLError) as error:
        client.inner_tls(context, target.rpartition(":")[0])
    assert error.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    entry = client.ended("tls_floor", "the mail server chose a version below the service's floor")
    assert (entry["inner"]["offered"], entry["inner"]["version"]) == (offered, version)
    assert entry["inner"]["cipher"].startswith("TLS_") and entry["tls"]["version"] == "tls1.3"


def test_the_server_is_told_too(make, certs):
    backend = make.backend(backends.echo, wire.server_context(certs.mail_crt, certs.mail_key, "tls1.0", "tls1.1"))
    gateway = make.gateway([lab.service(backend)])
    client = gateway.tunnel(gateway.ticket())
    with pytest.raises(ssl.SSLError):
        client.inner_tls(wire.client_context(lowest="tls1.0", highest="tls1.2"))
    assert backend.wait_notes() == ["TLSV1_ALERT_PROTOCOL_VERSION"]


def test_a_server_that_speaks_first(make):
    """Nothing comes before the hello where TLS is demanded."""
    backend = make.backend(backends.says(b"220 mail.example.com ESMTP\r\n"))
    gateway = make.gateway([lab.service(backend)])
    client = gateway.tunnel(gateway.ticket())
    assert client.conn.recv_all() == b""
    client.ended("not_tls")


def test_a_server_that_does_not_speak_tls(gateway, ticket):
    client = gateway.tunnel(ticket, "echo.example.com:443")
    client.conn.sendall(wire.client_hello(0x0303))  # comes back as it is
    assert client.conn.recv_all() == b""
    assert client.ended("not_tls")["inner"] == {"offered": "tls1.2"}


def test_a_server_that_refuses_by_alert(gateway, certs, ticket):
    """Its alert passes, and the tunnel ends as an ordinary one."""
    client = gateway.tunnel(ticket, TLS_MAIL)
    context = wire.client_context(highest="tls1.2")
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    with pytest.raises(ssl.SSLError) as error:
        client.inner_tls(context)
    assert "HANDSHAKE_FAILURE" in error.value.reason
    client.conn.shutdown_write()
    client.conn.ends()
    assert client.ended("ok")["inner"]["offered"] == "tls1.2"


def test_floor_of_a_service_without_an_entry(make):
    """TLS 1.2, as if it had one."""
    backend = make.backend(backends.collects)
    gateway = make.gateway([lab.service(backend, "*.example.com:443", tls_floor="ssl3")],
                           listed=["*.example.com:443"])
    client = gateway.tunnel(gateway.ticket(), "any.example.com:443")
    client.conn.sendall(wire.client_hello(0x0302))
    client.conn.sendall(b"")
    wire.poll(lambda: backend.got, "the hello to pass at floor ssl3")
    client.close()


def test_tls_is_noted_where_it_need_not_be(gateway, ticket):
    """TLS 1.0, another name, and a service that need not be TLS: it passes, and the log has it all."""
    client = gateway.tunnel(ticket, "any.example.com:443")
    client.inner_tls(wire.client_context(lowest="tls1.0", highest="tls1.0"), "other.example.com")
    client.echoes()
    inner = client.ended("ok")["inner"]
    assert (inner["offered"], inner["version"], inner["sni"]) == ("tls1.0", "tls1.0", "other.example.com")


def test_socks_tunnels_are_watched_too(gateway, ticket):
    client = gateway.client()
    assert client.socks("strict.example.com", 443, password=ticket) == 0
    client.conn.sendall(wire.client_hello(0x0303))
    assert wire.alert_of(client.conn.recv_all())[1] == PROTOCOL_VERSION
    client.ended("tls_floor", door="socks")
