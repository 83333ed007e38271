"""The listener's TLS: what is refused before and in the handshake, and what is served."""
import socket
import ssl
import subprocess

import pytest

import backends
import lab
import wire

ALERT_PROTOCOL_VERSION = 70


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module")
def gateway(make_shared, backend, certs):
    """Listener 0: floor tls1.2, both certificates; 1: tls1.0; 2: tls1.3; 3: ssl3."""
    floors = ("tls1.2", "tls1.0", "tls1.3", "ssl3")
    return make_shared.gateway([lab.service(backend, tls_floor="none")],
                               listeners=[lab.listener(certs, rsa=True, tls_floor=floor) for floor in floors])


def echoes(client, ticket):
    assert client.connect(lab.MAIL, wire.basic(ticket)).status == 200
    client.echoes()


# ---- hellos below the floor --------------------------------------------------------------------------------

HELLOS = {  # (listener, hello, offered, reason, version of the alert's record)
    "SSLv2": (0, wire.sslv2_hello(0x0002), "ssl2", "tls_floor", 0x0300),
    "SSLv2 at floor ssl3": (3, wire.sslv2_hello(0x0002), "ssl2", "tls_floor", 0x0300),
    "SSLv3 in SSLv2 format": (0, wire.sslv2_hello(0x0300), "ssl3", "tls_floor", 0x0300),
    "TLS 1.0 in SSLv2 format": (0, wire.sslv2_hello(0x0301), "tls1.0", "tls_floor", 0x0301),
    "SSLv3": (0, wire.client_hello(0x0300, record_version=0x0300), "ssl3", "tls_floor", 0x0300),
    "SSLv3 at floor tls1.0": (1, wire.client_hello(0x0300, record_version=0x0300), "ssl3", "tls_floor", 0x0300),
    "SSLv3 at floor ssl3": (3, wire.client_hello(0x0300, record_version=0x0300), "ssl3", "tls_library", 0x0300),
    "TLS 1.0": (0, wire.client_hello(0x0301), "tls1.0", "tls_floor", 0x0301),
    "TLS 1.1": (0, wire.client_hello(0x0302), "tls1.1", "tls_floor", 0x0301),
    "TLS 1.1 in supported_versions": (0, wire.client_hello(0x0303, [0x0302, 0x0301]), "tls1.1", "tls_floor", 0x0301),
    "TLS 1.2 at floor tls1.3": (2, wire.client_hello(0x0303), "tls1.2", "tls_floor", 0x0301),
    "TLS 1.1 with GREASE": (0, wire.client_hello(0x0303, [0x4a4a, 0x0302]), "tls1.1", "tls_floor", 0x0301),
}


@pytest.mark.parametrize("index, hello, offered, reason, version", HELLOS.values(), ids=HELLOS)
def test_hello_below_the_floor(gateway, index, hello, offered, reason, version):
    client = gateway.raw(index)
    client.tcp.sendall(hello)
    assert wire.alert_of(client.tcp.recv_all()) == (2, ALERT_PROTOCOL_VERSION, version)
    assert lab.reasons_table()[reason]["alert"] == ALERT_PROTOCOL_VERSION
    entry = client.ended(reason, None)
    assert entry["tls"] == {"offered": offered}


def test_hello_split_at_every_byte(gateway):
    """The same verdict, however the record arrives."""
    hello = wire.client_hello(0x0302, sni="gateway.example.com")
    for cut in range(1, len(hello), 7):
        client = gateway.raw()
        client.tcp.sendall(hello[:cut])
        client.tcp.sendall(hello[cut:])
        assert wire.alert_of(client.tcp.recv_all())[1] == ALERT_PROTOCOL_VERSION
        entry = client.ended("tls_floor")
        assert entry["tls"] == {"offered": "tls1.1", "sni": "gateway.example.com"}


def test_fragmented_hello_below_the_floor(gateway):
    """A hello in several records: OpenSSL refuses it then, and the reason is the same."""
    client = gateway.raw()
    client.tcp.sendall(wire.fragment_records(wire.client_hello(0x0302), 20))
    assert wire.alert_of(client.tcp.recv_all())[:2] == (2, ALERT_PROTOCOL_VERSION)
    client.ended("tls_floor")


# ---- what is no TLS ----------------------------------------------------------------------------------------

