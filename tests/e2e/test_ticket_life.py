"""What becomes of open tunnels when their ticket's time is over: expiry and the forced time-out, refreshing, and clocks
that jump. Weeks pass by `stagate fault clock` or by time-offset; some lifetimes are real ones of a second or two."""
import threading

import pytest

import authorities
import backends
import issuing
import lab
import wire
from issuing import TICKETS, admin, fault, issue, told


@pytest.fixture(scope="module")
def backend(make_shared):
    return make_shared.backend(backends.echo)


def living(make, backend, policy=(), store="lmdb:tickets", authority=(), **sections):
    """A gateway of four workers with an admin socket."""
    return make.gateway([lab.service(backend, tls_floor="none")], workers=4, policy=dict(policy), admin=issuing.ADMIN,
                        authorities=[authorities.embedded(store=store, **dict(authority))], **sections)


def jump(gateway, by):
    result = fault(gateway, "clock", "--", by)
    assert (result.returncode, result.stderr) == (0, ""), result


def all_end(tunnels, reason, **fields):
    for tunnel in tunnels:
        tunnel.conn.ends()
        tunnel.ended(reason, None, **fields)


# ---- on-expiry ---------------------------------------------------------------------------------------------

def test_keep_and_cut(make, backend):
    """Two gateways on one store: at one tunnels are cut with their ticket's end, at the other they live on."""
    cut = living(make, backend, {"on-expiry": "cut"})
    keep = living(make, backend, store=f"lmdb:{cut.folder}/tickets")
    ticket, other = issue(cut, "alice", lifetime="1s"), issue(cut, "bob")
    at_cut, at_keep = cut.tunnels(ticket["ticket"]), keep.tunnels(ticket["ticket"])
    others = cut.tunnels(other["ticket"], 2)
    all_end(at_cut, "ticket_expired", ticket=ticket["fingerprint"], user="alice")
    for gateway in (cut, keep):
        assert told(gateway, ticket["ticket"]) == "ticket_expired"
    for tunnel in at_keep + others:
        tunnel.echoes()
        tunnel.ended("ok", None)
    assert not any("injected" in e for e in cut.events + keep.events)


def test_drain_ends_what_is_quiet(make, backend):
    gateway = living(make, backend, {"on-expiry": "drain"}, timeouts={"linger": "1s", "drain": "1h"})
    ticket = issue(gateway, "alice", lifetime="1s")["ticket"]
    quiet, (busy, *_) = gateway.tunnels(ticket), gateway.tunnels(ticket, 1)

    def over():
        busy.hello()
        return all(tunnel.tcp.readable() for tunnel in quiet)
    wire.poll(over, "quiet tunnels to end")
    all_end(quiet, "ticket_expired")
    busy.hello()
    assert told(gateway, ticket) == "ticket_expired"
    # that one ends when it has become quiet, too
    all_end([busy], "ticket_expired")


def test_drain_has_an_end(make, backend):
    gateway = living(make, backend, {"on-expiry": "drain"}, timeouts={"linger": "1h", "drain": "500ms"})
    ticket, other = issue(gateway, "alice", lifetime="1s")["ticket"], issue(gateway, "bob")["ticket"]
    tunnels, others = gateway.tunnels(ticket), gateway.tunnels(other, 2)

    def cut():
        for tunnel in others:
            tunnel.hello()
        return all(tunnel.tcp.readable() for tunnel in tunnels)
    wire.poll(cut, "busy tunnels to be cut")
    all_end(tunnels, "ticket_expired")
    for tunnel in others:
        tunnel.echoes()


def test_a_tunnel_that_ends_while_it_drains(make, backend):
    gateway = living(make, backend, {"on-expiry": "drain"}, timeouts={"linger": "1h", "drain": "3h"})
    ticket = issue(gateway, "alice", lifetime="1h")["ticket"]
    tunnels = gateway.tunnels(ticket, 2)
    jump(gateway, "2h")
    assert told(gateway, ticket) == "ticket_expired"
    for tunnel in tunnels:
        tunnel.echoes()
        tunnel.ended("ok", None)


def test_a_used_session_ticket_does_not_expire_for_its_tunnel(make, backend):
    """It was for one connection, and has done its work: its 100 s are for being shown."""
    gateway = living(make, backend, {"on-expiry": "cut"})
    session, background = issue(gateway, "alice", **{"class": "session"}), issue(gateway, "alice", lifetime="100s")
    one, other = gateway.tunnel(session["ticket"]), gateway.tunnel(background["ticket"])
    jump(gateway, "1h")
    all_end([other], "ticket_expired")
    one.echoes()
    one.ended("ok", None)
    assert told(gateway, session["ticket"]) == "ticket_used"


