"""The ticket API for users: sign in, and ask for a ticket; see, list and revoke one's own. How often one may be wrong,
and what no web page can do."""
import base64
import datetime
import json
import ssl
import subprocess

import pytest

import backends
import issuing
import lab
import wire
from issuing import PASSWORD, TICKETS, ask, told

PUSH = "push.example.com:443"
OTHER = "another password"
UNKNOWN = {"error": "ticket_unknown", "message": "no authority here knows this ticket"}


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


def signing_in(make, backend, certs, authority=(), sign_in=(), start=True, **sections):
    """A gateway where alice (SHA-512 crypt) and bob (bcrypt) may sign in."""
    gateway = make.gateway(
        [lab.service(backend, tls_floor="none"), lab.service(backend, PUSH, tls_floor="none")], start=False,
        authorities=[issuing.embedded(**{
            "listen": ["http://127.0.0.1:0", "https://127.0.0.1:0"], "certificate": certs.sta_crt, "key": certs.sta_key,
            "hosts": "sta.example.com", **dict(authority)})],
        **{"sign-in": {"htpasswd": "users", "attempts-per-user": 1000, "attempts-per-address": 1000, **dict(sign_in)}},
        **sections)
    issuing.write_users(gateway.folder / "users", alice=issuing.sha512(PASSWORD), bob=issuing.bcrypt(OTHER))
    return gateway.start() if start else gateway


@pytest.fixture(scope="module")
def gateway(make_shared, backend, certs):
    return signing_in(make_shared, backend, certs)


def issue(gateway, user=f"alice:{PASSWORD}", **wish):
    status, ticket = ask(gateway, "POST", body=wish, user=user)
    assert status == 201, ticket
    return ticket


def lifetime(ticket):
    times = [datetime.datetime.fromisoformat(ticket[k].replace("Z", "+00:00")) for k in ("issued", "expires")]
    return (times[1] - times[0]).total_seconds()


# ---- issuing -----------------------------------------------------------------------------------------------

def test_a_ticket_opens_a_tunnel(gateway):
    ticket = issue(gateway, device="phone1")
    assert list(ticket) == ["fingerprint", "authority", "class", "state", "user", "device", "gateway", "services",
                            "lifetime", "issued", "expires", "ticket"]
    assert issuing.STRING.fullmatch(ticket["ticket"]) and len(ticket["fingerprint"]) == 12
    assert {k: ticket[k] for k in ("authority", "class", "state", "user", "device", "gateway", "services", "lifetime")} == {
        "authority": lab.AUTHORITY, "class": "background", "state": "live", "user": "alice", "device": "phone1",
        "gateway": gateway.ready["listeners"][0], "services": [lab.MAIL, PUSH], "lifetime": "168h"}
    assert lifetime(ticket) == 168 * 3600
    assert lab.http.last.headers["Cache-Control"] == "no-store"
    client = gateway.tunnel(ticket["ticket"])
    client.echoes()
    client.ended("ok", ticket=ticket["fingerprint"], user="alice", device="phone1")

    event = gateway.wait_log("the ticket", event="api", ticket=ticket["fingerprint"])
    assert (event["method"], event["result"], event["status"], event["user"], event["device"], event["class"]) == \
        ("POST", "issued", 201, "alice", "phone1", "background")
    value = ticket["ticket"].rpartition(";")[2]
    assert not any(value in line or PASSWORD in line for line in gateway.lines)


def test_both_kinds_of_hashes(gateway):
    assert issue(gateway)["user"] == "alice"
    assert issue(gateway, user=f"bob:{OTHER}")["user"] == "bob"


