"""Remote authorities: a gateway in front of authorities that are other processes, ours and ones that are broken in
every way which the table in docs/authorities.md names."""
import re
import socket

import pytest

import authorities
import backends
import lab
import wire
from authorities import Fake, closes, error, good_data, hangs, message, plain, remote, response

TICKET = "6C0EE48D2E8CADFEE6D1EB93BFB52A57"
FAILING = error("ResponseData", "internal")
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # what a TLS port says to plain HTTP
SSH = b"SSH-2.0-OpenSSH_9.2p1\r\n"

SENTENCES = {
    "unresolved": "the authority's name has no address",
    "refused": "the authority did not accept the connection",
    "connect_timeout": "connecting to the authority took too long",
    "tls": "TLS with the authority failed",
    "not_tls": "the authority's url says https, and no TLS is spoken there",
    "not_http": "what answered is no HTTP; perhaps the authority's url should say https",
    "ssl_required": "the authority demands TLS: its url should say https",
    "closed": "the authority closed the connection without an answer",
    "timeout": "the authority did not answer in time",
    "http_401": "the authority answered HTTP 401",
    "http_403": "the authority answered HTTP 403",
    "http_404": "the authority answered HTTP 404; perhaps its url is wrong",
    "http_4xx": "the authority answered with an HTTP client error",
    "http_5xx": "the authority answered with an HTTP server error",
    "http_other": "the authority answered with an HTTP status that is neither success nor error",
    "bad_xml": "the authority's answer is no STA XML",
    "bad_answer": "the authority's answer does not fit the question",
    "access_denied": "the authority does not let this gateway ask",
    "error": "the authority answered that it failed",
    "id_mismatch": "the authority calls itself by another ID than the configured one",
    "id_duplicate": "two authorities have this ID",
}


class World:
    """What the broken authorities below are made of; each method gives an entry of the gateway's `authorities`."""

    def __init__(self, make, certs, folder):
        self.make = make
        self.certs = certs
        self.sockets = []
        self.tls_context = wire.server_context(certs.sta_crt, certs.sta_key)
        tls = {"certificate": certs.sta_crt, "key": certs.sta_key}
        self.key = folder / "key"
        self.key.write_text("the key\n")
        listen = ["http://127.0.0.1:0", "https://127.0.0.1:0"]
        entries = {
            "open": authorities.embedded(listen, "STAOPEN", **tls),
            "ssl": authorities.embedded(listen, "STASSL", store="memory", ssl_only=True, **tls),
            "far": authorities.embedded(listen, "STAFAR", store="memory", allow=["192.0.2.0/24"], **tls),
            "certificate": authorities.embedded(listen[1], "STACERT", store="memory", client_ca=certs.ca_crt, **tls),
            "key": authorities.embedded(listen[0], "STAKEY", store="memory", shared_key_file=str(self.key)),
        }
        self.ours = {name: make.gateway(conf=authorities.authority_config(certs, entry))
                     for name, entry in entries.items()}

    def fake(self, always, context=None, scheme="http", host=None, **keys):
        """always: an answer, or a handler of the whole connection."""
        handler = always if isinstance(always, Handler) else Fake(always=always)
        backend = self.make.backend(handler, context, host=host)
        return remote(f"{scheme}://{backend.address}", **keys)

    def tls_fake(self, **keys):
        return self.fake(plain("404 Not Found"), self.tls_context, "https", **keys)

    def own(self, name, index=0, scheme="http", host="127.0.0.1", **keys):
        return remote(authorities.url(self.ours[name], index, scheme).replace("127.0.0.1", host), **keys)

    def bound(self):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.sockets.append(sock)
        return sock

    def refusing(self):
        """A port that is taken, and where nobody listens."""
        return remote("http://127.0.0.1:%d" % self.bound().getsockname()[1])

    def full(self):
        """A backlog that is full: SYNs are dropped."""
        sock = self.bound()
        sock.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
            self.sockets.append(filler)
        return remote("http://127.0.0.1:%d" % sock.getsockname()[1], timeout="500ms")

    def close(self):
        for sock in self.sockets:
            sock.close()


class Handler:
    """Marks a handler of backends.py as one."""

    def __init__(self, handle):
        self._handle = handle

    def __call__(self, conn, backend):
        self._handle(conn, backend)


def ended(conn, backend):
    """Closes without a word."""


def says(data):
    return Handler(backends.says(data))


