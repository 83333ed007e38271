"""stagate ticket: what it prints, what it refuses, and its exit status. Works on the store while a gateway runs on
it, so half of this runs beside one."""
import json
import re

import pytest

import backends
import lab
import wire

MORE = "STA906839512"


@pytest.fixture(scope="module")
def gateway(make_shared):
    backend = make_shared.backend(backends.echo)
    return make_shared.gateway([lab.service(backend, tls_floor="none")], authorities=[
        {"id": lab.AUTHORITY, "store": "lmdb:tickets"}, {"id": MORE, "store": "lmdb:more"}])


@pytest.fixture
def run(gateway):
    """Runs `stagate ticket VERB -c FILE ...`."""
    def run(verb, *args, stdin=None):
        return lab.stagate("ticket", verb, "-c", gateway.path, *args, stdin=stdin)
    return run


def show(run, ticket):
    result = run("show", ticket, "--json")
    assert (result.returncode, result.stderr) == (0, ""), result
    records = json.loads(result.stdout)
    assert len(records) == 1
    return records[0]


def seconds(record):
    """The lifetime, out of the times that are shown."""
    import datetime
    times = [datetime.datetime.fromisoformat(record[k].replace("Z", "+00:00")) for k in ("issued", "expires")]
    return round((times[1] - times[0]).total_seconds())


# ---- issue -------------------------------------------------------------------------------------------------

def test_issue_prints_the_ticket_and_only_that(run):
    result = run("issue", "--user", "alice")
    assert result.returncode == 0 and result.stderr == ""
    assert re.fullmatch(rf";40;{lab.AUTHORITY};[0-9A-F]{{32}}\n", result.stdout)


def test_issued_tickets_differ(run):
    assert len({run("issue", "--user", "alice").stdout for _ in range(10)}) == 10


ISSUED = {
    "background": ([], {"class": "background", "services": [], "device": ""}, 168 * 3600),
    "session": (["--class", "session"], {"class": "session"}, 100),
    "lifetime": (["--lifetime", "1h30m"], {}, 5400),
    "session with a lifetime": (["--class", "session", "--lifetime", "7d"], {"class": "session"}, 7 * 86400),
    "device and services": (["-d", "ApplDN6", "--service", "MAIL.example.com: 443", "--service", "[2001:DB8::1]:25"],
                            {"device": "ApplDN6", "services": [lab.MAIL, "[2001:db8::1]:25"]}, 168 * 3600),
    "a wildcard": (["--service", "*.example.com:443"], {"services": ["*.example.com:443"]}, 168 * 3600),
    "another authority": (["--authority", MORE], {"authority": MORE}, 168 * 3600),
    "hostile names": (["-d", 'a"\\\n\x1b[31m'], {"device": 'a"\\\n\x1b[31m'}, 168 * 3600),
}


@pytest.mark.parametrize("options, fields, lifetime", ISSUED.values(), ids=ISSUED)
def test_issue(run, options, fields, lifetime):
    ticket = run("issue", "--user", "Jürgen", *options).stdout.strip()
    record = show(run, ticket)
    fields = {"user": "Jürgen", "state": "live", "authority": lab.AUTHORITY, **fields}
    assert {k: record[k] for k in fields} == fields
    assert seconds(record) == lifetime
    # the value itself is nowhere
    assert ticket.rpartition(";")[2] not in run("list", "--json").stdout + run("list").stdout


# ---- show, list, revoke ------------------------------------------------------------------------------------

def test_show_by_string_fingerprint_and_standard_input(run):
    ticket = run("issue", "--user", "erin").stdout.strip()
    record = show(run, ticket)
    assert re.fullmatch("[0-9a-f]{12}", record["ticket"])
    assert show(run, record["ticket"]) == record
    assert show(run, record["ticket"].upper()) == record
    for text in (ticket, ticket + "\n", ticket + "\r\n", record["ticket"] + "\n"):
        result = run("show", "-", "--json", stdin=text)
        assert result.returncode == 0 and json.loads(result.stdout) == [record]


def test_show_a_pair(run):
    """Of a ;42; string the tickets of all authorities that know one."""
    one = run("issue", "--user", "one").stdout.strip().removeprefix(";40;")
    two = run("issue", "--user", "two", "--authority", MORE).stdout.strip().removeprefix(";40;")
    result = run("show", f";42;{one};{two}", "--json")
    assert [r["user"] for r in json.loads(result.stdout)] == ["one", "two"]
    result = run("show", f";42;{one};STA1;{'0' * 32}", "--json")
    assert [r["user"] for r in json.loads(result.stdout)] == ["one"]