WISHES = {  # what is asked for: what the answer tells, and the lifetime in seconds
    "nothing": ({}, {"class": "background", "device": ""}, 168 * 3600),
    "nulls": ({"device": None, "class": None, "lifetime": None, "services": None}, {"class": "background"}, 168 * 3600),
    "shorter": ({"lifetime": "12h"}, {"lifetime": "12h"}, 12 * 3600),
    "session": ({"class": "session"}, {"class": "session", "lifetime": "100s"}, 100),
    "shorter session": ({"class": "session", "lifetime": "1m40s"}, {"lifetime": "100s"}, 100),
    "refreshable": ({"class": "session", "refreshable": True}, {"refreshable": True, "class": "session"}, 500),
    "services": ({"services": ["PUSH.example.com: 443"]}, {"services": [PUSH], "ownServices": [PUSH]}, 168 * 3600),
    "no services": ({"services": []}, {"services": [lab.MAIL, PUSH]}, 168 * 3600),
    "a device's name": ({"device": 'a"\\\n\x1b ü'}, {"device": 'a"\\\n\x1b ü'}, 168 * 3600),
    "a device of 255 bytes": ({"device": "d" * 255}, {"device": "d" * 255}, 168 * 3600),
}


@pytest.mark.parametrize("wish, fields, seconds", WISHES.values(), ids=WISHES)
def test_wishes(gateway, wish, fields, seconds):
    ticket = issue(gateway, **wish)
    assert {k: ticket[k] for k in fields} == fields and lifetime(ticket) == seconds
    assert ("refreshable" in ticket, "ownServices" in ticket) == ("refreshable" in fields, "ownServices" in fields)
    # the same again, but for the ticket itself: nobody can read it out
    status, shown = ask(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")
    assert (status, shown) == (200, {k: v for k, v in ticket.items() if k != "ticket"})


def test_an_empty_body_wishes_nothing(gateway):
    status, ticket = ask(gateway, "POST", body=b"", headers={"Content-Type": "application/json; charset=utf-8"})
    assert (status, ticket["class"]) == (201, "background")


def test_a_session_ticket_opens_one_tunnel(gateway):
    ticket = issue(gateway, **{"class": "session"})["ticket"]
    assert told(gateway, ticket) == 200
    assert told(gateway, ticket) == "ticket_used"


def test_a_tickets_own_services(gateway):
    ticket = issue(gateway, services=[PUSH])["ticket"]
    assert told(gateway, ticket, PUSH) == 200
    assert told(gateway, ticket) == "service_not_in_ticket"


def test_the_policys_gateway_and_lifetime_are_told(make, backend, certs):
    gateway = signing_in(make, backend, certs, policy={"background-network-service-gateway": "gw.example.com:443",
                                                       "background-services-ticket-expiration": "2h"})
    ticket = issue(gateway)
    assert (ticket["gateway"], ticket["lifetime"]) == ("gw.example.com:443", "2h")


BAD = {  # a body: part of the message
    b"": None,
    b"{": "no JSON object",
    b"[]": "no JSON object",
    b'"device"': "no JSON object",
    b"null": "no JSON object",
    b"{} {}": "no JSON object",
    b'{"device":"a","device":"b"}': "no JSON object",
    b'{"device":"\xff"}': "no JSON object",
    b'{"device":"\\ud800"}': "no JSON object",
    b'{"device":"a\\u0000b"}': "no JSON object",
    b"[" * 30000: "no JSON object",
    b'{"device":7}': "are texts",
    b'{"class":["session"]}': "are texts",
    b'{"services":"mail.example.com:443"}': "services is a list of texts",
    b'{"services":[1]}': "services is a list of texts",
    b'{"services":["mail.example.com"]}': "the port is missing",
    b'{"services":["a..b:443"]}': "empty label",
    b'{"services":[' + b",".join([b'"a:1"'] * 65) + b"]}": "services is a list of texts",
    b'{"refreshable":"yes"}': "refreshable is true or false",
    b'{"class":"permanent"}': "class is background or session",
    b'{"lifetime":"5"}': "the unit is missing",
    b'{"lifetime":"5x"}': "unknown unit",
    b'{"lifetime":5}': "are texts",
    b'{"lifetime":"0s"}': "a lifetime of nothing is no ticket",
    b'{"lifetime":"-1h"}': "",
    b'{"lifetime":"169h"}': "shorter than this class's own, not longer",
    b'{"class":"session","lifetime":"101s"}': "shorter than this class's own, not longer",
    b'{"class":"session","refreshable":true,"lifetime":"501s"}': "shorter than this class's own, not longer",
    b'{"lifetime":"99999999999999999d"}': "",
    b'{"user":"bob"}': "not known here",
    b'{"icaAddress":"mail.example.com:443"}': "not known here",
    b'{"authority":"STA1"}': "not known here",
    b'{"devise":"phone1"}': "not known here",
    b'{"device":"' + b"d" * 256 + b'"}': "at most 255 bytes",
}
del BAD[b""]


@pytest.mark.parametrize("body", BAD, ids=lambda body: body.decode("latin-1")[:50])
def test_bad_documents(gateway, body):
    status, answer = ask(gateway, "POST", body=body, headers={"Content-Type": "application/json"})
    assert (status, answer["error"]) == (400, "bad_request") and BAD[body] in answer["message"], answer


def test_a_body_that_is_too_large(gateway):
    body = b'{"device":"' + b"d" * 65536 + b'"}'
    status, _ = ask(gateway, "POST", body=body, headers={"Content-Type": "application/json"})
    assert status == 413


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp",
                                  "text/xml", ""])
