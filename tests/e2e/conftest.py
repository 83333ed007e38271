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


def pytest_collection_modifyitems(config, items):
    """Tests marked `last` look back at what all others did: they come last, and only when all others ran."""
    last = [item for item in items if item.get_closest_marker("last")]
    items[:] = [item for item in items if item not in last] + last
    files = {path.name for path in pathlib.Path(__file__).parent.glob("test_*.py")}
    narrowed = config.option.keyword or config.option.markexpr or any("::" in arg for arg in config.args)
    if narrowed or {item.path.name for item in items} < files:
        for item in last:
            item.add_marker(pytest.mark.skip(reason="looks back at the whole suite, which was not run"))


def pytest_configure(config):
    config.addinivalue_line("markers", "last: runs behind all other tests")