GARBAGE = {
    "SSH": b"\x00\x00\x01\x14\x0b\x14",
    "zeroes": bytes(64),
    "high bytes": b"\xff" * 64,
    "a record of another type": wire.record(23, b"data"),
    "an alert": wire.record(21, b"\x02\x28"),
    "major version 4": b"\x16\x04\x00\x00\x05hello",
    "an empty record": b"\x16\x03\x01\x00\x00",
    "a record of 32 KB": b"\x16\x03\x01\x80\x00" + b"\x01" * 64,
    "a handshake that is none": wire.record(wire.HANDSHAKE, b"\x01\xff\xff\xff" + b"\x00" * 40),
    "a ServerHello": wire.record(wire.HANDSHAKE, b"\x02\x00\x00\x02\x03\x03"),
    "lower-case text": b"hello\r\n",
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
def test_garbage(gateway, sent):
    client = gateway.raw()
    client.tcp.sendall(sent)
    assert len(client.tcp.ends()) in (0, 7)  # closed, or an alert of OpenSSL's in front
    entry = client.ended("not_tls")
    assert entry["detail"]


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"POST /scripts/ctxsta.dll HTTP/1.1",
                                          b"CONNECT mail.example.com:443 HTTP/1.1", b"OPTIONS * HTTP/1.0"])
def test_plain_http_is_told(gateway, request_line):
    client = gateway.raw()
    client.tcp.sendall(request_line + b"\r\nHost: gateway.example.com\r\n\r\n")
    answer = wire.read_answer(client.tcp)
    assert (answer.status, answer["X-Stagate-Reason"]) == (403, "not_tls")
    assert answer["X-Stagate-Detail"] == "plain HTTP on a TLS port: use https://" and "https://" in answer.body
    assert client.tcp.recv_all() == b""
    client.ended("not_tls", "plain HTTP on the TLS port")


@pytest.mark.parametrize("said", [b"", b"\x16", wire.client_hello(0x0303)[:40], wire.sslv2_hello(0x0301)[:3]],
                         ids=["nothing", "a byte", "half a hello", "half an SSLv2 hello"])
def test_a_client_that_leaves_before_its_hello(gateway, said):
    client = gateway.raw()
    client.tcp.sendall(said)
    client.tcp.shutdown_write()
    assert client.tcp.recv_all() == b""
    client.ended("client_gone", "closed before a whole first record")


def test_a_client_that_leaves_in_the_handshake(gateway):
    client = gateway.raw()
    client.tcp.sendall(wire.first_flight(wire.client_context()))
    assert client.tcp.recv(5)[0] == wire.HANDSHAKE
    client.ended("client_gone")


def test_failed_handshakes(gateway, certs, tmp_path):
    """A client without a common cipher, and one that does not trust the certificate."""
    context = wire.client_context(highest="tls1.2")
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256")  # no parameters for it are configured
    client = gateway.raw()
    with pytest.raises(ssl.SSLError):
        client.start_tls(context)
    client.ended("tls_handshake", "no shared cipher", tls={"offered": "tls1.2"})

    stranger = lab.Certs(tmp_path)
    client = gateway.raw()
    with pytest.raises(ssl.SSLCertVerificationError):
        client.start_tls(wire.client_context(ca=stranger.ca_crt), "gateway.example.com")
    client.ended("tls_handshake")
    assert "unknown ca" in client.gateway.connection(client)["detail"]


# ---- what is served ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("index, lowest, highest", [
    (0, "tls1.2", "tls1.2"), (0, "tls1.2", "tls1.3"), (0, "tls1.0", "tls1.2"),
    (1, "tls1.0", "tls1.0"), (1, "tls1.1", "tls1.1"), (1, "tls1.0", "tls1.3"),
    (2, "tls1.3", "tls1.3"), (2, "tls1.0", "tls1.3"), (3, "tls1.0", "tls1.0"), (3, "tls1.2", "tls1.3"),
])
def test_versions(gateway, index, lowest, highest):
    client = gateway.client(index, context=wire.client_context(lowest=lowest, highest=highest))
    echoes(client, gateway.ticket())
    entry = client.ended("ok")
    assert (entry["tls"]["offered"], entry["tls"]["version"]) == (highest, highest)


def s_client(gateway, index, *options):
    return subprocess.Popen(["openssl", "s_client", "-connect", "%s:%d" % gateway.address(index), *options],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_openssl_client_by_tls_1_0(gateway):
    """A client that nobody here wrote gets through a floor of TLS 1.0, and not through one of TLS 1.2."""
    options = ("-tls1", "-cipher", "DEFAULT@SECLEVEL=0", "-quiet", "-nocommands")
    with s_client(gateway, 0, *options) as client:
        assert b"alert protocol version" in client.communicate(timeout=wire.DEADLINE)[0]
    with s_client(gateway, 1, *options) as client:
        client.stdin.write(wire.connect_head(lab.MAIL, wire.basic(gateway.ticket())))
        client.stdin.flush()
        output = [client.stdout.readline()]
        while output[-1] and not output[-1].startswith(b"HTTP"):
            output.append(client.stdout.readline())
        assert output[-1] == b"HTTP/1.1 200 Connection established\r\n", output
        client.terminate()


def certificate_kind(client):
    """Which key the gateway's certificate has."""
    der = client.tls.ssl.getpeercert(binary_form=True)
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-text"], input=der, capture_output=True,
                          check=True).stdout
    return "rsa" if b"rsaEncryption" in text else "ecdsa"