def test_other_types(gateway, kind):
    status, answer = ask(gateway, "POST", body=b"{}", headers={"Content-Type": kind})
    assert (status, answer["error"]) == (415, "bad_request")


def test_no_type_at_all(gateway):
    status, answer = ask(gateway, "POST", body=None)
    assert (status, answer["error"]) == (415, "bad_request")


# ---- one's own ---------------------------------------------------------------------------------------------

def test_list_show_and_revoke(make, backend, certs):
    gateway = signing_in(make, backend, certs)
    assert ask(gateway, "GET") == (200, {"tickets": []})
    mine = [issue(gateway, device=f"d{i}") for i in range(3)]
    theirs = issue(gateway, user=f"bob:{OTHER}")
    shown = [{k: v for k, v in t.items() if k != "ticket"} for t in mine]

    status, answer = ask(gateway, "GET")
    assert status == 200 and list(answer) == ["tickets"]
    assert sorted(answer["tickets"], key=str) == sorted(shown, key=str)
    assert [t["issued"] for t in answer["tickets"]] == sorted((t["issued"] for t in mine), reverse=True)
    for length in (4, 12):
        assert ask(gateway, "GET", f"{TICKETS}/{shown[0]['fingerprint'][:length]}") == (200, shown[0])
    assert ask(gateway, "GET", f"{TICKETS}/{shown[0]['fingerprint'].upper()}") == (200, shown[0])

    tunnel, other = gateway.tunnel(mine[0]["ticket"]), gateway.tunnel(mine[1]["ticket"])
    status, answer = ask(gateway, "DELETE", f"{TICKETS}/{shown[0]['fingerprint']}")
    assert (status, answer["state"], answer["fingerprint"]) == (200, "revoked", shown[0]["fingerprint"])
    assert "ended" in answer and "ticket" not in answer
    tunnel.conn.ends()
    tunnel.ended("ticket_revoked", None, user="alice", device="d0")
    assert told(gateway, mine[0]["ticket"]) == "ticket_revoked"
    other.echoes()
    # once more changes nothing
    assert ask(gateway, "DELETE", f"{TICKETS}/{shown[0]['fingerprint']}") == (200, answer)
    assert {t["device"]: t["state"] for t in ask(gateway, "GET")[1]["tickets"]} == {
        "d0": "revoked", "d1": "live", "d2": "live"}

    # a stranger's does not exist
    for method in ("GET", "DELETE"):
        assert ask(gateway, method, f"{TICKETS}/{theirs['fingerprint']}") == (404, UNKNOWN)
        assert ask(gateway, method, f"{TICKETS}/{'0' * 64}") == (404, UNKNOWN)
    assert [t["fingerprint"] for t in ask(gateway, "GET", user=f"bob:{OTHER}")[1]["tickets"]] == [theirs["fingerprint"]]
    # "user" and "next" are the administrator's
    assert len(ask(gateway, "GET", f"{TICKETS}?user=bob&next=7-{'0' * 64}")[1]["tickets"]) == 3
    assert told(gateway, theirs["ticket"]) == 200


