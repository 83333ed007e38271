"""What the relays do beside relaying: autodiscover answers lead back to the gateway, requests are shown in the view, and a
gateway that stops or reads its file again lets requests finish."""
import re
import signal

import pytest

import issuing
import wire
from phones import FOLDER_SYNC, PING, read_answer
from test_trace import Follower

DISCOVERED = """<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">
 <Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006">
  <Action><Settings><Server><Type>MobileSync</Type><Url>https://{0}/Microsoft-Server-ActiveSync</Url>
  <Name>https://{0}/Microsoft-Server-ActiveSync</Name></Server></Settings></Action>
 </Response>
</Autodiscover>"""


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_autodiscover(phone, chunked):
    text = DISCOVERED.format("mail.example.com").encode()
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text) if chunked else text
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(text)}"
    phone = phone(answers=[f"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n{framing}\r\n\r\n".encode() + body])
    host = "mail.example.com:8443" if phone.relay == "activesync" else "mail.example.com"
    request = b"<Autodiscover/>"
    phone.send(path="/Autodiscover/Autodiscover.xml", command=None, version=None, host=host, length=False, body=request,
               fields=["Content-Type: text/xml", f"Content-Length: {len(request)}"])
    answer = read_answer(phone.conn)
    assert (answer.status, answer.body.decode()) == (200, DISCOVERED.format(host))
    assert phone.backend.requests[0][2] == request
    entry = phone.request()
    assert (entry["reason"], entry["location_listed"]) == ("ok", True)
    assert phone.ask(body=FOLDER_SYNC, host=host).status == 200


@pytest.fixture
def follow():
    followers = []

    def start(*args):
        followers.append(Follower(*args))
        return followers[-1]
    yield start
    for follower in followers:
        if follower.process.poll() is None:
            follower.process.kill()
            follower.process.wait()


def test_requests_in_the_view(phone, follow):
    phone = phone(admin=issuing.ADMIN)
    view = follow(phone.gateway, "--user", "alice", "--fields")
    assert phone.ask(body=FOLDER_SYNC).status == 200
    assert phone.ask(path="/owa/", command=None, method="GET").status == 403
    view.wait("200 OK")
    wire.poll(lambda: "not_activesync" in "".join(view.lines), "the refusal")
    status, out, _ = view.end()
    assert status == 0
    assert re.search(r"#\d+  alice  iPhone1  FolderSync 14\.1 → mail\.example\.com:443\n  POST /Microsoft-Server-ActiveSync\?", out), out
    assert out.count('<FolderSync xmlns="FolderHierarchy">') == 2  # the mail server sends back what it gets
    assert out.count("<SyncKey>0</SyncKey>") == 2
    assert "Authorization: (hidden)" in out and phone.ticket not in out


def test_the_gateway_stops_between_two_requests(phone):
    phone = phone(timeouts={"drain": "1h"})
    assert phone.ask(body=FOLDER_SYNC).status == 200
    phone.gateway.signal(signal.SIGTERM)
    assert phone.conn.recv_all() == b""
    phone.client.close()
    assert phone.gateway.wait_exit() == 0
    phone.client.ended("ok")


def test_the_gateway_stops_while_a_request_waits(phone):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"

    def server(conn, backend):
        backend.requests.append(conn.recv_until(b"\r\n\r\n"))
        conn.recv_exact(len(PING))
        backend.go.wait(wire.DEADLINE)
        conn.sendall(answer)
        conn.recv_all()

    phone = phone(server=server, timeouts={"drain": "1h"})
    phone.send(command="Ping", body=PING)
    wire.poll(lambda: phone.backend.requests, "the request")
    phone.gateway.signal(signal.SIGTERM)
    phone.gateway.wait_log("the drain", event="draining")
    phone.backend.go.set()
    assert read_answer(phone.conn).body == b"done"
    assert phone.conn.recv_all() == b""
    phone.client.close()
    assert phone.gateway.wait_exit() == 0


def test_a_reload_leaves_the_connection_to_its_old_rules(phone):
    phone = phone()
    assert phone.ask(body=FOLDER_SYNC, version="12.1").status == 200
    conf = phone.gateway.conf
    conf["services"][0]["activesync-floor"] = "14.0"
    assert phone.gateway.reload(conf)["event"] == "reloaded"
    assert phone.ask(body=FOLDER_SYNC, version="12.1").status == 200
