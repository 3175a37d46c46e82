"""Decides how a wait ends: which verdict follows from the state of the database.

This module does no I/O. `wait` reads the database and sleeps; `observation` defines the data that it read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from omnicdc import db
from omnicdc.delivery.arrival import arrivals
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from omnicdc.delivery.arrival import Arrival
    from omnicdc.delivery.observation import Consumer, Delivery, InputsState, Observation

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
"""The verdicts that mean that the files are correct."""

_START = "on the registry host: `systemctl start omnicdc`, or `omnicdc run`"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a wait ended."""

    status: Status
    detail: str
    hint: str = ""
    token: str | None = None
    generation: int | None = None
    milliseconds: float | None = None
    """Milliseconds from the write to the publication. None if it is not known, as for a barrier without
    projects."""
    registries: tuple[str, ...] = ()
    """The files that the transaction's generation rewrote."""
    consumers: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Hosts that are expected, but whose daemon is down. The verdict says nothing about their files."""
    withheld: frozenset[str] = frozenset()
    """The registries that do not show everything that the wait is for: they are held, or one of its projects
    is in quarantine."""
    inputs: InputsState | None = None
    """Whether the files also show all clones and all of GitHub's metadata; None if no daemon reports it."""
    hosts: tuple[Arrival, ...] = ()
    """Which generation of each live host holds it."""

    @property
    def arrived(self) -> bool:
        """Whether the files hold everything that the wait is for."""
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
            "hosts": {host.consumer: host.as_dict() for host in self.hosts},
        }


def decide(observed: Observation) -> Verdict | None:
    """Return the verdict; None if the wait should continue."""
    verdict = _decided(observed)
    return verdict and replace(verdict, left_out=observed.left_out, inputs=observed.inputs)


def give_up(observed: Observation, *, waited_s: float) -> Verdict:
    """Return the verdict after the time is up. Its detail says which consumer or step is missing."""
    return replace(_given_up(observed, waited_s), left_out=observed.left_out, inputs=observed.inputs)


def no_consumer(observed: Observation) -> Verdict:
    """Return the verdict that no daemon is running."""
    names = tuple(consumer.name for consumer in observed.consumers)
    known = f": {', '.join(names)} not running" if names else "; none has ever run here"
    cause = observed.no_writes
    return Verdict(
        "no_consumer",
        f"no omnicdc daemon is alive{known}" + (f"; {cause.reason}" if cause else ""),
        cause.hint if cause else _START,
        token=observed.token,
        consumers=names,
        left_out=observed.left_out,
        inputs=observed.inputs,
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
            f"{db.read_only_remedy('ROLE')} (ROLE: the one that the daemon logs in as)",
        )
    return None


def hosts_missing(observed: Observation) -> Verdict:
    """Return the verdict that a host is down although the caller requires all hosts."""
    return Verdict(
        "no_consumer",
        f"all hosts were asked for, and no omnicdc daemon is alive on {', '.join(observed.left_out)}",
        f"{_START}; a host that is gone for good: `omnicdc consumer forget NAME`",
        token=observed.token,
        consumers=tuple(consumer.name for consumer in observed.consumers),
        left_out=observed.left_out,
        inputs=observed.inputs,
    )


def _decided(observed: Observation) -> Verdict | None:
    transaction, token = observed.transaction, observed.token
    if transaction is not None:
        if transaction.status == "aborted":
            return Verdict(
                "rolled_back",
                f"transaction {token} was rolled back: there is nothing to publish",
                token=token,
            )
        if observed.open:
            return None
    if observed.capture_fault:
        return _capture_broken(observed)
    alive = [consumer for consumer in observed.consumers if consumer.alive]
    if transaction is not None and transaction.unnoted and _nothing_missed(alive or observed.consumers):
        return Verdict(
            "nothing_to_do",
            f"transaction {token} changed no watched column",
            token=token,
        )
    complete = bool(alive) and not (observed.all_hosts and observed.left_out)
    return _arrived(observed, alive) if complete and all(map(_up_to_date, alive)) else None


