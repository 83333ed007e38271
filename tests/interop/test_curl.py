"""curl, with stagate as its HTTPS proxy: a phone's morning, and what curl shows when the gateway says no."""
import hashlib
import time

import eas
import pytest
from interop import HOST, UNLISTED, Client, run


@pytest.fixture
def options(visit, ca):
    """curl's options to go through the gateway: options(ticket)."""
    def through(ticket):
        return ["curl", "-sS", "--proxy", f"https://{visit.address}", "--proxy-cacert", ca, "--proxy-user", f"phone:{ticket}",
                "--cacert", ca]
    return through


def head(url, *how):
    """For what is asked of a refusal: the proxy's answer is shown with -D -."""
    return ["-D", "-", "-o", "/dev/null", *how, url]


class Phone:
    """A device of alice's whose requests are curl's."""

    def __init__(self, options, device):
        self.options = options
        self.device = device

    def argv(self, command, *extra):
        return [*self.options, "--fail", "--max-time", "150", *extra, "-u", "alice:alice-secret",
                "-H", f"Content-Type: {eas.WBXML}", "-H", "MS-ASProtocolVersion: 14.1", "--data-binary", "@-",
                eas.query(command, self.device)]

    def post(self, command, body):
        ended = run("curl", self.argv(command), stdin=body)
        assert ended.status == 0, ended
        return ended.out

    def sync(self, key, folder):
        return self.post("Sync", eas.sync(key, folder))

    def sync_all(self, folder):
        """Syncs from nothing until nothing is new; returns the key."""
        key, answer = "0", b"more"
        for _ in range(10):
            answer = self.sync(key, folder)
            if not answer:
                return key
            key = eas.sync_key(answer)
        raise AssertionError("there is always more to sync")


def test_options(options, visit):
    ended = run("curl", [*options(visit.ticket()), "-i", "-X", "OPTIONS", "-u", "alice:alice-secret", eas.URL])
    assert ended.status == 0, ended
    assert "MS-ASProtocolVersions: 2.5,12.0,12.1,14.0,14.1" in ended.text
    line = visit.told("ok", door="connect", target=f"{HOST}:443")
    assert line["agent"].startswith("curl/")
    assert line["inner"]["sni"] == HOST and line["inner"]["version"] == "tls1.3"


def test_recorded_folder_sync(options, visit):
    answer = Phone(options(visit.ticket()), "curl1").post("FolderSync", eas.FOLDER_SYNC)
    assert eas.inbox(answer).startswith("mail")
    assert b"\x03Trash\x00" in answer and b"\x03Personal Address Book\x00" in answer
    assert visit.told("ok")["bytes"]["down"] > len(answer)


def test_mail_wakes_a_ping(options, visit, sogo):
    """Direct Push: a request that hangs in the tunnel until mail comes, and the Sync that fetches it."""
    subject = f"Wake up {time.time_ns()}"
    phone = Phone(options(visit.ticket()), "curl2")
    inbox = eas.inbox(phone.post("FolderSync", eas.FOLDER_SYNC))
    key = phone.sync_all(inbox)

    waiting = Client("curl", phone.argv("Ping", "-v"), stdin=eas.ping(300, inbox))
    deadline = time.monotonic() + 20
    while b"> POST" not in waiting.said():
        assert waiting.process.poll() is None and time.monotonic() < deadline, waiting.said()
        time.sleep(0.05)
    assert waiting.process.poll() is None
    sogo.deliver("alice", subject)
    delivered = time.monotonic()
    answer = waiting.wait()
    assert eas.ping_status(answer.out) == "2", answer
    assert time.monotonic() - delivered < 30, "long before the heartbeat's 300 s"

    news = phone.sync(key, inbox)
    assert subject.encode() in news
    assert eas.sync_key(news) != key


def test_many_megabytes_arrive_unchanged(options, visit, sogo):
    ended = run("curl", [*options(visit.ticket()), "--fail", f"https://{HOST}/bulk/bulk.bin"])
    assert ended.status == 0, ended.err
    wanted = sogo.bulk.read_bytes()
    assert len(wanted) == 24 << 20
    assert hashlib.sha256(ended.out).digest() == hashlib.sha256(wanted).digest()
    assert visit.told("ok")["bytes"]["down"] > len(wanted)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_inner_tls_version_is_logged(options, visit, version):
    ended = run("curl", [*options(visit.ticket()), *head(f"https://{HOST}/SOGo/", "--tls-max", version)])
    assert ended.status == 0, ended
    inner = visit.told("ok")["inner"]
    assert inner["offered"] == inner["version"] == f"tls{version}"