def test_a_reload_changes_what_expiry_means_for_new_connections(make, backend):
    """A connection keeps the configuration that it was accepted under, to the end of its ticket."""
    gateway = living(make, backend)
    ticket = issue(gateway, "alice", lifetime="1h")["ticket"]
    old = gateway.tunnels(ticket)
    gateway.conf["policy"]["on-expiry"] = "cut"
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    new = gateway.tunnels(ticket)
    jump(gateway, "2h")
    all_end(new, "ticket_expired")
    for tunnel in old:
        tunnel.echoes()
        tunnel.ended("ok", None)


def test_tunnels_with_tls_inside(make, certs, mail_context):
    backend = make.backend(backends.echo, context=mail_context)
    gateway = make.gateway([lab.service(backend)], policy={"on-expiry": "cut"}, admin=issuing.ADMIN)
    ticket = issue(gateway, "alice", lifetime="1h")["ticket"]
    before = gateway.tunnel(ticket)  # in front of the inner handshake
    inside = gateway.tunnel(ticket)
    inside.inner_tls()
    inside.hello()
    jump(gateway, "2h")
    all_end([before], "ticket_expired")
    inside.tcp.ends()
    inside.ended("ticket_expired", None)


# ---- forced-timeout ----------------------------------------------------------------------------------------

