"""What clients speak inside the outer TLS, told by its first bytes: the doors, and what is no door."""
import pytest

import backends
import lab
import wire

ALL_DOORS = {  # first bytes: (reason, part of the detail)
    "CGP": (b"\x1aCGP/01", "protocol_cgp", None),
    "CGP, one byte": (b"\x1a", "protocol_cgp", None),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "request_malformed", None),  # a letter in front: HTTP, as it seems
    "ssh in lower case": (b"ssh\r\n", "protocol_unknown", "neither SOCKS5 nor HTTP"),
    "SMTP": (b"EHLO example.com\r\n", "request_malformed", None),
    "IMAP": (b"a001 CAPABILITY\r\n", "protocol_unknown", "neither SOCKS5 nor HTTP"),
    "SOCKS4": (b"\x04\x01\x01\xbb\x7f\0\0\1u\0", "protocol_unknown", "SOCKS4, and only SOCKS5 is spoken here"),
    "TLS in TLS": (wire.client_hello(0x0303), "protocol_unknown", "TLS inside TLS without a request in front"),
    "RDP": (b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\1\0\x08\0\3\0\0\0", "protocol_unknown", "neither SOCKS5 nor HTTP"),
    "zeroes": (bytes(100), "protocol_unknown", "neither SOCKS5 nor HTTP"),
    "a line feed": (b"\n", "protocol_unknown", "neither SOCKS5 nor HTTP"),
    "high bytes": (b"\xff" * 10, "protocol_unknown", "neither SOCKS5 nor HTTP"),
}


@pytest.fixture(scope="module")
def gateway(make_shared, certs):
    backend = make_shared.backend(backends.echo)
    doors = (["socks", "connect"], ["socks"], ["connect"])
    return make_shared.gateway([lab.service(backend, tls_floor="none")],
                               listeners=[lab.listener(certs, doors=d) for d in doors])


@pytest.mark.parametrize("first, reason, detail", ALL_DOORS.values(), ids=ALL_DOORS)
def test_first_bytes(gateway, first, reason, detail):
    client = gateway.client()
    client.conn.sendall(first)
    if reason.startswith("protocol"):
        assert client.conn.recv_all() == b"" and client.tls.clean
        entry = client.ended(reason, detail)
        assert "door" not in entry
    else:
        assert wire.read_answer(client.conn)["X-Stagate-Reason"] == reason
        client.ended(reason, door="connect")


@pytest.mark.parametrize("index, first, detail", [
    (1, b"CONNECT mail.example.com:443 HTTP/1.1\r\n\r\n", "HTTP, and the doors connect and activesync are closed on this listener"),
    (2, b"\x05\x01\x00", "SOCKS5, and the socks door is closed on this listener"),
], ids=["connect", "socks"])
def test_closed_doors(gateway, index, first, detail):
    client = gateway.client(index)
    client.conn.sendall(first)
    assert client.conn.recv_all() == b""
    entry = client.ended("protocol_unknown", detail, listener="%s:%d" % gateway.address(index))
    assert "door" not in entry


def test_open_doors(gateway):
    ticket = gateway.ticket()
    client = gateway.client(1)
    assert client.socks(ticket) == 0
    client.close()
    client = gateway.client(2)
    assert client.connect(lab.MAIL, wire.basic(ticket)).status == 200
    client.close()


def test_a_client_that_leaves_before_it_asks(gateway):
    """By close_notify, by TCP's end-of-file, and by reset: each time it is the client that went away."""
    for leave in ("close_notify", "eof", "reset"):
        for said in (b"", b"CONNECT mail", b"\x05"):
            client = gateway.client()
            client.conn.sendall(said or b"")
            if leave == "close_notify":
                client.conn.shutdown_write()
                assert client.conn.recv_all() == b""
            elif leave == "reset":
                client.tcp.reset()
            client.ended("client_gone")
