"""The socks door: SOCKS5 as STA clients and as ordinary clients speak it."""
import struct

import pytest

import backends
import lab
import wire

NO_TICKET = f";40;{lab.AUTHORITY};" + "0" * 32


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module")
def gateway(make_shared, backend):
    return make_shared.gateway([lab.service(backend, tls_floor="none"),
                                lab.service(backend, "push.example.com:443", tls_floor="none"),
                                lab.service(backend, "192.0.2.25:443", tls_floor="none"),
                                lab.service(backend, "[2001:db8::25]:443", tls_floor="none")])


@pytest.fixture(scope="module")
def ticket(gateway):
    return gateway.ticket()


# ---- the ticket as the destination -------------------------------------------------------------------------

@pytest.mark.parametrize("greeting", [True, False], ids=["with greeting", "without greeting"])
@pytest.mark.parametrize("port", [1494, 0, 443])
def test_ticket_as_destination(gateway, backend, ticket, greeting, port):
    client = gateway.client()
    assert client.socks(ticket, port, greeting=greeting) == 0
    client.echoes()
    client.ended("ok", None, door="socks", target=lab.MAIL, address=backend.address, user="alice")


def test_where_a_ticket_leads(gateway):
    """Its ICAAddress, else its first service, else the policy's first."""
    cases = [({}, lab.MAIL, "ok"),
             ({"service": ["push.example.com:443", lab.MAIL]}, "push.example.com:443", "ok"),
             ({"ica_address": "push.example.com: 443"}, "push.example.com:443", "ok"),
             ({"service": [lab.MAIL, "push.example.com:443"], "ica_address": "PUSH.example.com:443"},
              "push.example.com:443", "ok"),
             ({"service": [lab.MAIL], "ica_address": "push.example.com:443"}, "push.example.com:443",
              "service_not_in_ticket"),
             ({"service": ["other.example.com:443"]}, "other.example.com:443", "service_not_listed"),
             ({"ica_address": "other.example.com:443"}, "other.example.com:443", "service_not_listed")]
    for options, target, reason in cases:
        client = gateway.client()
        code = client.socks(gateway.ticket(**options))
        if reason == "ok":
            assert code == 0
            client.echoes()
        else:
            assert code == lab.reasons_table()[reason]["socks"]
            assert client.conn.recv_all() == b""
        client.ended(reason, target=target)


def test_a_ticket_that_leads_nowhere(make, backend):
    """A wildcard is no place to connect to."""
    gateway = make.gateway([], listed=["*.example.com:443"])
    for options in ({}, {"service": "*.example.com:443"}):
        client = gateway.client()
        assert client.socks(gateway.ticket(**options)) == 2
        client.ended("service_not_listed", "neither the ticket nor the policy names a service")


def test_two_tickets_as_destination(gateway, ticket):
    client = gateway.client()
    assert client.socks(f";42;STA343530117;{'0' * 30};{ticket.removeprefix(';40;')}") == 0
    client.echoes()
    client.ended("ok", authority=lab.AUTHORITY)


# ---- a host as the destination, the ticket as the password -------------------------------------------------

@pytest.mark.parametrize("host, target", [
    ("mail.example.com", lab.MAIL), ("MAIL.example.COM.", lab.MAIL),
    (("4", "192.0.2.25"), "192.0.2.25:443"), (("6", "2001:db8::25"), "[2001:db8::25]:443"),
    ("192.0.2.25", "192.0.2.25:443"), ("2001:db8::25", "[2001:db8::25]:443"),
], ids=str)
def test_ticket_as_password(gateway, ticket, host, target):
    client = gateway.client()
    assert client.socks(host, 443, password=ticket) == 0
    client.echoes()
    client.ended("ok", None, door="socks", target=target)


def test_ticket_as_both(gateway, ticket):
    """A ticket as the destination is the one that counts."""
    client = gateway.client()
    assert client.socks(ticket, 443, password="whatever") == 0
    client.echoes()
    client.ended("ok", target=lab.MAIL)


