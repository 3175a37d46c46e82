"""How a wait ends: which verdict follows from what the database shows.

Pure; `wait` asks and sleeps, `picture` holds what it saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from omnicdc.delivery.picture import Consumer, Delivery, InputsState, Picture

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

_START = "on the registry host: `systemctl start omnicdc`, or `omnicdc run`"


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
    left_out: tuple[str, ...] = ()
    """Hosts that are expected and down, so that nothing is said of their files."""
    withheld: frozenset[str] = frozenset()
    """The registries that do not show all of it: held, or without an entry for one of its projects."""
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
            "left_out": list(self.left_out),
            "inputs": self.inputs,
        }


def decide(picture: Picture) -> Verdict | None:
    """Return the verdict; None while it may still change by itself within a moment."""
    verdict = _decided(picture)
    return verdict and replace(verdict, left_out=picture.left_out, inputs=picture.inputs)


def give_up(picture: Picture, *, waited_s: float) -> Verdict:
    """Return the verdict once the time is up: who is missing, or at which stage it stands."""
    return replace(_given_up(picture, waited_s), left_out=picture.left_out, inputs=picture.inputs)


def no_consumer(picture: Picture) -> Verdict:
    """Return the verdict that no daemon is running."""
    names = tuple(consumer.name for consumer in picture.consumers)
    known = f": {', '.join(names)} not running" if names else "; none has ever run here"
    cause = picture.no_writes
    return Verdict(
        "no_consumer",
        f"no omnicdc daemon is alive{known}" + (f"; {cause.reason}" if cause else ""),
        cause.hint if cause else _START,
        token=picture.token,
        consumers=names,
        left_out=picture.left_out,
        inputs=picture.inputs,
    )


def no_writes(*, standby: bool, only_reads: bool) -> Fault | None:
    """Return why no daemon can serve, if the server takes no writes from it."""
    if standby:
        return Fault(
            "this server is a read-only standby: no daemon can serve from it", "name the primary in the DSN"
        )
    if only_reads:
        return Fault(
            "the database, or the daemon's role, has default_transaction_read_only on: no daemon can serve "
            "until that ends",
            "`alter role … set default_transaction_read_only = off` for the daemon's role, or wait until "
            "the maintenance ends",
        )
    return None


def hosts_missing(picture: Picture) -> Verdict:
    """Return the verdict that not all hosts can be waited for, though that was asked."""
    return Verdict(
        "no_consumer",
        f"all hosts were asked for, and no omnicdc daemon is alive on {', '.join(picture.left_out)}",
        f"{_START}; a host that is gone for good: `omnicdc consumer forget NAME`",
        token=picture.token,
        consumers=tuple(consumer.name for consumer in picture.consumers),
        left_out=picture.left_out,
        inputs=picture.inputs,
    )


def _decided(picture: Picture) -> Verdict | None:
    transaction, token = picture.transaction, picture.token
    if transaction is not None:
        if transaction.status == "aborted":
            return Verdict(
                "rolled_back",
                f"transaction {token} was rolled back: there is nothing to publish",
                token=token,
            )
        if picture.open:
            return None
    if picture.capture_fault:
        return _capture_broken(picture)
    alive = [consumer for consumer in picture.consumers if consumer.alive]
    if transaction is not None and transaction.unnoted and _nothing_missed(alive or picture.consumers):
        return Verdict(
            "nothing_to_do",
            f"transaction {token} changed no watched column",
            token=token,
        )
    complete = bool(alive) and not (picture.all_hosts and picture.left_out)
    return _arrived(picture, alive) if complete and all(map(_up_to_date, alive)) else None


def _given_up(picture: Picture, waited_s: float) -> Verdict:
    names = tuple(consumer.name for consumer in picture.consumers)
    if picture.capture_fault:
        return _capture_broken(picture)
    if picture.open:
        return Verdict(
            "timeout",
            f"transaction {picture.token} is still open after {waited_s:.1f} s",
            token=picture.token,
        )
    if not any(consumer.alive for consumer in picture.consumers):
        return no_consumer(picture)
    if picture.all_hosts and picture.left_out:
        return hosts_missing(picture)
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


def _up_to_date(consumer: Consumer) -> bool:
    return consumer.covered and consumer.same_cluster and consumer.verified


def _nothing_missed(consumers: Sequence[Consumer]) -> bool:
    """Whether what left no trace in the log is in the files all the same, if it changed anything."""
    return bool(consumers) and all(consumer.verified and not consumer.unread for consumer in consumers)


def _capture_broken(picture: Picture) -> Verdict:
    return Verdict(
        "capture_broken",
        f"changes may be missed: {picture.capture_fault}",
        picture.capture_remedy,
        token=picture.token,
    )


def _arrived(picture: Picture, alive: Sequence[Consumer]) -> Verdict:
    withheld = frozenset(registry for consumer in alive for registry, _, _ in _withheld(picture, consumer))
    for consumer in alive:
        if consumer.hidden:
            held = consumer.held[consumer.hidden[0]]
            detail = f"{consumer.hidden[0]} is held: {held['reason']}{_not_known(picture, consumer.delivery)}"
            return _verdict("held", picture, alive, detail, hint=held["hint"], withheld=withheld)
    for consumer in alive:
        for registry, project, reason in _withheld(picture, consumer):
            detail = f"project {project} is held back from {registry}: {reason}{_not_known(picture)}"
            hint = "fix the project's row in CMP"
            return _verdict("quarantined", picture, alive, detail, hint=hint, withheld=withheld)
    return _verdict("published", picture, alive, "the registries hold it")


def _not_known(picture: Picture, delivery: Delivery | None = None) -> str:
    """Return the words that say, for an old transaction, what the verdict is about.

    It is about the registries as they are now.
    """
    if picture.transaction is None or not picture.transaction.pruned or delivery is not None:
        return ""
    return f" (the log no longer holds what transaction {picture.token} changed: it may be this)"


def _withheld(picture: Picture, consumer: Consumer) -> Iterator[tuple[str, str, str]]:
    """Yield registry, project and reason of what a consumer's files do not show of what is waited for."""
    yield from ((registry, "", consumer.held[registry]["reason"]) for registry in consumer.hidden)
    for registry, held_back in consumer.quarantined.items():
        for project in sorted(_concerned(picture, held_back)):
            yield registry, project, held_back[project]


def _concerned(picture: Picture, projects: Iterable[str]) -> set[str]:
    """Return those of the projects that what is waited for is about; a barrier without names is about all."""
    transaction = picture.transaction
    if transaction is None:
        return set(projects) if picture.projects is None else set(projects) & set(picture.projects)
    return set(projects) if transaction.may_concern_all else set(projects) & set(transaction.projects)


def _verdict(
    status: Status,
    picture: Picture,
    alive: Sequence[Consumer],
    detail: str,
    *,
    hint: str = "",
    withheld: frozenset[str] = frozenset(),
) -> Verdict:
    deliveries = [consumer.delivery for consumer in alive if consumer.delivery]
    last = max((delivery.at for delivery in deliveries), default=None)
    since = picture.transaction.at if picture.transaction else picture.at
    return Verdict(
        status, detail, hint, picture.token,
        max((delivery.generation for delivery in deliveries), default=None),
        # Clocks are set back.
        max(0.0, (last - since).total_seconds() * 1000) if last and since else None,
        tuple(dict.fromkeys(name for delivery in deliveries for name in delivery.registries)),
        tuple(consumer.name for consumer in alive),
        withheld=withheld,
    )  # fmt: skip
