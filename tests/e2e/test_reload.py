"""SIGHUP: a new configuration comes into force whole or not at all, and what is open stays open."""
import pathlib
import signal
import socket
import threading

import pytest

import authorities
import backends
import issuing
import lab
import wire

PUSH = "push.example.com:443"


@pytest.fixture
def backend(make):
    return make.backend(backends.echo)


def reloads(gateway, conf=None):
    event = gateway.reload(conf)
    assert event["event"] == "reloaded", event
    gateway.ready = event
    return event


def fails(gateway, conf=None):
    event = gateway.reload(conf)
    assert event["event"] == "reload_failed" and event["level"] == "error", event
    return event


def told(gateway, ticket, target=lab.MAIL, **options):
    client = gateway.client(**options)
    answer = client.connect(target, wire.basic(ticket))
    client.close()
    return answer["X-Stagate-Reason"] or answer.status


def test_nothing_changed(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ready, ticket = gateway.ready, gateway.ticket()
    tunnel = gateway.tunnel(ticket)
    for _ in range(5):
        event = reloads(gateway)
        assert {k: event[k] for k in ("listeners", "authorities", "workers")} == \
               {k: ready[k] for k in ("listeners", "authorities", "workers")}
    assert told(gateway, ticket) == 200
    tunnel.hello()


def test_services_change_for_new_connections(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()
    old = gateway.tunnel(ticket)
    assert told(gateway, ticket, PUSH) == "service_not_listed"
    gateway.conf["policy"]["background-network-services"] = [PUSH]
    gateway.conf["services"] = [lab.service(backend, PUSH, tls_floor="none")]
    reloads(gateway, gateway.conf)
    assert told(gateway, ticket, PUSH) == 200
    assert told(gateway, ticket) == "service_not_listed"
    # what was open goes on by the rules that it was opened by
    old.hello()
    assert old.end() == b""
    old.ended("ok", target=lab.MAIL)


def test_a_request_in_the_midst(make, backend):
    """A connection belongs to the configuration that it was accepted with."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    client = gateway.client()
    head = wire.connect_head(lab.MAIL, wire.basic(gateway.ticket()))
    client.conn.sendall(head[:30])
    gateway.conf["policy"]["background-network-services"] = [PUSH]
    gateway.conf["services"] = []
    reloads(gateway, gateway.conf)
    client.conn.sendall(head[30:])
    assert wire.read_answer(client.conn).status == 200
    client.echoes()


def test_mistakes_change_nothing(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()
    good = gateway.path.read_text()
    bad = {
        "listeners: [\n": ":2:1: ",
        good.replace('"timeouts"', '"timeotus"'): 'unknown key "timeotus": did you mean "timeouts"?',
        good.replace('"lmdb:tickets"', '"lmbd:tickets"'): "a store is lmdb:PATH",
        good.replace(lab.MAIL, "mail.example.com"): "the port is missing",
    }
    for text, complaint in bad.items():
        gateway.expect_output(str(gateway.path) + ":", complaint)
        assert str(gateway.path) in fails(gateway, text)["message"]
        line = next(line for line in gateway.strays if complaint in line)
        file, row, column, message = line.split(":", 3)
        assert file == str(gateway.path) and row.isdigit() and column.isdigit() and message
        assert told(gateway, ticket) == 200
    gateway.path.unlink()
    gateway.expect_output("cannot be read")
    fails(gateway)
    assert told(gateway, ticket) == 200
    reloads(gateway, good)
    assert told(gateway, ticket) == 200


def test_what_cannot_be_put_in_force_changes_nothing(make, backend, tmp_path, certs):
    """Good configurations: but the key is another one's, the port taken, the store a file."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket, ready = gateway.ticket(), gateway.ready
    (tmp_path / "file").write_text("")
    cases = {
        "is not the key of": {"listeners": [lab.listener(certs), {
            "address": "127.0.0.2:0", "certificate": certs.gateway_crt, "key": certs.mail_key}]},
        "address already in use": {"listeners": [lab.listener(certs), lab.listener(certs)]},
        str(tmp_path / "file"): {"authorities": [{"id": lab.AUTHORITY, "store": f"lmdb:{tmp_path}/file/tickets"}]},
    }
    cases["address already in use"]["listeners"][1]["address"] = backend.address
    for complaint, sections in cases.items():
        gateway.expect_output(complaint)
        fails(gateway, {**lab.config(certs, [lab.service(backend, PUSH)]), **sections})
        assert any(complaint in line for line in gateway.strays), gateway.strays
        assert told(gateway, ticket) == 200 and told(gateway, ticket, PUSH) == "service_not_listed"
    gateway.write(lab.config(certs, [lab.service(backend, tls_floor="none")]))
    assert reloads(gateway)["listeners"] == ready["listeners"]


def test_listeners_come_and_go(make, backend, certs):
    first, second = lab.listener(certs), {**lab.listener(certs), "address": "127.0.0.2:0"}
    gateway = make.gateway([lab.service(backend, tls_floor="none")], listeners=[first])
    ticket = gateway.ticket()
    address = gateway.ready["listeners"][0]

    gateway.conf["listeners"] = [first, second]
    event = reloads(gateway, gateway.conf)
    assert event["listeners"][0] == address and event["listeners"][1].startswith("127.0.0.2:")
    assert told(gateway, ticket, index=0) == told(gateway, ticket, index=1) == 200
    through_first = gateway.tunnel(ticket, index=0)

    gateway.conf["listeners"] = [second]
    gone = gateway.address(0)
    assert reloads(gateway, gateway.conf)["listeners"] == event["listeners"][1:]
    assert told(gateway, ticket, index=0) == 200
    wire.poll(lambda: refuses(gone), "the first listener to close")
    through_first.hello()
    assert through_first.end() == b""
    through_first.ended("ok", listener=address)

    # and back again, on the port that it had
    gateway.conf["listeners"] = [{**first, "address": address}, second]
    assert reloads(gateway, gateway.conf)["listeners"][0] == address
    assert told(gateway, ticket, index=0) == told(gateway, ticket, index=1) == 200


def test_an_address_that_was_just_given_back(make, backend, certs):
    """Workers that are busy may still have to close it."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")], listeners=[lab.listener(certs)])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        second = {**lab.listener(certs), "address": "127.0.0.1:%d" % probe.getsockname()[1]}
    one, two = {**gateway.conf}, {**gateway.conf, "listeners": gateway.conf["listeners"] + [second]}
    done = threading.Event()

    def keep_busy():
        while not done.is_set():
            gateway.client().close()
    threads = [threading.Thread(target=keep_busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            reloads(gateway, two)
            reloads(gateway, one)
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_service_changes_its_scheme(make, backend, certs):
    """On its port; but not to both at once, which could not be started either."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")], authorities=[authorities.embedded()])
    address = gateway.ready["sta"][0]
    keys = {"certificate": certs.sta_crt, "key": certs.sta_key, "ssl_only": False}
    for schemes in ("http",), ("https",), ("http",), ("https",):
        gateway.conf["authorities"] = [authorities.embedded(listen=[f"{s}://{address}" for s in schemes], **keys)]
        assert reloads(gateway, gateway.conf)["sta"] == [address]
        context = wire.client_context() if schemes == ("https",) else None
        assert lab.http("GET", address, issuing.TICKETS, context=context)[1]["error"] == "no_sign_in"
    gateway.expect_output("is taken by an earlier listener")
    for schemes in ("http", "https"), ("https", "http"):
        gateway.conf["authorities"] = [authorities.embedded(listen=[f"{s}://{address}" for s in schemes], **keys)]
        fails(gateway, gateway.conf)
    assert lab.http("GET", address, issuing.TICKETS, context=context)[1]["error"] == "no_sign_in"


