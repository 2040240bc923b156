"""The real `resonate` command line works with devserver."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from tests.api import invoke
from tests.test_plain_sdk import start_workers

if TYPE_CHECKING:
    import httpx

    from tests.programs import Server

SCHEDULE = "--cron @hourly --promise-id p --promise-timeout 1h"
EXPECTED = {
    "promises create p --timeout 1h --tag a=b": "Created promise: p",
    "promises get p": "PENDING",
    "promises resolve p --data 42": "Resolved promise: p",
    "promises reject p": "already been resolved",
    "promises search * --tag a=b": "p ",
    f"schedules create s {SCHEDULE}": "Created schedule: s",
    "schedules get s": "@hourly",
    "schedules search *": "s ",
    "schedules delete s": "Deleted schedule: s",
    "tasks claim __invoke:task --counter 1 --pid me --ttl 1m": "",
    "tasks heartbeat --pid me": "",
    "tasks complete __invoke:task --counter 1": "",
    "invoke down-3 --func down --arg 3 --target poll://any@tests": "",
}


def test_its_commands(resonate: str, devserver: Server, api: httpx.Client) -> None:
    def run(command: str) -> str:
        arguments = [resonate, *command.split(), "--server", devserver.url]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    invoke(api, "task", "poll://any@nobody")
    start_workers(devserver, 1)
    for command, text in EXPECTED.items():
        assert text in run(command)
    while "RESOLVED" not in run("promises get down-3"):
        time.sleep(0.05)  # the command cannot wait
    tree = run("tree down-3")
    assert all(f"down-{n} " in tree for n in (3, 2, 1))