def test_pipelined(gateway, ticket):
    """Everything in one piece, the tunnel's first bytes too."""
    for opening, answers in ((wire.SOCKS_GREETING, b"\x05\x00"), (b"", b""),
                             (b"\x05\x01\x02" + wire.socks_login("any"), b"\x05\x02\x01\x00"),
                             (b"\x05\x03\x00\x01\x02" + wire.socks_login("any"), b"\x05\x02\x01\x00")):
        client = gateway.client()
        client.conn.sendall(opening + wire.socks_request(ticket) + b"early")
        assert client.conn.recv_exact(len(answers)) == answers
        assert client.socks_reply() == 0
        assert client.conn.recv_exact(5) == b"early"
        client.echoes()
        client.ended("ok", bytes={"up": 20, "down": 20})


@pytest.mark.parametrize("form", ["greeting", "no greeting", "password"])
def test_byte_by_byte(gateway, ticket, form):
    message = {
        "greeting": wire.SOCKS_GREETING + wire.socks_request(ticket),
        "no greeting": wire.socks_request(ticket),
        "password": wire.SOCKS_LOGIN_GREETING + wire.socks_login(ticket) + wire.socks_request("mail.example.com", 443),
    }[form]
    client = gateway.client()
    for byte in message + b"early":
        client.conn.sendall(bytes([byte]))
    if form == "password":
        assert client.conn.recv_exact(4) == b"\x05\x02\x01\x00"
    elif form == "greeting":
        assert client.conn.recv_exact(2) == b"\x05\x00"
    # without a greeting, "05 00" was sent when "05 01 00" was all there was: it begins the reply then
    assert client.socks_reply() == 0
    assert client.conn.recv_exact(5) == b"early"
    client.echoes()
    client.ended("ok", target=lab.MAIL)


def test_split_at_every_byte(gateway, ticket):
    context = wire.client_context()
    session = None
    for message, answers in ((wire.SOCKS_GREETING + wire.socks_request(ticket), b"\x05\x00"),
                             (wire.socks_request(ticket), b"")):
        for cut in range(1, len(message)):
            client = gateway.client(context=context, session=session)
            client.conn.sendall(message[:cut])
            client.conn.sendall(message[cut:])
            assert client.conn.recv_exact(len(answers)) == answers, cut
            assert client.socks_reply() == 0, cut
            session = client.tls.ssl.session
            client.close()
            gateway.clients.remove(client)


def test_an_early_reply_cannot_be_taken_back(gateway):
    """Behind "05 01 00" and a pause, a refusal of a request without greeting is a close: success was half said."""
    client = gateway.client()
    client.conn.sendall(b"\x05\x01\x00")
    assert client.conn.recv_exact(2) == b"\x05\x00"
    client.conn.sendall(wire.socks_request(NO_TICKET)[3:])
    assert client.conn.recv_all() == b""
    client.ended("ticket_unknown", door="socks")


# ---- refusals ----------------------------------------------------------------------------------------------

def request(host, **options):
    return wire.SOCKS_GREETING + wire.socks_request(host, **options)