def test_used_and_expired_ones_stay_listed(gateway):
    used = issue(gateway, **{"class": "session"})
    expired = issue(gateway, lifetime="1ms")
    assert told(gateway, used["ticket"]) == 200
    wire.poll(lambda: ask(gateway, "GET", f"{TICKETS}/{expired['fingerprint']}")[1]["state"] == "expired", "its end")
    assert ask(gateway, "GET", f"{TICKETS}/{used['fingerprint']}")[1]["state"] == "used"
    # what has ended is not revoked any more
    assert ask(gateway, "DELETE", f"{TICKETS}/{used['fingerprint']}")[1]["state"] == "used"
    for method in ("DELETE", "GET"):
        assert ask(gateway, method, f"{TICKETS}/{expired['fingerprint']}")[1]["state"] == "expired"


@pytest.mark.parametrize("name", ["abc", "xyzw", "0" * 65, ";40;STA1", "%30%30%30%30", "0123/4567", "..", "0" * 3000])
def test_names_that_are_none(gateway, name):
    status, answer = ask(gateway, "GET", f"{TICKETS}/{name}")
    assert (status, answer["error"]) == (400, "bad_request")


METHODS = {  # (method, path): (status, error, Allow)
    ("PUT", TICKETS): (405, "method", "GET, POST"),
    ("DELETE", TICKETS): (405, "method", "GET, POST"),
    ("POST", f"{TICKETS}/0123456789ab"): (405, "method", "GET, DELETE"),
    ("GET", "/v1/ticketsx"): (404, "not_found", None),
    ("GET", "/"): (404, "not_found", None),
    ("GET", "/v1/status"): (404, "not_found", None),
    ("GET", "/v1/authorities"): (404, "not_found", None),
    ("POST", "/v1/faults"): (404, "not_found", None),
    ("GET", "/metrics"): (404, "not_found", None),
}


@pytest.mark.parametrize("method, path", METHODS, ids=lambda text: text)
def test_methods_and_paths(gateway, method, path):
    """What is the administrator's is not here."""
    status, answer = ask(gateway, method, path)
    assert (status, answer["error"], lab.http.last.headers["Allow"]) == METHODS[method, path]


# ---- who asks ----------------------------------------------------------------------------------------------

def test_wrong_credentials(gateway):
    told = []
    for user in ("alice:wrong", "nobody:wrong", "nobody:" + PASSWORD, "alice:", ":" + PASSWORD, "Alice:" + PASSWORD,
                 "bob:" + PASSWORD, "alice:" + PASSWORD + " "):
        told.append(ask(gateway, "POST", body={}, user=user))
        assert told[-1][0] == 401
        assert lab.http.last.headers["WWW-Authenticate"] == 'Basic realm="stagate tickets", charset="UTF-8"'
        event = gateway.wait_log("the refusal", event="api", result="sign_in", user=user.partition(":")[0] or None)
        assert event["status"] == 401
    # an unknown user is not told from a wrong password
    assert all(answer == (401, {"error": "sign_in", "message": "user name or password is wrong"}) for answer in told)


@pytest.mark.parametrize("field", [None, "", "Basic", "Basic !", "Basic " + base64.b64encode(b"alice").decode(),
                                   "Bearer " + base64.b64encode(b"alice:x").decode(),
                                   "Basic " + base64.b64encode(b"a" * 256 + b":x").decode(),
                                   "Basic " + base64.b64encode(b"alice:" + b"x" * 256).decode(),
                                   "Basic " + base64.b64encode(b"alice:a\0b").decode()], ids=str)
def test_no_credentials(gateway, field):
    status, answer = ask(gateway, "GET", user=None, headers={} if field is None else {"Authorization": field})
    assert (status, answer["error"]) == (401, "sign_in")
    assert lab.http.last.headers["WWW-Authenticate"].startswith("Basic ")


