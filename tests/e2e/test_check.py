"""stagate check: what is wrong with a configuration, where, and what would be right. `run` says the same."""
import re
import textwrap

import pytest

import lab

GOOD = """\
listeners:
  - address: 127.0.0.1:0
    certificate: CERTS/gateway.crt
    key: CERTS/gateway.key
authorities:
  - id: STA0A1B2C3D4E5F
    store: lmdb:tickets
policy:
  background-network-services: ["mail.example.com:443"]
services:
  - name: mail.example.com:443
    connect: 127.0.0.1:9443
"""
LISTENERS = GOOD[:GOOD.index("authorities")]
AUTHORITIES = GOOD[GOOD.index("authorities"):GOOD.index("policy")]
LISTED = '["mail.example.com:443"]'


def check(tmp_path, certs, text):
    path = tmp_path / "sta.yaml"
    path.write_text(text.replace("CERTS", str(certs.folder)))
    result = lab.stagate("check", "-c", path)
    return result, [line.removeprefix(f"{path}:") for line in result.stderr.splitlines()]


def test_good(tmp_path, certs):
    result, lines = check(tmp_path, certs, GOOD)
    assert (result.returncode, result.stdout, lines) == (0, f"{tmp_path}/sta.yaml: good\n", [])


# (what is replaced in GOOD, by what, [parts of the complaint; it begins with "line:column: "])
BAD = [
    # YAML itself
    ("listeners:\n", "listeners: [\n", ["2:3: "]),
    ("policy:\n", "policy:\n\tx: 1\n", ["9:1: "]),
    ("    key:", "   key:", ["4:4: did not find expected"]),
    ("listeners:\n", "&a listeners:\n", ["1:1: anchors"]),
    ("policy:\n", "policy: !!map\n", ["tags (!...) are not used here"]),
    ("policy:\n", "authorities: []\npolicy:\n", ["8:1: ", "authorities"]),
    ("policy:\n", "---\npolicy:\n", ["a second YAML document"]),
    ("STA0A1B2C3D4E5F", "STA\x07", ["6:12: control character U+0007"]),
    ("lmdb:tickets", "memory:", ["7:18: mapping values", "a colon at its end needs quotes"]),
    # keys
    ("policy:\n", "polcy:\n", ['8:1: unknown key "polcy": did you mean "policy"?']),
    ("    key:", "    tls-flor: tls1.2\n    key:", ['4:5: unknown key "tls-flor": did you mean "tls-floor"?']),
    ("policy:\n", "tls-floor: tls1.2\npolicy:\n", ['8:1: unknown key "tls-floor": it belongs in listeners or services']),
    ("    key: CERTS/gateway.key\n", "", ['2:5: listeners: the key "key" is missing']),
    ("  - id: STA0A1B2C3D4E5F\n    store", "  - store", ['6:5: authorities: the key "id" is missing']),
    ("    store: lmdb:tickets\n", "", ['6:9: authorities: the key "store" is missing, or "url"']),
    ("    store: lmdb:tickets", "    store:", ["7:5: store: has no value"]),
    (LISTENERS, "", ['1:1: the key "listeners" is missing']),
    ("policy:\n", "admin: {listen: http://127.0.0.1:9090}\npolicy:\n", ["8:9: listen: this version does not support it"]),
    ("policy:\n", "sign-in: {}\npolicy:\n", ["8:10: sign-in: it is checked against htpasswd or ldap"]),
    ("    connect:", "    activesync-floor: \"12.1\"\n    connect:", ["12:23: activesync-floor: nothing is looked into here"]),
    # kinds
    (LISTENERS, "listeners: 5\n", ["1:12: listeners: expected a list of mappings"]),
    (LISTENERS, "listeners: []\n", ["1:12: listeners: needs at least one item"]),
    (AUTHORITIES, "authorities: []\n", ["5:14: authorities: needs at least one item"]),
    ("policy:\n  background-network-services: " + LISTED, "policy: tunneled", ["8:9: policy: expected"]),
    (LISTED, "[mail.example.com: 443]", ['9:33: background-network-services: "mail.example.com: 443" without quotes '
                                         "is a YAML mapping", "in quotes"]),
    ("mail.example.com:443\n    connect", "mail.example.com: 443\n    connect", ["11:27: mapping values", "needs quotes"]),
    # values
    ("127.0.0.1:0", "mail.example.com:443", ["2:14: address: an address to listen on is an IP address and a port"]),
    ("127.0.0.1:0", "127.0.0.1", ["2:14: address: the port is missing"]),
    ("127.0.0.1:0", "127.0.0.1:99999", ["2:14: address: the port is too large"]),
    ("127.0.0.1:0", "127.0.0.1:08443", ["2:14: address: the port has a leading zero"]),
    ("127.0.0.1:0", "\"[::1%lo]:8443\"", ["2:14: address: a zone identifier"]),
    ("    key:", "    doors: http\n    key:", ["4:12: doors: "]),
    ("    key:", "    doors: [socks, http]\n    key:", ["4:20: doors: "]),
    ("    key:", "    doors: []\n    key:", ["4:12: doors: a listener needs at least one"]),
    ("    key:", "    tls-floor: tls1.4\n    key:", ["4:16: tls-floor: ", "tls1.3"]),
    ("    key:", "    tls-floor: TLSv1.2\n    key:", ["4:16: tls-floor: "]),
    ("CERTS/gateway.key", "[CERTS/gateway.key, CERTS/gateway-rsa.key]", ["4:10: key: 2 keys for 1 certificates"]),
    ("STA0A1B2C3D4E5F", "STA-1", ["6:9: id: an authority's ID is 1 to 16 letters and digits"]),
    ("STA0A1B2C3D4E5F", "S" * 17, ["6:9: id: an authority's ID is 1 to 16 letters and digits"]),
    ("lmdb:tickets", "tickets", ["7:12: store: a store is lmdb:PATH (survives restarts), memory"]),
    ("lmdb:tickets", "redis:127.0.0.1:6379", ["7:12: store: a store is lmdb:PATH"]),
    ("lmdb:tickets", "redis://:secret@127.0.0.1:6379", ["7:12: store: a password does not belong in the URL"]),
    ("lmdb:tickets", "\"lmdb:\"", ["7:12: store: a store is lmdb:PATH"]),
    ("lmdb:tickets\n", "lmdb:tickets\n    keep-ended: 24\n", ["8:17: keep-ended: ", "unit"]),
    ("lmdb:tickets\n", "lmdb:tickets\n    keep-ended: 0s\n", ["8:17: keep-ended: "]),
    ("lmdb:tickets\n", "lmdb:tickets\n    keep-ended: 24 hours\n", ["8:17: keep-ended: "]),
    (LISTED, "[mail.example.com]", ["9:33: background-network-services: the port is missing"]),
    (LISTED, "mail.example.com:443, push.example.com", ["9:54: background-network-services: the port is missing"]),
    (LISTED, "mail.example.com:443,,a.example.com:1", ["an item between commas is empty"]),
    (LISTED, "[\"https://mail.example.com/\"]", ["9:33: ", "this is a URL"]),
    (LISTED, "[\"mail..example.com:443\"]", ["9:33: ", "empty label"]),
    (LISTED, "[\"*:443\"]", ["9:33: "]),
    (LISTED, "[\"mail.*.com:443\"]", ["9:33: ", "wildcard"]),
    (LISTED, "[\"mäil.example.com:443\"]", ["9:33: ", "xn--"]),
    ("policy:\n", "policy:\n  network-access: tunelled\n", ["9:19: network-access: ", '"tunneled"']),
    ("policy:\n", "policy:\n  background-services-ticket-expiration: 0\n", ["9:42: "]),
    ("policy:\n", "policy:\n  background-services-ticket-expiration: 7 days\n", ["9:42: "]),
    ("policy:\n", "policy:\n  background-network-service-gateway: gateway3.example.com\n",
     ["9:39: ", "the port is missing"]),
    ("127.0.0.1:9443", "127.0.0.1:0", ["12:14: connect: port 0 does not exist"]),
    ("127.0.0.1:9443", "\"*.example.com:443\"", ["12:15: connect: "]),
    ("    connect:", "    relay: inspect\n    connect:", ["12:12: relay: "]),
    ("    connect:", "    sni: exact\n    connect:", ["12:10: sni: ", "match"]),
    ("policy:\n", "workers: 0\npolicy:\n", ["8:10: workers: workers is auto or a number from 1 to 256"]),
    ("policy:\n", "workers: 257\npolicy:\n", ["8:10: workers: workers is auto or a number from 1 to 256"]),
    ("policy:\n", "timeouts: {idle: 60}\npolicy:\n", ["8:18: idle: ", "unit"]),
    ("policy:\n", "timeouts: {idle: 10ms}\npolicy:\n", ["8:18: idle: ", "100ms"]),
    ("policy:\n", "timeouts: {connect: 2h}\npolicy:\n", ["8:21: connect: "]),
    ("policy:\n", "limits: {connections: many}\npolicy:\n", ["8:23: connections: "]),
    ("policy:\n", "limits: {connections: -1}\npolicy:\n", ["8:23: connections: "]),
    ("policy:\n", "log: {format: xml}\npolicy:\n", ["8:15: format: ", "json"]),
    ("policy:\n", "log: {level: verbose}\npolicy:\n", ["8:14: level: "]),
]


