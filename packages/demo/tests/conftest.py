"""Options of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--resonate",
        metavar="BINARY",
        help="crash on this real legacy Resonate server too",
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
        metafunc.parametrize("server", servers, ids=["devserver", "resonate"][: len(servers)])
