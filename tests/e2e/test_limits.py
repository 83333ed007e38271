"""limits.connections: who is let in when the gateway is full, who gives way, and that the log says so."""
import backends
import lab
import wire


def full_gateway(make, connections, **sections):
    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, tls_floor="none")], workers=1,
                           limits={"connections": connections}, **sections)
    return gateway, gateway.ticket()


def test_tunnels_fill_the_gateway(make):
    gateway, ticket = full_gateway(make, 4)
    tunnels = [gateway.tunnel(ticket) for _ in range(4)]
    for _ in range(3):
        client = gateway.raw()
        assert client.tcp.ends() == b""
        client.ended("overloaded", None)
    for tunnel in tunnels:
        tunnel.hello()
    # one that leaves makes room for one
    assert tunnels[0].end() == b""
    tunnels[0].ended("ok")
    gateway.tunnel(ticket).hello()


def test_the_longest_silent_gives_way(make):
    gateway, ticket = full_gateway(make, 4)
    tunnel = gateway.tunnel(ticket)
    silent = [gateway.raw() for _ in range(3)]
    newer = gateway.tunnel(ticket)
    assert silent[0].tcp.ends() == b""
    silent[0].ended("overloaded", "silent, and gave way to a newer client")
    newer.hello()
    tunnel.hello()
    # those that are silent behind their handshake give way too
    asking = gateway.client()
    silent[1].ended("overloaded", "silent, and gave way to a newer client")
    gateway.tunnel(ticket)
    silent[2].ended("overloaded", "silent, and gave way to a newer client")
    gateway.tunnel(ticket)
    asking.ended("overloaded", "silent, and gave way to a newer client")
    tunnel.hello()


def test_a_limit_above_the_open_files(make):
    import resource

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    backend = make.backend(backends.echo)
    gateway = make.gateway([lab.service(backend, tls_floor="none")], start=False, limits={"connections": 5000})
    gateway.start(before_exec=few_files)
    warning = gateway.wait_log("the warning", event="limits")
    assert warning["level"] == "warn" and "limits.connections is 5000" in warning["message"]
    assert "LimitNOFILE" in warning["message"]
    # and the limit that is left holds: no connection is lost for want of a descriptor
    ticket = gateway.ticket()
    clients = [gateway.raw() for _ in range(200)]

    def has_room():  # once some of them have been silent for long enough to give way
        try:
            gateway.tunnel(ticket).hello()
            return True
        except ConnectionError:
            return False
    wire.poll(has_room, "room for a tunnel")
    assert {e["reason"] for e in gateway.events if e["event"] == "connection"} == {"overloaded"}
    for client in clients:
        client.close()


def test_many_connections_come_and_go(make):
    gateway, ticket = full_gateway(make, 10)
    for _ in range(40):
        gateway.tunnel(ticket).echoes()
    assert not any(e.get("reason") == "overloaded" for e in gateway.events)