def test_failed_sign_ins_are_counted_by_user_and_by_address(make, backend, certs):
    gateway = signing_in(make, backend, certs, sign_in={"attempts-per-user": 3, "attempts-per-address": 5,
                                                        "attempts-window": "1h"})

    def tries(user, source="127.0.0.1"):
        return ask(gateway, "GET", user=user, source=source)[0]

    good, wrong = f"alice:{PASSWORD}", "alice:wrong"
    # success does not count
    assert [tries(good) for _ in range(8)] == [200] * 8
    # other addresses do not help against the count by user, and in the end the right password does not either
    assert [tries(wrong, f"127.0.1.{i}") for i in range(1, 5)] == [401, 401, 401, 429]
    status, answer = ask(gateway, "GET", user=good)
    assert (status, answer["error"]) == (429, "too_many_attempts")
    assert 1 <= int(lab.http.last.headers["Retry-After"]) <= 3600 / 3
    gateway.wait_log("the refusal", event="api", result="too_many_attempts", user="alice", status=429)
    # others are not touched, from the same address or from another
    assert tries(f"bob:{OTHER}") == 200 and tries(f"bob:{OTHER}", "127.0.1.1") == 200
    # many names from one address: it is the address that has to wait, whoever it says it is
    assert [tries(f"user{i}:x", "127.0.2.1") for i in range(6)] == [401] * 5 + [429]
    assert tries(f"bob:{OTHER}", "127.0.2.1") == 429 and tries(f"bob:{OTHER}", "127.0.2.2") == 200
    # what the address kept out does not count for the user
    assert [tries("bob:wrong", "127.0.2.1") for _ in range(4)] == [429] * 4 and tries(f"bob:{OTHER}") == 200
    # a reload that leaves the limits alone remembers; other limits begin anew
    assert gateway.reload()["event"] == "reloaded"
    assert tries(good) == 429
    gateway.conf["sign-in"]["attempts-per-user"] = 4
    event = gateway.reload(gateway.conf)
    assert event["event"] == "reloaded"
    assert tries(good) == 200


def test_attempts_come_back(make, backend, certs):
    gateway = signing_in(make, backend, certs, sign_in={"attempts-per-user": 1, "attempts-window": "1s"})
    assert ask(gateway, "GET", user="alice:wrong")[0] == 401
    wire.poll(lambda: ask(gateway, "GET")[0] == 200, "the attempt to come back")


# ---- web pages ---------------------------------------------------------------------------------------------

def test_web_pages_get_nothing(gateway):
    for origin in ("http://evil.example.com", "null", "", f"http://{gateway.ready['sta'][0]}"):
        for method in ("GET", "POST", "OPTIONS"):
            status, answer = ask(gateway, method, body={}, headers={"Origin": origin})
            assert (status, answer["error"]) == (403, "access_denied") and "web pages" in answer["message"]
        assert not any(name.lower().startswith("access-control") for name in lab.http.last.headers)


HOSTS = {"127.0.0.1": 200, "127.0.0.1:1": 200, "localhost": 200, "LOCALHOST:8080": 200, "[::1]:8080": 200, "192.0.2.1": 200,
         "sta.example.com": 200, "STA.example.com.:99": 200, "evil.example.com": 403, "sta.example.com.evil.net": 403,
         "localhost.evil.net": 403, "127.0.0.1.evil.net": 403, "a..b": 403}


@pytest.mark.parametrize("host", HOSTS)
def test_rebound_names(gateway, host):
    """A web page whose name was made to lead here still says its own name."""
    status, answer = ask(gateway, "GET", headers={"Host": host})
    assert status == HOSTS[host] and (status == 200 or answer["error"] == "access_denied"), answer


# ---- ways to it --------------------------------------------------------------------------------------------

def test_over_https(gateway, certs):
    context = ssl.create_default_context(cafile=certs.ca_crt)
    status, ticket = ask(gateway, "POST", body={"device": "tls"}, number=1, context=context)
    assert (status, ticket["device"]) == (201, "tls") and told(gateway, ticket["ticket"]) == 200
    status, answer = ask(gateway, "GET", number=1, context=context, headers={"Origin": "https://evil.example.com"})
    assert (status, answer["error"]) == (403, "access_denied")
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(gateway, "GET", number=1, context=ssl.create_default_context())


