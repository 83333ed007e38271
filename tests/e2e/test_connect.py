"""The connect door: HTTP CONNECT with the ticket in Proxy-Authorization."""
import base64

import pytest

import backends
import lab
import wire

UNKNOWN_30 = f";40;{lab.AUTHORITY};" + "0" * 30
UNKNOWN_32 = f";40;{lab.AUTHORITY};" + "0" * 32
CHALLENGES = ["Basic", "Bearer"]


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module")
def gateway(make_shared, backend):
    return make_shared.gateway([lab.service(backend, tls_floor="none"),
                                lab.service(backend, "[2001:db8::25]:443", tls_floor="none"),
                                lab.service(backend, "192.0.2.25:443", tls_floor="none")])


@pytest.fixture(scope="module")
def ticket(gateway):
    return gateway.ticket()


def basic_raw(text):
    return "Basic " + base64.b64encode(text).decode()


# ---- credentials -------------------------------------------------------------------------------------------

GOOD_CREDENTIALS = {
    "basic": lambda t: wire.basic(t),
    "basic, any user name": lambda t: wire.basic(t, "EXAMPLE\\jürgen"),
    "basic, no user name": lambda t: wire.basic(t, ""),
    "basic, scheme in capitals": lambda t: "BASIC " + wire.basic(t)[6:],
    "basic, two blanks": lambda t: "Basic  " + wire.basic(t)[6:],
    "bearer": lambda t: wire.bearer(t),
    "bearer, scheme in lower case": lambda t: "bearer " + t,
}


@pytest.mark.parametrize("credentials", GOOD_CREDENTIALS.values(), ids=GOOD_CREDENTIALS)
def test_good_credentials(gateway, backend, ticket, credentials):
    client = gateway.client()
    answer = client.connect(lab.MAIL, credentials(ticket))
    assert (answer.version, answer.status, answer.text) == ("HTTP/1.1", 200, "Connection established")
    assert answer.fields == [] and answer.body == ""
    client.echoes()
    client.ended("ok", None, door="connect", user="alice", target=lab.MAIL, address=backend.address,
                 authority=lab.AUTHORITY)


def test_log_of_a_tunnel(gateway, backend):
    ticket = gateway.ticket(user="bob@example.com", device="ApplABC")
    client = gateway.client(server_hostname="gateway.example.com")
    assert client.connect("MAIL.Example.COM:443", wire.basic(ticket), fields=["User-Agent: test/1"]).status == 200
    client.echoes(b"x" * 1000)
    entry = client.ended("ok", None, user="bob@example.com", device="ApplABC", target=lab.MAIL, agent="test/1",
                         listener="%s:%d" % gateway.address(), level="info")
    assert len(entry["ticket"]) == 12 and entry["ticket"].strip("0123456789abcdef") == ""
    assert entry["tls"] == {"offered": "tls1.3", "version": "tls1.3", "cipher": entry["tls"]["cipher"],
                            "resumed": False, "sni": "gateway.example.com"}
    assert entry["bytes"] == {"up": 1000, "down": 1000}
    times = [entry["ms"][k] for k in ("hello", "handshake", "request", "ticket", "resolve", "connect", "total")]
    assert times == sorted(times) and "inner" not in entry
    value = ticket.rpartition(";")[2]
    assert not any(value in line for line in gateway.lines), "a ticket stands in the log"


