"""The relays that look into HTTP: in a tunnel (http, inspect) and at the activesync door."""
import base64
import socket

import pytest

import backends
import lab
import wire
from phones import FOLDER_SYNC, PATH, PING, WBXML, Phone, mail_server, read_answer
from test_start import Shipped


def test_requests_and_answers(phone):
    phone = phone()
    for n in range(3):
        answer = phone.ask(body=FOLDER_SYNC, fields=["Cookie: a=b", "Connection: keep-alive", "X-Odd_One: x"])
        assert (answer.status, answer.body, answer["Content-Type"]) == (200, FOLDER_SYNC, WBXML)
    assert len(phone.backend.accepted) == 1
    line, fields, body = phone.backend.requests[-1]
    assert line.startswith(f"POST {PATH}?Cmd=FolderSync&User=alice") and body == FOLDER_SYNC
    assert fields["host"] == "mail.example.com" and fields["cookie"] == "a=b"
    assert not {"x-sta-ticket", "connection", "x-odd_one", "proxy-authorization"} & set(fields)
    entry = phone.request()
    assert (entry["reason"], entry["command"], entry["version"], entry["status"]) == ("ok", "FolderSync", "14.1", 200)
    assert (entry["device_id"], entry["device_type"], entry["login"]) == ("iPhone1", "iPhone", "alice")
    phone.conn.close() if phone.relay == "inspect" else phone.client.close()
    event = phone.client.ended("ok")
    assert event["requests"] == 3


@pytest.mark.parametrize("version, status", [("12.1", 400), ("14.0", 200), (None, 400)])
def test_floor(phone, version, status):
    phone = phone(**{"activesync-floor": "14.1"})
    answer = phone.ask(body=FOLDER_SYNC, version=version)
    assert answer.status == status and answer["X-Stagate-Reason"] == "activesync_floor"
    if status == 200:
        assert answer.body == bytes.fromhex("03016a00000756") + b"\x4c\x03138\x00\x01\x01"
    assert phone.ask(body=FOLDER_SYNC).status == 200  # the connection stays
    assert phone.ask(method="OPTIONS", command=None)["MS-ASProtocolVersions"] == "14.1,16.1"
    assert len(phone.backend.requests) == 2
    phone.request(reason="activesync_floor")


@pytest.mark.parametrize("keys, status, reason", [
    (dict(path="/owa/"), 403, "not_activesync"),
    (dict(path="/Microsoft-Server-ActiveSync/"), 403, "not_activesync"),
    (dict(method="GET"), 403, "not_activesync"),
    (dict(path="/servlet/traveler"), 403, "syncml"),
    (dict(command="Ping"), 400, "command_mismatch"),
    (dict(device="Android77"), 403, "device_blocked"),
    (dict(host="other.example.com"), 403, "service_not_listed"),
], ids=str)
def test_refused(phone, keys, status, reason):
    phone = phone(devices=[{"action": "block", "id": "Android*"}])
    if phone.relay == "activesync" and "host" in keys:
        phone.ask(body=FOLDER_SYNC)
    before = len(phone.backend.requests)
    answer = phone.ask(body=FOLDER_SYNC, **keys)
    assert (answer.status, answer["X-Stagate-Reason"]) == (status, reason)
    phone.request(reason=reason)
    if reason != "service_not_listed":
        assert phone.ask(body=FOLDER_SYNC).status == 200
    assert len(phone.backend.requests) <= before + 1


@pytest.mark.parametrize("login, status", [("alice", 200), ("LAB\\alice", 200), ("bob", 403)])
def test_bound_to_the_tickets_user(phone, login, status):
    phone = phone(**{"bind-user": True})
    value = base64.b64encode(f"{login}:x".encode()).decode()
    phone.conn.sendall(f"OPTIONS {PATH} HTTP/1.1\r\nHost: mail.example.com\r\nAuthorization: Basic {value}\r\n"
                       f"X-STA-Ticket: {phone.ticket}\r\n\r\n".encode())
    answer = read_answer(phone.conn)
    assert answer.status == status
    if status == 403:
        assert answer["X-Stagate-Reason"] == "user_mismatch" and not phone.backend.requests
        phone.request(reason="user_mismatch")


