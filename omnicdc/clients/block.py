"""What the server's answers say about a caller's transaction: which one it is, and how it ended. No I/O.

`transaction` asks the connections of threads, `async_transaction` those of asyncio.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

End = Literal["same", "other", "failed"]
"""`same`: the block ended in the same transaction, which was then committed. `other`: the block itself ended
the transaction. `failed`: the block ended in a failed transaction; PostgreSQL rolls it back at the commit."""

_NO_TRANSACTION, _FAILED = "25P01", "25P02"


@dataclass(slots=True)
class Block:
    """One `with` block: the transaction in which it began, and how it ended."""

    token: str
    end: End | Literal["unknown"] = "unknown"


def token_from(answers: tuple[str | None, str | None], autocommit: Callable[[], ConfigError]) -> str:
    """Return the token, for which the server was asked twice.

    Raises `autocommit()` if it gave two: then each statement is a transaction of its own.
    """
    first, second = answers
    if first is None or first != second:
        raise autocommit()
    return first


@contextmanager
def explained(autocommit: Callable[[], ConfigError]) -> Iterator[None]:
    """Turn the errors that mean that there is no token into ConfigError. Any other error stays as it is."""
    try:
        yield
    except Exception as exc:
        if sqlstate_of(exc) == _NO_TRANSACTION:
            raise autocommit() from exc
        if sqlstate_of(exc) == _FAILED:
            raise ConfigError(
                "the connection is in a transaction that has failed", hint="call its rollback() first"
            ) from exc
        raise


def end_by(exc: BaseException) -> End:
    """Return how a block ended whose transaction refuses a savepoint."""
    return "other" if sqlstate_of(exc) == _NO_TRANSACTION else "failed"


def autocommit_error(hint: str) -> ConfigError:
    """Return the error for a connection in autocommit mode."""
    return ConfigError(
        "the connection is in autocommit mode: each statement is a transaction of its own, so there is none "
        "to wait for",
        hint=hint,
    )


def not_ours_error(hint: str) -> ConfigError:
    """Return the error for a transaction that other code ends, so that it cannot be committed here."""
    return ConfigError("the connection is in a transaction that your own code ends", hint=hint)


def sqlstate_of(exc: BaseException) -> str | None:
    """Return the SQLSTATE of an exception of psycopg, psycopg2, pg8000, asyncpg or SQLAlchemy."""
    exc = getattr(exc, "orig", None) or exc
    if found := getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None):
        return str(found)
    fields = exc.args[0] if exc.args else None  # pg8000 gives the fields of the error as a dict
    return str(fields["C"]) if isinstance(fields, dict) and "C" in fields else None