def test_bearer(options, visit):
    """The ticket as it is, semicolons included."""
    argv = options(None)
    at = argv.index("--proxy-user")
    argv[at:at + 2] = ["--proxy-header", f"Proxy-Authorization: Bearer {visit.ticket()}"]
    ended = run("curl", [*argv, *head(f"https://{HOST}/SOGo/")])
    assert ended.status == 0 and "200 OK" in ended.text, ended
    visit.told("ok")


def test_answers_the_challenge(options, visit):
    """--proxy-anyauth sends nothing first, and picks Basic out of the two challenges of the 407."""
    ended = run("curl", [*options(visit.ticket()), "--proxy-anyauth", *head(f"https://{HOST}/SOGo/")])
    assert ended.status == 0, ended
    assert "407 Proxy Authentication Required (ticket_missing)" in ended.text
    assert "HTTP/1.1 200 OK" in ended.text
    visit.told("ticket_missing", user=False, target=f"{HOST}:443")
    visit.told("ok")


def test_many_at_once(options, visit):
    """Forty requests, twenty tunnels at a time."""
    urls = sum((["-o", "/dev/null", f"https://{HOST}/SOGo/"] for _ in range(40)), [])
    ended = run("curl", [*options(visit.ticket()), "--parallel", "--parallel-immediate",
                         "--parallel-max", "20", "-w", "%{http_code}\n", *urls])
    assert ended.status == 0 and ended.out.count(b"200\n") == 40, ended


# ---- refusals: curl names the status; -v, -i or -D - show the reason ----

def refused(ended, status, reason):
    assert ended.status == 56, ended
    assert f"CONNECT tunnel failed, response {status}" in ended.text
    assert f"({reason})\r\n" in ended.text, "the reason is in the status line"
    assert f"X-Stagate-Reason: {reason}\r\n" in ended.text


def test_expired_ticket(options, visit):
    ended = run("curl", [*options(visit.expired_ticket()), *head(f"https://{HOST}/SOGo/")])
    refused(ended, 407, "ticket_expired")
    visit.told("ticket_expired")


def test_ticket_of_nobody(options, visit):
    ticket = visit.ticket()
    prefix, _, value = ticket.rpartition(";")
    other = prefix + ";" + value.translate(str.maketrans("0123456789ABCDEF", "123456789ABCDEF0"))
    ended = run("curl", [*options(other), *head(f"https://{HOST}/SOGo/")])
    refused(ended, 407, "ticket_unknown")
    visit.told("ticket_unknown", user=False)


def test_one_use_ticket_a_second_time(options, visit):
    ticket = visit.ticket(cls="session")
    assert run("curl", [*options(ticket), *head(f"https://{HOST}/SOGo/")]).status == 0
    refused(run("curl", [*options(ticket), *head(f"https://{HOST}/SOGo/")]), 407, "ticket_used")
    visit.told("ticket_used")


def test_host_not_listed(options, visit):
    ended = run("curl", [*options(visit.ticket()), *head(f"https://{UNLISTED}/")])
    refused(ended, 403, "service_not_listed")
    visit.told("service_not_listed", target=f"{UNLISTED}:443")


def test_other_server_name_inside(options, visit):
    """sni: match. An alert is all that fits into the inner handshake; curl shows its name."""
    ended = run("curl", [*options(visit.ticket()), "--connect-to", f"{UNLISTED}:443:{HOST}:443",
                         *head(f"https://{UNLISTED}/")])
    assert ended.status == 35 and "unrecognized name" in ended.text, ended
    assert visit.told("sni_mismatch")["inner"]["sni"] == UNLISTED


def test_both_layers_are_verified(options, visit, bridge):
    """Without the lab's CA curl goes nowhere: the other tests do verify."""
    def run_without(layer, *how):
        argv = options(visit.ticket())
        argv[argv.index(layer) + 1] = "/etc/ssl/certs/ca-certificates.crt"
        return run("curl", [*argv, *head(f"https://{HOST}/SOGo/", *how)])

    untrusted = "unable to get local issuer certificate"
    outer = run_without("--proxy-cacert")
    assert outer.status == 60 and untrusted in outer.text, outer
    inner = run_without("--cacert", "--proxy", f"http://{bridge}")
    assert inner.status == 60 and untrusted in inner.text, inner
    # TLS in TLS: this curl loses the inner error's text while it sends its alert, and says SSL_ERROR_SYSCALL
    nested = run_without("--cacert")
    assert nested.status in (35, 60) and "200 Connection established" in nested.text, nested