def test_chunks_and_pipelining(phone):
    phone = phone(answers=[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"])
    chunked = [f"Content-Type: {WBXML}", "Transfer-Encoding: chunked"]
    phone.send(body=b"5\r\n" + FOLDER_SYNC[:5] + b"\r\n8\r\n" + FOLDER_SYNC[5:] + b"\r\n0\r\n\r\n", fields=chunked, length=False)
    phone.send(body=FOLDER_SYNC)
    assert read_answer(phone.conn).body == b"abcde"
    assert read_answer(phone.conn).body == FOLDER_SYNC
    assert [note[2] for note in phone.backend.requests] == [FOLDER_SYNC] * 2


def test_expect_continue(phone):
    phone = phone()
    phone.send(body=FOLDER_SYNC[:0], fields=["Expect: 100-continue", f"Content-Length: {len(FOLDER_SYNC)}"], length=False)
    assert phone.conn.recv_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    phone.conn.sendall(FOLDER_SYNC)
    assert read_answer(phone.conn).body == FOLDER_SYNC


@pytest.mark.parametrize("text", [
    b"Content-Length : 5\r\n\r\nabcde", b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"Host: two.example.com\r\n\r\n", b"Connection: MS-ASProtocolVersion\r\n\r\n",
    b"X: y\n\r\n", b"MS-ASProtocolVersion: 16.1\r\n\r\n"], ids=str)
def test_smuggling_ends_the_connection(phone, text):
    phone = phone()
    phone.conn.sendall(f"POST {PATH}?Cmd=FolderSync HTTP/1.1\r\nHost: mail.example.com\r\nX-STA-Ticket: {phone.ticket}\r\n"
                       "MS-ASProtocolVersion: 14.1\r\n".encode() + text)
    answer = read_answer(phone.conn)
    assert answer.status in (400, 501) and answer["X-Stagate-Reason"] == "request_malformed"
    assert phone.conn.recv_all() == b""
    assert not phone.backend.requests


def test_a_ping_waits_and_ends_at_the_limit(phone):
    phone = phone(answers=[b"hang"], **{"max-heartbeat": "1s"}, timeouts={"response": "300ms"})
    answer = phone.ask(command="Ping", body=PING)
    assert answer.status == 200 and answer["Connection"] == "close"
    assert answer.body == bytes.fromhex("03016a00000d45") + b"\x47\x035\x00\x01\x48\x031\x00\x01\x01"
    assert phone.conn.recv_all() == b""
    phone.request(command="Ping", detail="the gateway ended the wait at max-heartbeat")


def test_what_a_client_sends_while_its_ping_waits_prolongs_nothing(phone):
    phone = phone(answers=[b"hang"], **{"max-heartbeat": "2s"})
    phone.send(command="Ping", body=PING)
    wire.poll(lambda: phone.backend.requests, "the request")

    def drip():  # a byte of the next request at each look; the last ones may meet a connection that is over
        try:
            phone.conn.sendall(b"P")
        except OSError:
            pass
        return [e for e in phone.gateway.events if e["event"] == "request" and e.get("command") == "Ping"]
    wire.poll(drip, "the Ping's end")
    phone.request(command="Ping", detail="the gateway ended the wait at max-heartbeat")


def test_a_head_that_drips_ends(phone):
    """A later request on a connection has as long for its head as the first one."""
    phone = phone(timeouts={"request": "2s"})
    assert phone.ask(body=FOLDER_SYNC).status == 200

    def drip():
        try:
            phone.conn.sendall(b"P")
        except OSError:
            pass
        return [e for e in phone.gateway.events if e["event"] == "request" and e["reason"] == "request_timeout"]
    wire.poll(drip, "the end of a head that drips")
    phone.request(reason="request_timeout")
    assert len(phone.backend.requests) == 1


def test_a_slow_answer_is_not_waited_for(phone):
    phone = phone(answers=[b"hang"], timeouts={"response": "300ms"})
    answer = phone.ask(body=FOLDER_SYNC)
    assert (answer.status, answer["X-Stagate-Reason"]) == (504, "backend_timeout")


def test_a_client_that_leaves_takes_its_ping_along(phone):
    phone = phone(answers=[b"hang"])
    phone.send(command="Ping", body=PING)
    wire.poll(lambda: phone.backend.requests, "the request")
    phone.client.close()
    phone.request(command="Ping", reason="client_gone")


def test_login_form(phone):
    phone = phone(answers=[b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"])
    answer = phone.ask(body=FOLDER_SYNC)
    assert (answer.status, answer["X-Stagate-Reason"]) == (502, "backend_login_form")
    assert phone.ask(body=FOLDER_SYNC).status == 200
    phone.request(reason="backend_login_form")


@pytest.mark.parametrize("answer, reason", [
    (b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", "backend_malformed"),
    (b"Connection: close\r\n", "backend_malformed"),
], ids=["smuggled", "none"])
def test_broken_answers(phone, answer, reason):
    phone = phone(answers=[answer])
    got = phone.ask(body=FOLDER_SYNC)
    assert (got.status, got["X-Stagate-Reason"]) == (502, reason)
    phone.request(reason=reason)
    assert phone.conn.recv_all() == b""


def test_redirects(phone):
    phone = phone(answers=[b"HTTP/1.1 451 Redirect\r\nX-MS-Location: https://mail.example.com/Microsoft-Server-ActiveSync\r\n"
                           b"Content-Length: 0\r\n\r\n"])
    answer = phone.ask(body=FOLDER_SYNC, host="mail.example.com" if phone.relay != "activesync" else "mail.example.com:8443")
    port = ":8443" if phone.relay == "activesync" else ""
    assert answer["X-MS-Location"] == f"https://mail.example.com{port}/Microsoft-Server-ActiveSync"
    assert phone.request()["location_listed"] is True


def ssl3_only(conn, backend):
    conn.recv()
    conn.sendall(bytes.fromhex("15030000020228"))  # an alert in a record of SSLv3


def no_tls(conn, backend):
    conn.recv()
    conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("kind, reason", [("name", "backend_certificate"), ("old", "backend_tls_floor"), ("ssl3", "backend_ssl3"),
                                          ("plain", "backend_tls")])
@pytest.mark.parametrize("door", ["connect", "socks", "activesync"])
def test_what_is_wrong_with_a_mail_servers_tls(make, certs, door, kind, reason):
    backend = {"name": lambda: make.backend(mail_server, context=wire.server_context(certs.sta_crt, certs.sta_key)),
               "old": lambda: make.backend(mail_server, context=wire.server_context(certs.mail_crt, certs.mail_key, "tls1.0", "tls1.1")),
               "ssl3": lambda: make.backend(ssl3_only), "plain": lambda: make.backend(no_tls)}[kind]()
    gateway = make.gateway([lab.service(backend, ca=certs.ca_crt, relay="http")],
                           listeners=[lab.listener(certs, doors=["connect", "socks", "activesync"])])
    ticket, client = gateway.ticket(), gateway.client()
    if door == "connect":
        answer = client.connect(lab.MAIL, wire.basic(ticket))
        assert (answer.status, answer["X-Stagate-Reason"]) == (502, reason)
    elif door == "socks":
        assert client.socks(ticket) == 5
    else:
        client.conn.sendall(f"OPTIONS {PATH} HTTP/1.1\r\nHost: mail.example.com\r\nX-STA-Ticket: {ticket}\r\n\r\n".encode())
        answer = read_answer(client.conn)
        assert (answer.status, answer["X-Stagate-Reason"]) == (502, reason)
    client.ended(reason, door=door)


def silent(conn, backend):
    conn.recv()
    backend.go.wait(wire.DEADLINE)


def hangs_up(conn, backend):
    conn.recv()


@pytest.mark.parametrize("server, status, reason", [(silent, 504, "backend_timeout"), (hangs_up, 502, "backend_tls")])
def test_a_mail_server_that_does_not_shake_hands(make, certs, server, status, reason):
    backend = make.backend(server)
    gateway = make.gateway([lab.service(backend, ca=certs.ca_crt)], listeners=[lab.listener(certs, doors=["activesync"])],
                           timeouts={"handshake": "2s"})
    ticket, client = gateway.ticket(), gateway.client()
    client.conn.sendall(f"OPTIONS {PATH} HTTP/1.1\r\nHost: mail.example.com\r\nX-STA-Ticket: {ticket}\r\n\r\n".encode())
    answer = read_answer(client.conn)
    assert (answer.status, answer["X-Stagate-Reason"]) == (status, reason)
    client.ended(reason, door="activesync")


@pytest.mark.parametrize("keys", [{"verify": False}, {"backend-tls-floor": "tls1.0"}], ids=str)
def test_a_mail_servers_tls_that_is_taken_all_the_same(make, certs, keys):
    old = "backend-tls-floor" in keys
    pair = (certs.mail_crt, certs.mail_key) if old else (certs.sta_crt, certs.sta_key)
    backend = make.backend(mail_server, context=wire.server_context(*pair, *(("tls1.0", "tls1.1") if old else ())))
    backend.requests, backend.answers = [], []
    gateway = make.gateway([lab.service(backend, relay="http", **({"ca": certs.ca_crt} if old else {}), **keys)], start=False)
    gateway.expect_output("ANY certificate")
    gateway.start()
    phone = Phone(gateway, "http", backend, certs)
    assert phone.ask(body=FOLDER_SYNC).status == 200
    phone.client.close()
    assert phone.client.ended("ok")["backend_tls"]["version"] == ("tls1.1" if old else "tls1.3")


def leaves(conn, backend):
    """Shakes hands, and ends as soon as it is told."""
    backend.go.wait(wire.DEADLINE)


def test_a_mail_server_that_leaves_before_the_inner_handshake(make, certs):
    backend = make.backend(leaves, context=wire.server_context(certs.mail_crt, certs.mail_key))
    service = lab.service(backend, ca=certs.ca_crt, relay="inspect")
    service["inspect-ca"] = {"certificate": certs.inspect_ca_crt, "key": certs.inspect_ca_key}
    gateway = make.gateway([service], listeners=[lab.listener(certs, doors=["connect"])])
    client = gateway.client()
    assert client.connect(lab.MAIL, wire.basic(gateway.ticket())).status == 200
    backend.go.set()
    assert client.conn.recv_all() == b""
    assert client.ended("backend_gone")["detail"] == "before the inner handshake was done"


def test_only_what_was_refused_is_logged(make, certs):
    backend = make.backend(mail_server, context=wire.server_context(certs.mail_crt, certs.mail_key))
    backend.requests, backend.answers = [], []
    gateway = make.gateway([lab.service(backend, ca=certs.ca_crt)], listeners=[lab.listener(certs, doors=["activesync"])],
                           log={"format": "json", "requests": "refused"})
    phone = Phone(gateway, "activesync", backend, certs)
    assert phone.ask(body=FOLDER_SYNC).status == 200
    assert phone.ask(path="/owa", command=None, method="GET").status == 403
    assert phone.ask(body=FOLDER_SYNC).status == 200
    phone.client.close()
    assert phone.client.ended("ok")["requests"] == 3
    assert [e["reason"] for e in gateway.events if e["event"] == "request"] == ["not_activesync"]


def test_a_second_address(make, certs):
    backend = make.backend(backends.echo)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        dead = "127.0.0.1:%d" % gone.getsockname()[1]
    gateway = make.gateway([{"name": lab.MAIL, "connect": [dead, backend.address], "tls-floor": "none"}], workers=1)
    ticket = gateway.ticket()
    for _ in range(2):
        client = gateway.tunnel(ticket)
        client.echoes()
        client.ended("ok", address=backend.address)


def test_shipped_relay(make, certs, tmp_path):
    backend = make.backend(mail_server, context=wire.server_context(certs.mail_crt, certs.mail_key))
    backend.requests, backend.answers = [], []
    gateway = Shipped(make, certs, tmp_path, backend).start("relay.yaml", **{"127.0.0.1:8444": "127.0.0.1:0"})
    for relay, index in ("inspect", 0), ("activesync", 1):
        phone = Phone(gateway, relay, backend, certs, index)
        assert phone.ask(body=FOLDER_SYNC).status == 200
        assert phone.ask(body=FOLDER_SYNC, version="12.0")["X-Stagate-Reason"] == "activesync_floor"


def test_shipped_traveler(make, certs, tmp_path):
    backend = make.backend(mail_server)
    backend.requests, backend.answers = [], []
    gateway = Shipped(make, certs, tmp_path, backend).start("traveler.yaml", **{"127.0.0.1:9080": backend.address})
    phone = Phone(gateway, "http", backend, certs, target="traveler.example.com:80")
    path = "/traveler/Microsoft-Server-ActiveSync"
    assert phone.ask(body=FOLDER_SYNC, path=path, host="traveler.example.com").status == 200
    assert phone.ask(body=b"x", path="/traveler", host="traveler.example.com")["X-Stagate-Reason"] == "syncml"


def test_no_ticket_at_the_activesync_door(make, certs):
    backend = make.backend(mail_server, context=wire.server_context(certs.mail_crt, certs.mail_key))
    gateway = make.gateway([lab.service(backend, ca=certs.ca_crt)], listeners=[lab.listener(certs, doors=["activesync"])])
    client = gateway.client()
    client.conn.sendall(b"OPTIONS /Microsoft-Server-ActiveSync HTTP/1.1\r\nHost: mail.example.com\r\n\r\n")
    answer = read_answer(client.conn)
    assert (answer.status, answer["X-Stagate-Reason"]) == (401, "ticket_missing") and answer["WWW-Authenticate"]
    client.ended("ticket_missing", door="activesync")
