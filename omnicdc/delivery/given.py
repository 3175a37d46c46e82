"""Checks the arguments that callers give to a wait: the token and the time-out."""

from __future__ import annotations

import math

from omnicdc.errors import ConfigError

LONGEST_S = 1e9
"""The longest time-out in seconds, about 30 years. The system's clock may not support longer ones."""

FIRST_XID = 3
"""The smallest id of a normal transaction: PostgreSQL's FirstNormalTransactionId."""


def seconds(given: float) -> float:
    """Return the time-out, at most LONGEST_S. Raises ConfigError unless it is a number, 0 or more."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not (0 <= given < math.inf):
        raise ConfigError(f"a time-out is a number of seconds, 0 or more, and not {given!r:.50}")
    return float(min(given, LONGEST_S))


def checked(token: str | int | None) -> str | None:
    """Return a token as text, and None for None. Raises ConfigError for a value that cannot be a token."""
    if token is None:
        return None
    text = token if isinstance(token, str) else str(token) if type(token) is int else ""
    # Before PostgreSQL 16, xid8 accepts any text. From 16 on, it reads a number with a leading zero as octal.
    # In each epoch of 2**32 ids, the first three ids are never assigned to a transaction.
    if not (text.isascii() and text.isdecimal()) or text.startswith("0") or int(text) % 2**32 < FIRST_XID:
        raise no_token(token)
    return text


def no_token(token: object) -> ConfigError:
    """Return the error for a value that is not the token of a transaction."""
    return ConfigError(
        f"{token!r:.100} is not a transaction of this cluster",
        hint="a token is what `select pg_current_xact_id()` gave inside the writing transaction",
    )
