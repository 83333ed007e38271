"""An authority as a service: what issuers and gateways get from it over HTTP, and who gets nothing."""
import random

import pytest

import authorities
import backends
import lab
import wire

PUSH = "push.example.com:443"
HOUR = 3600 * 1000


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module")
def gateway(make_shared, certs, backend):
    """Gateway and authority in one process."""
    entry = authorities.embedded(["http://127.0.0.1:0", "https://127.0.0.1:0"], hosts=["sta.example.com"],
                                 certificate=certs.sta_crt, key=certs.sta_key)
    services = [lab.service(backend, tls_floor="none"), lab.service(backend, PUSH, tls_floor="none")]
    return make_shared.gateway(services, authorities=[entry], admin={"socket": "admin.sock"},
                               log={"format": "json", "level": "debug"})


@pytest.fixture
def sta(gateway):
    service = authorities.service(gateway)
    yield service
    service.close()


@pytest.fixture
def authority(make, certs):
    """A process that is an authority and nothing else, with these keys."""
    def authority(**keys):
        sections = {name: keys.pop(name) for name in ("start",) if name in keys}
        return make.gateway(conf=authorities.authority_config(certs, authorities.embedded(**keys)), **sections)
    return authority


def opens(gateway, ticket, target=lab.MAIL):
    """The ticket as SOCKS destination, as the real client sends it."""
    client = gateway.client()
    assert client.socks(ticket) == 0
    client.echoes()
    return client.ended("ok", None, door="socks", target=target, authority=lab.AUTHORITY)


def refused(answer, status, error):
    """An error that belongs to no message."""
    assert (answer.status, answer.kind, answer.error) == (status, "ResponseError", error), answer
    assert answer.type == authorities.TYPE


# ---- tickets -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version, types, number", [
    ("4.0", ["STA-v4"], "40"), ("4.0", ["STA-v1", "STA-v4"], "40"), ("4.0", ["STA-v9", "STA-v4"], "40"),
    ("4.0", ["STA-v1"], "10"), ("1.0", ["STA-v1"], "10")])
def test_a_ticket_as_a_real_issuer_asks_for_it(gateway, sta, version, types, number):
    since = len(gateway.events)
    answer = sta.ask(authorities.request_ticket(user="ålice", application="Mail & more", version=version, types=types))
    assert (answer.status, answer.type, answer.version) == (200, authorities.TYPE, version)
    assert answer.kind == "ResponseTicket" and answer.error is None
    assert answer.body.startswith(b"<?xml") and b'<!DOCTYPE CtxSTAProtocol SYSTEM "CtxSTA.dtd">' in answer.body
    assert answer.ticket.startswith(f";{number};{lab.AUTHORITY};")

    issued = gateway.wait_log("the issue", event="sta", since=since, message="RequestTicket", result="ok")
    assert (issued["user"], issued["application"], issued["class"]) == ("ålice", "Mail & more", "session")
    entry = opens(gateway, answer.ticket)
    assert (entry["user"], entry["ticket"]) == ("ålice", issued["ticket"])

    client = gateway.client()
    assert client.socks(answer.ticket) == lab.reasons_table()["ticket_used"]["socks"]
    client.ended("ticket_used", None, user="ålice")


def test_a_type_that_is_not_served(sta):
    answer = sta.ask(authorities.request_ticket(types=["STA-v9"]))
    assert (answer.status, answer.kind, answer.error) == (200, "ResponseTicket", "unsupported")


def test_the_ica_address_leads(gateway, sta):
    opens(gateway, sta.issue(address=PUSH), PUSH)
    opens(gateway, sta.issue(address=" mail.example.com : 443 "), lab.MAIL)  # blanks as published examples have them
    opens(gateway, sta.issue(address=""), lab.MAIL)  # the policy's first
    client = gateway.client()
    assert client.socks(sta.issue(address="other.example.com:443")) == 2
    client.ended("service_not_listed", target="other.example.com:443")


def test_an_ica_address_that_is_none(sta):
    answer = sta.ask(authorities.request_ticket(address="mail.example.com"))
    assert (answer.status, answer.kind, answer.error) == (400, "ResponseTicket", "bad-request")


