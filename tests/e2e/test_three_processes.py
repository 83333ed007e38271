"""The real topology: authority, gateway and issuer (this process) on their own; and each of them killed when it suits
nobody. What was acknowledged is there afterwards, what was spent stays spent.

The authority listens on 127.0.0.2: on 127.0.0.1 a client that tries again while nobody listens may get the very port as
its own, and speak to itself.
"""
import collections
import queue
import random
import threading

import pytest

import authorities
import backends
import lab
import wire

REFUSED = "the authority did not accept the connection"
CLOSED = "the authority closed the connection without an answer"


@pytest.fixture
def backend(make):
    return make.backend(backends.echo)


@pytest.fixture
def authority(make, certs):
    """An authority on an address that it gets again after a restart."""
    def authority(store="lmdb:tickets"):
        running = make.gateway(conf=authorities.authority_config(
            certs, authorities.embedded("http://127.0.0.2:0", store=store)))
        running.address_text = running.ready["sta"][0]
        running.write(authorities.authority_config(
            certs, authorities.embedded(f"http://{running.address_text}", store=store)))
        return running
    return authority


@pytest.fixture
def gateway(make, certs, backend):
    def gateway(authority, **keys):
        entry = authorities.remote(f"http://{authority.address_text}", **{
            "id": lab.AUTHORITY, "probe": "100ms", "bypass": "0s", **keys})
        return make.gateway(conf=authorities.gateway_config(certs, [lab.service(backend, tls_floor="none")], entry))
    return gateway


def show(gateway, ticket):
    """What becomes of a ticket: "ok", or the reason."""
    client = gateway.client()
    answer = client.connect(lab.MAIL, wire.basic(ticket))
    if answer.status != 200:
        client.ended(answer["X-Stagate-Reason"], answer["X-Stagate-Detail"], authority=lab.AUTHORITY)
        if answer["X-Stagate-Reason"] == "authority_down":
            assert answer["X-Stagate-Detail"] in (REFUSED, CLOSED)
        return answer["X-Stagate-Reason"]
    client.echoes()
    client.ended("ok", None, user="alice", authority=lab.AUTHORITY)
    return "ok"


def is_up(gateway):
    return authorities.status(gateway)[lab.AUTHORITY]["state"] == "up"


def issue(authority, **wishes):
    """The issuer: one connection for each ticket, as a server that is rarely asked."""
    service = authorities.Service(authority.address_text)
    try:
        return service.issue(**wishes)
    finally:
        service.close()


def test_each_is_killed(authority, gateway):
    sta = authority()
    gate = gateway(sta)
    background, refreshable = issue(sta, cls="background"), issue(sta, refreshable=True)
    sessions = [issue(sta) for _ in range(4)]
    tunnel = gate.tunnel(background)
    tunnel.hello()
    assert show(gate, sessions[0]) == "ok"

    # the authority dies: tunnels live on, nobody comes in, and nothing is spent
    sta.kill()
    for ticket in (background, refreshable, *sessions):
        assert show(gate, ticket) == "authority_down"
    tunnel.hello()
    wire.poll(lambda: not is_up(gate), "the probe to find it down")
    with pytest.raises(OSError):
        issue(sta)
    sta.start()
    wire.poll(lambda: is_up(gate), "the probe to find it up")
    assert [show(gate, t) for t in (background, refreshable, *sessions[:2])] == ["ok", "ok", "ticket_used", "ok"]
    tunnel.hello()

    # the gateway dies: its tunnels end, what it knew was the authority's
    gate.kill()
    assert tunnel.conn.ends() == b""
    tunnel.close()
    issued_meanwhile = issue(sta)
    gate.start()
    assert [show(gate, t) for t in (background, refreshable, *sessions[:3], issued_meanwhile)] == [
        "ok", "ok", "ticket_used", "ticket_used", "ok", "ok"]

    # both, and the gateway is back first
    tunnel = gate.tunnel(background)
    sta.kill()
    gate.kill()
    assert tunnel.conn.ends() == b""
    gate.start()
    assert show(gate, background) == "authority_down"
    assert not is_up(gate)
    sta.start()
    wire.poll(lambda: is_up(gate), "the probe to find it up")
    assert [show(gate, t) for t in (background, refreshable, *sessions)] == [
        "ok", "ok", "ticket_used", "ticket_used", "ticket_used", "ok"]
    # the issuer's own view is the same
    service = authorities.Service(sta.address_text)
    assert [service.redeem(t) for t in (background, refreshable, *sessions)] == ["ok", "ok"] + ["ticket-used"] * 4
    service.close()


def test_an_authority_with_a_memory_store_is_killed(authority, gateway):
    """As behind a classic STA: tunnels live on, all tickets are gone."""
    sta = authority("memory")
    gate = gateway(sta)
    background, session = issue(sta, cls="background"), issue(sta)
    tunnel = gate.tunnel(background)
    sta.kill()
    assert show(gate, background) == "authority_down"
    tunnel.hello()
    sta.start()
    wire.poll(lambda: is_up(gate), "the probe to find it up")
    assert show(gate, background) == show(gate, session) == "ticket_unknown"
    tunnel.hello()
    assert show(gate, issue(sta)) == "ok"


# ---- a hundred kills ---------------------------------------------------------------------------------------