# name: (fields after CONNECT mail.example.com:443, reason, detail)
def bad_credentials():
    t = UNKNOWN_32
    return {
        "none": ([], "ticket_missing", "no Proxy-Authorization field"),
        "authorization instead": ([f"Authorization: {wire.basic(t)}"], "ticket_missing",
                                  "no Proxy-Authorization field"),
        "empty": (["Proxy-Authorization:"], "ticket_missing", "Proxy-Authorization is neither Basic nor Bearer"),
        "wrong scheme": (["Proxy-Authorization: Digest username=\"u\""], "ticket_missing",
                         "Proxy-Authorization is neither Basic nor Bearer"),
        "two fields": ([f"Proxy-Authorization: {wire.basic(t)}", f"Proxy-Authorization: {wire.bearer(t)}"],
                       "request_malformed", "Proxy-Authorization stands there more than once"),
        "basic, not base64": (["Proxy-Authorization: Basic %%%"], "ticket_malformed",
                              "Basic credentials that cannot be decoded"),
        "basic, no colon": ([f"Proxy-Authorization: {basic_raw(b'alice')}"], "ticket_malformed",
                            "Basic credentials that cannot be decoded"),
        "basic, NUL": ([f"Proxy-Authorization: {basic_raw(b'u:' + t.encode() + bytes(1))}"], "ticket_malformed",
                       "Basic credentials that cannot be decoded"),
        "basic, overlong": ([f"Proxy-Authorization: {basic_raw(b'u:' + b'A' * 4000)}"], "ticket_malformed",
                            "Basic credentials that cannot be decoded"),
        "ticket as user name": ([f"Proxy-Authorization: {basic_raw(t.encode() + b':')}"], "ticket_malformed",
                                "the ticket stands in the place of the user name: it is the password"),
        "empty password": ([f"Proxy-Authorization: {basic_raw(b'u:')}"], "ticket_malformed",
                           "a ticket string begins with a semicolon: ;40;STAID;TICKET"),
        "a password": ([f"Proxy-Authorization: {basic_raw(b'u:secret')}"], "ticket_malformed",
                       "a ticket string begins with a semicolon: ;40;STAID;TICKET"),
        "bearer, empty": (["Proxy-Authorization: Bearer"], "ticket_malformed",
                          "a ticket string begins with a semicolon: ;40;STAID;TICKET"),
        "bearer, only the value": ([f"Proxy-Authorization: Bearer {'0' * 32}"], "ticket_malformed",
                                   "a ticket string begins with a semicolon: ;40;STAID;TICKET"),
        "bearer, blank behind": ([f"Proxy-Authorization: Bearer {t} x"], "ticket_malformed",
                                 "the ticket is not of 30 or 32 characters"),
        "unknown version": ([f"Proxy-Authorization: Bearer ;41;STA1;{'0' * 32}"], "ticket_malformed",
                            "the ticket version is not one of 10, 20, 22, 40 and 42"),
        "31 characters": ([f"Proxy-Authorization: Bearer ;40;{lab.AUTHORITY};{'0' * 31}"], "ticket_malformed",
                          "the ticket is not of 30 or 32 characters"),
        "lower case": ([f"Proxy-Authorization: Bearer ;40;{lab.AUTHORITY};{'a' * 32}"], "ticket_malformed",
                       "the ticket holds something else than capital letters and digits"),
        "long authority": ([f"Proxy-Authorization: Bearer ;40;{'S' * 17};{'0' * 32}"], "ticket_malformed",
                           "the authority ID is not of 1 to 16 characters"),
        ";42; with one": ([f"Proxy-Authorization: Bearer ;42;{lab.AUTHORITY};{'0' * 32}"], "ticket_malformed",
                          "a version 42 ticket string carries two authorities and two tickets"),
        "32 characters, unknown": ([f"Proxy-Authorization: {wire.basic(UNKNOWN_32)}"], "ticket_unknown", None),
        "30 characters, unknown": ([f"Proxy-Authorization: {wire.basic(UNKNOWN_30)}"], "ticket_unknown", None),
        "another authority": ([f"Proxy-Authorization: Bearer ;40;STA475DE9C8ABDA;{'0' * 32}"],
                              "authority_unknown", None),
        "the authority in lower case": ([f"Proxy-Authorization: Bearer {t.replace('STA0A', 'sta0a')}"],
                                        "authority_unknown", None),
    }


@pytest.mark.parametrize("fields, reason, detail", bad_credentials().values(), ids=bad_credentials())
def test_bad_credentials(gateway, fields, reason, detail):
    client = gateway.client()
    answer = client.connect(lab.MAIL, fields=fields)
    assert answer.status == lab.reasons_table()[reason]["http"]
    assert answer["X-Stagate-Reason"] == reason and answer["X-Stagate-Detail"] == detail
    if answer.status == 407:
        assert [c.split()[0] for c in answer.all("Proxy-Authenticate")] == CHALLENGES
    else:
        assert answer.all("Proxy-Authenticate") == []
    assert reason in answer.text and answer.body.startswith(reason + ": ") and "What to change: " in answer.body
    assert answer["Connection"] == "close" and client.conn.recv_all() == b""
    client.ended(reason, detail, door="connect", target=lab.MAIL)