def test_list_as_text(run):
    ticket = run("issue", "--user", "frank", "--device", "d\x1b[2J", "--service", lab.MAIL).stdout.strip()
    record = show(run, ticket)
    result = run("list")
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert lines[0].split() == ["TICKET", "AUTHORITY", "CLASS", "STATE", "EXPIRES", "USER", "DEVICE", "SERVICES"]
    line = next(line for line in lines if line.startswith(record["ticket"]))
    # no control character of others reaches a terminal
    assert line.split()[1:4] == [lab.AUTHORITY, "background", "live"] and line.endswith(" frank d?[2J " + lab.MAIL)
    assert "\x1b" not in result.stdout


def test_list_of_one_authority(run):
    ticket = run("issue", "--user", "grace", "--authority", MORE).stdout.strip()
    fingerprint = show(run, ticket)["ticket"]
    listed = json.loads(run("list", "--json", "--authority", MORE).stdout)
    assert fingerprint in [r["ticket"] for r in listed] and {r["authority"] for r in listed} == {MORE}
    others = json.loads(run("list", "--json", "--authority", lab.AUTHORITY).stdout)
    assert fingerprint not in [r["ticket"] for r in others]


def test_nothing_to_list(make):
    gateway = make.gateway(listed=[lab.MAIL])
    assert lab.stagate("ticket", "list", "-c", gateway.path).stdout == "no tickets\n"
    assert lab.stagate("ticket", "list", "--json", "-c", gateway.path).stdout == "[]\n"


def test_revoke(run):
    for form in ("string", "fingerprint", "standard input"):
        ticket = run("issue", "--user", "heidi").stdout.strip()
        record = show(run, ticket)
        argument = {"string": ticket, "fingerprint": record["ticket"], "standard input": "-"}[form]
        result = run("revoke", argument, stdin=ticket + "\n")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        assert show(run, ticket)["state"] == "revoked"
        # once more changes nothing
        assert run("revoke", ticket).returncode == 0 and show(run, ticket)["state"] == "revoked"


def test_commands_see_what_the_gateway_does(run, gateway):
    ticket = run("issue", "--user", "ivan", "--class", "session").stdout.strip()
    client = gateway.tunnel(ticket)
    assert show(run, ticket)["state"] == "used"
    client.close()
    run("revoke", ticket)
    assert show(run, ticket)["state"] == "used"  # it had ended already
    client = gateway.client()
    assert client.connect(lab.MAIL, wire.basic(ticket))["X-Stagate-Reason"] == "ticket_used"


def test_purge(run):
    result = run("purge")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{lab.AUTHORITY}: 0 purged\n{MORE}: 0 purged\n"
    assert run("purge", "--authority", MORE).stdout == f"{MORE}: 0 purged\n"


# ---- mistakes ----------------------------------------------------------------------------------------------

USAGE = {  # arguments behind `stagate ticket`: part of the message; C is -c FILE
    "": "what about tickets? issue, list, show, revoke or purge",
    "isue C": 'unknown command "isue": did you mean "issue"?',
    "frobnicate C": 'unknown command "frobnicate"',
    "issue --user u": "-c FILE is missing",
    "issue C": "--user is missing",
    "issue C --user": "--user needs a value",
    "issue C --user u extra": 'unexpected argument "extra"',
    "issue C --user u --class permanent": '--class is background or session, not "permanent"',
    "issue C --user u --lifetime 5": "--lifetime 5: the unit is missing: write 30s, 15m, 168h or 7d",
    "issue C --user u --lifetime 5x": "--lifetime 5x: unknown unit",
    "issue C --user u --lifetime -5s": "--lifetime -5s",
    "issue C --user u --service mail.example.com": "--service mail.example.com: the port is missing",
    "issue C --user u --service a..b:443": "--service a..b:443: the host name has an empty label",
    "issue C --user u --ica-address mail.example.com": "--ica-address mail.example.com: the port is missing",
    "issue C --user u --ica-address *.example.com:443": "--ica-address *.example.com:443",
    "issue C --user u --authority STA1": 'no authority "STA1" in',
    "issue C --user u --frobnicate": "unknown option --frobnicate",
    "list C extra": 'unexpected argument "extra"',
    "list C --authority STA1": 'no authority "STA1" in',
    "list": "-c FILE is missing",
    "show C": "which ticket? Give its string, its fingerprint, or -",
    "revoke C": "which ticket? Give its string, its fingerprint, or -",
    "show C -": "no ticket on standard input",
    "show C ;40;STA1;": "the ticket is not of 30 or 32 characters",
    "show C ;99;STA1;x": "the ticket version is not one of 10, 20, 22, 40 and 42",
    "show C abcd extra": 'unexpected argument "extra"',
    "purge C --authority STA1": 'no authority "STA1" in',
    "purge C extra": 'unexpected argument "extra"',
}


@pytest.mark.parametrize("line", USAGE, ids=lambda line: line or "nothing")
def test_usage_errors(gateway, line):
    args = [a for word in line.split() for a in (["-c", gateway.path] if word == "C" else [word])]
    result = lab.stagate("ticket", *args, stdin="")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("stagate ticket: ") and USAGE[line] in result.stderr
    assert result.stderr.endswith("Try `stagate ticket --help`.\n")