@pytest.mark.parametrize("ciphers, kind", [("ECDHE-ECDSA-AES128-GCM-SHA256", "ecdsa"),
                                           ("ECDHE-RSA-AES128-GCM-SHA256", "rsa"),
                                           ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256", None)])
def test_both_certificates(gateway, certs, ciphers, kind):
    context = wire.client_context(ca=certs.ca_crt, highest="tls1.2")
    context.set_ciphers(ciphers)
    client = gateway.client(context=context, server_hostname="gateway.example.com")
    assert kind is None or certificate_kind(client) == kind
    client.close()


def test_one_certificate(make, certs):
    """With ECDSA alone, a client that takes RSA only fails."""
    gateway = make.gateway(listed=[lab.MAIL])
    context = wire.client_context(highest="tls1.2")
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    client = gateway.raw()
    with pytest.raises(ssl.SSLError):
        client.start_tls(context)
    client.ended("tls_handshake", "no shared cipher")


@pytest.mark.parametrize("offered, chosen", [(["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"),
                                             (["h2"], None), (None, None)], ids=str)
def test_alpn(gateway, offered, chosen):
    client = gateway.client(context=wire.client_context(alpn=offered))
    assert client.tls.ssl.selected_alpn_protocol() == chosen
    client.close()


@pytest.mark.parametrize("name", ["gateway.example.com", "gateway3.example.com", "another.example.com", None])
def test_server_name_is_logged(gateway, name):
    client = gateway.client(server_hostname=name)
    echoes(client, gateway.ticket())
    assert client.ended("ok")["tls"].get("sni") == name


def test_hostile_server_name_in_the_log(gateway):
    """What a peer sends cannot break a line, nor a terminal."""
    client = gateway.raw()
    client.tcp.sendall(wire.client_hello(0x0302, sni='a"\n{"event":"ready"}\x1b[2J\\'))
    client.tcp.recv_all()
    entry = client.ended("tls_floor")
    assert entry["tls"]["sni"] == 'a"?{"event":"ready"}?[2J\\'


# ---- resumption --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", ["tls1.2", "tls1.3"])
def test_resumption_across_workers(gateway, version):
    """Reconnects land on either of two workers, and all of them resume."""
    ticket = gateway.ticket()
    context = wire.client_context(lowest=version, highest=version)
    client = gateway.client(context=context)
    echoes(client, ticket)
    session = client.tls.ssl.session
    assert client.ended("ok")["tls"]["resumed"] is False
    for _ in range(24):
        client = gateway.client(context=context, session=session)
        echoes(client, ticket)
        assert client.tls.ssl.session_reused
        assert client.ended("ok")["tls"]["resumed"] is True
        session = client.tls.ssl.session


def test_resumption_after_a_reload(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()
    context = wire.client_context()
    client = gateway.client(context=context)
    echoes(client, ticket)
    session = client.tls.ssl.session
    assert gateway.reload()["event"] == "reloaded"
    client = gateway.client(context=context, session=session)
    echoes(client, ticket)
    assert client.tls.ssl.session_reused


def test_renegotiation_is_refused(gateway):
    """A TLS 1.2 client that asks for a new handshake gets none, and the connection goes on or ends: no more."""
    with s_client(gateway, 0, "-tls1_2") as client:
        output = b""
        while b"Verify return code" not in output:
            output += client.stdout.readline()
        client.stdin.write(b"R\n")
        client.stdin.flush()
        while b"RENEGOTIATING" not in output:
            output += client.stdout.readline()
        client.stdin.close()
        output += client.stdout.read()
    assert b"no renegotiation" in output, output


def test_ipv6_listener(make, certs, backend):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    conf = lab.listener(certs)
    conf["address"] = "[::1]:0"
    gateway = make.gateway([lab.service(backend, tls_floor="none")], listeners=[conf])
    assert gateway.ready["listeners"][0].startswith("[::1]:")
    client = gateway.client()
    echoes(client, gateway.ticket())
    client.ended("ok", listener=gateway.ready["listeners"][0])
