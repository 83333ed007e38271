"""SIGTERM: no new connections, open tunnels finish, and an end within the limit."""
import http.client
import os
import signal
import socket
import threading

import pytest

import authorities
import backends
import issuing
import lab
import wire
from test_policy import Full


@pytest.fixture
def run(make):
    """A gateway in front of an echoing backend; returns it and a ticket."""
    def run(drain="20s", workers=2, **timeouts):
        backend = make.backend(backends.echo)
        gateway = make.gateway([lab.service(backend, tls_floor="none")], workers=workers,
                               timeouts={"drain": drain, **timeouts})
        return gateway, gateway.ticket()
    return run


def closed_to_new_ones(gateway, of="listeners"):
    def refused():
        try:
            client = wire.Tcp.dial(gateway.address(of=of))
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it closed with us in its queue
            return False
        client.close()
        return False
    wire.poll(refused, "the listener to close")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_tunnel_finishes(run, number):
    gateway, ticket = run()
    tunnel = gateway.tunnel(ticket)
    gateway.signal(number)
    event = gateway.wait_log("the drain", event="draining")
    assert event["signal"] == number.name and event["connections"] == 1
    closed_to_new_ones(gateway)
    for _ in range(3):
        tunnel.hello()
    assert gateway.process.poll() is None
    assert tunnel.end() == b""
    assert gateway.wait_exit() == 0
    tunnel.ended("ok", None)
    assert gateway.events[-1]["event"] == "stopped"


def test_nothing_to_wait_for(run):
    gateway, _ = run(drain="1h")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    assert [e["event"] for e in gateway.events] == ["ready", "draining", "stopped"]


