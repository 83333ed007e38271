"""A Redis that one gateway cannot reach for a while: what others did meanwhile comes through when it can."""
import contextlib
import socket
import threading

import pytest

import backends
import issuing
import lab
import wire


class Relay:
    """Passes connections on to a port of the loopback, and can be cut."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.lock = threading.Lock()
        self.sockets = []
        self.is_up = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                with self.lock:
                    if not self.is_up:
                        near.close()
                        continue
                    far = socket.create_connection(self.target)
                    self.sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    @staticmethod
    def _pass(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def cut(self):
        with self.lock:
            self.is_up = False
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            self.sockets.clear()

    def mend(self):
        with self.lock:
            self.is_up = True

    def close(self):
        self.cut()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def redis(tmp_path):
    server = lab.Redis(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def relay(redis):
    relay = Relay(redis.port)
    yield relay
    relay.close()


def test_tickets_revoked_meanwhile(make, redis, relay):
    """Their tunnels are cut when the gateway hears of it, however often it has to ask."""
    backend = make.backend(backends.echo)

    def gateway_at(address):
        return make.gateway([lab.service(backend, tls_floor="none")], admin=issuing.ADMIN,
                            authorities=[{"id": lab.AUTHORITY, "store": f"redis://{address}/0", "timeout": "500ms"}])
    near, far = gateway_at(redis.address), gateway_at(relay.address)
    for _ in range(3):
        tickets = [issuing.issue(near, "alice") for _ in range(15)]
        tunnels = [far.tunnel(ticket["ticket"]) for ticket in tickets]
        relay.cut()
        for ticket in tickets:
            assert issuing.admin(near, "DELETE", f"{issuing.TICKETS}/{ticket['fingerprint']}")[0] == 200
        # the workers' ways to it have been found broken, too
        wire.poll(lambda: issuing.told(far, tickets[0]["ticket"]) == "authority_down", "the outage to be seen")
        relay.mend()
        for tunnel, ticket in zip(tunnels, tickets):
            entry = far.connection(tunnel)  # without closing it ourselves
            assert (entry["reason"], entry["ticket"]) == ("ticket_revoked", ticket["fingerprint"])


def test_out_of_reach_from_the_beginning(make, redis, relay):
    """The first failure is told, once, and so is its end."""
    relay.cut()
    gateway = make.gateway([lab.service(make.backend(backends.echo), tls_floor="none")],
                           authorities=[{"id": lab.AUTHORITY, "store": f"redis://{relay.address}/0", "timeout": "500ms"}])
    down = gateway.wait_log("the outage", event="ticket_store_down")
    assert (down["level"], down["redis"]) == ("error", relay.address)
    relay.mend()
    gateway.wait_log("its end", event="ticket_store_up")
    assert len([e for e in gateway.events if e.get("event") == "ticket_store_down"]) == 1
