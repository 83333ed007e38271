"""What happens to those who say nothing, too little, or nothing any more: a deadline, and a reason in the log."""
import threading
import time

import pytest

import backends
import lab
import wire


@pytest.fixture
def run(make):
    """A gateway in front of one plain backend with this handler; returns gateway, backend and a ticket."""
    def run(handler=backends.echo, timeouts=None, tls_floor="none", **sections):
        backend = make.backend(handler)
        gateway = make.gateway([lab.service(backend, tls_floor=tls_floor)], timeouts=timeouts or {}, **sections)
        return gateway, backend, gateway.ticket()
    return run


def cut(client, reason, detail=None, **fields):
    """The line comes without our doing anything."""
    client.gateway.connection(client)
    return client.ended(reason, detail, **fields)


class Drip:
    """Sends a byte now and then to each of many clients, until they are closed."""

    def __init__(self, clients, data):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(clients, data), daemon=True)
        self._thread.start()

    def _run(self, clients, data):
        left = {client: iter(data) for client in clients}
        while left and not self._stop.wait(0.02):
            for client in list(left):
                try:
                    client.conn.sendall(bytes([next(left[client])]))
                except (OSError, StopIteration):
                    del left[client]

    def stop(self):
        self._stop.set()
        self._thread.join(wire.DEADLINE)


# ---- before the tunnel is open -----------------------------------------------------------------------------

def test_silence_before_the_hello(run):
    gateway, _, _ = run(timeouts={"handshake": "100ms"})
    client = gateway.raw()
    assert client.tcp.recv_all() == b""
    entry = cut(client, "handshake_timeout")
    assert "tls" not in entry


def test_dripping_a_hello(run):
    """Each byte is progress, and none of it moves the deadline."""
    gateway, _, _ = run(timeouts={"handshake": "300ms"})
    client = gateway.raw()
    drip = Drip([client], wire.client_hello(0x0303, sni="x" * 200))
    assert client.tcp.ends() == b""
    cut(client, "handshake_timeout")
    drip.stop()


def test_silence_in_the_handshake(run):
    gateway, _, _ = run(timeouts={"handshake": "300ms"})
    client = gateway.raw()
    client.tcp.sendall(wire.first_flight(wire.client_context()))
    assert client.tcp.ends()[0] == wire.HANDSHAKE
    entry = cut(client, "handshake_timeout")
    assert entry["tls"] == {"offered": "tls1.3"}


REQUESTS = {  # what is sent: (door, HTTP status or None)
    "nothing": (b"", None, None),
    "half a head": (b"CONNECT mail.example.com:443 HTTP/1.1\r\nHost: ", "connect", 408),
    "one letter": (b"C", "connect", 408),
    "half a SOCKS greeting": (b"\x05\x02\x00", "socks", None),
    "half a SOCKS request": (b"\x05\x01\x00\x03\x20mail", "socks", None),
}


@pytest.mark.parametrize("sent, door, status", REQUESTS.values(), ids=REQUESTS)
def test_silence_in_the_request(run, sent, door, status):
    gateway, _, _ = run(timeouts={"request": "200ms"})
    client = gateway.client()
    client.conn.sendall(sent)
    if status is not None:
        answer = wire.read_answer(client.conn)
        assert (answer.status, answer["X-Stagate-Reason"]) == (status, "request_timeout")
        assert status == lab.reasons_table()["request_timeout"]["http"]
    assert client.conn.recv_all() == b""
    client.ended("request_timeout", None, door=door)


def test_dripping_a_request(run):
    gateway, _, ticket = run(timeouts={"request": "300ms"})
    client = gateway.client()
    drip = Drip([client], wire.connect_head(lab.MAIL, wire.basic(ticket), fields=["X-Long: " + "x" * 1000]))
    assert wire.read_answer(client.conn).status == 408
    drip.stop()
    client.ended("request_timeout")


# ---- the open tunnel ---------------------------------------------------------------------------------------

