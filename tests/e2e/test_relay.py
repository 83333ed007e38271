"""The open tunnel: bytes arrive whole and in order, the slow side holds back the fast one, and each way of ending
arrives at the other side."""
import hashlib
import socket
import threading
import time

import pytest

import backends
import lab
import wire

MB = 1024 * 1024
DATA = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(20 * MB // 32))


@pytest.fixture
def run(make):
    """A gateway in front of one plain backend with this handler; returns gateway, backend and a ticket."""
    def run(handler, context=None, **sections):
        backend = make.backend(handler, context)
        gateway = make.gateway([lab.service(backend, tls_floor="none")], **sections)
        return gateway, backend, gateway.ticket()
    return run


def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def same(data, expected):
    """Compares much data without printing it."""
    return hashlib.sha256(data).digest() == hashlib.sha256(expected).digest()


# ---- bytes -------------------------------------------------------------------------------------------------

def test_20_mb_down(run):
    gateway, backend, ticket = run(backends.source(DATA))
    client = gateway.tunnel(ticket)
    assert same(client.conn.recv_all(), DATA) and client.tls.clean
    client.conn.shutdown_write()
    client.ended("ok", None, bytes={"up": 0, "down": len(DATA)})


def test_20_mb_up(run):
    gateway, backend, ticket = run(backends.sink)
    client = gateway.tunnel(ticket)
    client.conn.sendall(DATA)
    client.conn.shutdown_write()
    told = client.conn.recv_all()
    assert told == b"%d bytes" % len(DATA) and same(backend.got, DATA)
    client.ended("ok", None, bytes={"up": len(DATA), "down": len(told)})


@pytest.mark.parametrize("inner", [False, True], ids=["plain", "TLS in TLS"])
def test_20_mb_both_ways_at_once(run, mail_context, certs, inner):
    gateway, backend, ticket = run(backends.echo, mail_context if inner else None)
    client = gateway.tunnel(ticket)
    if inner:
        client.inner_tls(wire.client_context(certs.ca_crt))

    def send():
        client.conn.sendall(DATA)
        client.conn.shutdown_write()
    sender = in_thread(send)
    assert same(client.conn.recv_all(), DATA)
    sender.join(wire.DEADLINE)
    client.tls.shutdown_write()
    client.tls.ends()
    entry = client.ended("ok")
    assert entry["bytes"]["up"] >= len(DATA) and entry["bytes"]["down"] >= len(DATA)
    assert ("inner" in entry) == inner


def test_many_small_pieces(run):
    """Each byte by itself, answered before the next one is sent."""
    gateway, backend, ticket = run(backends.echo)
    client = gateway.tunnel(ticket)
    for i in range(300):
        byte = bytes([i % 256])
        client.conn.sendall(byte)
        assert client.conn.recv(1) == byte
    assert client.end() == b""
    client.ended("ok", bytes={"up": 300, "down": 300})


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 65536, 65537, 262144])
def test_sizes_around_records_and_buffers(run, size):
    gateway, backend, ticket = run(backends.echo)
    client = gateway.tunnel(ticket)
    client.echoes(DATA[:size])
    client.ended("ok", bytes={"up": size, "down": size})


def test_many_tunnels_at_once(run):
    gateway, backend, ticket = run(backends.echo)
    clients = [gateway.tunnel(ticket) for _ in range(40)]
    for i, client in enumerate(clients):
        client.conn.sendall(DATA[i * 1000:i * 1000 + 5000])
    for i, client in reversed(list(enumerate(clients))):
        assert client.conn.recv_exact(5000) == DATA[i * 1000:i * 1000 + 5000]
        assert client.end() == b""
    for client in clients:
        client.ended("ok", bytes={"up": 5000, "down": 5000})


# ---- back-pressure -----------------------------------------------------------------------------------------

def steady(value):
    """Waits until value() has not changed for a while, and returns it."""
    last, since = value(), time.monotonic()
    end = since + wire.DEADLINE
    while time.monotonic() - since < 0.4:
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.01)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last


BIG = 64 * MB  # above what the kernel's own buffers take on the way: 32 MB to receive and 4 to send, at most
RSS_GROWTH_MAX_KB = 4 * 1024


def test_a_slow_client_holds_back_the_server(run):
    """What cannot be delivered waits with the server, not in the gateway."""
    data = DATA * 3 + DATA[:BIG - 3 * len(DATA)]
    gateway, backend, ticket = run(backends.source(data))
    before = gateway.rss_kb()
    client = gateway.tunnel(ticket, receive_buffer=65536)
    waiting = steady(lambda: backend.sent)
    assert waiting < BIG - 10 * MB, "nothing held the server back"
    if not lab.sanitized():
        assert gateway.rss_kb() - before < RSS_GROWTH_MAX_KB
    assert same(client.conn.recv_all(), data)
    client.conn.shutdown_write()
    client.ended("ok", None)


def test_a_slow_server_holds_back_the_client(run):
    def late(conn, backend):
        backend.accepted[-1].sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        backend.go.wait(wire.DEADLINE)
        backends.sink(conn, backend)

    gateway, backend, ticket = run(late)
    before = gateway.rss_kb()
    client = gateway.tunnel(ticket)
    sent = [0]

    def send():
        for _ in range(0, BIG, MB):
            client.conn.sendall(DATA[:MB])
            sent[0] += MB
        client.conn.shutdown_write()
    sender = in_thread(send)
    waiting = steady(lambda: sent[0])
    assert waiting < BIG - 10 * MB, "nothing held the client back"
    if not lab.sanitized():
        assert gateway.rss_kb() - before < RSS_GROWTH_MAX_KB
    backend.go.set()
    assert client.conn.recv_all() == b"%d bytes" % BIG
    sender.join(wire.DEADLINE)
    client.ended("ok", None)