def test_redeeming(sta):
    ticket = sta.issue(user="carol", services=[lab.MAIL, "EWS.example.com: 443"], device="phone1")
    answer = sta.ask(authorities.request_data(ticket))
    assert (answer.status, answer.kind, answer.error) == (200, "ResponseData", None)
    assert answer.values == {"ICAAddress": lab.MAIL, "CGPAddress": "", "SSLRelayAddress": "",
                             "XData": authorities.conn_info("carol")}
    assert (answer.facts["class"], answer.facts["user"], answer.facts["device"]) == ("session", "carol", "phone1")
    assert int(answer.facts["expires"]) - int(answer.facts["issued"]) == 100_000 and "refresh" not in answer.facts
    assert answer.services == [lab.MAIL, "ews.example.com:443"]

    answer = sta.ask(authorities.request_data(ticket))
    assert (answer.status, answer.kind, answer.error) == (200, "ResponseData", "ticket-used")
    assert not answer.values and not answer.facts
    assert sta.redeem(f";40;{lab.AUTHORITY};{'A' * 32}") == "ticket-unknown"


def test_the_other_ends_of_a_ticket(gateway, sta):
    expired, revoked = sta.issue(lifetime=1), sta.issue(cls="background")
    wire.poll(lambda: sta.redeem(expired) == "ticket-expired", "the ticket to expire")
    assert lab.stagate("ticket", "revoke", "-c", gateway.path, "-", stdin=revoked).returncode == 0
    assert sta.redeem(revoked) == "ticket-revoked"


def test_a_refreshable_ticket(gateway, sta):
    answer = sta.ask(authorities.request_ticket(refreshable=True))
    first = int(answer.facts["expires"])
    assert answer.facts["refresh"] == "500000" and first - int(answer.facts["issued"]) == 500_000
    for _ in range(3):
        assert sta.redeem(answer.ticket) == "ok"
    opens(gateway, answer.ticket)

    refresh = authorities.request_refresh(answer.ticket)

    def refreshed():
        again = sta.ask(refresh)
        assert (again.status, again.kind, again.error) == (200, "ResponseTicketRefresh", None)
        assert again.facts["refresh"] == "500000" and "ICAAddress" not in again.values
        return int(again.facts["expires"]) > first
    wire.poll(refreshed, "a later end of the ticket")

    once = sta.issue(refreshable=False)
    answer = sta.ask(authorities.request_refresh(once))
    assert (answer.status, answer.kind, answer.error) == (200, "ResponseTicketRefresh", "not-refreshable")
    assert sta.redeem(once) == "ok"
    assert sta.ask(authorities.request_refresh(once)).error == "ticket-used"
    assert sta.ask(authorities.request_refresh(f";40;{lab.AUTHORITY};{'A' * 32}")).error == "ticket-unknown"


def test_the_class_where_the_issuer_does_not_say(authority):
    running = authority(requested_class="background", session_lifetime="7s", refreshable_lifetime="9s")
    sta = authorities.service(running)
    answer = sta.ask(authorities.request_ticket())
    assert answer.facts["class"] == "background"
    assert int(answer.facts["expires"]) - int(answer.facts["issued"]) == 168 * HOUR
    assert [sta.redeem(answer.ticket) for _ in range(3)] == ["ok"] * 3
    for wishes, lifetime in (({}, 7000), ({"refreshable": True}, 9000)):
        answer = sta.ask(authorities.request_ticket(cls="session", **wishes))
        assert answer.facts["class"] == "session"
        assert int(answer.facts["expires"]) - int(answer.facts["issued"]) == lifetime
    sta.close()


def test_limits(authority):
    running = authority(max_tickets={"per-user": 2})
    sta = authorities.service(running)
    tickets = [sta.issue(user="dora", cls="background") for _ in range(2)]
    answer = sta.ask(authorities.request_ticket(user="dora"))
    assert (answer.status, answer.kind, answer.error) == (200, "ResponseTicket", "limit")
    sta.issue(user="erik")
    assert lab.stagate("ticket", "revoke", "-c", running.path, tickets[0]).returncode == 0
    sta.issue(user="dora")
    sta.close()


def test_the_authoritys_id(sta):
    answer = sta.ask(authorities.request_id())
    assert (answer.status, answer.kind, answer.id) == (200, "ResponseAuthorityID", lab.AUTHORITY)


# ---- what is no request ------------------------------------------------------------------------------------

