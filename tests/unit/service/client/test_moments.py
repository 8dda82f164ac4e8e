from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.cli.moments import moment

NOW = datetime(2026, 11, 24, 21, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine three hours east of Greenwich."""
    monkeypatch.setenv("TZ", "EAST-3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("90m", NOW - timedelta(minutes=90)),
        (" 12h ", NOW - timedelta(hours=12)),
        ("2w", NOW - timedelta(days=14)),
        ("2026-11-01", datetime(2026, 10, 31, 21, tzinfo=UTC)),
        ("2026-11-01T09:30", datetime(2026, 11, 1, 6, 30, tzinfo=UTC)),
        ("2026-11-01T09:30:00+01:00", datetime(2026, 11, 1, 9, 30, tzinfo=timezone(timedelta(hours=1)))),
        ("2026-11-01T09:30Z", datetime(2026, 11, 1, 9, 30, tzinfo=UTC)),
    ],
)
def test_what_is_meant(text: str, expected: datetime) -> None:
    found = moment(text, NOW)
    assert found == expected
    assert found.tzinfo is not None


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "d", "-7d", "7y", "2026-13-01", "999999999w", "0001-01-01T00:00+23:00"]
)
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no time; say it like one of these: 2026-11-24"):
        moment(text, NOW)