# ---- two tickets in one string -----------------------------------------------------------------------------

def test_of_two_tickets_the_first_known_authority_counts(make, backend):
    other = "STA906839512"
    gateway = make.gateway([lab.service(backend, tls_floor="none")], authorities=[
        {"id": lab.AUTHORITY, "store": "lmdb:one"}, {"id": other, "store": "lmdb:two"}])
    one = gateway.ticket(authority=lab.AUTHORITY).removeprefix(";40;")
    two = gateway.ticket(authority=other).removeprefix(";40;")
    unknown = f"STA343530117;{'0' * 30}"
    dead = f"{lab.AUTHORITY};{'0' * 30}"
    cases = {
        f";42;{one};{unknown}": ("ok", lab.AUTHORITY),
        f";42;{unknown};{two}": ("ok", other),
        f";42;{one};{two}": ("ok", lab.AUTHORITY),
        f";42;{two};{one}": ("ok", other),
        # the first known authority answers, and its answer is no: the second ticket is not tried
        f";42;{dead};{two}": ("ticket_unknown", lab.AUTHORITY),
        f";42;{unknown};STA1;{'1' * 32}": ("authority_unknown", "STA343530117"),
    }
    for text, (reason, authority) in cases.items():
        client = gateway.client()
        answer = client.connect(lab.MAIL, wire.bearer(text))
        if reason == "ok":
            assert answer.status == 200
            client.echoes()
        else:
            assert answer["X-Stagate-Reason"] == reason
        client.ended(reason, authority=authority)


# ---- requests that break the protocol ----------------------------------------------------------------------

def head(*lines, end=b"\r\n"):
    return end.join(line.encode("latin-1") if isinstance(line, str) else line for line in lines) + end + end


REQUEST = "CONNECT mail.example.com:443 HTTP/1.1"
HOST = "Host: mail.example.com:443"
MALFORMED = {  # bytes: part of the detail
    "blank before the colon": (head(REQUEST, HOST, "X-Field : 1"), "field name"),
    "blank in a name": (head(REQUEST, HOST, "X Field: 1"), "field"),
    "no name": (head(REQUEST, HOST, ": 1"), None),
    "no colon": (head(REQUEST, HOST, "Field"), None),
    "content-length with a blank": (head(REQUEST, HOST, "Content-Length : 5"), "field name"),
    "folded line": (head(REQUEST, HOST, "X-Field: a", " b"), "begins with a blank"),
    "bare line feeds": (head(REQUEST, HOST, end=b"\n"), "line feed without a carriage return"),
    "a bare line feed": (head(REQUEST, HOST + "\nX-Field: 1"), "line feed without a carriage return"),
    "a bare carriage return": (head(REQUEST, HOST + "\rX-Field: 1"), "carriage return stands alone"),
    "NUL in a value": (head(REQUEST, HOST, "X-Field: a\0b"), "control character"),
    "DEL in a value": (head(REQUEST, HOST, "X-Field: a\x7fb"), "control character"),
    "NUL in the target": (head("CONNECT mail.example.com\0.evil.example:443 HTTP/1.1", HOST), "control character"),
    "two hosts": (head(REQUEST, HOST, HOST), "Host is there more than once"),
    "a body with a length": (head(REQUEST, HOST, "Content-Length: 5") + b"hello", "no body"),
    "a chunked body": (head(REQUEST, HOST, "Transfer-Encoding: chunked") + b"0\r\n\r\n", "no body"),
    "length and coding": (head(REQUEST, HOST, "Content-Length: 5", "Transfer-Encoding: chunked"), "Content-Length"),
    "two lengths": (head(REQUEST, HOST, "Content-Length: 0", "Content-Length: 0"), "Content-Length"),
    "coding eee, chunked": (head(REQUEST, HOST, "Transfer-Encoding: eee", "Transfer-Encoding: chunked"),
                            "Transfer-Encoding"),
    "coding gzip": (head(REQUEST, HOST, "Transfer-Encoding: gzip, chunked"), "chunked"),
    "coding in HTTP/1.0": (head("CONNECT mail.example.com:443 HTTP/1.0", "Transfer-Encoding: chunked"),
                           "Transfer-Encoding"),
    "HTTP/0.9": (head("CONNECT mail.example.com:443"), None),
    "HTTP/1.7": (head("CONNECT mail.example.com:443 HTTP/1.7", HOST), None),
    "HTTP/2.0": (head("CONNECT mail.example.com:443 HTTP/2.0", HOST), None),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    "HTTX": (head("CONNECT mail.example.com:443 HTTX/1.1", HOST), None),
    "GET": (head("GET / HTTP/1.1", HOST), "CONNECT only"),
    "GET of a URL": (head("GET http://mail.example.com/ HTTP/1.1", HOST), "CONNECT only"),
    "POST": (head("POST /Microsoft-Server-ActiveSync HTTP/1.1", HOST, "Content-Length: 0"), "CONNECT only"),
    "unknown method": (head("BREW mail.example.com:443 HTTP/1.1", HOST), None),
    "65 fields": (head(REQUEST, HOST, *[f"X-{i}: 1" for i in range(64)]), "64 fields"),
    "a head above 16 KB": (head(REQUEST, HOST, "X-Field: " + "a" * 16384), "16 KB"),
}


