"""How a wait ends: which verdict follows from what the database shows. Pure; `wait` asks and sleeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

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
InputsState = Literal["current", "looking"]
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
    inputs: InputsState | None = None
    """Whether the files also show all clones and all of GitHub's metadata; None if no daemon tells."""

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
            "inputs": self.inputs,
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

    @property
    def unnoted(self) -> bool:
        """Whether the log has no trace of it, and had none."""
        return not self.changes and not self.pruned


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
    proven: bool = True
    """Whether everything was read since the capture was last altered: before that it may have missed changes."""

    @property
    def unread(self) -> bool:
        """Whether a registry that is held was not written since then."""
        return any(held.get("since") is None for held in self.held.values())


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that a decision depends on, at one moment. `transaction` is None for a barrier."""

    token: str | None
    transaction: Transaction | None
    consumers: Sequence[Consumer]
    capture_fault: str | None
    capture_mend: str = ""


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
    if picture.capture_fault:
        return _capture_broken(picture)
    alive = [consumer for consumer in picture.consumers if consumer.alive]
    if transaction is not None and transaction.unnoted and _nothing_missed(alive or picture.consumers):
        return Verdict(
            "nothing_to_do",
            f"of transaction {token} there is nothing left to publish",
            token=token,
        )
    if not alive or not all(_up_to_date(consumer) for consumer in alive):
        return None
    return _arrived(picture, alive)


def give_up(picture: Picture, *, waited_s: float) -> Verdict:
    """Return the verdict once the time is up: who is missing, or at which stage it stands."""
    names = tuple(consumer.name for consumer in picture.consumers)
    if picture.capture_fault:
        return _capture_broken(picture)
    if picture.transaction and picture.transaction.status == "in progress":
        return Verdict(
            "timeout",
            f"transaction {picture.token} is still open after {waited_s:.1f} s",
            token=picture.token,
        )
    if not any(consumer.alive for consumer in picture.consumers):
        return no_consumer(picture)
    late = [consumer for consumer in picture.consumers if consumer.alive and not _up_to_date(consumer)]
    stages = "; ".join(
        (
            f"{consumer.name} has {consumer.behind} changes to publish"
            if consumer.behind
            else f"{consumer.name} has yet to compare its files with CMP"
        )
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


def _up_to_date(consumer: Consumer) -> bool:
    return consumer.covered and consumer.same_cluster and consumer.proven


def _nothing_missed(consumers: Sequence[Consumer]) -> bool:
    """Whether what left no trace in the log is in the files all the same, if it changed anything."""
    return bool(consumers) and all(consumer.proven and not consumer.unread for consumer in consumers)


def _capture_broken(picture: Picture) -> Verdict:
    return Verdict(
        "capture_broken",
        f"changes may be missed: {picture.capture_fault}",
        picture.capture_mend,
        token=picture.token,
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
        # Clocks are set back.
        max(0.0, (last - since).total_seconds() * 1000) if last and since else None,
        tuple(dict.fromkeys(name for delivery in deliveries for name in delivery.registries)),
        tuple(consumer.name for consumer in alive),
    )  # fmt: skip
