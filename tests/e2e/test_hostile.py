"""Clients that mean harm: each test is a way in which one once could have hurt the gateway or another client."""
import hashlib
import hmac
import os
import signal
import struct

import pytest

import backends
import lab
import wire

LIMIT = 4


def full_gateway(make):
    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, tls_floor="none")], workers=1, limits={"connections": LIMIT})
    return gateway, gateway.ticket()


# ---- the connection limit ----------------------------------------------------------------------------------

def test_half_a_handshake_keeps_nobody_out(make):
    """A ClientHello costs nothing to send: clients that stop behind it are as silent as those before it."""
    gateway, ticket = full_gateway(make)
    stuck = [gateway.raw() for _ in range(LIMIT)]
    for client in stuck:
        client.conn.sendall(wire.first_flight(wire.client_context()))
        assert client.conn.recv(100)
    gateway.tunnel(ticket).echoes()
    stuck[0].ended("overloaded", "silent, and gave way to a newer client")


def test_the_refused_keep_nobody_out(make):
    """One that was refused has had its answer: that it does not leave is no reason to refuse others."""
    gateway, ticket = full_gateway(make)
    refused = [gateway.raw() for _ in range(LIMIT)]
    for client in refused:
        client.conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.conn.ends().startswith(b"HTTP/1.1 403")
    gateway.tunnel(ticket).echoes()
    for client in refused:
        client.ended("not_tls", "plain HTTP on the TLS port")


# ---- memory ------------------------------------------------------------------------------------------------

class Recorder(wire.Conn):
    """Passes bytes on and keeps what came."""

    def __init__(self, below):
        super().__init__()
        self.below = below
        self.came = b""

    def sendall(self, data):
        self.below.sendall(data)

    def _recv(self, n):
        data = self.below.recv(n)
        self.came += data
        return data


def prf(secret, label, seed, length):
    """RFC 5246, section 5, with SHA-256."""
    seed, out = label + seed, b""
    a = seed
    while len(out) < length:
        a = hmac.new(secret, a, hashlib.sha256).digest()
        out += hmac.new(secret, a + seed, hashlib.sha256).digest()
    return out[:length]


class Sealer:
    """Goes on with a client's TLS 1.2 connection by hand, behind its handshake: any record, sealed."""

    def __init__(self, recorder, keylog):
        aead = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead")
        line = next(text for text in keylog.read_text().splitlines() if text.startswith("CLIENT_RANDOM"))
        client_random, master = (bytes.fromhex(part) for part in line.split()[1:])
        server_random = recorder.came[11:43]  # behind the heads of record and message, and the version
        keys = prf(master, b"key expansion", server_random + client_random, 40)
        self._aead, self._salt = aead.AESGCM(keys[:16]), keys[32:36]
        self._number = 1  # 0 was Finished

    def record(self, kind, payload):
        number = struct.pack(">Q", self._number)
        self._number += 1
        head = number + struct.pack(">BHH", kind, 0x0303, len(payload))
        return wire.record(kind, number + self._aead.encrypt(self._salt + number, payload, head), 0x0303)


def test_renegotiation_without_reading(make, tmp_path):
    """OpenSSL answers each attempt with an alert. Who never reads them must not fill the gateway's memory."""
    gateway, _ = full_gateway(make)
    context = wire.client_context(lowest="tls1.2", highest="tls1.2")
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    context.keylog_filename = str(tmp_path / "keys")
    client = gateway.raw(receive_buffer=4096)
    recorder = Recorder(client.tcp)
    wire.Tls(recorder, context).handshake()
    sealer = Sealer(recorder, tmp_path / "keys")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        for _ in range(1000):
            client.tcp.sendall(b"".join(sealer.record(wire.HANDSHAKE, b"\x01\0\0\0") for _ in range(1000)))
    client.ended("client_gone", "the peer asks for answers that it does not read")


# ---- the end -----------------------------------------------------------------------------------------------

def test_a_second_signal_finds_idle_workers_gone(make):
    """Of several workers those without a tunnel end at once; the second signal must reach only the others."""
    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, tls_floor="none")], workers=4)
    tunnel = gateway.tunnel(gateway.ticket())

    def threads():
        return len(os.listdir(f"/proc/{gateway.pid}/task"))

    before = threads()
    gateway.signal(signal.SIGTERM)
    wire.poll(lambda: threads() <= before - 3, "three workers to end")
    gateway.signal(signal.SIGTERM)
    tunnel.conn.ends()
    tunnel.ended("shutting_down")
    # gone before stop() sends a signal of its own
    wire.poll(lambda: gateway.process.poll() is not None, "the gateway to end")
    gateway.stop()


# ---- in a hurry --------------------------------------------------------------------------------------------

def test_everything_in_one_flight(make):
    """Request, first bytes and end-of-file at once: the end waits for the tunnel as the bytes do."""
    backend = make.backend(backends.sink)
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    client = gateway.client()
    flight = []
    client.tls.below.sendall, sendall = flight.append, client.tls.below.sendall
    client.tls.sendall(wire.connect_head(lab.MAIL, wire.basic(gateway.ticket())) + b"first")
    client.tls.shutdown_write()
    sendall(b"".join(flight))
    assert wire.read_answer(client.tls).status == 200
    assert client.tls.recv_all() == b"5 bytes"
    client.ended("ok", None)
