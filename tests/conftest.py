"""Options and fixtures of the tests: a running server, a client of its API, a store."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from hypothesis import settings

from demo.cluster import Cluster
from devserver.store.database import open_database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

settings.register_profile("long", max_examples=3000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--resonate",
        metavar="BINARY",
        help="run the process tests against this real legacy Resonate server too",
    )
    parser.addoption(
        "--crash-points",
        choices=["some", "all"],
        default="some",
        help="the steps at which the crash point tests kill: some, or all (takes hours)",
    )
    parser.addoption(
        "--crash-seed",
        metavar="N",
        type=int,
        default=0,
        help="the random seed that chooses the steps of --crash-points=some",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        binary = metafunc.config.getoption("--resonate")
        servers = [None] if binary is None else [None, binary]
        names = ["devserver", "resonate"][: len(servers)]
        metafunc.parametrize("server", servers, ids=names, scope="module")


@pytest.fixture
def cluster(server: str | None) -> Iterator[Cluster]:
    """The test's own server. A test can start workers and clients on it."""
    with Cluster(server) as cluster:
        yield cluster


@pytest.fixture
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    """An HTTP client of the API of the test's own server."""
    with httpx.Client(base_url=cluster.url) as client:
        yield client


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
    """The URL of the shared devserver's message port."""
    return devserver.poll_url


@pytest.fixture
def name() -> str:
    """An id that no other test uses on the shared devserver."""
    return f"Name-{uuid4().hex}"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """An empty store in memory."""
    with closing(open_database(":memory:")) as db:
        yield db


@pytest.fixture
def resonate(request: pytest.FixtureRequest) -> str:
    """The real server's binary. Without `--resonate`, the test is skipped."""
    binary: str | None = request.config.getoption("--resonate")
    if binary is None:
        pytest.skip("needs a real server: --resonate=BINARY")
    return binary
