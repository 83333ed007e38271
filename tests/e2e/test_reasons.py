"""The table of reasons: what clients are told at each door, beside what the log tells. conftest.py looks for reasons that no
test has seen."""
import json

import pytest

import backends
import lab
import wire


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


@pytest.fixture(scope="module")
def gateway(make_shared, backend):
    services = [lab.service(backend, tls_floor="none"), lab.service(backend, "push.example.com:443", tls_floor="none")]
    return make_shared.gateway(services, listed=[s["name"] for s in services] + [f"localhost:{backend.port}"])


@pytest.fixture(scope="module")
def tickets(gateway):
    """One of each kind."""
    used, revoked = gateway.ticket(user="ben", cls="session"), gateway.ticket(user="cat")
    gateway.tunnel(used).echoes()
    assert lab.stagate("ticket", "revoke", "-c", gateway.path, revoked).returncode == 0
    return {
        "good": gateway.ticket(user="dan", device="ApplD"),
        "narrow": gateway.ticket(user="eve", service="push.example.com:443"),
        "expired": gateway.ticket(user="ann", lifetime="1ms"),
        "used": used,
        "revoked": revoked,
        "unknown": f";40;{lab.AUTHORITY};{'0' * 32}",
        "foreign": ";40;STA475DE9C8ABDA;6C0EE48D2E8CADFEE6D1EB93BFB52A57",
        "malformed": ";40;what",
        "none": "",
    }


# (ticket, target or None for the mail server, reason, fields of the log line); PORT is the backend's
CASES = [
    ("good", None, "ok", {"user": "dan", "device": "ApplD", "authority": lab.AUTHORITY}),
    ("none", None, "ticket_missing", {"user": None, "ticket": None}),
    ("malformed", None, "ticket_malformed", {"user": None, "ticket": None}),
    ("unknown", None, "ticket_unknown", {"user": None, "authority": lab.AUTHORITY}),
    ("expired", None, "ticket_expired", {"user": "ann"}),
    ("used", None, "ticket_used", {"user": "ben"}),
    ("revoked", None, "ticket_revoked", {"user": "cat"}),
    ("foreign", None, "authority_unknown", {"user": None, "authority": "STA475DE9C8ABDA", "ticket": None}),
    ("good", "other.example.com:443", "service_not_listed", {"user": "dan"}),
    ("narrow", None, "service_not_in_ticket", {"user": "eve"}),
    ("good", "localhost:PORT", "address_not_allowed", {"user": "dan", "address": None}),
    ("good", "mail..example.com:443", "request_malformed", {"user": None, "target": None, "ticket": None}),
]


def state(gateway, ticket):
    return json.loads(lab.stagate("ticket", "show", "--json", "-c", gateway.path, ticket).stdout)[0]["state"]


@pytest.mark.parametrize("kind, target, reason, fields", CASES, ids=[c[2] for c in CASES])
def test_both_doors(gateway, backend, tickets, kind, target, reason, fields):
    row = lab.reasons_table()[reason]
    target = (target or lab.MAIL).replace("PORT", str(backend.port))
    ticket = tickets[kind]
    if kind == "expired":
        wire.poll(lambda: state(gateway, ticket) == "expired", "the ticket to expire")

    client = gateway.client()
    answer = client.connect(target, wire.basic(ticket) if ticket else None)
    assert (answer.status, answer["X-Stagate-Reason"]) == (row["http"], None if reason == "ok" else reason)
    if reason == "ok":
        client.echoes()
    else:
        assert answer.text.endswith(f"({reason})") and answer["Content-Type"] == "text/plain; charset=utf-8"
        assert row["sentence"] in answer.body and answer.body.endswith(f"What to change: {row['advice']}\n")
        assert client.conn.recv_all() == b""
    by_connect = client.ended(reason, answer["X-Stagate-Detail"], door="connect")

    host, _, port = target.rpartition(":")
    client = gateway.client()
    assert client.socks(host, int(port), password=ticket) == row["socks"]
    if reason == "ok":
        client.echoes()
    by_socks = client.ended(reason, by_connect.get("detail") if ticket else ..., door="socks")

    for name, value in {"target": target, **fields}.items():
        assert by_connect.get(name) == by_socks.get(name) == value, name
    if "ticket" not in fields:
        assert by_connect["ticket"] == by_socks["ticket"] and len(by_connect["ticket"]) == 12


# ---- the command -------------------------------------------------------------------------------------------

def test_the_table_in_all_its_forms():
    """JSON, text and Markdown tell the same."""
    rows = json.loads(lab.stagate("reasons", "--json").stdout)
    assert len({row["reason"] for row in rows}) == len(rows) > 30
    text, markdown = lab.stagate("reasons").stdout, lab.stagate("reasons", "--markdown").stdout
    assert sum(line.startswith("| `") for line in markdown.splitlines()) == len(rows)
    for row in rows:
        assert set(row) == {"reason", "http", "socks", "alert", "sentence", "advice"}
        assert row["http"] in (0, 200, 400, 403, 407, 408, 421, 502, 503, 504)
        assert row["socks"] in (0, 1, 2, 4, 5) and row["alert"] in (0, 70, 112)
        line = next(line for line in markdown.splitlines() if line.startswith(f"| `{row['reason']}` |"))
        assert row["sentence"] in line and row["advice"] in line
        assert row["sentence"].endswith(".") and row["advice"].endswith(".")
        assert f"\n{row['reason']} " in text
        assert "  " not in row["sentence"] + row["advice"]
