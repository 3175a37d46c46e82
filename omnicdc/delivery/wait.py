"""Waits until the files hold a transaction, and returns a verdict. Even a time-out explains what is missing.

A wait repeats three steps: it reads the database, `verdict` decides, and it sleeps until a daemon notifies
that it has published. A wait for a transaction is exact. Every other wait, including one for projects by
name, is a barrier: it waits for everything that was committed when it was called.
"""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors as pg
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.db import sql
from omnicdc.delivery.connections import SLICE_S, Connections, as_connections
from omnicdc.delivery.given import checked, no_token, seconds
from omnicdc.delivery.observation import Consumer, Delivery, Observation, Transaction
from omnicdc.delivery.verdict import Verdict, decide, give_up, hosts_missing, no_consumer, no_writes
from omnicdc.errors import ConfigError
from omnicdc.formats.text import is_unicode
from omnicdc.registries.tables import qualified, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from omnicdc.config.settings import Config
    from omnicdc.stop import Stop

GRACE_S = 2.0
"""How many seconds no daemon may be alive before the wait reports it. A restart or a take-over takes less."""

PAUSE_S = 0.005
"""The first pause before a check, in seconds. A wait begins to pause after its second notification that did
not end it, and the pause doubles each time."""

PAUSE_MOST_S = 0.1
"""The longest pause before a check. Without pauses, many waits would check after each generation of a busy
daemon."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a wait is for.

    It is a transaction; or everything that was committed at the barrier; or the part of that which concerns
    some projects.
    """

    token: str | None = None
    barrier: str | None = None
    """The snapshot that was taken when the wait began."""
    projects: tuple[str, ...] | None = None
    """The ids of the projects that the wait concerns; None for all projects."""
    newest: tuple[str, ...] = ()
    """The transactions that last changed these projects."""
    at: datetime | None = None
    """When the last of these changes was written."""
    consumer: str | None = None
    all_hosts: bool = False


def wait(
    source: db.Connection | Connections,
    token: str | int | None = None,
    *,
    timeout_s: float,
    stop: Stop,
    projects: Sequence[str] | None = None,
    consumer: str | None = None,
    all_hosts: bool = False,
    grace_s: float = GRACE_S,
    first_poll_s: float = SLICE_S,
) -> Verdict:
    """Wait until every live daemon, or the daemon of `consumer`, has published a transaction.

    Without `token`, wait for everything that was committed when this was called. With `projects`, the
    verdict concerns only these projects. With `all_hosts`, also wait for expected hosts whose daemon is down.
    If `source` is a connection, it must be in autocommit mode. `grace_s` is how long no daemon may be alive.
    `first_poll_s` is the first time between two checks; it doubles.

    Raises ConfigError for a token that this cluster never assigned, for a token that is so old that nothing
    is known about it, for a consumer's name that never existed, and for an invalid time-out. Raises
    SchemaMismatch and DatabaseUnavailable.
    """
    source = as_connections(source)
    timeout_s, started = seconds(timeout_s), time.monotonic()
    poll_s, pause = first_poll_s, 0.0
    with db.translated("waiting for the publication"):
        with source.connection(max(timeout_s, SLICE_S)) as conn:
            _check_consumer(conn, consumer)
            goal = _goal(conn, checked(token), projects, consumer, all_hosts=all_hosts)
        while True:
            seen_count = source.notification_count()
            with source.connection(max(timeout_s + started - time.monotonic(), SLICE_S)) as conn:
                observed = observe(conn, goal)
            waited = time.monotonic() - started
            if verdict := _ended(observed, waited, timeout_s, grace_s, stop):
                return verdict
            left = max(0.0, timeout_s - waited)
            if source.sleep(seen_count, min(poll_s, left)):
                time.sleep(min(pause, left))
                pause = min(PAUSE_MOST_S, pause * 2 or PAUSE_S)
            else:
                poll_s = min(poll_s * 2, source.longest_poll_s)


def observe(conn: db.Connection, goal: Goal) -> Observation:
    """Read from the database everything that the verdict depends on."""
    with db.confined(conn):
        transaction = _transaction(conn, goal.token) if goal.token is not None else None
        # The capture is checked after the transaction has ended and before the consumers are read. If the
        # capture changes in between, the wait can only take longer; it cannot return a wrong verdict.
        capture = db.fetch_one(conn, "capture_fault")
        asked = {
            "token": goal.token,
            "barrier": goal.barrier,
            "fingerprint": capture["fingerprint"],
            "projects": None if goal.projects is None else list(goal.projects),
        }
        found = db.fetch_all(conn, "consumers", asked)
        unnoted = transaction is not None and transaction.unnoted
        consumers = [
            _consumer(conn, row, goal, unnoted=unnoted)
            for row in found
            if goal.consumer in (None, row["name"])
        ]
        alive = any(one.alive for one in consumers)
        cause = None if alive else no_writes(**db.fetch_one(conn, "only_reads"))
        return Observation(
            goal.token or next(iter(goal.newest), None), transaction, consumers, capture["fault"],
            capture["remedy"], goal.projects, goal.at, goal.all_hosts, cause,
        )  # fmt: skip