def test_silence_in_the_inner_handshake(run):
    """Where TLS is demanded, it has to come: at once, whole, and the server's answer too."""
    hello = wire.client_hello(0x0303)
    for sent in (b"", hello[:20], hello):
        gateway, backend, ticket = run(backends.collects, {"handshake": "300ms"}, "tls1.2")
        client = gateway.tunnel(ticket)
        client.conn.sendall(sent)
        assert client.conn.recv_all() == b"" and client.tls.clean
        assert backend.wait_notes() == ["eof"]
        entry = client.ended("handshake_timeout", "inner handshake", target=lab.MAIL)
        assert entry.get("inner") == ({"offered": "tls1.2"} if sent == hello else None)


def test_an_idle_tunnel(run):
    gateway, backend, ticket = run(timeouts={"idle": "300ms"})
    client = gateway.tunnel(ticket)
    client.conn.sendall(b"hello")
    assert client.conn.recv_exact(5) == b"hello"
    assert client.conn.recv_all() == b"" and client.tls.clean
    assert backend.wait_notes() == ["eof"]
    client.ended("idle_timeout", None, bytes={"up": 5, "down": 5})


@pytest.mark.parametrize("way", ["up", "down"])
def test_traffic_one_way_keeps_a_tunnel(run, way):
    seconds, idle = 1.8, "1200ms"

    def drips(conn, backend):
        end = time.monotonic() + seconds
        while way == "down" and time.monotonic() < end:
            conn.sendall(b".")
            time.sleep(0.02)
        backend.got += conn.recv_all() if way == "up" else b""

    gateway, backend, ticket = run(drips, {"idle": idle})
    client = gateway.tunnel(ticket)
    if way == "up":
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.conn.sendall(b".")
            time.sleep(0.02)
        client.conn.shutdown_write()
    assert client.conn.recv_all().strip(b".") == b""
    client.conn.shutdown_write()
    client.ended("ok")


def test_a_half_closed_tunnel_without_traffic(run):
    """The server hears the client's end and says nothing more: linger, not idle, is how long that is borne."""
    gateway, backend, ticket = run(backends.says(b"hi", then=lambda conn: None), {"linger": "300ms"})
    client = gateway.tunnel(ticket)
    assert client.conn.recv_exact(2) == b"hi"
    client.conn.shutdown_write()
    assert client.conn.recv_all() == b"" and client.tls.clean
    client.ended("ok", None)


def test_a_refused_client_that_does_not_leave(run):
    gateway, _, _ = run(timeouts={"linger": "200ms"})
    client = gateway.client()
    assert client.connect(lab.MAIL).status == 407
    cut(client, "ticket_missing", ...)


def test_a_client_that_does_not_take_its_bytes(run):
    """The server is done; what the client never reads is given up when nothing has moved for the linger time."""
    def sends(conn, backend):
        conn.sendall(bytes(24 * 1024 * 1024))

    gateway, backend, ticket = run(sends, {"linger": "300ms", "idle": "500ms"})
    client = gateway.tunnel(ticket, receive_buffer=65536)
    gateway.connection(client)
    assert gateway.connection(client)["reason"] in ("ok", "idle_timeout")
    client.close()


# ---- many of them ------------------------------------------------------------------------------------------

def test_200_silent_and_dripping_clients_do_not_stop_a_good_one(run):
    gateway, _, ticket = run(timeouts={"handshake": "2500ms", "request": "2500ms"})
    gateway.tunnel(ticket).echoes()
    before = gateway.rss_kb()
    silent = [gateway.raw() for _ in range(80)]
    dripping = [gateway.raw() for _ in range(80)]
    asking = [gateway.client() for _ in range(40)]
    drip = Drip(dripping + asking, wire.client_hello(0x0303, sni="x" * 250))
    good = 0
    while good < 10 or not any(e.get("reason") == "handshake_timeout" for e in gateway.events):
        gateway.tunnel(ticket).echoes()
        good += 1
        if good == 10 and not lab.sanitized():
            # forty of them have a handshake behind them; the others cost next to nothing
            assert gateway.rss_kb() - before < 160 * 4 + 40 * 64 + 1024
    for client in silent + dripping:
        cut(client, "handshake_timeout")
    for client in asking:
        # the hello's first byte is no door's: those were refused at once
        cut(client, "protocol_unknown", ...)
    drip.stop()
    gateway.tunnel(ticket).echoes()
