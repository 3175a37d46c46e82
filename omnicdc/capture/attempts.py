"""How a change of the capture is attempted, and what a person reads when the server refuses it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg
from psycopg import sql as pgsql
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from omnicdc import db
from omnicdc.db.conninfo import describe_dsn
from omnicdc.errors import ConfigError, LockBusy, OmnicdcError
from omnicdc.registries.tables import NAME_IT

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED = "OC001"
"""The SQLSTATE of sql/functions/watch.sql for a table that cannot be captured."""

_DOING = {"install": "installing", "uninstall": "uninstalling", "source": "releasing"}
"""The first word of a command to how its messages begin."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often the lock of CMP's table is tried for, and for how long each time."""

    most: int = 8
    lock_timeout: str = "500ms"
    """Every writer waits behind an installation that waits, so not for long. Shorter than PostgreSQL's
    deadlock_timeout: where a writer and the installation wait for each other, the installation gives up."""

    def retrying(self) -> Retrying:
        """Return the loop that tries again while the lock is busy, after a pause that grows."""
        return Retrying(
            retry=retry_if_exception_type(LockBusy),
            stop=stop_after_attempt(self.most),
            wait=wait_random_exponential(max=3),
            reraise=True,
        )

    def limit(self, conn: db.Connection) -> None:
        """Limit the waiting for locks, until the transaction ends."""
        conn.execute(pgsql.SQL("set local lock_timeout = {}").format(self.lock_timeout))


USUAL = Attempts()


@contextmanager
def explained(conn: db.Connection, command: str, tables: str, attempts: Attempts) -> Iterator[None]:
    """Turn what the server refuses to a command into ours.

    Raises LockBusy if the lock of one of the tables cannot be had, and ConfigError without the rights, or if
    the server refuses it for another reason.
    """
    doing = _DOING[command.partition(" ")[0]]
    try:
        with db.translated(doing):
            yield
    except OmnicdcError as exc:
        if refused_by := _event_trigger(conn, exc.__cause__):
            name, function = refused_by["name"], refused_by["function"]
            raise ConfigError(
                f"{doing}: event trigger {name} (function {function}) refused it: "
                f"{exc.message.removeprefix(f'{doing}: ')}",
                hint=f"as a superuser: `alter event trigger {name} disable`, then `omnicdc install`, then "
                f"`alter event trigger {name} enable`; or grant omnicdc_owner what that function needs",
            ) from exc
        match exc.__cause__:
            case pg.LockNotAvailable():
                raise LockBusy(
                    f"{doing}: the lock on {tables} could not be had within {attempts.lock_timeout}, "
                    f"{attempts.most} times",
                    hint="a long transaction is open on it: end it, or try again at a quieter time",
                ) from exc
            case pg.UndefinedTable() | pg.InvalidSchemaName():
                raise ConfigError(exc.message, hint=NAME_IT) from exc
            case pg.InsufficientPrivilege():
                raise ConfigError(
                    exc.message,
                    hint=who_may(conn, command),
                ) from exc
            case psycopg.Error() as refused if refused.sqlstate == REFUSED:
                hint = refused.diag.message_hint or (exc.hint if isinstance(exc, ConfigError) else "")
                raise ConfigError(exc.message, hint=hint or NAME_IT) from exc
        raise


def _event_trigger(conn: db.Connection, refused: BaseException | None) -> db.Row | None:
    """Return the event trigger that an error came from, as a DDL audit's may; None if it came from none."""
    if not isinstance(refused, psycopg.Error) or conn.closed or not refused.diag.context:
        return None
    # The names of the functions that were at work; the words around them are in the server's language.
    found = db.fetch_all(conn, "event_triggers")
    return next((row for row in found if row["function"] + "(" in refused.diag.context), None)


def who_may(conn: db.Connection, command: str) -> str:
    """Return how to run a command as a role that may; the owner is known once something is captured."""
    owners = [] if conn.closed else [row["owner"] for row in db.fetch_all(conn, "owners")]
    known = f" ({', '.join(owners)})" if owners else ""
    user = owners[0] if len(owners) == 1 else "OWNER"
    at = " ".join(part for part in describe_dsn(conn.info.dsn).split(" ") if not part.startswith("user="))
    needs, otherwise = (
        (" with CREATEROLE and CREATE on the database", "; or give `omnicdc install --print` to your DBA")
        if command == "install"
        else ("", "")
    )
    return (
        f"run it as a superuser, or as the owner of all tables{known}{needs}: "
        f"`omnicdc {command} --dsn '{at} user={user}'`{otherwise}"
    )
