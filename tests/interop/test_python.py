"""Python's HTTPS-proxy clients, as programs of their own: requests and urllib3 speak TLS to the proxy, and TLS through it;
the standard library's urllib.request speaks plainly to its proxy, and goes through socat."""
import eas
import pytest
from interop import HOST, UNLISTED, run

# each: program.py PROXY CA TICKET URL, a recorded FolderSync on standard input; prints the status and the answer's length
HEADERS = f'{{"Content-Type": "{eas.WBXML}", "MS-ASProtocolVersion": "14.1"}}'
PROGRAMS = {
    "requests": f"""
import sys, requests
from urllib.parse import quote
proxy, ca, ticket, url = sys.argv[1:]
proxies = {{"https": f"https://phone:{{quote(ticket, safe='')}}@{{proxy}}"}}
answer = requests.post(url, data=sys.stdin.buffer.read(), headers={HEADERS}, auth=("alice", "alice-secret"),
                       proxies=proxies, verify=ca)
print(answer.status_code, len(answer.content))
""",
    "urllib3": f"""
import ssl, sys, urllib3
proxy, ca, ticket, url = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
pool = urllib3.ProxyManager(f"https://{{proxy}}", proxy_ssl_context=context, ssl_context=context,
                            proxy_headers=urllib3.make_headers(proxy_basic_auth=f"phone:{{ticket}}"))
answer = pool.request("POST", url, body=sys.stdin.buffer.read(), retries=False,
                      headers={{**{HEADERS}, **urllib3.make_headers(basic_auth="alice:alice-secret")}})
print(answer.status, len(answer.data))
""",
    "urllib.request": f"""
import base64, ssl, sys, urllib.request
from urllib.parse import quote
proxy, ca, ticket, url = sys.argv[1:]
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({{"https": f"http://phone:{{quote(ticket, safe='')}}@{{proxy}}"}}),
    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
login = {{"Authorization": "Basic " + base64.b64encode(b"alice:alice-secret").decode()}}
with opener.open(urllib.request.Request(url, sys.stdin.buffer.read(), {{**{HEADERS}, **login}})) as answer:
    print(answer.status, len(answer.read()))
""",
}


@pytest.fixture(params=PROGRAMS)
def client(request, visit, bridge, ca):
    """client(ticket, url) runs one of the programs."""
    proxy = {
        "requests": visit.address,
        "urllib3": f"localhost:{visit.port}",  # Debian's urllib3 checks no address against a context's certificate
        "urllib.request": bridge,
    }[request.param]

    def post(ticket, url, trust=ca):
        return run("python", ["/usr/bin/python3", "-c", PROGRAMS[request.param], proxy, trust, ticket, url],
                   stdin=eas.FOLDER_SYNC)
    return post


def test_folder_sync(client, visit):
    ended = client(visit.ticket(), eas.query("FolderSync", "python1"))
    assert ended.status == 0, ended
    status, length = ended.out.split()
    assert status == b"200" and int(length) > 400
    assert visit.told("ok", door="connect", target=f"{HOST}:443")["inner"]["sni"] == HOST


def test_expired_ticket(client, visit):
    ended = client(visit.expired_ticket(), eas.URL)
    assert ended.status == 1, ended
    assert "Tunnel connection failed: 407 Proxy Authentication Required (ticket_expired)" in ended.text
    visit.told("ticket_expired")


def test_host_not_listed(client, visit):
    ended = client(visit.ticket(), f"https://{UNLISTED}/")
    assert ended.status == 1, ended
    assert "Tunnel connection failed: 403 Forbidden (service_not_listed)" in ended.text
    visit.told("service_not_listed", target=f"{UNLISTED}:443")


def test_verifies(client, visit):
    """Without the lab's CA it goes nowhere."""
    ended = client(visit.ticket(), eas.URL, "/etc/ssl/certs/ca-certificates.crt")
    assert ended.status == 1 and "CERTIFICATE_VERIFY_FAILED" in ended.text, ended
