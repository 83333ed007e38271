"""SOCKS5 inside TLS: ordinary SOCKS clients through socat, the ticket as their password, and the ticket as the destination's
name, as a mail client of an STA topology sends it."""

import eas
import wire
from interop import HOST, UNLISTED, run


def curl(bridge, ca, *how):
    return run("socks-curl", ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", "--proxy", f"socks5h://{bridge}", *how,
                              "--cacert", ca, "-u", "alice:alice-secret", "-X", "OPTIONS", eas.URL])


def test_curl_ticket_as_password(visit, bridge, ca):
    ended = curl(bridge, ca, "--proxy-user", f"phone:{visit.ticket()}")
    assert ended.status == 0 and ended.out == b"200\n", ended
    line = visit.told("ok", door="socks", target=f"{HOST}:443")
    assert line["inner"]["sni"] == HOST


def test_curl_ticket_as_destination(visit, bridge, ca):
    """The ticket leads to the service, and the port does not matter (1494 in other clients)."""
    ended = curl(bridge, ca, "--connect-to", f"{HOST}:443:{visit.ticket()}:1494")
    assert ended.status == 0 and ended.out == b"200\n", ended
    visit.told("ok", door="socks", target=f"{HOST}:443")


def test_curl_expired_ticket(visit, bridge, ca):
    """A SOCKS reply has room for a number only; the reason is in the gateway's log."""
    for how in (["--proxy-user", f"phone:{visit.expired_ticket()}"],
                ["--connect-to", f"{HOST}:443:{visit.expired_ticket()}:1494"]):
        ended = curl(bridge, ca, *how)
        assert ended.status == 97, ended
        assert "Can't complete SOCKS5 connection to " in ended.text and "(2)" in ended.text
        visit.told("ticket_expired", door="socks")
        visit.since = len(visit.gateway.events)


def test_curl_host_not_listed(visit, bridge, ca):
    ended = curl(bridge, ca, "--proxy-user", f"phone:{visit.ticket()}", "--connect-to", f"{HOST}:443:{UNLISTED}:443")
    assert ended.status == 97 and f"SOCKS5 connection to {UNLISTED}. (2)" in ended.text, ended
    visit.told("service_not_listed", door="socks")


# ---- Python's requests with PySocks ----

REQUESTS = """
import sys, requests
from urllib.parse import quote
bridge, ca, ticket, url = sys.argv[1:]
proxies = {"https": f"socks5h://phone:{quote(ticket, safe='')}@{bridge}"}
answer = requests.options(url, proxies=proxies, verify=ca, auth=("alice", "alice-secret"))
print(answer.status_code, answer.headers["MS-ASProtocolVersions"])
"""


def pysocks(bridge, ca, ticket, url=eas.URL):
    return run("socks-python", ["/usr/bin/python3", "-c", REQUESTS, bridge, ca, ticket, url])


def test_pysocks(visit, bridge, ca):
    ended = pysocks(bridge, ca, visit.ticket())
    assert ended.out == b"200 2.5,12.0,12.1,14.0,14.1\n", ended
    visit.told("ok", door="socks", target=f"{HOST}:443")


def test_pysocks_expired_ticket(visit, bridge, ca):
    ended = pysocks(bridge, ca, visit.expired_ticket())
    assert ended.status == 1 and "0x02: Connection not allowed by ruleset" in ended.text, ended
    visit.told("ticket_expired", door="socks")


def test_pysocks_host_not_listed(visit, bridge, ca):
    ended = pysocks(bridge, ca, visit.ticket(), f"https://{UNLISTED}/")
    assert ended.status == 1 and "0x02: Connection not allowed by ruleset" in ended.text, ended
    visit.told("service_not_listed", door="socks", target=f"{UNLISTED}:443")


# ---- raw: no greeting, the request first, straight into TLS ----

def raw_request(ticket):
    return b"\x05\x01\x00\x03" + bytes([len(ticket)]) + ticket.encode() + (1494).to_bytes(2, "big")


GRANTED = b"\x05\x00\x00\x01" + bytes(6)
DENIED = b"\x05\x02\x00\x01" + bytes(6)


def test_raw_without_greeting(visit, ca):
    """With the lab's own client, since no program sends the ticket in this way but the mail app."""
    context = wire.client_context(ca)
    client = visit.gateway.client(context=context, server_hostname="gateway.example.com")
    client.conn.sendall(raw_request(visit.ticket()))
    assert client.conn.recv_exact(len(GRANTED)) == GRANTED
    tls = client.inner_tls(context)
    tls.sendall(b"GET /SOGo/ HTTP/1.0\r\nHost: mail.example.com\r\n\r\n")
    assert tls.recv_all().startswith(b"HTTP/1.1 200 OK\r\n")
    client.close()
    assert visit.told("ok", door="socks", target=f"{HOST}:443")["inner"]["sni"] == HOST


def test_raw_refused(visit, ca):
    ended = run("socks-openssl", ["openssl", "s_client", "-quiet", "-connect", visit.address, "-CAfile", ca,
                                  "-verify_return_error"], stdin=raw_request(visit.expired_ticket()))
    assert ended.out == DENIED, ended
    visit.told("ticket_expired", door="socks")