@pytest.mark.parametrize("request_bytes, detail", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests(gateway, ticket, request_bytes, detail):
    # a good ticket is in each: what is malformed is told before credentials are looked at
    credentials = f"Proxy-Authorization: {wire.basic(ticket)}\r\n".encode()
    first, _, rest = request_bytes.partition(b"\r\n")
    client = gateway.client()
    client.conn.sendall(first + b"\r\n" + credentials + rest if rest and b" HTTP" in first else request_bytes)
    answer = wire.read_answer(client.conn)
    assert (answer.status, answer["X-Stagate-Reason"]) == (400, "request_malformed")
    assert client.conn.recv_all() == b""
    entry = client.ended("request_malformed", door="connect")
    assert entry["detail"] == answer["X-Stagate-Detail"]
    assert detail is None or detail in entry["detail"], entry["detail"]


@pytest.mark.parametrize("request_bytes", [
    pytest.param(head(REQUEST), id="no Host"),
    pytest.param(head("CONNECT mail.example.com:443 HTTP/1.0"), id="HTTP/1.0"),
    pytest.param(head(REQUEST, HOST, "Content-Length: 0"), id="Content-Length: 0"),
    pytest.param(head(REQUEST, "Host: another.example.com"), id="another Host"),
    pytest.param(head(REQUEST, HOST, "X-Field:", "X-Field: \xfc"), id="an empty field, and one of bytes above ASCII"),
])
def test_odd_requests_that_are_good(gateway, ticket, request_bytes):
    client = gateway.client()
    client.conn.sendall(request_bytes[:-2] + f"Proxy-Authorization: {wire.basic(ticket)}\r\n\r\n".encode())
    assert wire.read_answer(client.conn).status == 200
    client.echoes()
    client.ended("ok", target=lab.MAIL)


# ---- names -------------------------------------------------------------------------------------------------

TARGETS = {  # target: (reason, in the log, part of the detail)
    "MAIL.EXAMPLE.COM:443": ("ok", lab.MAIL, None),
    "mail.example.com.:443": ("ok", lab.MAIL, None),
    "192.0.2.25:443": ("ok", "192.0.2.25:443", None),
    "[2001:db8::25]:443": ("ok", "[2001:db8::25]:443", None),
    "[2001:DB8:0:0:0:0:0:25]:443": ("ok", "[2001:db8::25]:443", None),
    "[2001:db8::26]:443": ("service_not_listed", "[2001:db8::26]:443", None),
    "192.0.2.26:443": ("service_not_listed", "192.0.2.26:443", None),
    "[::ffff:192.0.2.25]:443": ("service_not_listed", "[::ffff:192.0.2.25]:443", None),
    "mail.example.com:80": ("service_not_listed", "mail.example.com:80", None),
    "mail.example.com.evil.example:443": ("service_not_listed", "mail.example.com.evil.example:443", None),
    "xmail.example.com:443": ("service_not_listed", "xmail.example.com:443", None),
    "mail..example.com:443": ("request_malformed", None, "empty label"),
    ".mail.example.com:443": ("request_malformed", None, "empty label"),
    "mail.example.com..:443": ("request_malformed", None, "empty label"),
    "mail.example.com:0": ("request_malformed", None, "port 0"),
    "mail.example.com:0443": ("request_malformed", None, "leading zero"),
    "mail.example.com:65536": ("request_malformed", None, "too large"),
    "mail.example.com:65979": ("request_malformed", None, "too large"),  # 443 modulo 65536
    "mail.example.com:+443": ("request_malformed", None, None),
    "mail.example.com:": ("request_malformed", None, None),
    "mail.example.com": ("request_malformed", None, None),
    "mail.example.com:443:443": ("request_malformed", None, None),
    "user@mail.example.com:443": ("request_malformed", None, None),
    "evil.example:443@mail.example.com:443": ("request_malformed", None, None),
    "https://mail.example.com:443": ("request_malformed", None, None),
    "https://mail.example.com:443/": ("request_malformed", None, None),
    "/mail.example.com:443": ("request_malformed", None, None),
    "*": ("request_malformed", None, None),
    "*.example.com:443": ("request_malformed", None, None),
    "mail_1.example.com:443": ("request_malformed", None, None),
    "mail%2eexample.com:443": ("request_malformed", None, None),
    "m\xe4il.example.com:443": ("request_malformed", None, None),
    "-mail.example.com:443": ("request_malformed", None, None),
    "127.1:443": ("request_malformed", None, "ends in a number"),
    "0x7f000001:443": ("request_malformed", None, "ends in a number"),
    "2130706433:443": ("request_malformed", None, "ends in a number"),
    "192.0.2.025:443": ("request_malformed", None, None),
    "2001:db8::25:443": ("request_malformed", None, None),
    "[2001:db8::25]": ("request_malformed", None, None),
    "[2001:db8::25%25eth0]:443": ("request_malformed", None, None),
    "a" * 64 + ".example.com:443": ("request_malformed", None, "63 bytes"),
    ".".join(["a" * 60] * 5) + ":443": ("request_malformed", None, "253 bytes"),
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t[:50])
def test_targets(gateway, ticket, target):
    reason, logged, detail = TARGETS[target]
    client = gateway.client()
    answer = client.connect(target, wire.basic(ticket), host="mail.example.com")
    assert answer.status == lab.reasons_table()[reason]["http"]
    if reason == "ok":
        client.echoes()
    else:
        assert answer["X-Stagate-Reason"] == reason
    entry = client.ended(reason, target=logged)
    assert detail is None or detail in entry["detail"]


# ---- what comes right behind the head ----------------------------------------------------------------------

def test_bytes_behind_the_head_are_the_tunnels(gateway, ticket):
    client = gateway.client()
    client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket)) + b"first bytes")
    assert wire.read_answer(client.conn).status == 200
    assert client.conn.recv_exact(11) == b"first bytes"
    client.echoes()
    client.ended("ok", bytes={"up": 26, "down": 26})


