"""Waits until the files hold a transaction, and says how that ended: never a bare time-out.

`decide` is pure; `wait` asks the database, decides, and sleeps until a daemon says that it published.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from psycopg import errors as pg
from psycopg import sql as pgsql

from omnicdc import db, sql
from omnicdc.errors import ConfigError
from omnicdc.scan import qualified

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from omnicdc.stop import Stop

GRACE_S = 2.0
"""How long no daemon may be alive before it is said: a restart or a take-over passes."""

SLICE_S = 0.5
"""Between two looks when no notification comes."""

Status = Literal[
    "published",
    "nothing_to_do",
    "rolled_back",
    "held",
    "quarantined",
    "no_consumer",
    "capture_broken",
    "timeout",
]
CERTAIN: frozenset[str] = frozenset({"published", "nothing_to_do"})
"""The verdicts that mean: the files are right."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a wait ended. `registries` are the files that the transaction's generation rewrote."""

    status: Status
    detail: str
    hint: str = ""
    token: str | None = None
    generation: int | None = None
    milliseconds: float | None = None
    """From the write (the barrier: from the call) to the publication."""
    registries: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()

    @property
    def arrived(self) -> bool:
        """Whether the files hold all that was waited for."""
        return self.status in CERTAIN

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as the CLI prints it."""
        return {
            "verdict": self.status,
            "detail": self.detail,
            "hint": self.hint,
            "token": self.token,
            "generation": self.generation,
            "milliseconds": self.milliseconds,
            "registries": list(self.registries),
            "consumers": list(self.consumers),
        }


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the database knows of the transaction waited for."""

    status: str | None
    changes: int
    projects: tuple[str, ...]
    at: datetime | None
    pruned: bool
    everything: bool = False
    """Whether it concerns every project: a rebuild, a truncate, a row whose id could not be read."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The generation of one consumer that first held the transaction."""

    generation: int
    registries: tuple[str, ...]
    held: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Consumer:
    """One registry host, as its row and its lock show it."""

    name: str
    alive: bool
    same_cluster: bool
    covered: bool
    behind: int
    held: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quarantined: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    last_error: str | None = None
    delivery: Delivery | None = None
    hidden: tuple[str, ...] = ()
    """Registries held now whose files do not show the transaction."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that a decision depends on, at one moment. `transaction` is None for a barrier."""

    token: str | None
    transaction: Transaction | None
    consumers: Sequence[Consumer]
    capture_fault: str | None


def decide(picture: Picture) -> Verdict | None:
    """Return the verdict; None while it may still change by itself within a moment."""
    transaction, token = picture.transaction, picture.token
    if transaction is not None:
        if transaction.status == "aborted":
            return Verdict(
                "rolled_back",
                f"transaction {token} was rolled back: there is nothing to publish",
                token=token,
            )
        if transaction.status == "in progress":
            return None
        if not transaction.changes and not transaction.pruned:
            return _unnoted(picture)
    elif picture.capture_fault:
        return _capture_broken(picture.capture_fault, token)
    alive = [consumer for consumer in picture.consumers if consumer.alive]
    if not alive or not all(consumer.covered and consumer.same_cluster for consumer in alive):
        return None
    return _arrived(picture, alive)


def give_up(picture: Picture, *, waited_s: float) -> Verdict:
    """Return the verdict once the time is up: who is missing, or at which stage it stands."""
    names = tuple(consumer.name for consumer in picture.consumers)
    if picture.capture_fault:
        return _capture_broken(picture.capture_fault, picture.token)
    if picture.transaction and picture.transaction.status == "in progress":
        return Verdict(
            "timeout",
            f"transaction {picture.token} is still open after {waited_s:.1f} s",
            token=picture.token,
        )
    if not any(consumer.alive for consumer in picture.consumers):
        return no_consumer(picture)
    late = [
        consumer
        for consumer in picture.consumers
        if consumer.alive and not (consumer.covered and consumer.same_cluster)
    ]
    stages = "; ".join(
        f"{consumer.name} has {consumer.behind} changes to publish"
        + (f" ({consumer.last_error})" if consumer.last_error else "")
        for consumer in late
    )
    return Verdict(
        "timeout",
        f"not published after {waited_s:.1f} s: {stages}",
        "`omnicdc status` on the registry host",
        token=picture.token,
        consumers=names,
    )


