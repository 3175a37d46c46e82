"""Decides what is to be done about one registry's file; nothing else decides that. No I/O.

`registry_file` finds out what stands there, `publication` carries the decision out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from omnicdc.model import Fault


class Found(Enum):
    """What stands in a registry's place, by how it came there."""

    MISSING = auto()
    OURS = auto()
    """As omnicdc published it."""
    ANNOUNCED = auto()
    """Ours as well, but the manifest does not show it: the daemon that put it there was killed just then."""
    EDITED = auto()
    """Omnicdc published a file here, and this is another one."""
    FOREIGN = auto()
    """No manifest tells of a file here; another program's, or one from before omnicdc."""
    UNREADABLE = auto()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the registry should hold, compared with what there is."""

    entries: int
    replaced_entries: int
    """How many entries the published file has.

    If that is not known, how many the file had that was found at the start.
    """
    is_there: bool
    """Whether the file holds exactly this already."""
    is_published: bool = False
    """Whether this is what was last published, so that CMP gives no reason to write."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided, and what was accepted."""

    restore: bool = True
    """Whether an external change is undone at once (`on_drift: restore`), or when CMP changes (`alert`)."""
    guard_share: float = 0.5
    guard_min: int = 10
    accepted: bool = False
    """Whether the loss that the guard holds was accepted."""

    def loses_too_much(self, before: int, after: int) -> bool:
        """Whether the guard must hold.

        More than its share of the entries, and at least its number, would go at once.
        """
        lost = before - after
        return lost >= self.guard_min and lost > before * self.guard_share


class Keep:
    """The file is right: nothing is written."""


class Adopt:
    """The file is right, and not known: it is made durable and noted as published."""


class Write:
    """Replace what is there."""


class BackUpThenWrite:
    """Keep a copy of the external change, then replace it."""


class Tolerate:
    """Leave the external change where it is, with a copy, until CMP changes."""


@dataclass(frozen=True, slots=True)
class HoldFor:
    """Keep the last good file, for this reason."""

    fault: Fault
    by_guard: bool = False


Decision = Keep | Adopt | Write | BackUpThenWrite | Tolerate | HoldFor


def decide(wanted: Wanted, found: Found, policy: Policy, unreadable: Fault | None = None) -> Decision:
    """Return what is to be done; `unreadable` is the reason for Found.UNREADABLE."""
    if found is Found.UNREADABLE:
        return HoldFor(unreadable or Fault("its file cannot be read"))
    if wanted.is_there:
        return Keep() if found is Found.OURS else Adopt()
    if not policy.accepted and policy.loses_too_much(wanted.replaced_entries, wanted.entries):
        return HoldFor(_loss(wanted), by_guard=True)
    if found not in (Found.EDITED, Found.FOREIGN):
        return Write()
    if found is Found.EDITED and wanted.is_published and not policy.restore:
        return Tolerate()
    return BackUpThenWrite()


def _loss(wanted: Wanted) -> Fault:
    lost = wanted.replaced_entries - wanted.entries
    return Fault(
        f"it would lose {lost} of its {wanted.replaced_entries} entries at once",
        "look at CMP; if it is meant, run `omnicdc accept`",
    )