def test_much_behind_the_head(gateway, ticket):
    data = bytes(range(256)) * 1024
    client = gateway.client()
    client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket)) + data)
    assert wire.read_answer(client.conn).status == 200
    assert client.conn.recv_exact(len(data)) == data
    client.close()


def test_head_split_at_every_byte(gateway, ticket):
    """Each split is two TLS records, and so two inputs of the reader."""
    message = wire.connect_head(lab.MAIL, wire.basic(ticket)) + b"early"
    context = wire.client_context()
    session = None
    for cut in range(1, len(message)):
        client = gateway.client(context=context, session=session)
        client.conn.sendall(message[:cut])
        client.conn.sendall(message[cut:])
        assert wire.read_answer(client.conn).status == 200, cut
        assert client.conn.recv_exact(5) == b"early", cut
        session = client.tls.ssl.session
        client.close()
        gateway.clients.remove(client)


def test_head_byte_by_byte(gateway, ticket):
    client = gateway.client()
    for byte in wire.connect_head(lab.MAIL, wire.basic(ticket)) + b"early":
        client.conn.sendall(bytes([byte]))
    assert wire.read_answer(client.conn).status == 200
    assert client.conn.recv_exact(5) == b"early"
    client.close()


def test_one_connection_carries_one_request(gateway):
    """A second request behind a refused one is not answered."""
    client = gateway.client()
    client.conn.sendall(wire.connect_head(lab.MAIL) * 2)
    assert wire.read_answer(client.conn).status == 407
    assert client.conn.recv_all() == b""
