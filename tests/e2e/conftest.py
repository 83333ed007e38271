"""Fixtures: certificates, backends, gateways. What failed shows the gateway's log."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import backends  # noqa: E402
import lab  # noqa: E402
import phones  # noqa: E402
import wire  # noqa: E402


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    return lab.Certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="session")
def mail_context(certs):
    """The mail server's TLS."""
    return wire.server_context(certs.mail_crt, certs.mail_key)


class Making:
    """Makes backends and gateways, and ends them in the right order: gateways first."""

    def __init__(self, folder, certs):
        self._folder = folder
        self.certs = certs
        self._gateways = []
        self._backends = []

    def backend(self, handler=backends.echo, context=None, **options):
        backend = backends.Backend(handler, context, **options)
        self._backends.append(backend)
        return backend

    def gateway(self, services=(), start=True, conf=None, **sections):
        """A running gateway; conf replaces the configuration as a whole."""
        folder = self._folder / f"gateway{len(self._gateways)}"
        gateway = self.adopt(lab.Gateway(folder, conf or lab.config(self.certs, services, **sections)))
        return gateway.start() if start else gateway

    def adopt(self, gateway):
        """Has one ended that was made otherwise."""
        self._gateways.append(gateway)
        return gateway

    def end(self):
        try:
            for gateway in self._gateways:
                gateway.discard()
        finally:
            for backend in self._backends:
                backend.close()


@pytest.fixture
def make(tmp_path, certs):
    making = Making(tmp_path, certs)
    yield making
    making.end()


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory, certs):
    """The same for a whole file: its tests tell their connections apart by the client's address."""
    making = Making(tmp_path_factory.mktemp("shared"), certs)
    yield making
    making.end()


@pytest.fixture(params=phones.RELAYS)
def phone(request, make, certs):
    """Dials a phone by each of the relays in turn: phone(answers=..., timeouts=..., the service's keys)."""
    def dial(answers=(), timeouts=None, server=phones.mail_server, admin=None, **keys):
        context = wire.server_context(certs.mail_crt, certs.mail_key)
        backend = make.backend(server, context=context)
        backend.answers, backend.requests = list(answers), []
        relay = request.param
        service = lab.service(backend, ca=certs.ca_crt, **keys)
        if relay != "activesync":
            service["relay"] = relay
        if relay == "inspect":
            service["inspect-ca"] = {"certificate": certs.inspect_ca_crt, "key": certs.inspect_ca_key}
        doors = ["activesync"] if relay == "activesync" else ["connect"]
        sections = {"admin": admin} if admin else {}
        gateway = make.gateway([service], listeners=[lab.listener(certs, doors=doors)], timeouts=dict(timeouts or {}), **sections)
        return phones.Phone(gateway, relay, backend, certs)
    return dial


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for i, gateway in enumerate(lab.Gateway.running):
            report.sections.append((f"log of gateway {i} ({gateway.path})", "\n".join(gateway.lines[-200:])))


# ---- every reason has to be seen by a test: looked at when all is over, across the processes of pytest-xdist ----

def unseen_reasons():
    """What is wrong with the table of reasons, a line each."""
    table = set(lab.reasons_table())
    return ([f"no test has seen {reason} in a log line" for reason in sorted(table - lab.reasons_seen - set(lab.UNPROVOKED))]
            + [f"{reason} can be provoked now: off the list with it" for reason in sorted(lab.reasons_seen & set(lab.UNPROVOKED))]
            + [f"{reason} is no reason" for reason in sorted(set(lab.UNPROVOKED) - table)])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    lab.reasons_seen.update(getattr(node, "workeroutput", {}).get("reasons", ()))


def pytest_sessionfinish(session, exitstatus):
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["reasons"] = sorted(lab.reasons_seen)
        return
    whole = [pathlib.Path(arg).resolve() for arg in config.args] == [pathlib.Path(__file__).resolve().parent]
    if whole and exitstatus == 0 and not config.option.keyword and not config.option.markexpr and not config.option.collectonly:
        config.reasons_failed = unseen_reasons()
        if config.reasons_failed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    for line in getattr(config, "reasons_failed", ()):
        terminalreporter.write_line(f"FAILED the table of reasons: {line}", red=True)
