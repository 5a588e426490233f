"""Makes tests/support importable, and gives every traffic test an origin and a gateway for it."""

import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support.gateway import BINARY, Gateway, route  # noqa: E402
from support.origin import Origin  # noqa: E402


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"{BINARY} is not there: build it, or name it by SLUICE_BIN", returncode=2)


@pytest.fixture
def origin():
    with Origin() as server:
        yield server


@pytest.fixture
def gateway(origin):
    """A gateway with one route /* to `origin`."""
    with Gateway({"routes": [route(origin.port)]}) as running:
        yield running
