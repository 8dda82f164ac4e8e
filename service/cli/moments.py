"""Moments as people write them on a command line: a date, a time, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

AGO = re.compile(r"(\d{1,9})([mhdw])")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FORMS = "2026-11-24, 2026-11-24T09:30, 2026-11-24T09:30:00+01:00, or how long ago: 90m, 12h, 7d, 2w"


def moment(text: str, now: datetime | None = None) -> datetime:
    """The moment that is meant; a date is its beginning, and without a zone it is this machine's.

    Args:
        text: in one of `FORMS`.
        now: what "ago" counts from, with its zone; None: now.

    Raises:
        ValueError: it is in none of the forms.
    """
    try:
        if ago := AGO.fullmatch(text.strip()):
            return (now or datetime.now(UTC)) - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time; say it like one of these: {FORMS}.") from error
