"""Runs statements in a transaction that is rolled back. `rendering` renders what they would change."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.answers.plan.time_limit import lock_limit
from omnicdc.db import sql
from omnicdc.db.connection import role_of
from omnicdc.db.errors import first_line, with_detail
from omnicdc.errors import ConfigError, DatabaseUnavailable
from omnicdc.files.decide import Policy
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from omnicdc.answers.plan.statement import Statement
    from omnicdc.config.settings import Config

_COUNTED = {"INSERT", "UPDATE", "DELETE", "MERGE"}
"""The commands of which PostgreSQL tells how many rows they wrote. Of a TRUNCATE, `_rows_lost` tells it."""

_OF_SEQUENCES = {"nextval", "setval"}

_CONFINED = {
    "clock_timestamp", "currval", "gen_random_uuid", "lastval", "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared", "pg_current_xact_id", "pg_notify", "pg_sleep", "pg_sleep_for", "random",
    "random_normal", "set_config", "setseed", "timeofday", "txid_current", "uuidv4", "uuidv7",
}  # fmt: skip
"""Functions whose result may always be another, and of which nothing is left after a rollback."""

_NOT_OF_THE_STATEMENT = (pg.ReadOnlySqlTransaction, psycopg.OperationalError, psycopg.InterfaceError)
_TOO_COMPLEX = (pg.ProgramLimitExceeded, pg.StatementTooComplex)
"""Errors of the class OperationalError that are the statement's fault."""

WAITED_FOR = (
    "`select pid, usename, query from pg_stat_activity where state like 'idle in transaction%'` names the "
    "sessions that may hold it; or a longer --timeout"
)


class ConflictError(DatabaseUnavailable):
    """Another session changed the same rows meanwhile. The plan can be tried again."""


@contextmanager
def rolled_back(conn: db.Connection) -> Iterator[None]:
    """Run the `with` block in one snapshot, and undo what it wrote."""
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with conn.transaction(force_rollback=True):
        yield


def run(conn: db.Connection, statements: Iterable[Statement], timeout_s: float) -> list[int | None]:
    """Run the statements, and the checks that PostgreSQL defers to the commit.

    Returns how many rows each wrote, where that is known. Each may take `timeout_s` seconds, the waiting for
    locks included, and all of them no longer than the connection's deadline. The connection must be in a
    transaction, which holds the rows' locks until it ends. Raises ConfigError for what PostgreSQL refuses,
    ConflictError and DatabaseUnavailable.
    """
    earlier = _limit(conn, timeout_s)
    found: list[int | None] = []
    for one in statements:
        with _refusals(one, timeout_s):
            lost = _rows_lost(conn, one)
            # The parser has seen that this is one statement, which writes rows and does nothing else.
            cursor = conn.execute(one.text.encode())
            words = (cursor.statusmessage or "").split()
            found.append(cursor.rowcount if words and words[0] in _COUNTED else lost)
            _limit(conn, timeout_s)
    with _refusals(one, timeout_s):
        db.execute(conn, "check_constraints")
    db.execute(conn, "limit_trial", {"statement": earlier["statement"], "lock": earlier["lock"]})
    return found


def _limit(conn: db.Connection, timeout_s: float) -> db.Row:
    """Limit what the next statement may take. Returns the limits until now."""
    limit_s = max(0.02, min(timeout_s, conn.left_s))
    return db.fetch_one(
        conn, "limit_trial", {"statement": f"{round(limit_s * 1000)}ms", "lock": lock_limit(limit_s)}
    )


def count_rows(conn: db.Connection, table: pgsql.Identifier, *, only: bool = False) -> int:
    """Return how many rows a table has. A row policy that hides some is an error."""
    query = pgsql.SQL(sql.query("count_rows")).format(table=table, only=pgsql.SQL("only" if only else ""))
    with conn.transaction(force_rollback=True):
        db.execute(conn, "refuse_policies")
        return int(db.single(conn.execute(query))["rows"])


