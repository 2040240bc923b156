"""Options and fixtures of the tests: a server with workers and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from resonate import Resonate

from demo.cluster import Cluster
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resonate.models.store import PromiseStore


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--resonate",
        metavar="BINARY",
        help="run the tests on this real legacy Resonate server too",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        binary = metafunc.config.getoption("--resonate")
        servers = [None] if binary is None else [None, binary]
        metafunc.parametrize("server", servers, ids=["devserver", "resonate"][: len(servers)])


@pytest.fixture
def cluster(server: str | None) -> Iterator[Cluster]:
    """The test's own server. A test can start workers and clients on it."""
    with Cluster(ROOT, server) as cluster:
        yield cluster


@pytest.fixture
def promises(cluster: Cluster) -> PromiseStore:
    """The promises of the test's own server."""
    return Resonate.remote(host="http://127.0.0.1", store_port=str(cluster.port)).promises


@pytest.fixture
def resonate(request: pytest.FixtureRequest) -> str:
    """The real server's binary. Without `--resonate`, the test is skipped."""
    binary: str | None = request.config.getoption("--resonate")
    if binary is None:
        pytest.skip("needs a real server: --resonate=BINARY")
    return binary
