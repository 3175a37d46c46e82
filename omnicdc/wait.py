"""Waits until the files hold a transaction, and says how that ended: never a bare time-out.

It asks the database, has `verdict` decide, and sleeps until a daemon says that it published.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psycopg import errors as pg
from psycopg import sql as pgsql

from omnicdc import db, sql
from omnicdc.errors import ConfigError
from omnicdc.inputs.reading import is_unicode
from omnicdc.rows import located, qualified
from omnicdc.verdict import Consumer, Delivery, Picture, Transaction, Verdict, decide, give_up, no_consumer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.stop import Stop

GRACE_S = 2.0
"""How long no daemon may be alive before it is said: a restart or a take-over passes."""

SLICE_S = 0.5
"""Between two looks when no notification comes."""


def wait(
    conn: db.Connection,
    token: str | None = None,
    *,
    timeout_s: float,
    stop: Stop,
    consumer: str | None = None,
    grace_s: float = GRACE_S,
) -> Verdict:
    """Wait until every live daemon (or the one named) has published a transaction.

    Without a token: everything committed when this was called. `conn` is in autocommit mode.
    Raises ConfigError for a token that this cluster never gave out, SchemaMismatch, DatabaseUnavailable.
    """
    started = time.monotonic()
    with db.translated("waiting for the publication"):
        conn.execute("listen omnicdc_published")
        barrier = db.one(conn, "snapshot")["snapshot"]
        named = token or last_change(conn, None)
        while True:
            picture = look(conn, token, barrier, named, consumer)
            waited = time.monotonic() - started
            if verdict := decide(picture):
                return verdict
            if waited >= timeout_s or stop.requested:
                return give_up(picture, waited_s=waited)
            uncommitted = picture.transaction is not None and picture.transaction.status == "in progress"
            if not uncommitted and waited >= grace_s and not any(one.alive for one in picture.consumers):
                return no_consumer(picture)
            list(conn.notifies(timeout=max(0.0, min(SLICE_S, timeout_s - waited)), stop_after=1))


def look(
    conn: db.Connection, token: str | None, barrier: str, named: str | None, consumer: str | None
) -> Picture:
    """Ask the database for everything that a decision depends on.

    `named` is the transaction whose generation is told: the token, or the newest one before the barrier.
    """
    with db.confined(conn):
        transaction = _transaction(conn, token) if token is not None else None
        if transaction is not None and transaction.unnoted:
            named = None
        # Looked at after the transaction's end and before the consumers: in between it can only make us wait longer.
        capture = db.one(conn, "capture_fault")
        found = db.rows(conn, "consumers", {"token": token, "barrier": barrier, "mark": capture["mark"]})
        consumers = [_consumer(conn, row, token, named) for row in found if consumer in (None, row["name"])]
        return Picture(token, transaction, consumers, capture["fault"], capture["mend"])


def projects_named(conn: db.Connection, table: str, names: Sequence[str]) -> list[str]:
    """Return the ids of the projects of these names; a name that no project has may be a key.

    Raises ConfigError for a name that CMP does not have.
    """
    # What PostgreSQL cannot hold is no project's name.
    possible = [name for name in names if is_unicode(name) and "\0" not in name]
    with db.translated("looking for the project"):
        full_name = qualified(located(conn, table))
        with db.confined(conn):
            db.run(conn, "refuse_policies")
            query = pgsql.SQL(sql.query("named")).format(table=full_name)
            found = conn.execute(query, {"names": possible}).fetchall()
    ids: list[str] = []
    for name in names:
        of_name = [row["id"] for row in found if row["name"] == name] or [
            row["id"] for row in found if row["key"] == name
        ]
        if not of_name:
            raise ConfigError(
                f"no project in CMP is named {name!r}",
                hint="is its transaction committed? names are case sensitive",
            )
        ids += of_name
    return ids


def last_change(conn: db.Connection, projects: Sequence[str] | None) -> str | None:
    """Return the last transaction in the log, or that changed any of these projects; None if it holds none."""
    with db.translated("looking for the last change"), db.confined(conn):
        row = db.maybe(conn, "newest_change", {"projects": None if projects is None else list(projects)})
    return row["token"] if row else None


def _transaction(conn: db.Connection, token: str) -> Transaction:
    refusal = ConfigError(
        f"{token!r} is not a transaction of this cluster",
        hint="a token is what `select pg_current_xact_id()` gave inside the writing transaction",
    )
    if not (token.isascii() and token.isdecimal()):  # before PostgreSQL 16, xid8 takes any text for a number
        raise refusal
    try:
        row = db.one(conn, "transaction", {"token": token})
    except (pg.InvalidParameterValue, pg.NumericValueOutOfRange) as exc:
        raise refusal from exc
    return Transaction(
        row["status"],
        row["changes"],
        tuple(row["projects"] or ()),
        row["at"],
        bool(row["pruned"]),
        row["everything"],
    )


def _consumer(conn: db.Connection, row: db.Row, token: str | None, named: str | None) -> Consumer:
    delivery = _delivery(conn, row["name"], named) if named and row["covered"] else None
    hidden = tuple(
        registry
        for registry, held in row["held"].items()
        # A held file lacks something of "everything so far"; of one transaction only if that concerns it.
        if token is None or _lacks(conn, token, registry, held["since"], delivery)
    )
    return Consumer(
        row["name"], row["alive"], row["same_cluster"], row["covered"], row["behind"], row["held"], row["quarantined"],
        row["last_error"], delivery, hidden, row["proven"],
    )  # fmt: skip


def _delivery(conn: db.Connection, consumer: str, token: str) -> Delivery | None:
    found = db.maybe(conn, "delivery", {"name": consumer, "token": token})
    if found is None:
        return None
    return Delivery(found["generation"], tuple(found["registries"]), tuple(found["held"]), found["at"])


def _lacks(
    conn: db.Connection, token: str, registry: str, since: str | None, delivery: Delivery | None
) -> bool:
    """Whether a held registry's file does not show a transaction that concerns it."""
    if delivery is not None and registry not in delivery.held:
        return False
    return not (since and db.one(conn, "shown", {"token": token, "since": since})["shown"])
