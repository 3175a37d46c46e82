"""The data that one check of a wait reads from the database. `verdict` decides from this data alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from omnicdc.model import Fault

InputsState = Literal["current", "looking"]


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the database knows about the transaction that the wait is for."""

    status: str | None
    changes: int
    projects: tuple[str, ...]
    at: datetime | None
    pruned: bool
    everything: bool = False
    """Whether the transaction may have changed every project: by a rebuild request, a TRUNCATE, or a change
    of a row whose id could not be read."""

    @property
    def may_concern_all(self) -> bool:
        """Whether the transaction may have changed any project.

        This is also assumed after pruning, because its projects are no longer known then.
        """
        return self.everything or self.pruned

    @property
    def unnoted(self) -> bool:
        """Whether the log never had a row of this transaction: it has none now, and none was pruned."""
        return not self.changes and not self.pruned


@dataclass(frozen=True, slots=True)
class Delivery:
    """The first generation of one consumer that holds the transaction.

    There is none if an earlier generation, which is no longer known, may have held the transaction.
    """

    generation: int
    registries: tuple[str, ...]
    held: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Consumer:
    """One consumer, as its row and its lock in the database show it."""

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
    """Registries that are held now and whose files do not show the transaction."""
    pending: tuple[str, ...] = ()
    """Registries whose changes are postponed and whose files do not show the transaction yet."""
    verified: bool = True
    """Whether the consumer has read everything since the last change of the capture. If not, it may have
    missed changes."""
    expected: bool = True
    """Whether its last heartbeat is more recent than its consumer expiry."""
    inputs: InputsState | None = None
    """Whether its files also show all clones and GitHub's metadata; None if the consumer does not report
    it."""

    @property
    def has_unknown_file(self) -> bool:
        """Whether a registry is held and it is not known which snapshot its file shows."""
        return any(held.get("since") is None for held in self.held.values())


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that the verdict depends on, at one moment."""

    token: str | None
    """The transaction that the wait is for. For a barrier with projects: the last transaction that changed
    one of these projects."""
    transaction: Transaction | None
    """None for a barrier."""
    consumers: Sequence[Consumer]
    capture_fault: str | None
    capture_remedy: str = ""
    projects: tuple[str, ...] | None = None
    """The projects that a barrier concerns; None for all projects."""
    at: datetime | None = None
    """When one of these projects was last changed."""
    all_hosts: bool = False
    """Whether the wait includes hosts whose daemon is down."""
    no_writes: Fault | None = None
    """Why no daemon can serve; set only if no daemon is alive and the server takes no writes."""

    @property
    def open(self) -> bool:
        """Whether the transaction that the wait is for has not ended yet."""
        return self.transaction is not None and self.transaction.status == "in progress"

    @property
    def left_out(self) -> tuple[str, ...]:
        """Consumers that are expected, but whose daemon is down."""
        return tuple(one.name for one in self.consumers if one.expected and not one.alive)

    @property
    def inputs(self) -> InputsState | None:
        """The state of all live daemons' inputs together; None if no daemon reports it."""
        states = {one.inputs for one in self.consumers if one.alive and one.inputs is not None}
        return None if not states else "looking" if "looking" in states else "current"
