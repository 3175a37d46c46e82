"""What a wait reads from the database: its goal, and at each check what the verdict depends on. No I/O."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors as pg
from psycopg import sql as pgsql

from omnicdc.db import sql
from omnicdc.delivery.asking import Ask, Asking, one, rows
from omnicdc.delivery.given import no_token
from omnicdc.delivery.observation import Consumer, Delivery, Observation, Transaction
from omnicdc.delivery.verdict import no_writes
from omnicdc.errors import ConfigError
from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from omnicdc import db


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


def begin(
    token: str | None, projects: Sequence[str] | None, consumer: str | None, *, all_hosts: bool
) -> Asking[Goal]:
    """Return the goal of a wait that begins now. Raises ConfigError for a consumer that never existed."""
    yield from _check_consumer(consumer)
    barrier = (yield from one("snapshot"))["snapshot"]
    goal = Goal(token, barrier, None, (), None, consumer, all_hosts)
    if token is not None or projects is None:
        return goal
    newest = yield from rows("newest_changes", {"projects": list(projects), "barrier": barrier})
    at = newest[0]["at"] if newest else None
    tokens = tuple(dict.fromkeys(row["token"] for row in newest))
    return Goal(None, barrier, tuple(projects), tokens, at, consumer, all_hosts)


def named(table: pgsql.Identifier, names: Sequence[str]) -> Asking[list[str]]:
    """Return the ids of the projects with these names: see `wait.projects_named`. `table` is a full name."""
    # Text that PostgreSQL cannot store cannot be the name of a project.
    possible = [name for name in names if is_unicode(name) and "\0" not in name]
    yield Ask(sql.query("refuse_policies"))
    found = yield Ask(pgsql.SQL(sql.query("named")).format(table=table), {"names": possible})
    by_name: dict[str, list[str]] = {}
    by_key: dict[str, list[str]] = {}
    for row in found:
        by_name.setdefault(row["name"], []).append(row["id"])
        by_key.setdefault(row["key"], []).append(row["id"])
    for name in names:
        if name not in by_name and name not in by_key:
            raise ConfigError(
                f"no project in CMP is named {name!r}",
                hint="is its transaction committed? names are case sensitive; "
                "a deleted project: `omnicdc explain UUID`",
            )
    return list(dict.fromkeys(it for name in names for it in by_name.get(name) or by_key[name]))


def observe(goal: Goal) -> Asking[Observation]:
    """Read everything that the verdict depends on."""
    transaction = (yield from _transaction(goal.token)) if goal.token is not None else None
    # The capture is checked after the transaction has ended and before the consumers are read. If the
    # capture changes in between, the wait can only take longer; it cannot return a wrong verdict.
    capture = yield from one("capture_fault")
    asked = {
        "token": goal.token,
        "barrier": goal.barrier,
        "fingerprint": capture["fingerprint"],
        "projects": None if goal.projects is None else list(goal.projects),
    }
    unnoted = transaction is not None and transaction.unnoted
    found = yield from rows("consumers", asked)
    wanted = [row for row in found if goal.consumer in (None, row["name"])]
    consumers = yield from _consumers(wanted, goal, unnoted=unnoted)
    alive = any(it.alive for it in consumers)
    cause = None if alive else no_writes(**(yield from one("only_reads")))
    return Observation(
        goal.token or next(iter(goal.newest), None), transaction, consumers, capture["fault"],
        capture["remedy"], goal.projects, goal.at, goal.all_hosts, cause,
    )  # fmt: skip


def _check_consumer(name: str | None) -> Asking[None]:
    """Raise ConfigError if no consumer ever had this name."""
    if name is None:
        return
    names = [row["name"] for row in (yield from rows("consumer_names"))]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3) or names
        raise ConfigError(
            f"no consumer has ever been named {name!r:.100}",
            hint=f"did you mean {' or '.join(near)}?" if near else "none has ever run here: `omnicdc run`",
        )


def _transaction(token: str) -> Asking[Transaction]:
    try:
        row = yield from one("transaction", {"token": token})
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


def _consumers(found: Sequence[db.Row], goal: Goal, *, unnoted: bool) -> Asking[list[Consumer]]:
    consumers: list[Consumer] = []
    for row in found:
        consumers += [(yield from _consumer(row, goal, unnoted=unnoted))]
    return consumers


def _consumer(row: db.Row, goal: Goal, *, unnoted: bool) -> Asking[Consumer]:
    delivery = None
    if row["covered"] and not unnoted:
        delivery = yield from _delivery(row["name"], goal)
    since = {registry: held["since"] for registry, held in row["held"].items()}
    hidden = yield from _lacking(goal, row["name"], delivery, since, moves=False)
    pending = yield from _lacking(goal, row["name"], delivery, row["postponed"], moves=True)
    return Consumer(
        row["name"], row["alive"], row["same_cluster"], row["covered"], row["behind"], row["held"],
        row["quarantined"], row["last_error"], delivery, hidden, pending, row["verified"], row["expected"],
        row["inputs"] and row["inputs"]["state"],
    )  # fmt: skip


def _delivery(consumer: str, goal: Goal) -> Asking[Delivery | None]:
    tokens = (
        [goal.token] if goal.token is not None else list(goal.newest) if goal.projects is not None else None
    )
    if tokens == []:  # the log no longer holds the last changes of these projects
        return None
    asked = {"name": consumer, "tokens": tokens, "barrier": goal.barrier}
    found = next(iter((yield from rows("delivery", asked))), None)
    if found is None:
        return None
    held = (*found["held"], *found["postponed"])
    return Delivery(found["generation"], tuple(found["registries"]), held, found["at"])


def _lacking(
    goal: Goal,
    consumer: str,
    delivery: Delivery | None,
    shown: Mapping[str, str | None],
    *,
    moves: bool,
) -> Asking[tuple[str, ...]]:
    """Return the held or postponed registries whose files lack something that the wait is for.

    `shown` is registry to the snapshot that its file shows. With `moves`, this snapshot moves on, because the
    registry is only postponed.
    """
    lacking = []
    for registry, since in shown.items():
        if (yield from _lacks(goal, consumer, delivery, registry=registry, since=since, moves=moves)):
            lacking.append(registry)
    return tuple(lacking)


def _lacks(
    goal: Goal,
    consumer: str,
    delivery: Delivery | None,
    *,
    registry: str,
    since: str | None,
    moves: bool,
) -> Asking[bool]:
    """Whether the file of a registry lacks something that the wait is for.

    If there is no delivery, it is not known whether the transaction concerns the registry, and it is assumed
    that it does.
    """
    if goal.token is not None:
        if delivery is not None and registry not in delivery.held:
            return False
        if not since:
            return True
        return not (yield from one("shown", {"token": goal.token, "since": since}))["shown"]
    # A held file lacks something of everything that is committed.
    if not since or (goal.projects is None and not moves):
        return True
    projects = None if goal.projects is None else list(goal.projects)
    file = {"name": consumer, "registry": registry, "since": since}
    found = yield from one("lacks", file | {"projects": projects, "barrier": goal.barrier})
    return bool(found["lacks"])
