"""Cron expressions: croniter reads them, and all times are UTC."""

from __future__ import annotations

import re

from croniter import croniter

# croniter does not know this one. The parts are hours, minutes and seconds.
_EVERY = re.compile(r"@every (?=\d)(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_MAX_LENGTH = 200
_MAX_FIELDS = 6
_MAX_YEARS = 5


def next_run(expression: str, after: int) -> int:
    """Find the next time that matches a cron expression.

    Args:
        expression: five fields (minute, hour, day of month, month, day of week), or six with the
            second first; or a name like `@hourly`; or an interval like `@every 1h30m`.
        after: ms since the epoch.

    Returns:
        The first matching time after `after`, in ms since the epoch.

    Raises:
        ValueError: the expression is not valid, or does not match a time in the next five years.
    """
    if len(expression) > _MAX_LENGTH:
        raise ValueError(f"It is longer than {_MAX_LENGTH} characters")
    if len(expression.split()) > _MAX_FIELDS:
        raise ValueError(f"It has more than {_MAX_FIELDS} fields")  # croniter allows a year
    second = after // 1000
    if every := _EVERY.fullmatch(expression):
        hours, minutes, seconds = (int(number or 0) for number in every.groups())
        return (second + max(hours * 3600 + minutes * 60 + seconds, 1)) * 1000
    runs = croniter(
        expression, second, max_years_between_matches=_MAX_YEARS, second_at_beginning=True
    )
    return int(runs.get_next()) * 1000