@pytest.mark.parametrize("body, status, error", [
    (b"", 400, "bad-request"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "bad-request"),
    (authorities.request_data(";40;X;" + "A" * 32)[:-20], 400, "bad-request"),
    (authorities.message("<RequestData><Ticket>short</Ticket></RequestData>"), 400, "bad-request"),
    (authorities.message("<RequestData/>"), 400, "bad-request"),
    (authorities.message("<RequestAuthorityID/><RequestAuthorityID/>"), 400, "bad-request"),
    (authorities.request_ticket(lifetime="soon"), 400, "bad-request"),
    (authorities.request_id().replace(b'SYSTEM "CtxSTA.dtd"', b'[<!ENTITY x "y">]'), 400, "bad-request"),
    (authorities.message("&x;<RequestAuthorityID/>"), 400, "bad-request"),
    (authorities.message("<RequestGlory/>"), 200, "unsupported"),
    (authorities.message("<ResponseError><Error id='busy'/></ResponseError>"), 200, "unsupported"),
], ids=["nothing", "http", "cut", "ticket", "no-ticket", "two", "lifetime", "declaration", "entity", "unknown", "answer"])
def test_what_is_no_request(gateway, sta, body, status, error):
    since = len(gateway.events)
    refused(sta.ask(body), status, error)
    assert gateway.wait_log("the refusal", event="sta", since=since, result=error)["detail"]
    assert sta.ask(authorities.request_id()).id == lab.AUTHORITY  # on the same connection


def test_other_methods_types_and_paths(gateway, sta):
    for method in ("GET", "PUT", "DELETE"):
        refused(sta.ask(None, method), 405, "bad-request")
    refused(sta.ask(authorities.request_id(), Content_Type="application/x-www-form-urlencoded"), 415, "bad-request")
    refused(sta.ask(authorities.request_id(), Content_Type="text/plain; a=text/xml"), 415, "bad-request")
    refused(sta.ask(authorities.request_id(), Content_Type=None), 415, "bad-request")
    for good in ("text/xml", "TEXT/XML;charset=utf-8", "application/xml"):
        assert sta.ask(authorities.request_id(), Content_Type=good).id == lab.AUTHORITY
    code, answer = lab.http("POST", gateway.ready["sta"][0], "/scripts/", authorities.request_id())
    assert (code, answer["error"]) == (404, "not_found")


def test_sizes(sta):
    room = 65536 - len(authorities.request_id())
    assert sta.ask(authorities.request_id() + b" " * room).id == lab.AUTHORITY
    refused(sta.ask(authorities.request_id() + b" " * (room + 1)), 413, "bad-request")
    assert sta.ask(authorities.request_id()).id == lab.AUTHORITY


def test_a_web_page_cannot_ask(gateway, sta):
    since = len(gateway.events)
    for host in ("evil.example.com", "localhost.example.com", "127.0.0.1.example.com", "sta", "[::1]x"):
        refused(sta.ask(authorities.request_ticket(), Host=host), 403, "access-denied")
    port = gateway.ready["sta"][0].rpartition(":")[2]
    for host in ("localhost", f"localhost:{port}", "STA.example.com", "sta.example.com.:80", "10.1.2.3", "[::1]:80"):
        assert sta.ask(authorities.request_id(), Host=host).id == lab.AUTHORITY
    for origin in ("http://evil.example.com", "null", ""):
        refused(sta.ask(authorities.request_ticket(), Origin=origin), 403, "access-denied")
    entry = gateway.wait_log("the web page", event="sta", since=since, detail="requests of web pages are not served")
    assert entry["result"] == "access-denied" and entry["client"].startswith("127.0.0.1:")
    assert not [e for e in gateway.events[since:] if e.get("message") == "RequestTicket" and e["result"] == "ok"]


# ---- who may ask -------------------------------------------------------------------------------------------

def test_https(gateway, certs):
    context = wire.client_context(certs.ca_crt)
    sta = authorities.service(gateway, 1, context=context)
    opens(gateway, sta.issue())
    sta.close()
    plain = authorities.service(gateway, 1)
    refused(plain.ask(authorities.request_id()), 400, "ssl-required")
    plain.close()


def test_ssl_only(authority, certs):
    running = authority(listen=["http://127.0.0.1:0", "https://127.0.0.1:0"], ssl_only=True,
                        certificate=certs.sta_crt, key=certs.sta_key)
    plain = authorities.service(running)
    tls = authorities.service(running, 1, context=wire.client_context(certs.ca_crt))
    for body in (authorities.request_id(), authorities.request_ticket()):
        refused(plain.ask(body), 403, "ssl-required")
    assert tls.redeem(tls.issue()) == "ok"
    entry = running.wait_log("the refusal", event="sta", result="ssl-required")
    assert entry["detail"] == "TLS is demanded: use the https address"
    plain.close()
    tls.close()