def test_a_stuck_tunnel_does_not_hold_up_others(make):
    stuck = make.backend(backends.source(DATA))
    good = make.backend(backends.echo)
    gateway = make.gateway([lab.service(stuck, "stuck.example.com:443", tls_floor="none"),
                            lab.service(good, tls_floor="none")], workers=1)
    ticket = gateway.ticket()
    for _ in range(5):
        gateway.tunnel(ticket, "stuck.example.com:443", receive_buffer=65536)
    steady(lambda: stuck.sent)
    for _ in range(5):
        gateway.tunnel(ticket).echoes(DATA[:100000])


# ---- half-close --------------------------------------------------------------------------------------------

def test_the_client_ends_first(run):
    """The server hears the end, and its answer still comes."""
    gateway, backend, ticket = run(backends.sink)
    client = gateway.tunnel(ticket)
    client.conn.sendall(b"request")
    client.conn.shutdown_write()
    assert client.conn.recv_all() == b"7 bytes" and client.tls.clean
    entry = client.ended("ok", None)
    assert "half_close" in entry["ms"]


def test_the_server_ends_first(run):
    """The client hears the end, and can go on sending."""
    gateway, backend, ticket = run(backends.source(b"greeting"))
    client = gateway.tunnel(ticket)
    assert client.conn.recv_all() == b"greeting" and client.tls.clean
    client.conn.sendall(DATA[:300000])
    client.conn.shutdown_write()
    backend.wait_notes()
    assert backend.got == DATA[:300000]
    client.ended("ok", None, bytes={"up": 300000, "down": 8})


def test_an_end_without_close_notify(run):
    """TCP's end alone is an end too, and the log notes it."""
    gateway, backend, ticket = run(backends.sink)
    client = gateway.tunnel(ticket)
    client.conn.sendall(b"request")
    client.tcp.shutdown_write()
    assert client.conn.recv_all() == b"7 bytes"
    entry = client.ended("ok", None)
    assert entry["tls"]["unclean_end"] is True


def test_everything_is_delivered_before_the_end(run):
    """The server sends much and closes at once; a slow reader still gets all of it."""
    def sends_and_closes(conn, backend):
        conn.sendall(DATA[:8 * MB])
        backend.notes.append("closed")

    gateway, backend, ticket = run(sends_and_closes)
    client = gateway.tunnel(ticket, receive_buffer=65536)
    assert same(client.conn.recv_all(), DATA[:8 * MB])
    client.conn.shutdown_write()
    client.ended("ok", None, bytes={"up": 0, "down": 8 * MB})


# ---- resets ------------------------------------------------------------------------------------------------

def test_the_client_resets(run):
    gateway, backend, ticket = run(backends.collects)
    client = gateway.tunnel(ticket)
    client.conn.sendall(b"some bytes")
    wire.poll(lambda: backend.got == b"some bytes", "the bytes at the backend")
    client.tcp.reset()
    backend.wait_notes()
    client.ended("client_gone", "connection reset by peer", bytes={"up": 10, "down": 0})


def test_the_server_resets(run):
    """What it had sent is delivered, then the end."""
    gateway, backend, ticket = run(backends.resets_after(4))
    client = gateway.tunnel(ticket)
    client.conn.sendall(b"ping")
    assert client.conn.ends() == b""
    client.ended("backend_gone", "connection reset by peer", bytes={"up": 4, "down": 0})


def sends_until_stuck(conn, tcp):
    """Sends until nothing goes any more, both directions being full."""
    tcp.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        for _ in range(10):
            conn.sendall(DATA)
    tcp.sock.settimeout(wire.DEADLINE)


def test_the_client_resets_with_full_buffers(run):
    """Nothing of it may be left behind, once the server has not taken what waits for it within the linger time."""
    def handler(conn, backend):
        sends_until_stuck(conn, conn)
        backend.notes.append("stuck")
        backend.go.wait(wire.DEADLINE)

    gateway, backend, ticket = run(handler, timeouts={"linger": "300ms"})
    descriptors = gateway.descriptors()
    client = gateway.tunnel(ticket)
    sends_until_stuck(client.conn, client.tcp)
    backend.wait_notes()
    client.tcp.reset()
    client.ended("client_gone")
    backend.go.set()
    wire.poll(lambda: gateway.descriptors() == descriptors, "the sockets to be closed")


def test_the_server_resets_with_full_buffers(run):
    def handler(conn, backend):
        sends_until_stuck(conn, conn)
        backend.notes.append("stuck")
        backend.go.wait(wire.DEADLINE)
        conn.reset()

    gateway, backend, ticket = run(handler)
    descriptors = gateway.descriptors()
    client = gateway.tunnel(ticket)
    sends_until_stuck(client.conn, client.tcp)
    backend.wait_notes()
    backend.go.set()
    client.conn.ends()
    client.ended("backend_gone")
    wire.poll(lambda: gateway.descriptors() == descriptors, "the sockets to be closed")


def test_descriptors_do_not_pile_up(run):
    gateway, backend, ticket = run(backends.echo)
    gateway.tunnel(ticket).echoes()
    descriptors = gateway.descriptors()
    for i in range(50):
        client = gateway.tunnel(ticket)
        if i % 2:
            client.echoes()
        else:
            client.tcp.reset()
    wire.poll(lambda: gateway.descriptors() <= descriptors, "the sockets to be closed")
