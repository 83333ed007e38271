"""Fixtures: SOGo (run.sh has started it), one gateway in front of it for all tests, a socat bridge. A failure shows the gateway's log."""
import pathlib
import re
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import interop  # noqa: E402
from interop import lab  # noqa: E402


def pytest_configure(config):
    """Both end pytest in good order, fixtures included. run.sh starts it in the background, where SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def certs():
    return lab.Certs(interop.STATE / "certs")


@pytest.fixture(scope="session")
def ca(certs):
    return certs.ca_crt


@pytest.fixture(scope="session")
def sogo():
    return interop.Sogo()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, certs, sogo):
    service = {"name": lab.MAIL, "connect": sogo.address, "sni": "match"}
    running = lab.Gateway(tmp_path_factory.mktemp("gateway"), lab.config(certs, [service])).start()
    yield running
    try:
        running.discard()
    finally:
        (interop.STATE / "gateway.log").write_text("\n".join(running.lines) + "\n")


@pytest.fixture(scope="session")
def bridge(gateway, certs):
    """The address of a plain port that leads to the gateway through TLS."""
    socat = interop.Bridge(gateway, certs)
    yield socat.address
    socat.stop()


@pytest.fixture
def visit(gateway, request):
    """The gateway, as this test sees it."""
    yield interop.Visit(gateway, re.sub(r"[^a-z0-9-]+", "-", request.node.name.lower()).strip("-"))
    interop.Client.end_all()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    visit = getattr(item, "funcargs", {}).get("visit")
    if report.failed and visit:
        report.sections.append(("the gateway's log", "\n".join(visit.gateway.lines[visit.since:][-6:])))