FAILURES = {  # (arguments, part of the message)
    "unknown by string": (["show", f";40;{lab.AUTHORITY};{'0' * 32}"], "no authority knows this ticket"),
    "unknown by fingerprint": (["show", "0123456789ab"], "no authority knows this ticket"),
    "of another authority": (["show", f";40;STA1;{'0' * 32}"], "no authority knows this ticket"),
    "revoke an unknown one": (["revoke", f";40;{lab.AUTHORITY};{'0' * 32}"], "no authority knows this ticket"),
    "no fingerprint": (["show", "xyz"], "neither a ticket string nor a fingerprint"),
    "a short fingerprint": (["show", "abc"], "neither a ticket string nor a fingerprint"),
}


@pytest.mark.parametrize("args, message", FAILURES.values(), ids=FAILURES)
def test_failures(run, args, message):
    result = run(*args)
    assert (result.returncode, result.stdout) == (1, "") and message in result.stderr


def test_too_many_services(gateway):
    args = ["ticket", "issue", "-c", gateway.path, "--user", "u"]
    for i in range(64):
        args += ["--service", f"h{i}.example.com:443"]
    assert lab.stagate(*args).returncode == 0
    result = lab.stagate(*args, "--service", "one.more.example.com:443")
    assert result.returncode == 2 and "at most 64 services" in result.stderr


def test_a_ticket_that_is_too_large(run):
    result = run("issue", "--user", "u" * 40000)
    assert (result.returncode, result.stdout) == (2, "") and "at most 255 bytes" in result.stderr
    many = [o for n in range(64) for o in ("--service", f"{'s' * 60}.{'s' * 60}.{'s' * 60}.{'s' * 60}.n{n:02}:443")]
    result = run("issue", "--user", "u" * 255, "--device", "d" * 255, *many)
    assert (result.returncode, result.stdout) == (2, "") and "more text than a ticket holds" in result.stderr


def test_configurations_that_cannot_be_used(tmp_path, run):
    missing = tmp_path / "missing.yaml"
    result = lab.stagate("ticket", "list", "-c", missing)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{missing}: cannot be read: No such file or directory\n"
    bad = tmp_path / "bad.yaml"
    bad.write_text("listeners: 5\n")
    result = lab.stagate("ticket", "list", "-c", bad)
    assert (result.returncode, result.stdout) == (1, "") and f"{bad}:1:" in result.stderr


def test_a_store_that_cannot_be_opened(make, tmp_path):
    (tmp_path / "file").write_text("")
    gateway = make.gateway(listed=[lab.MAIL], start=False,
                           authorities=[{"id": lab.AUTHORITY, "store": f"lmdb:{tmp_path}/file/tickets"}])
    result = lab.stagate("ticket", "list", "-c", gateway.path)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"authority {lab.AUTHORITY}: " in result.stderr and str(tmp_path / "file") in result.stderr


# ---- the other commands ------------------------------------------------------------------------------------

COMMANDS = {  # arguments: (status, on standard output, on standard error)
    "": (2, None, "Usage: stagate COMMAND"),
    "--help": (0, "Usage: stagate COMMAND", None),
    "help": (0, "Usage: stagate COMMAND", None),
    "--version": (0, "stagate 0.", None),
    "rnu": (2, None, 'unknown command "rnu": did you mean "run"?'),
    "frobnicate": (2, None, 'unknown command "frobnicate"'),
    "run": (2, None, "stagate run: -c FILE is missing"),
    "run --help": (0, "Usage: stagate run", None),
    "run -c": (2, None, "stagate run: -c needs a value"),
    "run -x": (2, None, "stagate run: unknown option -x"),
    "run -c /nowhere/sta.yaml": (1, None, "/nowhere/sta.yaml: cannot be read: No such file or directory"),
    "check": (2, None, "stagate check: -c FILE is missing"),
    "check --help": (0, "Usage: stagate check", None),
    "check -c /nowhere/sta.yaml": (1, None, "/nowhere/sta.yaml: cannot be read: No such file or directory"),
    "check -c /": (1, None, "/: cannot be read: Is a directory"),
    "check -c a b": (2, None, 'stagate check: unexpected argument "b"'),
    "ticket --help": (0, "Usage: stagate ticket issue", None),
    "ticket issue --help": (0, "Usage: stagate ticket issue", None),
    "reasons --help": (0, "Usage: stagate reasons", None),
    "reasons --xml": (2, None, "stagate reasons: unknown option --xml"),
    "reasons all": (2, None, 'stagate reasons: unexpected argument "all"'),
}


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: line or "nothing")
def test_commands(line):
    status, out, err = COMMANDS[line]
    result = lab.stagate(*line.split())
    assert result.returncode == status
    for text, expected in ((result.stdout, out), (result.stderr, err)):
        assert expected in text if expected else text == ""
