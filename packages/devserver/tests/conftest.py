"""Options and fixtures of the tests: a running server, a client of its API, a store."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from hypothesis import settings

from devserver.store.database import Database, open_database
from tests.programs import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("long", max_examples=3000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--resonate",
        metavar="BINARY",
        help="compare devserver with this real legacy Resonate server, too",
    )


@pytest.fixture
def server() -> Iterator[Server]:
    """The test's own devserver."""
    with Server() as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the API of the test's own server."""
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def devserver() -> Iterator[Server]:
    """A devserver that the tests of a module share."""
    with Server() as server:
        yield server


@pytest.fixture
def api(devserver: Server) -> Iterator[httpx.Client]:
    """An HTTP client of the shared devserver's API."""
    with httpx.Client(base_url=devserver.url) as client:
        yield client


@pytest.fixture
def poll_url(devserver: Server) -> str:
    """The URL of the shared devserver's message port."""
    return devserver.poll_url


@pytest.fixture
def name() -> str:
    """An id that no other test uses on the shared devserver."""
    return f"Name-{uuid4().hex}"


@pytest.fixture
def db() -> Iterator[Database]:
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
