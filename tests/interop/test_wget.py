"""wget, which speaks plainly to its proxies only: through socat."""
from interop import HOST, UNLISTED, run


def wget(proxy, ca, ticket, host=HOST):
    return run("wget", ["wget", "-nv", "-S", "-O", "/dev/null", "--tries=1", f"--ca-certificate={ca}", "-e", "use_proxy=yes",
                        "-e", f"https_proxy={proxy}", "--proxy-user=phone", f"--proxy-password={ticket}",
                        f"https://{host}/SOGo/"])


def test_through_socat(visit, bridge, ca):
    ended = wget(f"http://{bridge}", ca, visit.ticket())
    assert ended.status == 0 and "HTTP/1.1 200 OK" in ended.text, ended
    visit.told("ok", door="connect", target=f"{HOST}:443")


def test_expired_ticket(visit, bridge, ca):
    ended = wget(f"http://{bridge}", ca, visit.expired_ticket())
    assert ended.status == 4, ended
    assert "Proxy tunneling failed: Proxy Authentication Required (ticket_expired)" in ended.text
    visit.told("ticket_expired")


def test_host_not_listed(visit, bridge, ca):
    ended = wget(f"http://{bridge}", ca, visit.ticket(), UNLISTED)
    assert ended.status == 4 and "Proxy tunneling failed: Forbidden (service_not_listed)" in ended.text, ended
    visit.told("service_not_listed")


def test_without_socat(visit, ca):
    """Given the gateway as an https:// proxy, wget speaks plain HTTP to it all the same, and is told so."""
    ended = wget(f"https://{visit.address}", ca, visit.ticket())
    assert ended.status == 4 and "Proxy tunneling failed: Forbidden (not_tls)" in ended.text, ended
    visit.told("not_tls", user=False, detail="plain HTTP on the TLS port")
