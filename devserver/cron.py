"""Cron expressions, with the grammar and the meaning of robfig/cron v3.

The real server uses that Go library. Python's cron libraries use other grammars (in some, `7` is
Sunday and `L` is the last day), and they handle clock changes differently. So this is a translation
of the library's `parser.go`, `spec.go` and `constantdelay.go`.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable


class CronError(ValueError):
    """A cron expression that is not valid."""


def next_run(expression: str, after: int) -> int | None:
    """Find the next time that matches a cron expression.

    Args:
        expression: five fields (minute, hour, day of month, month, day of week), or six with the
            second first; or a name like `@hourly`; or `@every` with a duration. If `TZ=` or
            `CRON_TZ=` and a time zone come first, the fields mean the clock in that zone,
            otherwise this machine's clock.
        after: ms since the epoch.

    Returns:
        The first matching time after `after`, in ms since the epoch; or None if there is none
        within five years.

    Raises:
        CronError: the expression is not valid.
    """
    if len(expression) > _MAX_LENGTH:
        raise CronError(f"longer than {_MAX_LENGTH} characters")
    zone, fields = _split_zone(expression)
    time: int | None
    if fields.startswith("@every "):
        time = after // 1000 + _read_duration(fields.removeprefix("@every "))
    else:
        time = _Schedule.read(fields, zone).next_time(after // 1000 + 1)
    if time is None:
        return None
    # A schedule whose next run is not in the future would run in an endless loop.
    assert time * 1000 > after
    return time * 1000


# The grammar

_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_MONTH_NAMES = "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAY_NAMES = "sun", "mon", "tue", "wed", "thu", "fri", "sat"
_WEEKDAYS = {name: number for number, name in enumerate(_WEEKDAY_NAMES)}
_MAX_INT64 = 2**63 - 1
# Longer than any sensible expression, and short enough to parse its numbers quickly.
_MAX_LENGTH = 1000


def _split_zone(expression: str) -> tuple[tzinfo | None, str]:
    if not expression.startswith(("TZ=", "CRON_TZ=")):
        return None, expression
    head, space, fields = expression.partition(" ")
    name = head.partition("=")[2]
    if not space:
        raise CronError("no fields after the time zone")
    if name in {"", "UTC"}:
        return UTC, fields.strip()
    if name == "Local":
        return None, fields.strip()
    try:
        return ZoneInfo(name), fields.strip()
    except (OSError, ValueError, KeyError) as e:
        raise CronError(f"no such time zone: {name}") from e


def _read_duration(text: str) -> int:
    """Read a duration as Go's `time.ParseDuration`: whole seconds, at least 1."""
    sign, rest = re.fullmatch("([+-]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    parts = re.findall(r"([0-9]*)(\.?)([0-9]*)([^.0-9]+)", rest)
    if rest != "0" and (not parts or "".join(map("".join, parts)) != rest):
        raise CronError(f"not a duration: {text}")
    seconds = Fraction()
    for whole, _, fraction, unit in parts:
        if unit not in _UNITS or not whole + fraction:
            raise CronError(f"not a duration: {text}")
        seconds += Fraction(f"{whole or 0}.{fraction or 0}") * _UNITS[unit]
    if seconds * 10**9 > _MAX_INT64:
        raise CronError(f"too long: {text}")
    return max(int(-seconds if sign == "-" else seconds), 1)


@dataclass(frozen=True)
class _Field:
    """The values that one field allows, and whether it is a `*`."""

    values: frozenset[int]
    has_star: bool

    @classmethod
    def read(cls, text: str, low: int, high: int, names: dict[str, int] | None = None) -> _Field:
        parts = [_read_range(part, low, high, names or {}) for part in text.split(",") if part]
        values = frozenset(value for values, _ in parts for value in values)
        return cls(values, any(has_star for _, has_star in parts))


def _read_range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[range, bool]:
    span, *steps = text.split("/")
    first, *lasts = span.split("-")
    has_star = first in {"*", "?"}
    if has_star:
        # The Go library ignores anything between the star and the slash.
        start, end = low, high
    else:
        start = _read_number(first, names)
        end = _read_number(lasts[0], names) if lasts else start
        if len(lasts) > 1:
            raise CronError(f"too many hyphens: {text}")
    step = 1
    if steps:
        step = _read_number(steps[0], {})
        if not lasts:
            end = high
    if len(steps) > 1 or step == 0 or not low <= start <= end <= high:
        raise CronError(f"not a range from {low} to {high}: {text}")
    return range(start, end + 1, step), has_star and step == 1


def _read_number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch("[+]?[0-9]+", text) or int(text) > _MAX_INT64:
        raise CronError(f"not a number: {text}")
    return int(text)


# The times

_HOUR = 3600
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class _Schedule:
    second: _Field
    minute: _Field
    hour: _Field
    day: _Field
    month: _Field
    weekday: _Field
    zone: tzinfo | None  # None means this machine's time zone

    @classmethod
    def read(cls, text: str, zone: tzinfo | None) -> _Schedule:
        fields = _DESCRIPTORS.get(text, text).split()
        if len(fields) == 5:
            fields.insert(0, "0")
        if len(fields) != 6:
            raise CronError("there must be five or six fields")
        return cls(
            second=_Field.read(fields[0], 0, 59),
            minute=_Field.read(fields[1], 0, 59),
            hour=_Field.read(fields[2], 0, 23),
            day=_Field.read(fields[3], 1, 31),
            month=_Field.read(fields[4], 1, 12, _MONTHS),
            weekday=_Field.read(fields[5], 0, 6, _WEEKDAYS),
            zone=zone,
        )

    def next_time(self, time: int) -> int | None:
        """Find the first time that this schedule matches, at or after `time` (s since the epoch).

        From the month down to the second, it advances the time until the unit matches. If this
        moves the time into the next larger unit, it checks all units again.
        """
        if not all(field.values for field in (self.second, self.minute, self.hour, self.month)):
            return None
        # Each unit: does it match, where does it begin, the next one, is that a new larger unit.
        units: list[tuple[_Check, _Move, _Move, _Check]] = [
            (self._is_month, self._begin_of_month, self._next_month, lambda t: t.month == 1),
            (self._is_day, self._begin_of_day, self._next_day, lambda t: t.day == 1),
            (
                lambda t: t.hour in self.hour.values,
                lambda t: self._time_of(t.replace(minute=0, second=0)),
                lambda t: _epoch(t) + _HOUR,
                lambda t: t.hour == 0,
            ),
            (
                lambda t: t.minute in self.minute.values,
                lambda t: _epoch(t) // 60 * 60,
                lambda t: _epoch(t) + 60,
                lambda t: t.minute == 0,
            ),
            (
                lambda t: t.second in self.second.values,
                _epoch,
                lambda t: _epoch(t) + 1,
                lambda t: t.second == 0,
            ),
        ]
        last_year = self._clock(time).year + 5
        has_moved = False
        while (clock := self._clock(time)).year <= last_year:
            for matches, begin, following, is_carried in units:
                while not matches(clock):
                    if not has_moved:
                        clock = self._clock(begin(clock))
                        has_moved = True
                    time = following(clock)
                    if time <= _epoch(clock):
                        # Where a zone left out a whole day, midnight of the next day is in the
                        # past. The Go library never returns from there.
                        return None
                    clock = self._clock(time)
                    if is_carried(clock):
                        break
                else:
                    continue
                break
            else:
                return _epoch(clock)
            time = _epoch(clock)
        return None

    def _is_month(self, clock: datetime) -> bool:
        return clock.month in self.month.values

    def _begin_of_month(self, clock: datetime) -> int:
        return self._time_of(clock.replace(day=1, hour=0, minute=0, second=0))

    def _next_month(self, clock: datetime) -> int:
        # Where midnight does not exist, a month can begin on the day before. Then, as in Go, a
        # 31st of a shorter month is in the next one.
        years, month = divmod(clock.month, 12)
        first = clock.replace(year=clock.year + years, month=month + 1, day=1)
        return self._time_of(first + (clock.day - 1) * _DAY)

    def _is_day(self, clock: datetime) -> bool:
        is_day = clock.day in self.day.values
        is_weekday = clock.isoweekday() % 7 in self.weekday.values
        if self.day.has_star or self.weekday.has_star:
            return is_day and is_weekday
        return is_day or is_weekday

    def _begin_of_day(self, clock: datetime) -> int:
        return self._time_of(clock.replace(hour=0, minute=0, second=0))

    def _next_day(self, clock: datetime) -> int:
        time = self._time_of(clock + _DAY)
        # The clock change can be at midnight.
        hour = self._clock(time).hour
        return time + (24 - hour if hour > 12 else -hour) * _HOUR

    def _clock(self, time: int) -> datetime:
        """Return what the clock in the zone shows at a time (s since the epoch)."""
        return datetime.fromtimestamp(time, self.zone).astimezone(self.zone)

    def _time_of(self, clock: datetime) -> int:
        """Find the time at which the clock in the zone shows this, like Go's `time.Date`.

        As in Go, it also decides what to return if the clock shows this time twice, or never.
        """
        time = calendar.timegm(clock.timetuple()[:6])
        offset = self._offset(time)
        return time - self._offset(time - offset) if offset else time

    def _offset(self, time: int) -> int:
        offset = self._clock(time).utcoffset()
        assert offset is not None
        return offset // timedelta(seconds=1)


type _Check = Callable[[datetime], bool]
type _Move = Callable[[datetime], int]


def _epoch(clock: datetime) -> int:
    return int(clock.timestamp())
