"""The transaction that a caller's connection is in: its id, and how it ends. `genesis` waits for it.

The connection is psycopg's, SQLAlchemy's, or any DB-API driver's. What is asked here is asked inside a
savepoint, so that a question that fails costs the caller nothing of what was written before.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from omnicdc.db import sql
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

BY_HAND = "take `client.token(conn)` inside the transaction, and call `client.wait(token)` after its commit"

_NO_TRANSACTION, _FAILED = "25P01", "25P02"


@dataclass(slots=True)
class Block:
    """One `with` block: the transaction that it began in, and how it ended."""

    token: str
    end: Literal["unknown", "same", "other", "failed"] = "unknown"
    """`same`: still in that transaction, which was then committed. `other`: the block committed by itself.
    `failed`: in a transaction that had failed, which PostgreSQL rolls back at a commit."""


def token_of(conn: Any) -> str:  # noqa: ANN401 - any driver's
    """Return the id of the transaction that a connection is in; it gets one if it has none.

    Raises ConfigError for a connection in autocommit mode: the id would be that of another transaction than
    the next statement's. Also for one in a transaction that has failed, and for an asynchronous one.
    """
    _check_kind(conn)
    was_open = _in_transaction(conn)
    try:
        with _savepoint(conn):
            first, second = (_scalar(conn, sql.query("token")) for _ in range(2))
    except Exception as exc:
        if sqlstate_of(exc) == _NO_TRANSACTION:
            raise _autocommit(conn, was_open=was_open) from exc
        if sqlstate_of(exc) == _FAILED:
            raise ConfigError(
                "the connection is in a transaction that has failed", hint="call its rollback() first"
            ) from exc
        raise
    if first != second or first is None:
        raise _autocommit(conn, was_open=was_open)
    return first


def server_process(conn: Any) -> int:  # noqa: ANN401 - any driver's
    """Return the id of the server process that a connection's transaction runs in, also through a pooler."""
    with _savepoint(conn):
        return int(_scalar(conn, sql.query("backend_pid")) or 0)


@contextmanager
def committed(conn: Any) -> Iterator[Block]:  # noqa: ANN401 - any driver's
    """Commit what the block writes through `conn`; roll it back if the block raises.

    Raises ConfigError before the block runs as `token_of`; and if the connection, in psycopg's autocommit
    mode, is in a transaction that the caller's own code will end.
    """
    _check_kind(conn)
    if isinstance(conn, psycopg.Connection) and conn.autocommit:
        if conn.info.transaction_status != TransactionStatus.IDLE:
            raise ConfigError("the connection is in a transaction that your own code ends", hint=BY_HAND)
        with conn.transaction():
            yield from _observed(conn)
        return
    if getattr(conn, "autocommit", False) is True:
        raise _autocommit(conn, was_open=True)
    begun = Block(token_of(conn))
    try:
        yield from _observed(conn, begun)
    except BaseException:
        with suppress(Exception):  # the caller's exception says more
            conn.rollback()
        raise
    conn.commit()


def sqlstate_of(exc: BaseException) -> str | None:
    """Return the SQLSTATE of an exception of psycopg, psycopg2, pg8000 or SQLAlchemy."""
    exc = getattr(exc, "orig", None) or exc
    if found := getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None):
        return str(found)
    told = exc.args[0] if exc.args else None
    return str(told["C"]) if isinstance(told, dict) and "C" in told else None


def _observed(conn: Any, begun: Block | None = None) -> Iterator[Block]:  # noqa: ANN401 - any driver's
    block = begun or Block(token_of(conn))
    yield block
    block.end = _end(conn, block.token)


def _end(conn: Any, token: str) -> Literal["same", "other", "failed"]:  # noqa: ANN401 - as above
    """Look which transaction the block ended in.

    Whatever goes wrong, the commit that follows tells its own errors.
    """
    try:
        _execute(conn, "savepoint omnicdc_token")
    except Exception as exc:  # noqa: BLE001 - each driver has its own
        return "other" if sqlstate_of(exc) == _NO_TRANSACTION else "failed"
    try:
        now = _scalar(conn, sql.query("token_if_assigned"))
    except Exception:  # noqa: BLE001 - as above
        _execute(conn, "rollback to savepoint omnicdc_token")
        return "other"
    _execute(conn, "release savepoint omnicdc_token")
    return "same" if now == token else "other"


@contextmanager
def _savepoint(conn: Any) -> Iterator[None]:  # noqa: ANN401 - as above
    _execute(conn, "savepoint omnicdc_token")
    try:
        yield
    except BaseException:
        _execute(conn, "rollback to savepoint omnicdc_token")
        _execute(conn, "release savepoint omnicdc_token")
        raise
    _execute(conn, "release savepoint omnicdc_token")


def _check_kind(conn: Any) -> None:  # noqa: ANN401 - as above
    if not all(callable(getattr(conn, name, None)) for name in ("commit", "rollback")):
        raise ConfigError(
            f"{type(conn).__qualname__} is not a database connection",
            hint="a connection of psycopg, of SQLAlchemy, or of another DB-API driver for PostgreSQL",
        )
    if inspect.iscoroutinefunction(conn.commit):
        raise ConfigError(
            f"{type(conn).__qualname__} is asynchronous",
            hint="give its SQL yourself: see docs/client.md, Tokens",
        )


def _autocommit(conn: Any, *, was_open: bool) -> ConfigError:  # noqa: ANN401 - as above
    if not was_open and _in_transaction(conn):
        # SQLAlchemy's own notion of a transaction, which our question began: the server has none.
        conn.rollback()
    return ConfigError(
        "the connection is in autocommit mode: each statement is a transaction of its own, so there is none "
        "to wait for",
        hint="turn autocommit off for this block, or write first and then call `client.wait()`",
    )


def _in_transaction(conn: Any) -> bool:  # noqa: ANN401 - as above
    ask = getattr(conn, "in_transaction", None)
    return bool(ask()) if callable(ask) else True


def _scalar(conn: Any, statement: str) -> str | None:  # noqa: ANN401 - as above
    if isinstance(conn, psycopg.Connection):  # whatever its row and cursor factories give
        with psycopg.Cursor(conn, row_factory=tuple_row) as asking:
            told = asking.execute(statement.encode()).fetchone()
        return told[0] if told else None
    if (alchemy := _alchemy(conn)) is not None:
        found: str | None = alchemy.exec_driver_sql(statement).scalar()
        return found
    cursor = conn.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone()
    finally:
        cursor.close()
    if not row:
        return None
    value = next(iter(row.values())) if isinstance(row, dict) else row[0]
    return None if value is None else str(value)


def _execute(conn: Any, statement: str) -> None:  # noqa: ANN401 - as above
    if isinstance(conn, psycopg.Connection):
        psycopg.Cursor(conn).execute(statement.encode())
    elif (alchemy := _alchemy(conn)) is not None:
        alchemy.exec_driver_sql(statement)
    else:
        cursor = conn.cursor()
        try:
            cursor.execute(statement)
        finally:
            cursor.close()


def _alchemy(conn: Any) -> Any:  # noqa: ANN401 - as above
    """Return SQLAlchemy's connection, also a session's; None for another driver's."""
    if hasattr(conn, "exec_driver_sql"):
        return conn
    return None if hasattr(conn, "cursor") else conn.connection()