XML_503 = response(message('<ResponseError><Error id="busy"/></ResponseError>'), "503 Service Unavailable")
BROKEN = {  # name: (cause, how it is made)
    "unresolved": ("unresolved", lambda w: remote("http://sta.invalid")),
    "refused": ("refused", World.refusing),
    "connect-timeout": ("connect_timeout", World.full),
    "untrusted": ("tls", lambda w: w.tls_fake(ca=w.certs.gateway_crt)),
    "wrong-name": ("tls", lambda w: w.tls_fake(ca=w.certs.ca_crt, host="127.0.0.2")),
    "too-old": ("tls", lambda w: w.fake(plain("404 Not Found"), wire.server_context(
        w.certs.sta_crt, w.certs.sta_key, "tls1.0", "tls1.1"), "https", ca=w.certs.ca_crt)),
    "wrong-certificate": ("tls", lambda w: w.own("certificate", 0, "https", host="localhost", ca=w.certs.ca_crt,
                                                 certificate=w.certs.mail_crt, key=w.certs.mail_key)),
    "https-to-ours": ("not_tls", lambda w: w.own("open", 0, "https", ca=w.certs.ca_crt)),
    "https-to-ssh": ("not_tls", lambda w: w.fake(says(SSH), scheme="https", ca=w.certs.ca_crt)),
    "http-to-tls": ("not_http", lambda w: w.fake(says(ALERT))),
    "http-to-ssh": ("not_http", lambda w: w.fake(says(SSH))),
    "http-garbage": ("not_http", lambda w: w.fake(b"HTTP/1.1 OK 200\r\n\r\n")),
    "http-to-ours": ("ssl_required", lambda w: w.own("open", 1)),
    "ssl-only": ("ssl_required", lambda w: w.own("ssl")),
    "ends": ("closed", lambda w: w.fake(Handler(ended))),
    "ends-after-the-question": ("closed", lambda w: w.fake(closes)),
    "ends-in-the-answer": ("closed", lambda w: w.fake(lambda conn: conn.sendall(good_data()[:-9]))),
    "silent": ("timeout", lambda w: w.fake(hangs, timeout="400ms")),
    "half-an-answer": ("timeout", lambda w: w.fake(lambda conn: conn.sendall(good_data()[:-9]) or hangs(conn),
                                                   timeout="400ms")),
    "401": ("http_401", lambda w: w.fake(plain("401 Unauthorized"))),
    "403": ("http_403", lambda w: w.fake(plain("403 Forbidden"))),
    "404": ("http_404", lambda w: w.fake(plain("404 Not Found"))),
    "404-by-tls": ("http_404", lambda w: w.tls_fake(ca=w.certs.ca_crt)),
    "404-of-ours": ("http_404", lambda w: remote(authorities.url(w.ours["open"]) + "/scripts/ctxsta.dl")),
    "418": ("http_4xx", lambda w: w.fake(plain("418 I'm a teapot"))),
    "503": ("http_5xx", lambda w: w.fake(plain("503 Service Unavailable"))),
    "302": ("http_other", lambda w: w.fake(response(b"", "302 Found", fields="Location: /elsewhere\r\n"))),
    "204": ("http_other", lambda w: w.fake(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "html": ("bad_xml", lambda w: w.fake(plain("200 OK"))),
    "nothing": ("bad_xml", lambda w: w.fake(response(b""))),
    "cut": ("bad_xml", lambda w: w.fake(response(message("<ResponseData><TicketData/></ResponseData>")[:-20]))),
    "too-big": ("bad_xml", lambda w: w.fake(response(b" " * 70_000))),
    "empty-data": ("bad_xml", lambda w: w.fake(response(message("<ResponseData></ResponseData>")))),
    "bad-id": ("bad_xml", lambda w: w.fake(authorities.good_id("STA 1"))),
    "another-answer": ("bad_answer", lambda w: w.fake(response(authorities.request_id()))),
    "not-understood": ("bad_answer", lambda w: w.fake(error("ResponseError", "bad-request"))),
    "unsupported": ("bad_answer", lambda w: w.fake(error("ResponseError", "unsupported"))),
    "not-allowed": ("access_denied", lambda w: w.own("far")),
    "no-key": ("access_denied", lambda w: w.own("key")),
    "no-certificate": ("access_denied", lambda w: w.own("certificate", 0, "https", ca=w.certs.ca_crt)),
    "internal": ("error", lambda w: w.fake(error("ResponseError", "internal"))),
    "its-own-error": ("error", lambda w: w.fake(error("ResponseError", "CTX4711"))),
    "busy": ("error", lambda w: w.fake(XML_503)),
}
@pytest.fixture(scope="module")
def world(make_shared, certs, tmp_path_factory):
    world = World(make_shared, certs, tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module", params=["probed", "redeemed"])
def broken(request, world, make_shared, certs, backend):
    """A gateway with all of them: it has to learn their IDs, or believes in them until it redeems."""
    redeems = {"learn-id": False} if request.param == "redeemed" else {}
    entries = [{**build(world), "id": identity(name), **redeems} for name, (_, build) in BROKEN.items()]
    conf = authorities.gateway_config(certs, [lab.service(backend, tls_floor="none")], *entries,
                                      timeouts={"ticket": "20s"})
    gateway = make_shared.gateway(conf=conf)
    gateway.first_state = "up" if redeems else "down"
    return gateway


def identity(name):
    return f"STA{list(BROKEN).index(name)}"


def ask(gateway, ticket, target=lab.MAIL):
    """Shows a ticket; returns the client and the answer."""
    client = gateway.client()
    return client, client.connect(target, wire.basic(ticket))


def opens(gateway, ticket, **fields):
    client, answer = ask(gateway, ticket)
    assert answer.status == 200, answer
    client.echoes()
    return client.ended("ok", None, **fields)


def refused(gateway, ticket, reason, detail=None, **fields):
    client, answer = ask(gateway, ticket)
    assert (answer.status, answer["X-Stagate-Reason"]) == (lab.reasons_table()[reason]["http"], reason), answer
    assert answer["X-Stagate-Detail"] == detail
    return client.ended(reason, detail, **fields)


def down(gateway, id, cause):
    """A ticket of this authority is refused for this cause."""
    return refused(gateway, f";40;{id};{TICKET}", "authority_down", SENTENCES[cause], authority=id)


def failures(gateway, id):
    """The causes counted for an authority."""
    samples = authorities.metrics(gateway, "stagate_authority_failures_total")
    return {dict(labels)["cause"]: n for labels, n in samples.items() if dict(labels)["authority"] == id}


def state(gateway, id):
    entry = authorities.status(gateway)[id]
    assert entry["kind"] == "remote" and (entry["state"] == "up") == ("cause" not in entry)
    if "cause" in entry and entry["cause"] in SENTENCES:
        assert entry["detail"] == SENTENCES[entry["cause"]]
    return entry["state"], entry.get("cause")


# ---- what can be wrong -------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_authority(broken, name):
    cause, id = BROKEN[name][0], identity(name)
    assert state(broken, id) == (("down", cause) if broken.first_state == "down" else ("up", None))
    down(broken, id, cause)
    assert state(broken, id) == ("down", cause)
    assert failures(broken, id) == {cause: 1}
    assert authorities.metric(broken, "stagate_authority_up", authority=id) == 0
    broken.wait_log("the change", event="authority", authority=id, state="down", cause=cause, detail=SENTENCES[cause],
                    level="error")
    down(broken, id, cause)  # without being asked again
    assert failures(broken, id) == {cause: 2}
    history = authorities.status(broken)[id]["history"]
    assert [(e["state"], e["cause"]) for e in history] == [("down", cause)]


def test_an_authority_that_calls_itself_otherwise(start):
    gateway = start((Fake("STAOTHER"), {"id": "STAONE"}))
    assert state(gateway, "STAONE") == ("down", "id_mismatch")
    assert authorities.status(gateway)["STAONE"]["learnt"] == "STAOTHER"
    down(gateway, "STAONE", "id_mismatch")
    assert failures(gateway, "STAONE") == {"id_mismatch": 1}
    event = gateway.wait_log("the change", event="authority", authority="STAONE", cause="id_mismatch")
    assert event["calls_itself"] == "STAOTHER"
    refused(gateway, f";40;STAOTHER;{TICKET}", "authority_unknown")
    assert "it calls itself STAOTHER" in lab.stagate("authority", "status", "-c", gateway.path).stdout


def test_two_with_one_id(start):
    one, two, third = Fake("STAONE"), Fake("STAONE"), Fake("STATWO")
    gateway = start((one, {"probe": "100ms"}), (two, {"probe": "100ms"}), (third, {}))
    assert state(gateway, "STAONE") == ("down", "id_duplicate")
    down(gateway, "STAONE", "id_duplicate")
    assert failures(gateway, "STAONE") == {"id_duplicate": 1}
    assert authorities.metric(gateway, "stagate_authority_up", authority="STAONE") == 0
    opens(gateway, f";42;STAONE;{TICKET};STATWO;{TICKET}", authority="STATWO")
    assert one.count("RequestData") == two.count("RequestData") == 0
    two.id = "STADUE"
    wire.poll(lambda: "STADUE" in authorities.status(gateway), "the new ID")
    assert state(gateway, "STAONE") == state(gateway, "STADUE") == ("up", None)
    opens(gateway, f";40;STAONE;{TICKET}")
    assert (one.count("RequestData"), two.count("RequestData")) == (1, 0)


def test_the_table_in_the_docs():
    """Each name that docs/authorities.md tells of is provoked here, but for those that others do or that need more."""
    text = (lab.ROOT / "docs" / "authorities.md").read_text()
    table = text[text.index("| name |"):text.index("That an authority does not know")]
    rows = re.findall(r"^\| (`[^|]*`) \|", table, re.M)
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    elsewhere = {"store", "fault_down", "fault_error", "overloaded", "no_id"}
    assert names - elsewhere == set(SENTENCES)
    assert {cause for cause, _ in BROKEN.values()} | {"id_mismatch", "id_duplicate"} == set(SENTENCES)


# ---- an authority that works -------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def gateway(world, make_shared, certs, backend):
    """One in front of our own authority, whose ID it learns over TLS."""
    address = world.ours["open"].ready["sta"][1].replace("127.0.0.1", "localhost")
    conf = authorities.gateway_config(certs, [lab.service(backend, tls_floor="none"),
                                              lab.service(backend, "push.example.com:443", tls_floor="none")],
                                      remote(f"https://{address}", ca=certs.ca_crt))
    return make_shared.gateway(conf=conf)


@pytest.fixture
def issuer(world):
    service = authorities.service(world.ours["open"])
    yield service
    service.close()


def test_its_tickets_open_tunnels(gateway, issuer):
    assert gateway.ready["authorities"] == ["STAOPEN"]
    for wishes in ({}, {"refreshable": True}, {"cls": "background", "device": "phone1"}):
        ticket = issuer.issue(user="frank", **wishes)
        entry = opens(gateway, ticket, user="frank", device=wishes.get("device"), authority="STAOPEN", target=lab.MAIL)
        client = gateway.client()
        if wishes:
            assert client.socks(ticket) == 0
            client.echoes()
            assert client.ended("ok", None, user="frank", target=lab.MAIL)["ticket"] == entry["ticket"]
        else:
            assert client.socks(ticket) == 2
            client.ended("ticket_used", None)
    v1 = issuer.ask(authorities.request_ticket(version="1.0")).ticket
    assert v1.startswith(";10;")
    opens(gateway, v1)


def test_its_verdicts(gateway, world, issuer):
    expired, revoked, live = issuer.issue(lifetime=1, cls="background"), issuer.issue(cls="background"), issuer.issue()
    wire.poll(lambda: issuer.redeem(expired) == "ticket-expired", "the ticket to expire")
    assert lab.stagate("ticket", "revoke", "-c", world.ours["open"].path, revoked).returncode == 0
    refused(gateway, expired, "ticket_expired", authority="STAOPEN")
    refused(gateway, revoked, "ticket_revoked")
    refused(gateway, f";40;STAOPEN;{TICKET}", "ticket_unknown")
    assert issuer.redeem(live) == "ok"
    refused(gateway, live, "ticket_used")
    refused(gateway, live.replace("STAOPEN", "STANOBODY"), "authority_unknown")
    refused(gateway, live.replace("STAOPEN", "staopen"), "authority_unknown")
    assert state(gateway, "STAOPEN") == ("up", None)
    for verdict in ("ok", "unknown", "expired", "used", "revoked"):
        assert authorities.metric(gateway, "stagate_authority_answers_total", authority="STAOPEN", verdict=verdict) > 0
    assert authorities.metric(gateway, "stagate_authority_answers_total", authority="STAOPEN", verdict="down") == 0


def test_its_services(gateway, issuer):
    narrow = issuer.issue(cls="background", services=["push.example.com:443"])
    client, answer = ask(gateway, narrow, "push.example.com:443")
    assert answer.status == 200
    client.echoes()
    client.ended("ok", target="push.example.com:443")
    refused(gateway, narrow, "service_not_in_ticket", target=lab.MAIL)


def test_keys_and_certificates(world, make, certs, backend):
    """What the authority demands and the gateway shows."""
    shown = [world.own("key", shared_key_file=str(world.key)),
             world.own("certificate", 0, "https", ca=certs.ca_crt, certificate=certs.issuer_crt, key=certs.issuer_key)]
    gateway = make.gateway(conf=authorities.gateway_config(certs, [lab.service(backend)], *shown))
    assert gateway.ready["authorities"] == ["STAKEY", "STACERT"]
    for id in ("STAKEY", "STACERT"):
        assert state(gateway, id) == ("up", None)
        refused(gateway, f";40;{id};{TICKET}", "ticket_unknown")
    assert not [line for line in gateway.lines if "the key" in line]


# ---- with authorities in Python ----------------------------------------------------------------------------

@pytest.fixture
def start(make, certs, backend):
    """A gateway in front of these: pairs of a Fake and the keys of its entry. One worker: what one does, all do."""
    def start(*pairs, **sections):
        entries = []
        for fake, keys in pairs:
            fake.backend = make.backend(fake)
            entries.append(remote(f"http://{fake.backend.address}", **keys))
        conf = authorities.gateway_config(certs, [lab.service(backend, tls_floor="none")], *entries, workers=1,
                                          **sections)
        return make.gateway(conf=conf)
    return start


def test_what_is_sent(start):
    fake = Fake("STAONE")
    gateway = start((fake, {}))
    opens(gateway, f";22;STAONE;{TICKET}", authority="STAONE", user=None)
    assert fake.asked == ["RequestAuthorityID", "RequestData"]
    assert f'<Ticket version="22">{TICKET}</Ticket>'.encode() in fake.bodies[1]
    assert b"<!DOCTYPE CtxSTAProtocol SYSTEM" in fake.bodies[1]
    for head in fake.fields:
        assert head.startswith(f"POST {authorities.PATH} HTTP/1.1\r\n")
        assert f"\r\nHost: {fake.backend.address}\r\n" in head
        assert "\r\nContent-Type: text/xml\r\n" in head and "Authorization" not in head
    assert len(fake.backend.accepted) <= 2  # the control thread's and the worker's: they are kept
    for _ in range(5):
        opens(gateway, f";40;STAONE;{TICKET}")
    assert len(fake.backend.accepted) <= 2


def test_a_connection_that_is_not_kept(start):
    fake = Fake("STAONE", RequestData=response(message(
        f"<ResponseData><TicketData><Value name='ICAAddress'>{lab.MAIL}</Value></TicketData></ResponseData>"),
        fields="Connection: close\r\n"))
    gateway = start((fake, {}))
    for _ in range(5):
        opens(gateway, f";40;STAONE;{TICKET}")
    assert fake.count("RequestData") == 5 and len(fake.backend.accepted) >= 6


def test_what_a_foreign_authority_tells(start):
    """Without stagate's element: where it leads, and out of XData who it is for."""
    data = "".join(f'<Value name="{n}">{v}</Value>' for n, v in (("ICAAddress", "ews.example.com:443"), ("XData", (
        "&lt;CtxConnInfo version=&quot;1.0&quot;&gt;&lt;UserName&gt;grace&lt;/UserName&gt;&lt;/CtxConnInfo&gt;"))))
    answer = response(message(f"<ResponseData><TicketData>{data}</TicketData></ResponseData>"))
    fake = Fake("STAONE", RequestData=answer)
    gateway = start((fake, {}))
    client = gateway.client()
    assert client.socks(f";40;STAONE;{TICKET}") == 2
    client.ended("service_not_listed", user="grace", target="ews.example.com:443", authority="STAONE")


def test_refreshing(start):
    """While a tunnel lives, a refreshable ticket of a remote authority is refreshed there."""
    facts = '<StagateTicket class="session" user="hal" issued="1767225600000" expires="32503680000000" refresh="100"/>'
    fake = Fake("STAONE", RequestData=good_data(facts=facts), RequestTicketRefresh=response(message(
        f"<ResponseTicketRefresh>{facts}</ResponseTicketRefresh>")))
    gateway = start((fake, {}))
    tunnel = gateway.tunnel(f";40;STAONE;{TICKET}")
    wire.poll(lambda: fake.count("RequestTicketRefresh") >= 1, "the refresh")
    assert TICKET.encode() in fake.bodies[fake.asked.index("RequestTicketRefresh")]
    tunnel.echoes()
    tunnel.ended("ok", user="hal")


# ---- pairs -------------------------------------------------------------------------------------------------

def test_pairs(start):
    """;42;: the first that is configured and answers."""
    one, two, dead = Fake("STAONE"), Fake("STATWO"), Fake("STADEAD", RequestData=FAILING)
    unknown = error("ResponseData", "ticket-unknown")
    gateway = start((one, {}), (two, {}), (dead, {"bypass": "0s"}))

    opens(gateway, f";42;STAONE;{TICKET};STATWO;{TICKET}", authority="STAONE")
    assert two.count("RequestData") == 0
    opens(gateway, f";42;STADEAD;{TICKET};STATWO;{TICKET}", authority="STATWO")
    assert (dead.count("RequestData"), two.count("RequestData")) == (1, 1)
    assert b'version="40"' in two.bodies[-1]
    opens(gateway, f";42;STANOBODY;{TICKET};STATWO;{TICKET}", authority="STATWO")
    opens(gateway, f";42;STAONE;{TICKET};STANOBODY;{TICKET}", authority="STAONE")

    both = f";42;STADEAD;{TICKET};STADEAD;{TICKET[::-1]}"
    refused(gateway, both, "authority_down", SENTENCES["error"], authority="STADEAD")
    refused(gateway, f";42;STADEAD;{TICKET};STANOBODY;{TICKET}", "authority_down", SENTENCES["error"])
    refused(gateway, f";42;STANOBODY;{TICKET};STANOONE;{TICKET}", "authority_unknown")

    # that it does not know the ticket is an answer
    one.answers["RequestData"] = unknown
    asked = two.count("RequestData")
    refused(gateway, f";42;STAONE;{TICKET};STATWO;{TICKET}", "ticket_unknown", authority="STAONE")
    assert two.count("RequestData") == asked


def test_timeouts_ticket_bounds_each(start):
    """An authority that takes longer than that has failed as one that took longer than its own timeout."""
    slow, good = Fake("STASLOW", RequestData=hangs), Fake("STAGOOD")
    gateway = start((slow, {"timeout": "1h"}), (good, {}), timeouts={"ticket": "300ms"})
    opens(gateway, f";42;STASLOW;{TICKET};STAGOOD;{TICKET}", authority="STAGOOD")
    assert state(gateway, "STASLOW") == ("down", "timeout")
    down(gateway, "STASLOW", "timeout")
    assert failures(gateway, "STASLOW") == {"timeout": 2} and slow.count("RequestData") == 1

    # a fault that does it is told
    assert lab.stagate("fault", "-c", gateway.path, "authority-slow", "1m", "--authority", "STAGOOD").returncode == 0
    refused(gateway, f";40;STAGOOD;{TICKET}", "authority_down", SENTENCES["timeout"], injected=True)
    assert state(gateway, "STAGOOD") == ("up", None)
    assert lab.stagate("fault", "-c", gateway.path, "clear").returncode == 0
    opens(gateway, f";40;STAGOOD;{TICKET}", injected=None)
    assert authorities.metric(gateway, "stagate_authority_injected_total", authority="STAGOOD") == 1


# ---- down and up again -------------------------------------------------------------------------------------

def test_bypass(start):
    """After a failure nobody asks it; tickets are refused at once, and pairs go to the other one."""
    fake, other = Fake("STAONE", RequestData=FAILING), Fake("STATWO")
    gateway = start((fake, {}), (other, {}))
    for _ in range(5):
        refused(gateway, f";40;STAONE;{TICKET}", "authority_down", SENTENCES["error"])
    for _ in range(5):
        opens(gateway, f";42;STAONE;{TICKET};STATWO;{TICKET}", authority="STATWO")
    assert fake.asked == ["RequestAuthorityID", "RequestData"]
    entry = authorities.status(gateway)["STAONE"]
    assert entry["state"] == "down" and entry["counters"]["asked"] == 10 and entry["counters"]["down"] == 10
    assert re.fullmatch(r"24h|86\d\d\ds|23h\d+m", entry["bypassedFor"]), entry
    assert "bypassed for" in lab.stagate("authority", "status", "-c", gateway.path).stdout
    assert failures(gateway, "STAONE") == {"error": 10}
    assert "bypassedFor" not in authorities.status(gateway)["STATWO"]


def test_nobody_waits_for_one_with_a_long_timeout(make, backend):
    """Ready, although its first probe has not ended."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        entry = remote("http://127.0.0.1:%d" % silent.getsockname()[1], timeout="1h")
        gateway = make.gateway([lab.service(backend, tls_floor="none")],
                               authorities=[entry, {"id": lab.AUTHORITY, "store": "memory:"}],
                               admin={"socket": "stagate.sock"})
        assert gateway.ready["authorities"] == [lab.AUTHORITY]
        ticket = lab.http("POST", gateway.folder / "stagate.sock", "/v1/tickets", {"user": "alice"})[1]["ticket"]
        gateway.tunnel(ticket).echoes()
        gateway.stop()


@pytest.mark.parametrize("bypass", ["0s", "100ms"])
def test_it_is_tried_again_after_the_bypass(start, bypass):
    fake = Fake("STAONE", RequestData=FAILING)
    gateway = start((fake, {"bypass": bypass}))
    refused(gateway, f";40;STAONE;{TICKET}", "authority_down", SENTENCES["error"])

    def shown():
        client, answer = ask(gateway, f";40;STAONE;{TICKET}")
        client.close()
        return answer
    wire.poll(lambda: shown() and fake.count("RequestData") >= 2, "it to be asked again")
    assert state(gateway, "STAONE") == ("down", "error")
    fake.answers["RequestData"] = good_data()
    wire.poll(lambda: shown().status == 200, "it to be believed again")
    assert state(gateway, "STAONE") == ("up", None)
    assert [e["state"] for e in authorities.status(gateway)["STAONE"]["history"]] == ["up", "down", "up"]


def test_a_probe_finds_it_up_again(start):
    """Also where a bypass would last for ever; and that it went down is seen without anybody's ticket."""
    fake = Fake("STAONE")
    gateway = start((fake, {"probe": "100ms"}))
    since = len(gateway.events)
    for always, cause in ((plain("503 Service Unavailable"), "http_5xx"), (plain("404 Not Found"), "http_404")):
        fake.always = always
        wire.poll(lambda: state(gateway, "STAONE") == ("down", cause), "it to go down")
        down(gateway, "STAONE", cause)
        assert fake.count("RequestData") == 0
    fake.always = None
    wire.poll(lambda: state(gateway, "STAONE") == ("up", None), "it to come up")
    opens(gateway, f";40;STAONE;{TICKET}")
    changes = [(e["state"], e.get("cause")) for e in gateway.events[since:] if e["event"] == "authority"]
    assert changes == [("down", "http_5xx"), ("down", "http_404"), ("up", None)]
    assert all(e["authority"] == "STAONE" for e in gateway.events[since:] if e["event"] == "authority")


def test_an_id_that_changes(start):
    """An authority set up anew: its new tickets are good, those of before belong to nobody."""
    fake, fixed = Fake("STAOLD"), Fake("STAFIXED")
    gateway = start((fake, {"probe": "100ms"}), (fixed, {"probe": "100ms", "id": "STAFIXED"}))
    tunnel = gateway.tunnel(f";40;STAOLD;{TICKET}")
    fake.id = "STANEW"
    wire.poll(lambda: "STANEW" in authorities.status(gateway), "the new ID")
    opens(gateway, f";40;STANEW;{TICKET}", authority="STANEW")
    refused(gateway, f";40;STAOLD;{TICKET}", "authority_unknown")
    assert [(e["state"], e["id"]) for e in authorities.status(gateway)["STANEW"]["history"]] == [
        ("up", "STANEW"), ("up", "STAOLD")]
    tunnel.echoes()
    tunnel.ended("ok", authority="STAOLD")

    fixed.id = "STANEW"  # not what was configured; nor does it take the other one's tickets
    wire.poll(lambda: state(gateway, "STAFIXED") == ("down", "id_mismatch"), "the mismatch")
    opens(gateway, f";40;STANEW;{TICKET}", authority="STANEW")
    asked = fixed.count("RequestData")
    down(gateway, "STAFIXED", "id_mismatch")
    assert fixed.count("RequestData") == asked
    fixed.id = "STAFIXED"
    wire.poll(lambda: state(gateway, "STAFIXED") == ("up", None), "it to be itself again")
    opens(gateway, f";40;STAFIXED;{TICKET}")


def test_without_asking_for_the_id(start):
    fake = Fake(None, RequestAuthorityID=closes)
    gateway = start((fake, {"id": "STAREAL", "learn_id": False, "probe": "100ms"}))
    opens(gateway, f";40;STAREAL;{TICKET}", authority="STAREAL")
    assert fake.asked == ["RequestData"]


# ---- cache -------------------------------------------------------------------------------------------------

def requests(gateway, id):
    return authorities.metric(gateway, "stagate_authority_requests_total", authority=id)


def test_the_cache(world, issuer, make, certs, backend):
    conf = authorities.gateway_config(certs, [lab.service(backend, tls_floor="none")], world.own("open", cache="24h"),
                                      workers=1)
    gateway = make.gateway(conf=conf)
    ticket = issuer.issue(cls="background", user="ina", device="phone1", services=[lab.MAIL])
    first = opens(gateway, ticket, user="ina", device="phone1")
    asked = requests(gateway, "STAOPEN")
    for _ in range(5):
        again = opens(gateway, ticket, user="ina", device="phone1", authority="STAOPEN")
        assert again["ticket"] == first["ticket"]
    client, answer = ask(gateway, ticket, "other.example.com:443")
    assert answer["X-Stagate-Reason"] == "service_not_listed"
    client.ended("service_not_listed", user="ina")
    assert requests(gateway, "STAOPEN") == asked
    assert authorities.metric(gateway, "stagate_authority_cached_total", authority="STAOPEN") == 6

    # one that is revoked there lives on here, one that expires does not
    assert lab.stagate("ticket", "revoke", "-c", world.ours["open"].path, ticket).returncode == 0
    assert issuer.redeem(ticket) == "ticket-revoked"
    opens(gateway, ticket)
    brief = issuer.issue(cls="background", lifetime=1500)
    opens(gateway, brief)
    asked = requests(gateway, "STAOPEN")

    def has_expired():
        client, answer = ask(gateway, brief)
        client.close()
        assert answer.status == 200 or answer["X-Stagate-Reason"] == "ticket_expired"
        return answer.status != 200
    wire.poll(has_expired, "the ticket to expire")
    assert requests(gateway, "STAOPEN") == asked

    # tickets of one use are asked for each time, and so is what was refused
    once, refreshable = issuer.issue(), issuer.issue(refreshable=True)
    opens(gateway, once)
    refused(gateway, once, "ticket_used")
    opens(gateway, refreshable)
    opens(gateway, refreshable)
    for _ in range(2):
        refused(gateway, f";40;STAOPEN;{TICKET}", "ticket_unknown")
    assert requests(gateway, "STAOPEN") == asked + 6


def test_the_cache_forgets(world, issuer, make, certs, backend):
    conf = authorities.gateway_config(certs, [lab.service(backend, tls_floor="none")], world.own("open", cache="300ms"),
                                      workers=1)
    gateway = make.gateway(conf=conf)
    ticket = issuer.issue(cls="background")
    opens(gateway, ticket)
    assert lab.stagate("ticket", "revoke", "-c", world.ours["open"].path, ticket).returncode == 0

    def is_revoked():
        client, answer = ask(gateway, ticket)
        client.close()
        assert answer.status == 200 or answer["X-Stagate-Reason"] == "ticket_revoked"
        return answer.status != 200
    wire.poll(is_revoked, "the cache to forget")


# ---- reload, status ----------------------------------------------------------------------------------------

def test_reload_adds_and_removes(make, start, certs, backend):
    one, two = Fake("STAONE"), Fake("STATWO")
    gateway = start((one, {}))
    refused(gateway, f";40;STATWO;{TICKET}", "authority_unknown")
    tunnel = gateway.tunnel(f";40;STAONE;{TICKET}")
    two.backend = make.backend(two)

    def reload(*fakes, **keys):
        entries = [remote(f"http://{fake.backend.address}", **keys) for fake in fakes]
        conf = authorities.gateway_config(certs, [lab.service(backend, tls_floor="none")], *entries, workers=1)
        event = gateway.reload(conf)
        assert event["event"] == "reloaded"
        return event["authorities"]

    assert reload(one, two) == ["STAONE", "STATWO"]
    opens(gateway, f";40;STATWO;{TICKET}")
    assert one.count("RequestAuthorityID") == 2  # asked again, but the same: what was counted stays
    assert authorities.status(gateway)["STAONE"]["counters"]["asked"] == 1

    assert reload(two) == ["STATWO"]
    refused(gateway, f";40;STAONE;{TICKET}", "authority_unknown")
    assert "STAONE" not in authorities.status(gateway)
    opens(gateway, f";40;STATWO;{TICKET}")
    tunnel.echoes()
    tunnel.ended("ok", authority="STAONE")

    # another timeout makes it another one
    assert reload(two, timeout="19s") == ["STATWO"]
    assert authorities.status(gateway)["STATWO"]["counters"]["asked"] == 0
    opens(gateway, f";40;STATWO;{TICKET}")

    # one that is dead does not stand in the way
    two.always = plain("503 Service Unavailable")
    assert reload(one, two) == ["STAONE"]
    opens(gateway, f";40;STAONE;{TICKET}")
    refused(gateway, f";40;STATWO;{TICKET}", "authority_unknown",
            "an authority that has not been reached yet has no ID; it may be that one")


def test_the_status_for_people(start):
    fake, nobody = Fake("STAONE"), Fake("STATWO", always=plain("404 Not Found"))
    gateway = start((fake, {"probe": "100ms"}), (nobody, {}))
    opens(gateway, f";40;STAONE;{TICKET}")
    fake.always = plain("503 Service Unavailable")
    wire.poll(lambda: state(gateway, "STAONE")[0] == "down", "it to go down")
    down(gateway, "STAONE", "http_5xx")
    fake.always = None
    wire.poll(lambda: state(gateway, "STAONE")[0] == "up", "it to come up")

    result = lab.stagate("authority", "status", "-c", gateway.path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    expected = [
        rf"STAONE           up      remote   asked 2, answered 1, down 1, issued 0  http://{fake.backend.address}",
        rf" {{17}}{time} up",
        rf" {{17}}{time} down: {SENTENCES['http_5xx']}",
        rf" {{17}}{time} up",
        rf"\(no ID\)          down    remote   asked 0, answered 0, down 0, issued 0  http://{nobody.backend.address}",
        rf" {{17}}http_404: {SENTENCES['http_404']}",
        r" {17}bypassed for .*",
        rf" {{17}}{time} down: {SENTENCES['http_404']}",
    ]
    assert len(lines) == len(expected), result.stdout
    for line, pattern in zip(lines, expected):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_the_history_is_bounded(start):
    fake = Fake("STA0")
    gateway = start((fake, {"bypass": "0s"}))
    for turn in range(40):
        fake.answers["RequestData"] = FAILING if turn % 2 == 0 else good_data()
        client, answer = ask(gateway, f";40;STA0;{TICKET}")
        assert answer.status == (503 if turn % 2 == 0 else 200)
        client.close()
    history = authorities.status(gateway)["STA0"]["history"]
    assert [e["state"] for e in history] == ["up", "down"] * 16