def projects_named(conn: db.Connection, config: Config, names: Sequence[str]) -> list[str]:
    """Return the ids of the projects with these names. If no project has a name, the name may be a key.

    Raises ConfigError for a name that is neither, SchemaMismatch and DatabaseUnavailable.
    """
    # Text that PostgreSQL cannot store cannot be the name of a project.
    possible = [name for name in names if is_unicode(name) and "\0" not in name]
    with db.translated("looking for the project"):
        table = config.table_of("projects")
        full_name = qualified(resolve(conn, table) or table)
        with db.confined(conn):
            db.execute(conn, "refuse_policies")
            query = pgsql.SQL(sql.query("named")).format(table=full_name)
            found = conn.execute(query, {"names": possible}).fetchall()
    by_name: dict[str, list[str]] = {}
    by_key: dict[str, list[str]] = {}
    for row in found:
        by_name.setdefault(row["name"], []).append(row["id"])
        by_key.setdefault(row["key"], []).append(row["id"])
    for name in names:
        if name not in by_name and name not in by_key:
            raise ConfigError(
                f"no project in CMP is named {name!r}",
                hint="is its transaction committed? names are case sensitive",
            )
    return list(dict.fromkeys(one for name in names for one in by_name.get(name) or by_key[name]))


def _goal(
    conn: db.Connection,
    token: str | None,
    projects: Sequence[str] | None,
    consumer: str | None,
    *,
    all_hosts: bool,
) -> Goal:
    with db.confined(conn):
        barrier = db.fetch_one(conn, "snapshot")["snapshot"]
        goal = Goal(token, barrier, None, (), None, consumer, all_hosts)
        if token is not None or projects is None:
            return goal
        newest = db.fetch_all(conn, "newest_changes", {"projects": list(projects), "barrier": barrier})
    at = newest[0]["at"] if newest else None
    tokens = tuple(dict.fromkeys(row["token"] for row in newest))
    return Goal(None, barrier, tuple(projects), tokens, at, consumer, all_hosts)


def _ended(
    observed: Observation, waited_s: float, timeout_s: float, grace_s: float, stop: Stop
) -> Verdict | None:
    """Return the verdict if the wait has ended; None if it should continue.

    The wait ends if the verdict is decided, the time is up, a stop is requested, or no daemon serves a host
    that the wait needs.
    """
    if verdict := decide(observed):
        return verdict
    if waited_s >= timeout_s or stop.requested:
        return give_up(observed, waited_s=waited_s)
    if waited_s < grace_s or observed.open:
        return None
    if not any(one.alive for one in observed.consumers):
        return no_consumer(observed)
    return hosts_missing(observed) if observed.all_hosts and observed.left_out else None


def _check_consumer(conn: db.Connection, name: str | None) -> None:
    """Raise ConfigError if no consumer ever had this name."""
    if name is None:
        return
    with db.confined(conn):
        names = [row["name"] for row in db.fetch_all(conn, "consumer_names")]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3) or names
        raise ConfigError(
            f"no consumer has ever been named {name!r:.100}",
            hint=f"did you mean {' or '.join(near)}?" if near else "none has ever run here: `omnicdc run`",
        )


def _transaction(conn: db.Connection, token: str) -> Transaction:
    try:
        row = db.fetch_one(conn, "transaction", {"token": token})
    except (pg.InvalidParameterValue, pg.NumericValueOutOfRange) as exc:
        raise no_token(token) from exc
    if row["status"] is None and row["pruned"] and not row["changes"]:
        raise ConfigError(
            f"whether transaction {token} was committed is no longer known: it ended too long ago",
            hint="wait for everything committed so far: `omnicdc wait`, or `client.wait()`",
        )
    return Transaction(
        row["status"],
        row["changes"],
        tuple(row["projects"] or ()),
        row["at"],
        bool(row["pruned"]),
        row["everything"],
    )


def _consumer(conn: db.Connection, row: db.Row, goal: Goal, *, unnoted: bool) -> Consumer:
    delivery = _delivery(conn, row["name"], goal) if row["covered"] and not unnoted else None
    since = {registry: held["since"] for registry, held in row["held"].items()}
    hidden, pending = (
        tuple(
            registry
            for registry, snapshot in shown.items()
            if _lacks(
                conn, goal, row["name"], delivery, registry=registry, since=snapshot, moves=shown is not since
            )
        )
        for shown in (since, row["postponed"])
    )
    return Consumer(
        row["name"], row["alive"], row["same_cluster"], row["covered"], row["behind"], row["held"],
        row["quarantined"], row["last_error"], delivery, hidden, pending, row["verified"], row["expected"],
        row["inputs"] and row["inputs"]["state"],
    )  # fmt: skip


def _delivery(conn: db.Connection, consumer: str, goal: Goal) -> Delivery | None:
    tokens = (
        [goal.token] if goal.token is not None else list(goal.newest) if goal.projects is not None else None
    )
    if tokens == []:  # the log no longer holds the last changes of these projects
        return None
    found = db.fetch_optional(conn, "delivery", {"name": consumer, "tokens": tokens, "barrier": goal.barrier})
    if found is None:
        return None
    held = (*found["held"], *found["postponed"])
    return Delivery(found["generation"], tuple(found["registries"]), held, found["at"])


def _lacks(
    conn: db.Connection,
    goal: Goal,
    consumer: str,
    delivery: Delivery | None,
    *,
    registry: str,
    since: str | None,
    moves: bool,
) -> bool:
    """Whether the file of a held or postponed registry lacks something that the wait is for.

    The file shows the snapshot `since`, which moves on if the registry is only postponed. If there is no
    delivery, it is not known whether the transaction concerns the registry, and it is assumed that it does.
    """
    if goal.token is not None:
        if delivery is not None and registry not in delivery.held:
            return False
        return not (since and db.fetch_one(conn, "shown", {"token": goal.token, "since": since})["shown"])
    # A held file lacks something of everything that is committed.
    if not since or (goal.projects is None and not moves):
        return True
    projects = None if goal.projects is None else list(goal.projects)
    file = {"name": consumer, "registry": registry, "since": since}
    return bool(db.fetch_one(conn, "lacks", file | {"projects": projects, "barrier": goal.barrier})["lacks"])
