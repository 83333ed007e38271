"""Signing in against a real directory: who is let in, and as whom; a directory that is away, and comes back."""
import pytest

import backends
import directory
import issuing
import lab
import wire
from issuing import ask

ANNA, BERT, ODD = (f"{uid}:{directory.PEOPLE[uid][2]}" for uid in directory.PEOPLE)


@pytest.fixture
def people(tmp_path):
    server = directory.Directory(tmp_path / "directory")
    yield server
    server.kill()


@pytest.fixture
def run(make, people, tmp_path):
    """A gateway that signs in against the directory, with these keys beside the usual ones."""
    backend = make.backend(backends.echo)
    secret = tmp_path / "reader"
    secret.write_text(directory.READER_PASSWORD + "\n")

    def run(**keys):
        ldap = {"url": people.url, "base": directory.BASE, "bind-dn": directory.READER, "bind-password-file": str(secret),
                "user-attribute": "employeeNumber", "timeout": "2s", **{k.replace("_", "-"): v for k, v in keys.items()}}
        gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False,
                               authorities=[issuing.embedded()], **{"sign-in": {"ldap": ldap}})
        gateway.expect_output("warning:")  # the password crosses the loopback in clear
        return gateway.start()
    return run


def refused(gateway, user):
    status, answer = ask(gateway, "POST", body={}, user=user)
    assert (status, answer["error"]) == (401, "sign_in")


def test_the_ticket_is_for_the_directorys_user(run):
    """A Domino-like directory: people type their UID, and the ticket carries the name that the mail server knows."""
    gateway = run()
    status, ticket = ask(gateway, "POST", body={"device": "ipad"}, user=ANNA)
    assert (status, ticket["user"]) == (201, "ameier")
    gateway.wait_log("the ticket", event="api", result="issued", user="ameier", ticket=ticket["fingerprint"])
    client = gateway.tunnel(ticket["ticket"])
    client.echoes()
    client.ended("ok", user="ameier", device="ipad")
    # it is listed for whoever signs in as that user
    assert [t["fingerprint"] for t in ask(gateway, "GET", user=ANNA)[1]["tickets"]] == [ticket["fingerprint"]]
    assert ask(gateway, "GET", user=BERT)[1]["tickets"] == []
    # letters that mean something in filters are letters
    assert ask(gateway, "POST", body={}, user=ODD)[1]["user"] == "odd"
    for user in ("u1001:wrong", "u1001:", "*:annas secret", "u100*:annas secret", "u1001)(uid=*:annas secret",
                 "ameier:annas secret", "nobody:annas secret"):
        refused(gateway, user)


def test_a_group_and_fewer_names(run):
    gateway = run(group_filter="(&(cn=staff)(member=%d))", name_variations="fewer", name_attributes=["uid", "cn"],
                  filter="(|(uid=%u)(cn=%u)(sn=%u))")
    assert ask(gateway, "POST", body={}, user=ANNA)[1]["user"] == "ameier"
    refused(gateway, BERT)  # not of the staff
    refused(gateway, "0:annas secret")  # found by sn, which is no name that counts


def test_a_directory_that_is_away(run, people):
    gateway = run()
    ticket = ask(gateway, "POST", body={}, user=ANNA)[1]["ticket"]
    people.kill()
    for _ in range(2):
        status, answer = ask(gateway, "POST", body={}, user=ANNA)
        assert (status, answer["error"]) == (503, "sign_in_down")
    event = gateway.wait_log("why", event="api", result="sign_in_down")
    assert event["detail"].startswith("connecting to the directory: ") and event["status"] == 503 and event["user"] == "u1001"
    assert "annas secret" not in "\n".join(gateway.lines)
    # who has a ticket does not need it, and who comes too often while it is away is not kept out afterwards
    assert issuing.told(gateway, ticket) == 200
    for _ in range(12):
        assert ask(gateway, "GET", user=ANNA)[0] == 503
    people.start()
    wire.poll(lambda: ask(gateway, "GET", user=ANNA)[0] == 200, "the directory to be asked again")
    refused(gateway, "u1001:wrong")


def test_a_reader_that_the_directory_does_not_know(run, tmp_path):
    gateway = run(bind_dn=f"cn=nobody,{directory.BASE}")
    status, answer = ask(gateway, "POST", body={}, user=ANNA)
    assert (status, answer["error"]) == (503, "sign_in_down")
    assert directory.READER_PASSWORD not in "\n".join(gateway.lines)
