"""Finds out which transaction a caller's connection is in, and how it ends. `genesis` waits for it.

The connection may be one of psycopg, of SQLAlchemy, or of any DB-API driver. Our queries run inside a
savepoint, so that a failing query does not abort the caller's transaction.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from omnicdc.clients.block import Block, autocommit_error, end_by, explained, not_ours_error, token_from
from omnicdc.db import sql
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.clients.block import End

BY_HAND = "take `client.token(conn)` inside the transaction, and call `client.wait(token)` after its commit"


def token_of(conn: Any) -> str:  # noqa: ANN401 - any driver's
    """Return the id of the transaction that a connection is in. The server assigns one if there is none.

    Raises ConfigError for a connection in autocommit mode, because there the next statement would run in
    another transaction. Raises ConfigError also for a connection in a failed transaction, for an asynchronous
    connection, and for an object that is not a connection.
    """
    _check_kind(conn)
    autocommit = partial(_autocommit, conn, was_open=_in_transaction(conn))
    with explained(autocommit), _savepoint(conn):
        answers = _scalar(conn, sql.query("token")), _scalar(conn, sql.query("token"))
    return token_from(answers, autocommit)


def server_process(conn: Any) -> int:  # noqa: ANN401 - any driver's
    """Return the id of the server process that runs a connection's transaction, even behind a pooler."""
    with _savepoint(conn):
        return int(_scalar(conn, sql.query("backend_pid")) or 0)


@contextmanager
def committed(conn: Any) -> Iterator[Block]:  # noqa: ANN401 - any driver's
    """Commit what the block writes through `conn`; roll it back if the block raises an exception.

    Before the block runs, this raises ConfigError in the cases of `token_of`. It also raises ConfigError if
    `conn` is a psycopg connection in autocommit mode inside a transaction that the caller's code will end.
    """
    _check_kind(conn)
    if isinstance(conn, psycopg.Connection) and conn.autocommit:
        if conn.info.transaction_status != TransactionStatus.IDLE:
            raise not_ours_error(BY_HAND)
        with conn.transaction():
            yield from _observed(conn)
        return
    if getattr(conn, "autocommit", False) is True:
        raise _autocommit(conn, was_open=True)
    begun = Block(token_of(conn))
    try:
        yield from _observed(conn, begun)
    except BaseException:
        with suppress(Exception):  # the exception of the block is more important
            conn.rollback()
        raise
    conn.commit()


def _observed(conn: Any, begun: Block | None = None) -> Iterator[Block]:  # noqa: ANN401 - any driver's
    block = begun or Block(token_of(conn))
    yield block
    block.end = _end(conn, block.token)


def _end(conn: Any, token: str) -> End:  # noqa: ANN401 - any driver's
    """Find out in which transaction the block ended.

    Errors are not raised here: the commit that follows raises its own.
    """
    try:
        _execute(conn, "savepoint omnicdc_token")
    except Exception as exc:  # noqa: BLE001 - each driver has its own
        return end_by(exc)
    try:
        now = _scalar(conn, sql.query("token_if_assigned"))
    except Exception:  # noqa: BLE001 - each driver has its own
        _execute(conn, "rollback to savepoint omnicdc_token")
        return "other"
    _execute(conn, "release savepoint omnicdc_token")
    return "same" if now == token else "other"


@contextmanager
def _savepoint(conn: Any) -> Iterator[None]:  # noqa: ANN401 - any driver's
    _execute(conn, "savepoint omnicdc_token")
    try:
        yield
    except BaseException:
        _execute(conn, "rollback to savepoint omnicdc_token")
        _execute(conn, "release savepoint omnicdc_token")
        raise
    _execute(conn, "release savepoint omnicdc_token")


def _check_kind(conn: Any) -> None:  # noqa: ANN401 - any driver's
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


def _autocommit(conn: Any, *, was_open: bool) -> ConfigError:  # noqa: ANN401 - any driver's
    if not was_open and _in_transaction(conn):
        # Our query began a transaction in SQLAlchemy's own bookkeeping. The server has none. So end it.
        conn.rollback()
    return autocommit_error(
        "turn autocommit off for this block, or write first and then call `client.wait()`"
    )


def _in_transaction(conn: Any) -> bool:  # noqa: ANN401 - any driver's
    in_transaction = getattr(conn, "in_transaction", None)
    return bool(in_transaction()) if callable(in_transaction) else True


def _scalar(conn: Any, statement: str) -> str | None:  # noqa: ANN401 - any driver's
    if isinstance(conn, psycopg.Connection):
        # A cursor of our own does not depend on the connection's row and cursor factories.
        with psycopg.Cursor(conn, row_factory=tuple_row) as own_cursor:
            first_row = own_cursor.execute(statement.encode()).fetchone()
        return first_row[0] if first_row else None
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


def _execute(conn: Any, statement: str) -> None:  # noqa: ANN401 - any driver's
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


def _alchemy(conn: Any) -> Any:  # noqa: ANN401 - any driver's
    """Return SQLAlchemy's connection, also that of an SQLAlchemy session; None for any other driver."""
    if hasattr(conn, "exec_driver_sql"):
        return conn
    return None if hasattr(conn, "cursor") else conn.connection()
