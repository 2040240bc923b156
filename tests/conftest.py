"""What the tests share: a running server, and processes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import settings

from cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("long", max_examples=3000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--resonate",
        metavar="BINARY",
        help="run the process tests against this real legacy Resonate server too",
    )
    parser.addoption(
        "--crash-rounds",
        metavar="N",
        type=int,
        default=5,
        help="how often the crash test kills the server",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        binary = metafunc.config.getoption("--resonate")
        servers = [None] if binary is None else [None, binary]
        names = ["devserver", "resonate"][: len(servers)]
        metafunc.parametrize("server", servers, ids=names, scope="module")


@pytest.fixture
def cluster(server: str | None) -> Iterator[Cluster]:
    """A server of the test's own; workers and clients can be started on it."""
    with Cluster(server) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def devserver() -> Iterator[Cluster]:
    """A devserver that the tests of a module share."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def api(devserver: Cluster) -> Iterator[httpx.Client]:
    """An HTTP client of the shared devserver's API."""
    with httpx.Client(base_url=devserver.url) as client:
        yield client


@pytest.fixture
def poll_url(devserver: Cluster) -> str:
    """Where the shared devserver's messages are."""
    return devserver.poll_url


@pytest.fixture
def resonate(request: pytest.FixtureRequest) -> str:
    """The real server's binary; without one the test is skipped."""
    binary: str | None = request.config.getoption("--resonate")
    if binary is None:
        pytest.skip("needs a real server: --resonate BINARY")
    return binary
