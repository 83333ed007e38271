"""openssl s_client: -proxy, which speaks plainly to its proxy and so goes through socat, and straight, speaking by hand."""
import base64

from interop import HOST, UNLISTED, run

REQUEST = (b"OPTIONS /Microsoft-Server-ActiveSync HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n"
           b"Authorization: Basic " + base64.b64encode(b"alice:alice-secret") + b"\r\n\r\n")


def through_bridge(bridge, ca, ticket, host=HOST, *extra):
    argv = ["openssl", "s_client", "-proxy", bridge, "-proxy_user", "phone", "-proxy_pass", "env:TICKET",
            "-connect", f"{host}:443", "-servername", host, "-CAfile", ca, "-verify_return_error",
            "-verify_hostname", host, "-ign_eof", *extra]
    return run("openssl", argv, stdin=REQUEST, env={"TICKET": ticket})


def by_hand(visit, ca, data, *extra):
    argv = ["openssl", "s_client", "-quiet", "-connect", visit.address, "-CAfile", ca, "-verify_return_error",
            "-verify_hostname", "gateway.example.com", *extra]
    return run("openssl", argv, stdin=data)


def test_through_socat(visit, bridge, ca):
    ended = through_bridge(bridge, ca, visit.ticket())
    assert ended.status == 0, ended
    assert "Verification: OK" in ended.text and f"Verified peername: {HOST}" in ended.text
    assert "MS-ASProtocolVersions: 2.5,12.0,12.1,14.0,14.1" in ended.text
    assert visit.told("ok", door="connect", target=f"{HOST}:443")["inner"]["sni"] == HOST


def test_expired_ticket(visit, bridge, ca):
    ended = through_bridge(bridge, ca, visit.expired_ticket())
    assert ended.status == 1, ended
    assert "HTTP CONNECT failed, reason= 407 Proxy Authentication Required (ticket_expired)" in ended.text
    visit.told("ticket_expired")


def test_host_not_listed(visit, bridge, ca):
    ended = through_bridge(bridge, ca, visit.ticket(), UNLISTED)
    assert ended.status == 1, ended
    assert "HTTP CONNECT failed, reason= 403 Forbidden (service_not_listed)" in ended.text
    visit.told("service_not_listed", target=f"{UNLISTED}:443")


def test_below_the_floor(visit, bridge, ca):
    """The server would take TLS 1.1, the gateway answers for it: with the alert that OpenSSL names."""
    ended = through_bridge(bridge, ca, visit.ticket(), HOST, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert ended.status == 1, ended
    assert "tlsv1 alert protocol version" in ended.text and "SSL alert number 70" in ended.text
    assert visit.told("tls_floor")["inner"]["offered"] == "tls1.1"


def test_refusal_in_full(visit, ca):
    """Whoever speaks to the gateway directly sees the body: what is wrong, and what to change."""
    request = f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\nProxy-Authorization: Bearer {visit.expired_ticket()}\r\n\r\n"
    ended = by_hand(visit, ca, request.encode())
    head, _, body = ended.out.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 407 Proxy Authentication Required (ticket_expired)\r\n"), ended
    assert "\r\nX-Stagate-Reason: ticket_expired" in head
    assert head.count("\r\nProxy-Authenticate: ") == 2
    assert body == ("ticket_expired: The ticket's lifetime is over.\n"
                    "What to change: Sign in again for a new ticket, or raise background-services-ticket-expiration.\n")


def test_outer_floor(visit, ca):
    """TLS 1.1 on the listener itself."""
    ended = by_hand(visit, ca, b"", "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "alert protocol version" in ended.text, ended
    assert visit.told("tls_floor", user=False)["tls"]["offered"] == "tls1.1"