def connected(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(wire.DEADLINE)
    client.connect(path)
    return client


def test_services_close_and_the_socket_stays(make):
    """While tunnels finish, nobody is given new tickets, but whoever stopped the gateway can still look and cut."""
    gateway = make.gateway([lab.service(make.backend(backends.echo), tls_floor="none")], start=False, admin=issuing.ADMIN,
                           authorities=[authorities.embedded()], **{"sign-in": {"htpasswd": "users"}})
    issuing.write_users(gateway.folder / "users", alice=issuing.sha512(issuing.PASSWORD))
    gateway.start()
    ticket = issuing.ask(gateway, "POST", body={})[1]
    tunnel = gateway.tunnel(ticket["ticket"])
    gateway.signal(signal.SIGTERM)
    gateway.wait_log("the drain", event="draining")
    closed_to_new_ones(gateway, of="sta")
    tunnel.hello()
    status, answer = issuing.admin(gateway, "GET", issuing.TICKETS)
    assert (status, [t["fingerprint"] for t in answer["tickets"]]) == (200, [ticket["fingerprint"]])
    assert issuing.admin(gateway, "DELETE", f"{issuing.TICKETS}/{ticket['fingerprint']}")[0] == 200
    tunnel.conn.ends()
    assert gateway.wait_exit() == 0
    tunnel.ended("ticket_revoked", None)


def test_tickets_that_end_when_nobody_is_left(make):
    """What the control thread has begun it ends; the workers that would hear of it have gone by then."""
    gateway = make.gateway([lab.service(make.backend(backends.echo))], admin=issuing.ADMIN)
    path = str(gateway.folder / issuing.SOCKET)

    def issue():
        admin = http.client.HTTPConnection("localhost", timeout=wire.DEADLINE)
        admin.sock = connected(path)
        for _ in range(300):
            admin.request("POST", issuing.TICKETS, '{"user":"alice"}', {"Content-Type": "application/json"})
            assert admin.getresponse().read()
        admin.close()
    threads = [threading.Thread(target=issue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admin = connected(path)
    admin.sendall(b'POST /v1/faults HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n'
                  b'{"fault":"expire"}')
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    admin.close()


@pytest.mark.parametrize("signals", [1, 2])
def test_requests_that_never_end(make, signals):
    """Half a request to a service, and a sign-in that waits for its directory."""
    with socket.create_server(("127.0.0.1", 0)) as directory:
        directory.settimeout(wire.DEADLINE)
        ldap = {"url": "ldap://127.0.0.1:%d" % directory.getsockname()[1], "base": "dc=example,dc=com", "timeout": "1h"}
        gateway = make.gateway([lab.service(make.backend(backends.echo), tls_floor="none")], start=False,
                               authorities=[authorities.embedded()], timeouts={"drain": "1h"}, **{"sign-in": {"ldap": ldap}})
        gateway.expect_output("warning:")  # passwords cross the loopback in clear
        gateway.start()
        tunnel = gateway.tunnel(gateway.ticket())
        address = gateway.address(of="sta")
        half, whole = (socket.create_connection(address, wire.DEADLINE) for _ in range(2))
        half.sendall(b"GET /v1/tickets HTTP/1.1\r\n")
        whole.sendall(b"GET /v1/tickets HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YTpi\r\n\r\n")
        asked, _ = directory.accept()
        gateway.signal(signal.SIGTERM)
        gateway.wait_log("the drain", event="draining")
        if signals == 2:
            gateway.signal(signal.SIGTERM)
        tunnel.close()
        assert gateway.wait_exit() == 0
        assert gateway.events[-1]["event"] == "stopped" and gateway.events[-1]["level"] == "warn"
        for sock in (half, whole, asked):
            sock.close()


def test_the_limit(run):
    gateway, ticket = run(drain="300ms")
    tunnels = [gateway.tunnel(ticket) for _ in range(4)]
    gateway.signal(signal.SIGTERM)
    for tunnel in tunnels:
        tunnel.conn.ends()
    assert gateway.wait_exit() == 0
    for tunnel in tunnels:
        tunnel.ended("shutting_down", None, target=lab.MAIL)


def test_a_limit_of_nothing(run):
    gateway, ticket = run(drain="0s")
    tunnel = gateway.tunnel(ticket)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    tunnel.ended("shutting_down")


@pytest.mark.parametrize("first, second", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal(run, first, second):
    gateway, ticket = run(drain="1h")
    tunnels = [gateway.tunnel(ticket) for _ in range(4)]
    gateway.signal(first)
    gateway.wait_log("the drain", event="draining")
    tunnels[0].hello()
    gateway.signal(second)
    assert gateway.wait_exit() == 0
    assert gateway.wait_log("the stop", event="stopping")["signal"] == second.name
    for tunnel in tunnels:
        tunnel.ended("shutting_down")


def test_a_reload_while_draining_is_none(run):
    gateway, ticket = run()
    tunnel = gateway.tunnel(ticket)
    gateway.signal(signal.SIGTERM)
    gateway.wait_log("the drain", event="draining")
    gateway.signal(signal.SIGHUP)
    tunnel.hello()
    assert tunnel.end() == b""
    assert gateway.wait_exit() == 0
    assert not any(e["event"].startswith("reload") for e in gateway.events)


def test_those_without_a_tunnel_are_refused(run):
    gateway, ticket = run()
    tunnel = gateway.tunnel(ticket)
    silent = gateway.raw()
    half_hello = gateway.raw()
    half_hello.tcp.sendall(wire.client_hello(0x0303)[:20])
    in_handshake = gateway.raw()
    in_handshake.tcp.sendall(wire.first_flight(wire.client_context()))
    in_handshake.tcp.recv_exact(100)
    asking = gateway.client()
    by_http, by_socks = gateway.client(), gateway.client()
    by_http.conn.sendall(b"CONNECT mail")
    by_socks.conn.sendall(b"\x05\x01\x00")
    assert by_socks.conn.recv_exact(2) == b"\x05\x00"
    partly = gateway.client()
    partly.conn.sendall(wire.SOCKS_LOGIN_GREETING)
    assert partly.conn.recv_exact(2) == b"\x05\x02"
    gateway.signal(signal.SIGTERM)
    for client in (silent, half_hello):
        assert client.tcp.ends() == b""
    in_handshake.tcp.ends()
    assert asking.conn.ends() == b""
    answer = wire.read_answer(by_http.conn)
    assert (answer.status, answer["X-Stagate-Reason"]) == (503, "shutting_down")
    assert partly.socks_reply() == lab.reasons_table()["shutting_down"]["socks"]
    for client in (silent, half_hello, in_handshake, asking, by_http, by_socks, partly):
        client.ended("shutting_down", None)
    tunnel.hello()
    assert tunnel.end() == b""
    assert gateway.wait_exit() == 0


def test_a_dial_under_way_is_given_up(make):
    full = Full()
    try:
        gateway = make.gateway([{"name": lab.MAIL, "connect": full.address}])
        client = gateway.client()
        client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(gateway.ticket())))
        wire.poll(lambda: dials(gateway, full), "the gateway to dial")
        gateway.signal(signal.SIGTERM)
        answer = wire.read_answer(client.conn)
        assert (answer.status, answer["X-Stagate-Reason"]) == (503, "shutting_down")
        client.ended("shutting_down", None, target=lab.MAIL, address=full.address)
        assert gateway.wait_exit() == 0
    finally:
        full.close()


def dials(gateway, full):
    """Whether the gateway has a socket that is connecting to the address."""
    host, port = full.address.split(":")
    wanted = "%08X:%04X" % (int.from_bytes(bytes(map(int, host.split(".")))[::-1], "big"), int(port))
    inodes = set()
    for fd in os.listdir(f"/proc/{gateway.pid}/fd"):
        try:
            inodes.add(os.readlink(f"/proc/{gateway.pid}/fd/{fd}"))
        except OSError:
            pass  # closed meanwhile
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(row[2] == wanted and row[3] == "02" and f"socket:[{row[9]}]" in inodes
                   for row in (line.split() for line in table))


def test_half_closed_tunnels_finish_too(make):
    backend = make.backend(backends.says(b"", then=lambda conn: conn.sendall(b"late answer")))
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    client = gateway.tunnel(gateway.ticket())
    client.conn.sendall(b"request")
    client.conn.shutdown_write()
    gateway.signal(signal.SIGTERM)
    gateway.wait_log("the drain", event="draining")
    backend.go.set()
    assert client.conn.recv_all() == b"late answer"
    assert gateway.wait_exit() == 0
    client.ended("ok", None, bytes={"up": 7, "down": 11})


def test_stop_at_once_under_load(run):
    """The second signal in the midst of everything: no state of a connection hinders the end."""
    gateway, ticket = run(drain="1h")
    for i in range(30):
        kind = i % 5
        if kind == 0:
            gateway.raw()
        elif kind == 1:
            gateway.client()
        elif kind == 2:
            gateway.tunnel(ticket).conn.sendall(bytes(100000))
        elif kind == 3:
            gateway.tunnel(ticket).conn.shutdown_write()
        else:
            gateway.client().conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket)))
    gateway.signal(signal.SIGTERM)
    gateway.signal(signal.SIGINT)
    assert gateway.wait_exit() == 0
    assert gateway.events[-1]["event"] == "stopped"