def test_as_the_manual_shows_it(gateway):
    """With curl, on a connection that is kept."""
    url = f"http://{gateway.ready['sta'][0]}{TICKETS}"
    result = subprocess.run(["curl", "-sS", "-u", f"bob:{OTHER}", "-H", "Content-Type: application/json", "-d",
                             '{"device":"phone1"}', url, url], capture_output=True, text=True, timeout=wire.DEADLINE)
    assert result.returncode == 0, result
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(result.stdout)
    second, _ = decoder.raw_decode(result.stdout, end)
    assert first["user"] == second["user"] == "bob" and first["ticket"] != second["ticket"]


def test_nobody_can_sign_in(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")], authorities=[issuing.embedded()])
    for user in (f"alice:{PASSWORD}", None):
        assert ask(gateway, "POST", body={}, user=user) == (
            404, {"error": "no_sign_in", "message": "sign-in is not configured here"})


def test_passwords_cross_no_network_in_clear(make, backend, certs):
    gateway = signing_in(make, backend, certs, authority={"listen": ["http://127.0.0.1:0", "http://0.0.0.0:0"]},
                         start=False)

    def place_of(text):
        lines = gateway.path.read_text().splitlines()
        row = next(i for i, line in enumerate(lines) if text in line)
        return row + 1, lines[row].index(text) + 1

    row, column = place_of('"http://0.0.0.0:0"')
    result = lab.stagate("check", "-c", gateway.path)
    assert result.returncode == 1
    assert f"{gateway.path}:{row}:{column}: listen: http://0.0.0.0:0 would take passwords in clear off this machine" \
        in result.stderr + result.stdout
    assert lab.stagate("run", "-c", gateway.path).returncode == 1
    # without sign-in it is a warning
    del gateway.conf["sign-in"]
    gateway.write(gateway.conf)
    result = lab.stagate("check", "-c", gateway.path)
    assert result.returncode == 0 and f"{gateway.path}:{row}:{column}: warning: " in result.stderr + result.stdout


# ---- the file of users -------------------------------------------------------------------------------------

def test_the_file_changes_while_it_is_in_use(make, backend, certs):
    gateway = signing_in(make, backend, certs)
    users = gateway.folder / "users"
    ticket = issue(gateway)["ticket"]

    # another password, a new user, one who is gone
    issuing.write_users(users, alice=issuing.bcrypt("new"), carol=issuing.sha512("carols"))
    assert [ask(gateway, "GET", user=u)[0] for u in (f"alice:{PASSWORD}", "alice:new", "carol:carols", f"bob:{OTHER}")] == \
        [401, 200, 200, 401]
    gateway.wait_log("the file", lambda e: e["message"] == f"{users} was read again: 2 users", event="signin_file")
    # who signed in before keeps the ticket
    assert told(gateway, ticket) == 200

    # a broken one, and none: what was there before stays in force
    for broken in ("alice\n", "alice:plain\n", None):
        since = len(gateway.events)
        if broken is None:
            users.unlink()
        else:
            users.write_text(broken)
        assert ask(gateway, "GET", user="alice:new")[0] == 200
        event = gateway.wait_log("the complaint", lambda e: "stays in force" in e["message"], event="signin_file",
                                 level="error", since=since)
        assert str(users) in event["message"]
        assert ("users:1: " in event["message"]) == (broken is not None)
    issuing.write_users(users, dora=issuing.sha512("doras"))
    assert ask(gateway, "GET", user="dora:doras")[0] == 200 and ask(gateway, "GET", user="alice:new")[0] == 401


def test_a_file_that_cannot_be_used_keeps_it_from_starting(make, backend, certs):
    gateway = signing_in(make, backend, certs, start=False)
    (gateway.folder / "users").write_text("alice:$1$short$hash\n")
    result = lab.stagate("run", "-c", gateway.path)
    assert result.returncode == 1 and "users:1: " in result.stderr and "hash" in result.stderr
    (gateway.folder / "users").unlink()
    result = lab.stagate("run", "-c", gateway.path)
    assert result.returncode == 1 and f"{gateway.folder}/users cannot be read" in result.stderr