def says(line, expected):
    """Whether a complaint has all these parts. It quotes the offending text between its key and what is wrong."""
    parts = [p for part in expected for p in re.match(r"(\d+:\d+: [\w-]+: )?(.*)", part, re.DOTALL).groups() if p]
    return all(part in line for part in parts) and (line.startswith(parts[0]) or not parts[0][0].isdigit())


def case_id(case):
    return case[1].strip().replace("\n", " ")[:60] or "without " + case[0].split(":")[0].strip()


@pytest.mark.parametrize("case", BAD, ids=case_id)
def test_bad(tmp_path, certs, case):
    old, new, expected = case
    assert old in GOOD
    result, lines = check(tmp_path, certs, GOOD.replace(old, new, 1))
    assert (result.returncode, result.stdout) == (1, ""), result
    # a misspelt policy is also one that is not there, which is a warning of its own
    assert len(lines) == 1 or new == "polcy:\n", "one mistake, several complaints: " + result.stderr
    assert any(says(line, expected) for line in lines), result.stderr
    # run says no more and no less, and does not start
    again = lab.stagate("run", "-c", tmp_path / "sta.yaml")
    assert (again.returncode, again.stdout, again.stderr) == (1, "", result.stderr)


WARNED = [  # (what is replaced, by what, the warning): a configuration that can be run all the same
    (LISTED, "[\"push.example.com:443\"]",
     "11:11: warning: name: mail.example.com:443 is not in background-network-services, so no client can reach it"),
    (LISTED, "[]", "9:32: warning: background-network-services is empty"),
    ("    connect:", "    relay: http\n    tls-floor: none\n    connect:", "13:16: warning: tls-floor: with relay http "),
    ("CERTS/gateway.crt", "missing.crt", "3:18: warning: "),
    ("CERTS/gateway.key", "missing.key", "4:10: warning: "),
]


