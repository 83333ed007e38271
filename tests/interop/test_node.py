"""Node's HTTPS-proxy clients: undici, which Node's own fetch is made of, and https-proxy-agent, which most packages use."""
import eas
import interop
import pytest
from interop import HOST, UNLISTED, run


@pytest.fixture(params=["undici", "https-proxy-agent"])
def client(request, visit, ca):
    """client(ticket, url) sends a FolderSync; client.shows: whether it shows the reason of a refusal."""
    def post(ticket, url, trust=ca):
        return run("node", ["node", interop.STATE / "node" / "folder_sync.mjs", request.param, visit.address, trust, ticket, url],
                   stdin=eas.FOLDER_SYNC)
    post.shows = request.param != "undici"
    return post


def refused(client, ended, status, text):
    assert ended.status == 1, ended
    if client.shows:
        assert f"proxy: {status} {text}" in ended.text, ended
    else:
        assert f"Proxy response ({status}) !== 200 when HTTP Tunneling" in ended.text, ended  # all that it keeps


def test_folder_sync(client, visit):
    ended = client(visit.ticket(), eas.query("FolderSync", "node1"))
    assert ended.status == 0, ended
    status, length = ended.out.split()
    assert status == b"200" and int(length) > 400
    assert visit.told("ok", door="connect", target=f"{HOST}:443")["inner"]["sni"] == HOST


def test_expired_ticket(client, visit):
    refused(client, client(visit.expired_ticket(), eas.URL), 407, "Proxy Authentication Required (ticket_expired)")
    visit.told("ticket_expired")


def test_host_not_listed(client, visit):
    refused(client, client(visit.ticket(), f"https://{UNLISTED}/"), 403, "Forbidden (service_not_listed)")
    visit.told("service_not_listed", target=f"{UNLISTED}:443")


def test_verifies(client, visit):
    ended = client(visit.ticket(), eas.URL, "/etc/ssl/certs/ca-certificates.crt")
    assert ended.status == 1 and "unable to verify" in ended.text or "unable to get" in ended.text, ended