def test_forced_timeout(make, backend):
    """Counted from the issue, whatever the ticket says; told to new connections at both doors."""
    gateway = living(make, backend, {"forced-timeout": "1s"})
    ticket = issue(gateway, "alice")
    tunnels = gateway.tunnels(ticket["ticket"])
    all_end(tunnels, "forced_timeout", ticket=ticket["fingerprint"], user="alice")
    client = gateway.client()
    answer = client.connect(lab.MAIL, wire.basic(ticket["ticket"]))
    assert (answer.status, answer["X-Stagate-Reason"]) == (lab.reasons_table()["forced_timeout"]["http"], "forced_timeout")
    client.ended("forced_timeout", user="alice", door="connect")
    client = gateway.client()
    host, _, port = lab.MAIL.rpartition(":")
    assert client.socks(host, int(port), password=ticket["ticket"]) == lab.reasons_table()["forced_timeout"]["socks"]
    client.ended("forced_timeout", user="alice", door="socks")
    # the ticket itself is as good as before
    assert admin(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[1]["state"] == "live"
    # signing in again helps
    assert told(gateway, issue(gateway, "alice")["ticket"]) == 200


def test_forced_timeout_and_expiry(make, backend):
    """Whichever comes first; forced-timeout takes session tickets' tunnels, too."""
    gateway = living(make, backend, {"forced-timeout": "2h", "on-expiry": "cut"})
    short, long = issue(gateway, "alice", lifetime="1h"), issue(gateway, "alice")
    session = issue(gateway, "alice", **{"class": "session"})
    of_short, of_long = gateway.tunnels(short["ticket"], 2), gateway.tunnels(long["ticket"], 2)
    of_session = gateway.tunnel(session["ticket"])
    jump(gateway, "90m")
    all_end(of_short, "ticket_expired")
    for tunnel in [*of_long, of_session]:
        tunnel.hello()
    jump(gateway, "121m")
    all_end([*of_long, of_session], "forced_timeout")
    assert told(gateway, short["ticket"]) == "ticket_expired"
    assert told(gateway, long["ticket"]) == "forced_timeout"


# ---- refreshing --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("store", ["lmdb:tickets", "memory"])
def test_refreshable_tickets(make, backend, store):
    """Good for any number of connections, for as long as one lives, and a little longer."""
    gateway = living(make, backend, {"on-expiry": "cut"}, store=store, authority={"refreshable-lifetime": "1s"})
    ticket = issue(gateway, "alice", **{"class": "session", "refreshable": True})
    assert (ticket["refreshable"], ticket["lifetime"]) == (True, "1s")

    def now():
        return admin(gateway, "GET", f"{TICKETS}/{ticket['fingerprint']}")[1]
    tunnels = gateway.tunnels(ticket["ticket"])
    # its end moves on while they live, twice for certain
    for _ in range(2):
        before = now()["expires"]
        wire.poll(lambda: now()["expires"] > before, "the ticket to be refreshed")
    for tunnel in tunnels:
        tunnel.hello()
    assert now()["state"] == "live" and now()["issued"] == ticket["issued"]
    assert told(gateway, ticket["ticket"]) == 200
    for tunnel in tunnels:
        tunnel.echoes()
        tunnel.ended("ok", None)
    wire.poll(lambda: now()["state"] == "expired", "its end")
    assert told(gateway, ticket["ticket"]) == "ticket_expired"


def test_what_is_not_refreshed_any_more_is_cut(make, backend):
    """A session that its clock leaves behind, as when the machine slept for too long."""
    gateway = living(make, backend, {"on-expiry": "cut"})
    ticket = issue(gateway, "alice", **{"class": "session", "refreshable": True})
    tunnels = gateway.tunnels(ticket["ticket"], 4)
    jump(gateway, "1h")
    all_end(tunnels, "ticket_expired")
    assert told(gateway, ticket["ticket"]) == "ticket_expired"


# ---- clocks ------------------------------------------------------------------------------------------------

def test_a_week_in_a_second(make, backend):
    """A background ticket day by day: it opens tunnels for 168 hours, and not a minute longer."""
    gateway = living(make, backend)
    ticket = issue(gateway, "alice")
    tunnel = gateway.tunnel(ticket["ticket"])
    for day in range(1, 7):
        jump(gateway, f"{day}d")
        assert told(gateway, ticket["ticket"]) == 200
    jump(gateway, "167h59m")
    assert told(gateway, ticket["ticket"]) == 200
    status = admin(gateway, "GET", "/v1/status")[1]
    assert status["clockOffset"] == "10079m" and status["now"][:10] > ticket["issued"][:10]
    jump(gateway, "168h")
    assert told(gateway, ticket["ticket"]) == "ticket_expired"
    tunnel.hello()  # on-expiry: keep
    # jumps do not add up, and back in time it opens again
    jump(gateway, "-1h")
    assert told(gateway, ticket["ticket"]) == 200
    assert fault(gateway, "clear", "clock").returncode == 0
    assert told(gateway, ticket["ticket"]) == 200
    tunnel.echoes()
    tunnel.ended("ok", None)
    # deadlines and the log go by the true clock
    times = [e["time"] for e in gateway.events]
    assert times == sorted(times) and times[-1] < ticket["expires"]


def test_time_offset(make, backend):
    """The configuration's offset moves the gateway's clock and the commands', and a reload moves it again."""
    gateway = living(make, backend, {"on-expiry": "cut"})
    ticket = issue(gateway, "alice")
    tunnels = gateway.tunnels(ticket["ticket"], 4)
    gateway.conf["time-offset"] = "6d"
    assert gateway.reload(gateway.conf)["event"] == "reloaded"
    assert admin(gateway, "GET", "/v1/status")[1]["clockOffset"] == "144h"
    assert told(gateway, ticket["ticket"]) == 200
    new = issue(gateway, "bob")
    assert new["issued"] > ticket["issued"][:10] and new["expires"] > ticket["expires"]
    # a jump comes on top of it
    jump(gateway, "23h")
    assert told(gateway, ticket["ticket"]) == 200
    jump(gateway, "1d")
    all_end(tunnels, "ticket_expired")
    assert told(gateway, ticket["ticket"]) == "ticket_expired" and told(gateway, new["ticket"]) == 200
    gateway.stop()
    # the command line by itself goes by the same offset
    states = {t: lab.stagate("ticket", "show", "-c", gateway.path, t).stdout.split()[11] for t in
              (ticket["ticket"], new["ticket"])}
    assert list(states.values()) == ["live", "live"]
    gateway.conf["time-offset"] = "7d"
    gateway.write(gateway.conf)
    assert '"expired"' in lab.stagate("ticket", "show", "--json", "-c", gateway.path, ticket["ticket"]).stdout
    # back in the past
    gateway.conf["time-offset"] = "-3h"
    gateway.write(gateway.conf)
    gateway.start()
    assert told(gateway, ticket["ticket"]) == 200
    assert gateway.ready["time"] > ticket["issued"]


# ---- purging -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("store", ["lmdb:tickets", "memory"])
def test_purging_many_holds_up_nobody(make, backend, store):
    """Thousands of tickets are removed while tunnels open, with and without a write to the store, and go on."""
    gateway = living(make, backend, store=store, authority={"keep-ended": "1h"})

    def some():
        for _ in range(250):
            issue(gateway, "many", lifetime="1m")
    threads = [threading.Thread(target=some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(wire.DEADLINE)
    kept = issue(gateway, "alice")
    tunnel = gateway.tunnel(kept["ticket"])
    jump(gateway, "1d")
    purged = []
    purging = threading.Thread(target=lambda: purged.append(admin(gateway, "POST", "/v1/purge")))
    purging.start()
    rounds = 0
    while purging.is_alive() or rounds == 0:
        tunnel.hello()
        assert told(gateway, kept["ticket"]) == 200
        assert told(gateway, issue(gateway, "alice", **{"class": "session"})["ticket"]) == 200
        rounds += 1
    purging.join(wire.DEADLINE)
    assert purged == [(200, {"purge": "done", "tickets": 2000})]
    tunnel.echoes()
    tunnel.ended("ok", None)
    listed = admin(gateway, "GET", f"{TICKETS}?user=many")[1]
    assert listed == {"tickets": []}