@pytest.mark.parametrize("old, new, warning", WARNED, ids=[w[1] for w in WARNED])
def test_warnings(tmp_path, certs, old, new, warning):
    result, lines = check(tmp_path, certs, GOOD.replace(old, new, 1))
    assert (result.returncode, result.stdout) == (0, f"{tmp_path}/sta.yaml: good\n")
    assert lines[0].startswith(warning)


def test_every_mistake_in_file_order(tmp_path, certs):
    text = textwrap.dedent("""\
        listners: []
        authorities:
          - id: STA-1
            store: tickets
          - id: STA01
            store: memory:x
        policy:
          network-access: none
          background-network-services: ["a..b:443", "mail.example.com"]
        timeouts:
          idle: 5
          drane: 1s
        """)
    result, lines = check(tmp_path, certs, text)
    assert result.returncode == 1
    places = [tuple(map(int, line.split(":", 2)[:2])) for line in lines]
    assert places == sorted(places)
    assert [row for row, _ in places] == [1, 1, 3, 4, 6, 8, 9, 9, 11, 12], lines


SAME = [  # entries that may stand there once only
    ("services:\n", "services:\n  - name: MAIL.example.com:443\n", "12:11: name: this service stands in the list twice"),
    ("policy:\n", "  - id: STA0A1B2C3D4E5F\n    store: lmdb:other\npolicy:\n",
     "8:9: id: STA0A1B2C3D4E5F is an earlier authority's; IDs must differ"),
    ("policy:\n", "  - id: STA02\n    store: lmdb:tickets\npolicy:\n",
     "9:12: store: an earlier authority keeps its tickets there"),
]


@pytest.mark.parametrize("old, new, complaint", SAME, ids=["service", "authority", "store"])
def test_twice(tmp_path, certs, old, new, complaint):
    result, lines = check(tmp_path, certs, GOOD.replace(old, new, 1))
    assert result.returncode == 1 and any(line.startswith(complaint) for line in lines), lines


def test_listeners_on_one_address(tmp_path, certs):
    two = GOOD.replace("authorities", LISTENERS.removeprefix("listeners:\n") + "authorities", 1)
    assert check(tmp_path, certs, two)[0].returncode == 0  # any port is another one each time
    result, lines = check(tmp_path, certs, two.replace("127.0.0.1:0", "127.0.0.1:8443"))
    assert result.returncode == 1
    assert lines == ["5:14: address: 127.0.0.1:8443 is taken by an earlier listener"]


GOOD_FORMS = [  # spellings that are taken
    ("127.0.0.1:0", "localhost:0"), ("127.0.0.1:0", "\"[::1]:0\""), ("127.0.0.1:0", "0.0.0.0:0"),
    ("CERTS/gateway.crt", "[CERTS/gateway.crt]"), ("    key:", "    doors: connect\n    key:"),
    ("    key:", "    doors: \"socks, connect\"\n    key:"), ("lmdb:tickets", "memory"),
    ("lmdb:tickets", "\"memory:\""), (LISTED, "\"mail.example.com: 443, *.example.com:443\""),
    ("policy:\n", "policy:\n  background-services-ticket-expiration: 24\n"),
    ("policy:\n", "policy:\n  background-services-ticket-expiration: 7d\n"),
    ("policy:\n", "policy:\n  connection-security-level: sslv3-and-tls\n"),
    ("policy:\n", "workers: 256\ntimeouts: {drain: 0s, idle: 1h30m}\nlimits: {connections: 0}\npolicy:\n"),
    ("services:\n  - name: mail.example.com:443\n    connect: 127.0.0.1:9443\n", ""),
    ("listeners", "\ufefflisteners"),
]


@pytest.mark.parametrize("old, new", GOOD_FORMS, ids=[new[:40].strip() for _, new in GOOD_FORMS])
def test_forms_that_are_good(tmp_path, certs, old, new):
    result, lines = check(tmp_path, certs, GOOD.replace(old, new, 1))
    assert (result.returncode, lines) == (0, []), result
