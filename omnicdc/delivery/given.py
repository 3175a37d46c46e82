"""What callers give to a wait, checked: a token and a time-out."""

from __future__ import annotations

import math

from omnicdc.errors import ConfigError

LONGEST_S = 1e9
"""As good as for ever; what is longer the system's clock may not hold."""

FIRST_XID = 3
"""PostgreSQL's FirstNormalTransactionId."""


def seconds(given: float) -> float:
    """Return a time-out; raises ConfigError unless it is a number of seconds, 0 or more."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not (0 <= given < math.inf):
        raise ConfigError(f"a time-out is a number of seconds, 0 or more, and not {given!r:.50}")
    return float(min(given, LONGEST_S))


def checked(token: str | int | None) -> str | None:
    """Return a token as text; raises ConfigError for what cannot be one."""
    if token is None:
        return None
    text = token if isinstance(token, str) else str(token) if type(token) is int else ""
    # Before PostgreSQL 16, xid8 takes any text for a number. From 16 on, it takes a leading zero for octal.
    # Of each epoch of 2**32 ids, the first three are no transaction's.
    if not (text.isascii() and text.isdecimal()) or text.startswith("0") or int(text) % 2**32 < FIRST_XID:
        raise no_token(token)
    return text


def no_token(token: object) -> ConfigError:
    """Return the error for what is no token of a transaction."""
    return ConfigError(
        f"{token!r:.100} is not a transaction of this cluster",
        hint="a token is what `select pg_current_xact_id()` gave inside the writing transaction",
    )