def test_client_certificates(authority, certs):
    running = authority(listen=["https://127.0.0.1:0", "http://127.0.0.1:0"], certificate=certs.sta_crt,
                        key=certs.sta_key, client_ca=certs.ca_crt)
    running.expect_output("client-ca demands client certificates, which http://127.0.0.1:0 cannot ask for")
    issuer, server = wire.client_context(certs.ca_crt), wire.client_context(certs.ca_crt)
    issuer.load_cert_chain(certs.issuer_crt, certs.issuer_key)
    server.load_cert_chain(certs.mail_crt, certs.mail_key)  # of the same CA, but for servers

    sta = authorities.service(running, context=issuer)
    assert sta.redeem(sta.issue()) == "ok"
    sta.close()
    for index, context in ((0, wire.client_context(certs.ca_crt)), (1, None)):
        without = authorities.service(running, index, context=context)
        refused(without.ask(authorities.request_ticket()), 403, "access-denied")
        running.wait_log("the refusal", event="sta", detail="a client certificate is demanded")
        without.close()
    wrong = authorities.service(running, context=server)
    with pytest.raises(OSError):
        wrong.ask(authorities.request_ticket())
    running.wait_log("the handshake", event="http_tls_failed")


def test_a_shared_key(authority, tmp_path):
    key = tmp_path / "key"
    key.write_text("a secret of the lab\nand no second line\n")
    running = authority(shared_key_file=str(key))
    sta = authorities.service(running)
    right = {"Authorization": "Bearer a secret of the lab"}
    for wrong in ({}, {"Authorization": "Bearer a secret of the la"}, {"Authorization": "Bearer"},
                  {"Authorization": "Basic a secret of the lab"}):
        refused(sta.ask(authorities.request_id(), **wrong), 403, "access-denied")
    assert sta.ask(authorities.request_id(), **right).id == lab.AUTHORITY

    key.write_text("another one\n")
    assert running.reload()["event"] == "reloaded"
    refused(sta.ask(authorities.request_id(), **right), 403, "access-denied")
    assert sta.ask(authorities.request_id(), Authorization="Bearer another one").id == lab.AUTHORITY
    assert not [line for line in running.lines if "secret of" in line or "another one" in line]
    sta.close()


def test_allow_and_its_reload(authority, certs):
    running = authority(allow=["127.0.0.7"])
    denied, allowed = authorities.service(running), authorities.service(running, source="127.0.0.7")
    refused(denied.ask(authorities.request_ticket()), 403, "access-denied")
    ticket = allowed.issue()
    entry = running.wait_log("the refusal", event="sta", result="access-denied")
    assert entry["detail"] == "this address may not speak to the service: see allow"

    conf = authorities.authority_config(certs, authorities.embedded(allow=["127.0.0.1/32", "::1"]))
    assert running.reload(conf)["event"] == "reloaded"
    # the same connections, other rights
    refused(allowed.ask(authorities.request_ticket()), 403, "access-denied")
    assert denied.redeem(ticket) == "ok"
    denied.close()
    allowed.close()


# ---- living on ---------------------------------------------------------------------------------------------

def test_reload_changes_where_it_listens(authority, certs):
    running = authority(store="memory")
    sta = authorities.service(running)
    ticket = sta.issue(cls="background")
    first = running.ready["sta"]

    def listen(*where):
        conf = authorities.authority_config(certs, authorities.embedded(list(where), store="memory",
                                                                        certificate=certs.sta_crt, key=certs.sta_key))
        event = running.reload(conf)
        assert event["event"] == "reloaded"
        return event["sta"]

    both = listen("http://127.0.0.1:0", "https://127.0.0.1:0")
    assert both[0] == first[0]
    tls = authorities.Service(both[1], wire.client_context(certs.ca_crt))
    assert sta.redeem(ticket) == tls.redeem(ticket) == "ok"

    assert listen("https://127.0.0.1:0") == both[1:]
    assert tls.redeem(ticket) == "ok"

    def gone():
        try:
            sta.redeem(ticket)
        except OSError:
            return True
        return False
    wire.poll(gone, "the http address to close")
    sta.close()
    tls.close()


