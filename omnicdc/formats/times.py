"""Times for people: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def to_seconds(at: datetime | str) -> str:
    """Return a time as RFC 3339, in UTC, to the second. A time without a zone is one of UTC.

    Raises ValueError for a text that is no time in the format ISO 8601.
    """
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
