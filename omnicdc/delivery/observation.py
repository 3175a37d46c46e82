"""What a wait reads from the database in one look. `verdict` decides from this alone."""

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
    """What the database knows of the transaction waited for."""

    status: str | None
    changes: int
    projects: tuple[str, ...]
    at: datetime | None
    pruned: bool
    everything: bool = False
    """True if it may have changed every project: a rebuild, a truncate, a row whose id could not be read."""

    @property
    def may_concern_all(self) -> bool:
        """Whether any project may be one that it changed.

        After pruning, its projects are not known any more.
        """
        return self.everything or self.pruned

    @property
    def unnoted(self) -> bool:
        """Whether the log has no row of it, and none was pruned."""
        return not self.changes and not self.pruned


@dataclass(frozen=True, slots=True)
class Delivery:
    """The generation of one consumer that first held the transaction.

    Only if no earlier one can have held it.
    """

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
    verified: bool = True
    """Whether everything was read since the capture was last altered.

    Before that, the consumer may have missed changes.
    """
    expected: bool = True
    """Whether it gave a sign of life within its limit of silence."""
    inputs: InputsState | None = None
    """Whether its files show all clones and GitHub's metadata as well; None if it does not tell."""

    @property
    def unread(self) -> bool:
        """Whether a registry that is held was not written since then."""
        return any(held.get("since") is None for held in self.held.values())


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that a decision depends on, at one moment. `transaction` is None for a barrier.

    `token` is the transaction waited for; of a barrier by name, the last one that changed these projects.
    """

    token: str | None
    transaction: Transaction | None
    consumers: Sequence[Consumer]
    capture_fault: str | None
    capture_remedy: str = ""
    projects: tuple[str, ...] | None = None
    """The projects that a barrier is about; None: all of them."""
    at: datetime | None = None
    """When these projects were changed last."""
    all_hosts: bool = False
    """Whether hosts that are down are waited for, too."""
    no_writes: Fault | None = None
    """Why no daemon can serve, if none is alive and the server takes no writes."""

    @property
    def open(self) -> bool:
        """Whether the transaction waited for has not ended yet."""
        return self.transaction is not None and self.transaction.status == "in progress"

    @property
    def left_out(self) -> tuple[str, ...]:
        """Hosts that are expected and down."""
        return tuple(one.name for one in self.consumers if one.expected and not one.alive)

    @property
    def inputs(self) -> InputsState | None:
        """What the live daemons tell of their inputs, taken together."""
        told = {one.inputs for one in self.consumers if one.alive and one.inputs is not None}
        return None if not told else "looking" if "looking" in told else "current"
