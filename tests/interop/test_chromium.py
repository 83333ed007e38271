"""Chromium with stagate as its HTTPS proxy, reading mail on SOGo's web page: the lab's CA is in its store, nothing is ignored."""
import json
import shutil
import subprocess

import interop
import pytest
from interop import HOST, UNLISTED, run

PAGE = f"https://{HOST}/SOGo/"


@pytest.fixture
def browse(request, visit, ca, tmp_path):
    """browse(ticket, url) returns what the page was, or the error."""
    database = tmp_path / ".pki" / "nssdb"
    database.mkdir(parents=True)
    picture = interop.STATE / f"{request.node.name.replace('test_', 'chromium_')}.png"
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)

    def open_page(ticket, url=PAGE, trust=True):
        if trust:
            subprocess.run([*certutil, "-A", "-t", "C,,", "-n", "stagate lab CA", "-i", ca], check=True)
        netlog = tmp_path / "netlog.json"
        ended = run("chromium", ["node", interop.STATE / "node" / "browse.mjs", visit.address, ticket, url, tmp_path,
                                 picture, netlog], seconds=100)
        assert ended.out, ended
        page = json.loads(ended.out)
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size > 5000
        page["netlog"] = netlog.read_text(errors="replace")
        return page
    yield open_page
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)


def test_inbox(browse, visit):
    page = browse(visit.ticket())
    assert page.get("error") is None and page["status"] == 200 and page["title"] == "SOGo", page
    assert "Welcome to the lab" in page["text"]
    assert page["tls"]["subjectName"] == HOST and page["tls"]["issuer"] == "stagate lab CA"
    # it asks without a ticket first, is challenged, and then shares the work among tunnels
    visit.told("ticket_missing", user=False, target=f"{HOST}:443")
    line = visit.told("ok", door="connect", target=f"{HOST}:443")
    assert "Chrome/" in line["agent"] and line["inner"]["sni"] == HOST


def test_expired_ticket(browse, visit):
    """Chromium shows an error of its own; the reason is in its net log (chrome://net-export), in the gateway's too."""
    page = browse(visit.expired_ticket())
    assert "HTTP ERROR 407" in page["text"], page
    assert "407 Proxy Authentication Required (ticket_expired)" in page["netlog"]
    assert "X-Stagate-Reason: ticket_expired" in page["netlog"]
    visit.told("ticket_expired", target=f"{HOST}:443")


def test_host_not_listed(browse, visit):
    page = browse(visit.ticket(), f"https://{UNLISTED}/")
    assert "ERR_TUNNEL_CONNECTION_FAILED" in page["text"], page
    assert "403 Forbidden (service_not_listed)" in page["netlog"]
    visit.told("service_not_listed", target=f"{UNLISTED}:443")


def test_verifies(browse, visit):
    """Without the lab's CA it does not even talk to the gateway."""
    page = browse(visit.ticket(), trust=False)
    assert "ERR_PROXY_CERTIFICATE_INVALID" in page["text"], page
    visit.told("tls_handshake", user=False)