def refuses(address):
    try:
        wire.Tcp.dial(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it closed with us in its queue
        pass
    return False


def test_listeners_on_any_port_keep_theirs(make, backend, certs):
    """Two that are written alike are two all the same."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")],
                           listeners=[lab.listener(certs, doors="socks"), lab.listener(certs, doors="connect")])
    ready, ticket = gateway.ready, gateway.ticket()
    for _ in range(2):
        assert reloads(gateway)["listeners"] == ready["listeners"]
        assert gateway.client(0).socks(ticket) == 0
        assert told(gateway, ticket, index=1) == 200
    gateway.conf["listeners"].append(lab.listener(certs))
    event = reloads(gateway, gateway.conf)
    assert event["listeners"][:2] == ready["listeners"] and len(set(event["listeners"])) == 3


def test_certificates_change(make, backend, certs, tmp_path):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()

    def certificate():
        client = gateway.client()
        der = client.tls.ssl.getpeercert(binary_form=True)
        client.close()
        return der

    before, old = certificate(), gateway.tunnel(ticket)
    fresh = lab.Certs(tmp_path / "fresh")
    gateway.conf["listeners"] = [lab.listener(fresh)]
    reloads(gateway, gateway.conf)
    after = certificate()
    assert after != before
    old.hello()
    # the same files with other content
    pathlib.Path(fresh.gateway_key).write_bytes(pathlib.Path(certs.gateway_key).read_bytes())
    gateway.expect_output("is not the key of")
    fails(gateway)
    assert certificate() == after
    pathlib.Path(fresh.gateway_crt).write_bytes(pathlib.Path(certs.gateway_crt).read_bytes())
    reloads(gateway)
    assert certificate() == before


def test_doors_and_floor_change(make, backend, certs):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()
    gateway.conf["listeners"] = [lab.listener(certs, doors="socks", tls_floor="tls1.3")]
    reloads(gateway, gateway.conf)
    client = gateway.raw()
    client.tcp.sendall(wire.client_hello(0x0303))
    assert wire.alert_of(client.tcp.recv_all())[1] == 70
    client.ended("tls_floor")
    client = gateway.client()
    client.conn.sendall(wire.connect_head(lab.MAIL, wire.basic(ticket)))
    assert client.conn.recv_all() == b""
    client.ended("protocol_unknown")


def test_authorities_come_and_go(make, backend):
    other = {"id": "STA906839512", "store": "lmdb:other"}
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    first = gateway.ticket()
    gateway.conf["authorities"].append(other)
    assert reloads(gateway, gateway.conf)["authorities"] == [lab.AUTHORITY, other["id"]]
    second = gateway.ticket(authority=other["id"])
    old = gateway.tunnel(second)
    assert told(gateway, first) == told(gateway, second) == 200
    gateway.conf["authorities"] = [other]
    reloads(gateway, gateway.conf)
    assert told(gateway, first) == "authority_unknown" and told(gateway, second) == 200
    old.hello()


def test_time_outs_and_limits_change(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")], workers=1)
    ticket = gateway.ticket()
    old = gateway.tunnel(ticket)
    gateway.conf["timeouts"]["idle"] = "200ms"
    reloads(gateway, gateway.conf)
    client = gateway.tunnel(ticket)
    assert client.conn.recv_all() == b""
    client.ended("idle_timeout")
    old.hello()
    gateway.conf["timeouts"]["idle"] = "1h"
    gateway.conf["limits"]["connections"] = 2
    reloads(gateway, gateway.conf)
    second = gateway.tunnel(ticket)
    third = gateway.raw()
    assert third.tcp.ends() == b""
    third.ended("overloaded")
    old.hello()
    second.hello()


def test_log_level_changes(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()
    gateway.conf["log"]["level"] = "error"
    gateway.write(gateway.conf)
    gateway.signal(signal.SIGHUP)

    def silent():
        client = gateway.tunnel(ticket)
        client.echoes()
        seen = len(gateway.events)
        other = gateway.tunnel(ticket)
        other.echoes()
        return len(gateway.events) == seen
    wire.poll(silent, "the log to become quiet")
    gateway.conf["log"]["level"] = "info"
    reloads(gateway, gateway.conf)
    client = gateway.tunnel(ticket)
    client.echoes()
    client.ended("ok")


def test_the_number_of_workers_stays(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    gateway.conf["workers"] = 3
    assert reloads(gateway, gateway.conf)["workers"] == 2
    warning = gateway.wait_log("the warning", event="reload")
    assert warning["level"] == "warn" and "workers changes at a restart only: 2 stay" in warning["message"]


def test_reloads_under_load(make, backend):
    """No client notices any of many reloads."""
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()
    stop, failures, done = threading.Event(), [], []

    def load():
        while not stop.is_set():
            try:
                gateway.tunnel(ticket).echoes()
                done.append(1)
            except (OSError, AssertionError) as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        reloads(gateway)
        wire.poll(lambda n=len(done): failures or len(done) > n, "tunnels to open")
    for _ in range(20):
        gateway.signal(signal.SIGHUP)  # without waiting: some are overtaken by the next
    stop.set()
    for thread in threads:
        thread.join(wire.DEADLINE)
    assert failures == [] and len(done) > 15


def test_a_reload_gives_back_what_it_replaced(make, backend):
    gateway = make.gateway([lab.service(backend, tls_floor="none")])
    ticket = gateway.ticket()
    gateway.tunnel(ticket).echoes()
    for _ in range(3):
        reloads(gateway)
    descriptors = gateway.descriptors()
    for _ in range(20):
        reloads(gateway)
    wire.poll(lambda: gateway.descriptors() <= descriptors, "descriptors to be given back")


def test_a_sign_in_under_way_outlives_its_limits(make, backend):
    """Its attempt is given back where it was taken, although that has no place in the new configuration."""
    with socket.create_server(("127.0.0.1", 0)) as directory:
        directory.settimeout(wire.DEADLINE)
        url = "ldap://127.0.0.1:%d" % directory.getsockname()[1]
        ldap = {"url": url, "base": "dc=example,dc=com", "timeout": "1m"}
        gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False, authorities=[authorities.embedded()],
                               **{"sign-in": {"ldap": ldap}})
        gateway.expect_output("warning:")  # passwords cross the loopback in clear
        gateway.start()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(issuing.ask(gateway, "GET")))
        thread.start()
        asked, _ = directory.accept()  # the sign-in waits for it
        ready = gateway.ready
        for limits in ({"attempts-per-user": 7}, {"attempts-per-user": 8, "attempts-window": "1h"}):
            gateway.conf["sign-in"] = {"ldap": ldap, **limits}
            reloads(gateway, gateway.conf)
        gateway.conf.pop("sign-in")
        reloads(gateway, gateway.conf)
        assert issuing.ask(gateway, "GET")[1]["error"] == "no_sign_in" and ready["sta"] == gateway.ready["sta"]
        asked.close()
        thread.join(wire.DEADLINE)
        assert [(status, answer["error"]) for status, answer in answers] == [(503, "sign_in_down")]