class Load:
    """Issuers and redeemers who take no answer for an answer, until they are told to end."""

    def __init__(self, authority, gateway):
        self.authority = authority
        self.gateway = gateway
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.classes = {}                          # of every acknowledged ticket
        self.oks = collections.Counter()           # by ticket: how often it was redeemed
        self.unanswered = collections.Counter()    # by ticket: redemptions of which nobody knows
        self.used = collections.Counter()          # by ticket: "used"
        self.lost = collections.Counter()          # by kind of work: exchanges that the kills broke
        self.wrong = []
        self.shown = queue.Queue()                 # tickets to be redeemed, each more than once
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self._issue, self._issue, self._redeem, self._redeem, self._redeem_at_the_gateway)]

    def _guard(self, work):
        try:
            work()
        except Exception as error:  # seen by the test, in its own thread
            self.wrong.append(repr(error))
            self.stop.set()

    def _issue(self):
        rng = random.Random(threading.get_ident())

        def one(service):
            cls = rng.choice(("session", "session", "session", "background"))
            try:
                ticket = service.issue(cls=cls)
            except OSError as error:
                self._lose("issue", error)
                self.stop.wait(0.002)
                return
            with self.lock:
                self.classes[ticket] = cls
            for _ in range(2):
                self.shown.put(ticket)
            while self.shown.qsize() > 20 and not self.stop.is_set():  # redeemers set the pace
                self.stop.wait(0.001)
        self._guard(lambda: self._serve(one))

    def _serve(self, one):
        service = authorities.Service(self.authority.address_text)
        while not self.stop.is_set():
            one(service)
        service.close()

    def _take(self):
        try:
            return self.shown.get(timeout=0.05)
        except queue.Empty:
            return None

    def _lose(self, work, error):
        """An exchange was broken off; True: it had begun. A connection that was refused has done nothing."""
        begun = not isinstance(error, ConnectionRefusedError)
        with self.lock:
            self.lost[work] += begun
        return begun

    def _note(self, ticket, verdict):
        """verdict: "ok", "ticket-used", "refused" where nothing was asked, None where there was no answer; anything else
        is wrong."""
        with self.lock:
            if verdict == "ok":
                self.oks[ticket] += 1
            elif verdict == "ticket-used":
                self.used[ticket] += 1
            elif verdict is None:
                self.unanswered[ticket] += 1
            elif verdict != "refused":
                self.wrong.append(f"{ticket[-6:]}: {verdict}")
        if verdict in (None, "refused"):
            self.shown.put(ticket)
            self.stop.wait(0.002)

    def _redeem(self):
        def one(service):
            ticket = self._take()
            if ticket is None:
                return
            try:
                verdict = service.redeem(ticket)
            except OSError as error:
                verdict = None if self._lose("redeem", error) else "refused"
            self._note(ticket, verdict)
        self._guard(lambda: self._serve(one))

    def _redeem_at_the_gateway(self):
        def work():
            while not self.stop.is_set():
                ticket = self._take()
                if ticket is None:
                    continue
                client = self.gateway.client()
                answer = client.connect(lab.MAIL, wire.basic(ticket))
                client.close()
                reason = answer["X-Stagate-Reason"]
                if reason == "authority_down":
                    refused = answer["X-Stagate-Detail"] == REFUSED
                    self._lose("gateway", ConnectionRefusedError() if refused else OSError())
                    self._note(ticket, "refused" if refused else None)
                else:
                    self._note(ticket, {None: "ok", "ticket_used": "ticket-used"}.get(reason, reason))
        self._guard(work)

    def acknowledged(self):
        with self.lock:
            return len(self.classes) + sum(self.oks.values()) + sum(self.used.values())

    def start(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(wire.DEADLINE)
            assert not thread.is_alive(), "a client hangs"

    def counts(self):
        sessions = [t for t, cls in self.classes.items() if cls == "session"]
        return (f"{len(self.classes)} issued, {len(sessions)} of them for one use; of these "
                f"{sum(self.oks[t] == 1 for t in sessions)} redeemed once, {sum(self.oks[t] > 1 for t in sessions)} more "
                f"often, {sum(self.unanswered[t] > 0 for t in sessions)} with a redemption that nobody answered; "
                f"broken off: {dict(self.lost)}; wrong: {self.wrong[:10]}")


def test_the_authority_is_killed_a_hundred_times(authority, gateway):
    rng = random.Random(20260102)
    sta = authority()
    load = Load(sta, gateway(sta, learn_id=False))
    load.start()
    try:
        for turn in range(100):
            before, enough = load.acknowledged(), rng.randint(1, 12)
            wire.poll(lambda: load.acknowledged() - before >= enough or load.stop.is_set(), f"round {turn}: some answers")
            sta.kill()
            sta.start()
    finally:
        load.end()
    assert not load.wrong, load.counts()

    service = authorities.Service(sta.address_text)
    for ticket, cls in load.classes.items():
        once = cls == "session"
        told = f"{ticket[-6:]} ({cls}): {load.oks[ticket]} times redeemed, {load.unanswered[ticket]} times without an answer"
        if once:
            assert load.oks[ticket] <= 1, f"{told}; {load.counts()}"
            assert load.used[ticket] == 0 or load.oks[ticket] + load.unanswered[ticket] > 0, f"{told}; {load.counts()}"
        expected = {"ok"}
        if once and load.oks[ticket] == 1:
            expected = {"ticket-used"}
        elif once and load.unanswered[ticket] > 0:
            expected = {"ok", "ticket-used"}
        verdict = service.redeem(ticket)
        assert verdict in expected, f"{told}, now {verdict}; {load.counts()}"
    service.close()
    # the kills did hit work in progress, and the work was worth something
    assert len(load.classes) >= 100 and sum(load.oks.values()) >= 100 and sum(load.lost.values()) > 0, load.counts()