def _given_up(observed: Observation, waited_s: float) -> Verdict:
    names = tuple(consumer.name for consumer in observed.consumers)
    if observed.capture_fault:
        return _capture_broken(observed)
    if observed.open:
        return Verdict(
            "timeout",
            f"transaction {observed.token} is still open after {waited_s:.1f} s",
            token=observed.token,
        )
    if not any(consumer.alive for consumer in observed.consumers):
        return no_consumer(observed)
    if observed.all_hosts and observed.left_out:
        return hosts_missing(observed)
    late = [consumer for consumer in observed.consumers if consumer.alive and not _up_to_date(consumer)]
    timings = "; ".join(
        (
            f"{consumer.name} has {consumer.behind} change{'' if consumer.behind == 1 else 's'} to publish"
            if consumer.behind
            else f"{consumer.name} has yet to write {', '.join(consumer.pending)}"
            if consumer.pending
            else f"{consumer.name} has yet to compare its files with CMP"
        )
        + (f" ({consumer.last_error})" if consumer.last_error else "")
        for consumer in late
    )
    return Verdict(
        "timeout",
        f"not published after {waited_s:.1f} s: {timings}",
        "`omnicdc status` on the registry host",
        token=observed.token,
        consumers=names,
    )


def _up_to_date(consumer: Consumer) -> bool:
    return consumer.covered and consumer.same_cluster and consumer.verified and not consumer.pending


def _nothing_missed(consumers: Sequence[Consumer]) -> bool:
    """Whether the files are known to be correct even if the capture has missed the transaction."""
    return bool(consumers) and all(
        consumer.verified and not consumer.has_unknown_file for consumer in consumers
    )


def _capture_broken(observed: Observation) -> Verdict:
    return Verdict(
        "capture_broken",
        f"changes may be missed: {observed.capture_fault}",
        observed.capture_remedy,
        token=observed.token,
    )


def _arrived(observed: Observation, alive: Sequence[Consumer]) -> Verdict:
    withheld = frozenset(registry for consumer in alive for registry, _, _ in _withheld(observed, consumer))
    if any(consumer.hidden for consumer in alive):
        detail, hint = _holds(observed, alive)
        return _verdict("held", observed, alive, detail, hint=hint, withheld=withheld)
    for consumer in alive:
        for registry, project, reason in _withheld(observed, consumer):
            detail = f"project {project} is held back from {registry}: {reason}{_not_known(observed)}"
            hint = "fix the project's row in CMP"
            return _verdict("quarantined", observed, alive, detail, hint=hint, withheld=withheld)
    return _verdict("published", observed, alive, "the registries hold it")


def _holds(observed: Observation, alive: Sequence[Consumer]) -> tuple[str, str]:
    """Return what is held and why, and the remedies. Registries with the same reason are named together."""
    together: dict[str, list[str]] = {}
    hints: dict[str, None] = {}
    for consumer in alive:
        host = f" on {consumer.name}" if len(alive) > 1 else ""
        for registry in consumer.hidden:
            held = consumer.held[registry]
            why = f"held{host}: {held['reason']}{_not_known(observed, consumer.delivery)}"
            together.setdefault(why, []).append(registry)
            hints[held["hint"]] = None
    detail = "; ".join(
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {why}" for why, names in together.items()
    )
    return detail, "; ".join(hints)


def _not_known(observed: Observation, delivery: Delivery | None = None) -> str:
    """Return a remark for the detail if the log no longer holds the transaction's changes; else empty text.

    The verdict is then about the registries as they are now.
    """
    if observed.transaction is None or not observed.transaction.pruned or delivery is not None:
        return ""
    return f" (the log no longer holds what transaction {observed.token} changed: it may be this)"


def _withheld(observed: Observation, consumer: Consumer) -> Iterator[tuple[str, str, str]]:
    """Yield registry, project and reason for everything that the wait is for and the consumer's files lack.

    The project is empty text if the whole registry is held.
    """
    yield from ((registry, "", consumer.held[registry]["reason"]) for registry in consumer.hidden)
    for registry, held_back in consumer.quarantined.items():
        for project in sorted(_concerned(observed, held_back)):
            yield registry, project, held_back[project]


def _concerned(observed: Observation, projects: Iterable[str]) -> set[str]:
    """Return those of `projects` that the wait concerns. A barrier without projects concerns all.

    Of a transaction, the database has selected them: they need not be its own keys, where tables are joined.
    """
    if observed.transaction is None and observed.projects is not None:
        return set(projects) & set(observed.projects)
    return set(projects)


def _verdict(
    status: Status,
    observed: Observation,
    alive: Sequence[Consumer],
    detail: str,
    *,
    hint: str = "",
    withheld: frozenset[str] = frozenset(),
) -> Verdict:
    hosts = tuple(arrivals(alive, observed.transaction.at if observed.transaction else observed.at))
    return Verdict(
        status, detail, hint, observed.token,
        max((it.generation for it in hosts if it.generation is not None), default=None),
        max((it.milliseconds for it in hosts if it.milliseconds is not None), default=None),
        tuple(dict.fromkeys(name for it in hosts for name in it.registries)),
        tuple(consumer.name for consumer in alive),
        withheld=withheld, hosts=hosts,
    )  # fmt: skip