def no_consumer(picture: Picture) -> Verdict:
    """Return the verdict that no daemon is running."""
    names = tuple(consumer.name for consumer in picture.consumers)
    known = f": {', '.join(names)} not running" if names else "; none has ever run here"
    return Verdict(
        "no_consumer",
        f"no omnicdc daemon is alive{known}",
        "on the registry host: `systemctl start omnicdc`, or `omnicdc run`",
        token=picture.token,
        consumers=names,
    )


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
        named = token or (db.maybe(conn, "newest_change", {"projects": None}) or {}).get("token")
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
    transaction = _transaction(conn, token) if token else None
    found = db.rows(conn, "consumers", {"token": token, "barrier": barrier})
    consumers = [_consumer(conn, row, token, named) for row in found if consumer in (None, row["name"])]
    return Picture(token, transaction, consumers, db.one(conn, "capture_fault")["fault"])


def projects_named(conn: db.Connection, table: str, names: Sequence[str]) -> list[str]:
    """Return the ids of the projects of these names; a name that no project has may be a key.

    Raises ConfigError for a name that CMP does not have.
    """
    with db.translated("looking for the project"):
        found = conn.execute(
            pgsql.SQL(sql.query("named")).format(table=qualified(table)), {"names": list(names)}
        ).fetchall()
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


def last_change(conn: db.Connection, projects: Sequence[str]) -> str | None:
    """Return the last transaction in the log that changed any of these projects; None if it holds none."""
    with db.translated("looking for the last change"):
        row = db.maybe(conn, "newest_change", {"projects": list(projects)})
    return row["token"] if row else None


def _transaction(conn: db.Connection, token: str) -> Transaction:
    try:
        row = db.one(conn, "transaction", {"token": token})
    except (pg.InvalidParameterValue, pg.InvalidTextRepresentation, pg.NumericValueOutOfRange) as exc:
        raise ConfigError(
            f"{token!r} is not a transaction of this cluster",
            hint="a token is what `select pg_current_xact_id()` gave inside the writing transaction",
        ) from exc
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
        row["last_error"], delivery, hidden,
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


def _unnoted(picture: Picture) -> Verdict:
    if picture.capture_fault:
        return _capture_broken(picture.capture_fault, picture.token)
    return Verdict(
        "nothing_to_do",
        f"transaction {picture.token} changed nothing that a registry shows",
        token=picture.token,
    )


def _capture_broken(fault: str, token: str | None) -> Verdict:
    return Verdict(
        "capture_broken",
        f"changes are not noted: {fault}",
        "run `omnicdc install` as the table's owner",
        token=token,
    )


def _arrived(picture: Picture, alive: Sequence[Consumer]) -> Verdict:
    for consumer in alive:
        if consumer.hidden:
            held = consumer.held[consumer.hidden[0]]
            return _verdict(
                "held", picture, alive, f"{consumer.hidden[0]} is held: {held['reason']}", held["hint"]
            )
    for consumer in alive:
        for registry, held_back in consumer.quarantined.items():
            for project in sorted(_concerned(picture.transaction, held_back)):
                detail = f"project {project} is held back from {registry}: {held_back[project]}"
                return _verdict("quarantined", picture, alive, detail, "mend the project's row in CMP")
    return _verdict("published", picture, alive, "the registries hold it")


def _concerned(transaction: Transaction | None, projects: Iterable[str]) -> set[str]:
    """Return those of the projects that a transaction may have changed; a barrier means all."""
    if transaction is None or transaction.everything:
        return set(projects)
    return set(projects) & set(transaction.projects)


def _verdict(
    status: Status, picture: Picture, alive: Sequence[Consumer], detail: str, hint: str = ""
) -> Verdict:
    deliveries = [consumer.delivery for consumer in alive if consumer.delivery]
    since = picture.transaction.at if picture.transaction else None
    last = max((delivery.at for delivery in deliveries), default=None)
    return Verdict(
        status, detail, hint, picture.token,
        max((delivery.generation for delivery in deliveries), default=None),
        (last - since).total_seconds() * 1000 if last and since else None,
        tuple(dict.fromkeys(name for delivery in deliveries for name in delivery.registries)),
        tuple(consumer.name for consumer in alive),
    )  # fmt: skip