GENERAL, NOT_ALLOWED, COMMAND = 1, 2, 7
REFUSED = {  # what is sent: (answers before the reply, reply code or None, reason, part of the detail)
    "only a private method": (b"\x05\x01\x80", b"\x05\xff", None, "request_malformed", "offers neither"),
    "only GSSAPI": (b"\x05\x01\x01", b"\x05\xff", None, "request_malformed", "offers neither"),
    "no method": (b"\x05\x00", b"", GENERAL, "request_malformed", "no method"),
    "BIND": (request(NO_TICKET, command=2), b"\x05\x00", COMMAND, "request_malformed", "BIND is not supported"),
    "UDP ASSOCIATE": (request(NO_TICKET, command=3), b"\x05\x00", COMMAND, "request_malformed", "UDP ASSOCIATE"),
    "command 9": (request(NO_TICKET, command=9), b"\x05\x00", COMMAND, "request_malformed", "not known"),
    "version 4 in the request": (b"\x05\x01\x02" + wire.socks_login("") + b"\x04\x01\x00\x01",
                                 b"\x05\x02\x01\x00", GENERAL, "request_malformed", "not 5"),
    "reserved byte": (b"\x05\x01\x00" + b"\x05\x01\x01\x01\x7f\0\0\1\1\xbb", b"\x05\x00", GENERAL, "request_malformed",
                      "reserved byte"),
    "address type 2": (b"\x05\x01\x00" + b"\x05\x01\x00\x02\x7f\0\0\1\1\xbb", b"\x05\x00", GENERAL, "request_malformed",
                       "address type"),
    "empty name": (request(b""), b"\x05\x00", GENERAL, "request_malformed", "empty"),
    "login version 2": (wire.SOCKS_LOGIN_GREETING + b"\x02\x01u\x01p", b"\x05\x02", GENERAL, "request_malformed",
                        "message is not 1"),
    "NUL in the name": (request(b"mail.example.com\0.example", port=443), b"\x05\x00", GENERAL, "request_malformed",
                        "control character"),
    "empty label": (request("mail..example.com", port=443), b"\x05\x00", GENERAL, "request_malformed", "empty label"),
    "127.1": (request("127.1", port=443), b"\x05\x00", GENERAL, "request_malformed", "ends in a number"),
    "user info": (request("u@mail.example.com", port=443), b"\x05\x00", GENERAL, "request_malformed", "user name"),
    "a port in the name": (request("mail.example.com:443", port=443), b"\x05\x00", GENERAL, "request_malformed",
                           "without a port"),
    "a name of 255 bytes": (request("a" * 255, port=443), b"\x05\x00", GENERAL, "request_malformed", None),
    "port 0": (request("mail.example.com", port=0), b"\x05\x00", GENERAL, "request_malformed", "port 0"),
    "no ticket": (request("mail.example.com", port=443), b"\x05\x00", NOT_ALLOWED, "ticket_missing",
                  "neither the destination nor the password is a ticket"),
    "empty password": (wire.SOCKS_LOGIN_GREETING + wire.socks_login("") + wire.socks_request("mail.example.com", 443),
                       b"\x05\x02\x01\x00", NOT_ALLOWED, "ticket_missing", None),
    "a password": (wire.SOCKS_LOGIN_GREETING + wire.socks_login("secret") + wire.socks_request("mail.example.com", 443),
                   b"\x05\x02\x01\x00", NOT_ALLOWED, "ticket_malformed", "begins with a semicolon"),
    "31 characters": (request(NO_TICKET[:-1]), b"\x05\x00", NOT_ALLOWED, "ticket_malformed", "30 or 32"),
    "something behind": (request(NO_TICKET + ";"), b"\x05\x00", NOT_ALLOWED, "ticket_malformed", "follows the ticket"),
    "NUL behind the ticket": (request(NO_TICKET.encode() + b"\0"), b"\x05\x00", NOT_ALLOWED, "ticket_malformed",
                              None),
    "unknown": (request(NO_TICKET), b"\x05\x00", NOT_ALLOWED, "ticket_unknown", None),
    "unknown, 30 characters": (request(NO_TICKET[:-2]), b"\x05\x00", NOT_ALLOWED, "ticket_unknown", None),
    "unknown authority": (request(f";40;STA01;{'0' * 32}"), b"\x05\x00", NOT_ALLOWED, "authority_unknown", None),
}


@pytest.mark.parametrize("sent, answers, code, reason, detail", REFUSED.values(), ids=REFUSED)
def test_refused(gateway, sent, answers, code, reason, detail):
    client = gateway.client()
    client.conn.sendall(sent)
    assert client.conn.recv_exact(len(answers)) == answers
    assert client.socks_reply() == code
    assert client.conn.recv_all() == b"" and client.tls.clean
    if code not in (None, COMMAND):
        assert code == lab.reasons_table()[reason]["socks"]
    entry = client.ended(reason, door="socks")
    assert detail is None or detail in entry["detail"]


def test_every_length_of_a_name(gateway, ticket):
    """The request's end is found whatever the length: refused names of 1 to 255 bytes, and nothing read beyond."""
    client_bytes = struct.pack(">H", 443)
    for length in (1, 2, 63, 64, 253, 254, 255):
        client = gateway.client()
        client.conn.sendall(b"\x05\x01\x00\x03" + bytes([length]) + b"a" * length + client_bytes)
        code = client.socks_reply()
        assert code == (2 if length <= 63 else 1)
        client.ended("ticket_missing" if length <= 63 else "request_malformed")
