"""Cron expressions, and the times at which the real server runs their schedules."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import NamedTuple, override

import httpx

from cluster import PATIENCE, Cluster

FILE = Path(__file__).with_name("recorded") / "cron.json"
# How many runs of a schedule are recorded.
MAX_RUNS = 60

# With the time zone of the server's process.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
EXPRESSIONS = [
    # Stars, numbers, lists, ranges and steps.
    *("* * * * *", "? ? ? ? ?", "0 * * * *", "5 4 * * *", "0 0 1 1 *", "59 23 31 12 *"),
    *("*/5 * * * *", "*/7 * * * *", "*/59 * * * *", "*/60 * * * *", "*/100 * * * *"),
    *("*/9223372036854775807 * * * *", "*/9223372036854775808 * * * *", "*/1 */1 */1 */1 */1"),
    *("5/15 * * * *", "5/1 * * * *", "0-30/10 * * * *", "0 9-17 * * *", "0 9-17/4 * * *"),
    *("0,30 * * * *", "0,,30 * * * *", "0,, * * * *", ",0 * * * *", ", * * * *", "* * , * *"),
    *("+1 * * * *", "007 * * * *", "0 0 * * +1", "1_0 * * * *", "-1 * * * *", "- * * * *"),
    *("1- * * * *", "1-2-3 * * * *", "30-10 * * * *", "5-5 * * * *", "0-60 * * * *"),
    *("*-5 * * * *", "*-x/20 * * * *", "*/ * * * *", "/5 * * * *", "*/0 * * * *", "*/-1 * * * *"),
    *("*/2/3 * * * *", "** * * * *", "1.5 * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *"),
    *("* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 7", "* * * * 0-7", "* * * * 8"),
    # Six fields, and other numbers of fields.
    *("* * * * * *", "0 * * * * *", "*/10 * * * * *", "30 0 12 * * *", "60 * * * * *"),
    *("", "*", "* * *", "* * * *", "* * * * * * *", " 0 0 * * * ", "0\t0\t*\t*\t*", "0 0 * * *\n"),
    # Names.
    *("0 0 * * MON", "0 0 * * mon", "0 0 * * Sun", "0 0 * * SAT", "0 0 * * MON-FRI"),
    *("0 0 * * SAT-SUN", "0 0 * * SUN-SAT", "0 0 * * MON,WED,FRI", "0 0 * * MON/2"),
    *("0 0 * * MONDAY", "0 0 * * mo", "0 0 1 JAN *", "0 0 1 jan-mar *", "0 0 1 dec/2 *"),
    *("0 0 1 JANUARY *", "0 0 1 FOO *", "0 0 * JAN MON", "JAN * * * *", "0 0 MON * *"),
    # Days of the month and of the week together.
    *("0 0 13 * 5", "0 0 13 * FRI", "0 0 */2 * MON", "0 0 * * 1-5", "0 0 1,15 * 3"),
    *("0 0 1-7 * MON", "0 0 */1 * MON", "0 0 ? * MON", "0 0 15 * ?", "0 0 15 * */1"),
    *("0 0 31 * *", "0 0 30 * *", "0 0 29 2 *", "0 0 31 4,6 1", "0 0 31 2,3 *"),
    # What only other libraries know.
    *("0 0 L * *", "0 0 LW * *", "0 0 15W * *", "0 0 * * 5L", "0 0 * * SUN#1", "0 0 * * 1#2"),
    *("H * * * *", "R * * * *", "0 0 * * * 2030", "0 0 0 * * * 2030", "@reboot", "@never"),
    # Descriptors.
    *("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"),
    *("@YEARLY", "@Daily", " @daily", "@daily ", "@", "@every", "@every ", "@minutely"),
    *("@every 1h", "@every 1h30m", "@every 90s", "@every 1.5h", "@every .5m", "@every 1.m"),
    *("@every 500ms", "@every 1500ms", "@every 1us", "@every 1µs", "@every 1μs", "@every 1ns"),
    *("@every 0", "@every 0s", "@every +1h", "@every -1h", "@every 1", "@every 1d", "@every h"),
    *("@every 1h ", "@every  1h", "@every 1 h", "@every 1H", "@every 1h-1m", "@every . s"),
    *("@every 2562047h", "@every 2562048h", "@every 9223372036854775808h", "@every 8760h"),
    # Time zones.
    *("TZ=UTC 0 0 * * *", "CRON_TZ=UTC 0 0 * * *", "TZ= 0 0 * * *", "TZ=Local 0 0 * * *"),
    *("TZ=Asia/Tokyo 30 6 * * *", "CRON_TZ=Asia/Tokyo   30 6 * * *", "TZ=Asia/Kolkata 0 * * * *"),
    *("CRON_TZ=America/New_York @daily", "TZ=Pacific/Chatham @weekly", "TZ=UTC @every 1h"),
    *("TZ=America/St_Johns */30 */6 * * MON", "TZ=EST5EDT 0 2 * * *", "TZ=Etc/GMT+12 0 0 1 * *"),
    *("TZ=Nowhere * * * * *", "TZ=../UTC * * * * *", "TZ=/etc/localtime * * * * *"),
    *("TZ=Europe * * * * *", "tz=UTC * * * * *", "cron_tz=UTC * * * * *", "XTZ=UTC * * * * *"),
    *("TZ=UTC\t* * * * *", " TZ=UTC * * * * *", "TZ=UTC TZ=UTC * * * * *", "TZ=UTC @yearly "),
    # The next changes of the clock.
    *("30 2 28 3 *", "0 2 28 3 *", "*/20 1-3 28 3 *", "30 2 31 10 *", "0 2 31 10 *"),
    *(
        "30 2 14 3 *",
        "*/20 1-3 14 3 *",
        "30 1 7 11 *",
        "*/20 0-2 7 11 *",
        "0 2 4 4 *",
        "15 2 3 10 *",
    ),
]

# Clock changes in the past, and an instant some hours before each.
CHANGES = {
    "Europe/Berlin": [("29 3", "2026-03-28T20:10:30Z"), ("25 10", "2026-10-24T20:10:30Z")],
    "America/New_York": [("8 3", "2026-03-08T02:10:30Z"), ("1 11", "2026-11-01T02:10:30Z")],
    "America/Havana": [("8 3", "2026-03-08T00:10:30Z"), ("1 11", "2026-11-01T00:10:30Z")],
    "Australia/Lord_Howe": [("5 4", "2026-04-04T10:10:30Z"), ("4 10", "2026-10-03T10:10:30Z")],
    "Africa/Casablanca": [("15 2", "2026-02-14T20:10:30Z"), ("22 3", "2026-03-21T20:10:30Z")],
}
AROUND_CHANGES = [
    *("*/20 0-4 {} *", "30 2 {} *", "0 2 {} *", "0 3 {} *", "15 1 {} *", "45 1,2 {} *"),
    *("0 0 {} *", "30 0 {} *", "0 */2 {} *", "0 1-23/2 {} *", "7 7 3 {} *", "30 59 1 {} *"),
]
# These run in the days after the change too.
AFTER_CHANGES = ["30 2 * * *", "0 */4 * * *", "0 0 * * *", "0 1 * * SUN", "@weekly", "@every 7h"]


class Runs(NamedTuple):
    """The runs of a schedule.

    Args:
        zone: the time zone of the server's process.
        cron: the schedule's expression.
        times: the time that the schedule was created, or a run, and all runs after it, in ms
            since the epoch; or None if the server refused the expression.
    """

    zone: str
    cron: str
    times: list[int] | None


def read() -> list[Runs]:
    """Read the recorded runs of the real server."""
    return [Runs(*runs) for runs in json.loads(FILE.read_text(encoding="utf-8"))]


def record(binary: str) -> None:
    """Let the real server run schedules, and record the times."""
    recorded = [runs for zone in ZONES for runs in _create(binary, zone)]
    changes = [
        (f"CRON_TZ={zone} {cron.format(day)}", before)
        for zone, days in CHANGES.items()
        for (day, before), cron in product(days, AROUND_CHANGES + AFTER_CHANGES)
    ]
    recorded += _catch_up(binary, "UTC", changes)
    here = [
        (cron.format(day), before)
        for (day, before), cron in product(CHANGES[ZONES[0]], AROUND_CHANGES + AFTER_CHANGES)
    ]
    recorded += _catch_up(binary, ZONES[0], here)
    lines = ",\n".join(json.dumps(runs) for runs in recorded)
    FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"cron: {len(recorded)} expressions")


class _ZonedCluster(Cluster):
    def __init__(self, binary: str, zone: str) -> None:
        super().__init__(binary)
        self._zone = zone

    @override
    def env_of(self, name: str) -> dict[str, str]:
        return super().env_of(name) | {"TZ": self._zone}

    def stop_server(self) -> sqlite3.Connection:
        """Stop the server and open its database."""
        self.server.stop()
        self.server.wait()
        return sqlite3.connect(self.data / "resonate.db")


def _create(binary: str, zone: str) -> list[Runs]:
    """Create schedules, and read the time of their first run from the answer."""
    created: list[Runs] = []
    with _ZonedCluster(binary, zone) as cluster, httpx.Client(base_url=cluster.url) as api:
        for i, cron in enumerate(EXPRESSIONS):
            body = {"id": f"{i}", "cron": cron, "promiseId": f"{i}", "promiseTimeout": 1}
            response = api.post("/schedules", json=body)
            times = None
            if response.status_code == 201:
                schedule = response.json()
                times = [schedule["createdOn"], schedule["nextRunTime"]]
                # The real server tries to run a schedule without a next time again and again.
                api.delete(f"/schedules/{i}")
            created.append(Runs(zone, cron, times))
    return created


def _catch_up(binary: str, zone: str, schedules: list[tuple[str, str]]) -> list[Runs]:
    """Let the server run schedules that start in the past: it repeats all missed runs."""
    begins = [int(datetime.fromisoformat(before).timestamp()) * 1000 for _, before in schedules]
    with _ZonedCluster(binary, zone) as cluster:
        for i, (cron, _) in enumerate(schedules):
            body = {"id": f"{i}", "cron": cron, "promiseId": "{{.id}} {{.timestamp}}"}
            response = httpx.post(f"{cluster.url}/schedules", json=body | {"promiseTimeout": 1})
            assert response.status_code == 201, cron
        with closing(cluster.stop_server()) as db, db:
            db.executemany(
                "UPDATE schedules SET next_run_time = ? WHERE id = ?",
                [(begin, f"{i}") for i, begin in enumerate(begins)],
            )
        cluster.start_server()
        deadline = time.monotonic() + PATIENCE
        for i, _ in enumerate(schedules):
            while True:
                found = httpx.get(f"{cluster.url}/schedules/{i}").json()
                if found["nextRunTime"] > time.time() * 1000:
                    break
                assert time.monotonic() < deadline, f"{schedules[i]} is behind"
                time.sleep(0.1)
        with closing(cluster.stop_server()) as db:
            promises = db.execute("SELECT id FROM promises").fetchall()
    times: list[list[int]] = [[] for _ in schedules]
    for (promise,) in promises:
        name, _, timestamp = promise.partition(" ")
        times[int(name)].append(int(timestamp))
    return [
        Runs(zone, cron, sorted(runs)[:MAX_RUNS])
        for (cron, _), runs in zip(schedules, times, strict=True)
    ]