def _rows_lost(conn: db.Connection, statement: Statement) -> int | None:
    """Return how many rows a TRUNCATE deletes in the tables that it names; None if this is not known."""
    emptied = [it for it in statement.writes if it.operation == "truncate"]
    if not emptied:
        return None
    try:
        return sum(count_rows(conn, pgsql.Identifier(*it.table), only=it.only) for it in emptied)
    except psycopg.Error:  # the right to read it is missing; of any other fault, the statement itself tells
        return None


def guard_fault(config: Config, registry: str, before: int, after: int, step: str = "write") -> Fault | None:
    """Return why the guard would hold a registry with so many entries; None if it would not."""
    policy = Policy(guard_share=config.guard_share, guard_min=config.guard_min)
    if not policy.loses_too_much(before, after):
        return None
    return Fault(
        f"{registry} would be held: it would lose {before - after} of its {before} entries at once",
        f"after the {step}, `omnicdc accept` lets it through",
    )


def remains(conn: db.Connection, statements: Iterable[Statement]) -> list[str]:
    """Return what the rollback does not undo, as far as the functions tell that the statements call."""
    called = dict.fromkeys(name for one in statements for name in one.functions)
    own = {name[-1]: name for name in called if name[:-1] in ((), ("pg_catalog",))}
    kinds: dict[str, str] = {}
    if own:
        with db.translated("asking which functions the statements call"):
            rows = db.fetch_all(conn, "functions", {"names": sorted(own)})
        kinds = {row["name"]: row["volatility"] for row in rows}
    found = []
    for name in called:
        volatile = kinds.get(name[-1]) if own.get(name[-1]) == name else None
        if volatile and name[-1] in _OF_SEQUENCES:
            found.append(f"{name[-1]}(): the rollback does not set the sequence back")
        elif volatile is None or (volatile == "v" and name[-1] not in _CONFINED):
            found.append(f"{'.'.join(name)}() may have effects that the rollback does not undo")
    return found


@contextmanager
def _refusals(statement: Statement, timeout_s: float) -> Iterator[None]:
    """Turn the errors of PostgreSQL in a statement into omnicdc errors."""
    place, doing = statement.place, "running the statement"
    try:
        yield
    except (pg.SerializationFailure, pg.DeadlockDetected) as exc:
        raise ConflictError(f"{doing}: {first_line(exc)}", again=True) from exc
    except pg.LockNotAvailable as exc:
        raise DatabaseUnavailable(
            f"{doing}: another session holds a lock that it needs, and did not release it in {timeout_s:g} s",
            hint=WAITED_FOR,
            sqlstate=exc.sqlstate,
        ) from exc
    except pg.QueryCanceled as exc:
        raise DatabaseUnavailable(
            f"{doing}: it did not end within {timeout_s:g} s ({first_line(exc)})", hint="a longer --timeout"
        ) from exc
    except pg.InsufficientPrivilege as exc:
        raise ConfigError(f"{place}: {first_line(exc)}", hint=_grant(statement, exc)) from exc
    except psycopg.Error as exc:
        if isinstance(exc, _NOT_OF_THE_STATEMENT) and not isinstance(exc, _TOO_COMPLEX):
            raise
        position = exc.diag.statement_position
        at = place.after(statement.text[: int(position) - 1]) if position else place
        raise ConfigError(
            f"{at}: PostgreSQL refuses this: {with_detail(exc)}", hint=exc.diag.message_hint or ""
        ) from exc


def _grant(statement: Statement, exc: psycopg.Error) -> str:
    writes: Sequence[str] = sorted({it.operation for it in statement.writes})
    tables = ", ".join(dict.fromkeys(".".join(it.table) for it in statement.writes))
    return (
        f"as the table's owner: `grant select, {', '.join(writes)} on {tables} to {role_of(exc)}`; "
        "or --static, which needs no right on the table"
    )