def test_an_answer_that_is_due_when_the_authority_goes(authority, certs):
    """What was asked before a reload is answered, also where the reload takes the whole authority away."""
    running = authority(store="memory")
    assert lab.stagate("fault", "-c", running.path, "authority-slow", "700ms").returncode == 0
    address = running.address(of="sta")
    conns = []
    for _ in range(3):
        conns.append(wire.Tcp.dial(address))
        conns[-1].sendall(post(random.Random(0), authorities.request_ticket()))
    conns[0].close()
    conf = authorities.authority_config(certs, authorities.embedded("http://127.0.0.2:0", "STAOTHER", "lmdb:others"))
    event = running.reload(conf)
    assert event["event"] == "reloaded" and event["authorities"] == ["STAOTHER"]
    for conn in conns[1:]:
        answer = wire.read_answer(conn)
        ticket = authorities.Answer(answer.status, answer["Content-Type"], answer.body.encode()).ticket
        assert ticket.startswith(f";40;{lab.AUTHORITY};")
        assert conn.ends() == b""
        conn.close()
    other = authorities.Service(event["sta"][0])
    assert other.ask(authorities.request_id()).id == "STAOTHER"
    other.close()


def test_a_memory_store_forgets_at_a_restart(authority):
    running = authority(store="memory")
    sta = authorities.service(running)
    ticket, once = sta.issue(cls="background"), sta.issue()
    assert [sta.redeem(t) for t in (ticket, once, ticket, once)] == ["ok", "ok", "ok", "ticket-used"]
    sta.close()
    running.stop()
    running.start()
    sta = authorities.service(running)
    assert sta.redeem(ticket) == sta.redeem(once) == "ticket-unknown"
    sta.close()


# ---- ten thousand bodies -----------------------------------------------------------------------------------

JUNK = (b"<", b">", b"&", b"&amp;", b"]]>", b"<![CDATA[", b"<!--", b"\0", b"\xff\xfe", b'"', b"<a>" * 20, b"&#0;",
        b"&#x41;", b"<?x ?>", b"<!DOCTYPE a [", b"\xed\xa0\x80")


def mutate(rng, body):
    """A body that is broken somehow."""
    body = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body) + 1)
        end = min(len(body), at + rng.choice((1, 2, 8, 40, 200)))
        kind = rng.randrange(6)
        if kind == 0:
            body[at:end] = b""
        elif kind == 1:
            body[at:at] = body[at:end] * rng.randint(1, 5)
        elif kind == 2:
            body[at:end] = rng.randbytes(end - at)
        elif kind == 3:
            del body[at:]
        elif kind == 4:
            body[at:at] = rng.choice(JUNK)
        elif at < end:
            body[at] ^= 1 << rng.randrange(8)
    return bytes(body)


def post(rng, body):
    head = f"POST {authorities.PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/xml\r\n"
    if rng.random() < 0.8:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    cut = rng.randint(0, len(body))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


def test_ten_thousand_bodies(authority):
    """Broken messages of every kind, many in one piece, over connections that are kept and some that are just left."""
    rng = random.Random(20260101)
    running = authority(store="memory")
    sta = authorities.service(running)
    ticket = sta.issue(cls="background")
    good = [authorities.request_ticket(),
            authorities.request_ticket(cls="background", services=[lab.MAIL], lifetime=1000),
            authorities.request_data(ticket), authorities.request_refresh(ticket), authorities.request_id(),
            authorities.message("<ResponseError><Error id='busy'/></ResponseError>")]
    address = running.address(of="sta")
    told = {}
    counted = sum(authorities.metrics(running, "stagate_sta_requests_total").values())
    for _ in range(20):
        conn = wire.Tcp.dial(address)
        for _ in range(20):
            batch = [post(rng, mutate(rng, rng.choice(good))) for _ in range(25)]
            conn.sendall(b"".join(batch))
            for _ in batch:
                answer = wire.read_answer(conn)
                told[answer.status] = told.get(answer.status, 0) + 1
                authorities.Answer(answer.status, answer["Content-Type"], answer.body.encode())
        if rng.random() < 0.5:
            conn.sendall(post(rng, good[0])[:rng.randint(1, 300)])
        conn.close()
    assert sum(told.values()) == 10_000 and set(told) == {200, 400} and min(told.values()) > 100, told
    assert sum(authorities.metrics(running, "stagate_sta_requests_total").values()) == counted + 10_000
    assert sta.redeem(ticket) == "ok" and sta.redeem(sta.issue()) == "ok"
    sta.close()
