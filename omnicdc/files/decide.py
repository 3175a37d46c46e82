"""Decides what to do with one registry file. No other module decides this. No I/O.

`registry_file` classifies the file on disk. `publication` executes the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from omnicdc.model import Fault


class Found(Enum):
    """What is at the path of a registry file, by its origin."""

    MISSING = auto()
    OURS = auto()
    """The file is as omnicdc published it."""
    ANNOUNCED = auto()
    """omnicdc wrote the file, but the manifest does not list it: the daemon was killed in between."""
    EDITED = auto()
    """omnicdc published a file here, but this is a different one."""
    FOREIGN = auto()
    """The manifest lists no file here: it is from another program, or from before omnicdc."""
    UNREADABLE = auto()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The registry as it should be, compared with the file on disk."""

    entries: int
    replaced_entries: int
    """Number of entries of the published file, or, if that is not known, of the file found at the start."""
    is_there: bool
    """True if the file already holds exactly this."""
    is_published: bool = False
    """True if this is what was last published, so that no change of CMP asks for a write."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's settings, and whether a loss was accepted."""

    restore: bool = True
    """When an external change is undone. True: at once (`on_drift: restore`). False: when CMP changes."""
    guard_share: float = 0.5
    guard_min: int = 10
    accepted: bool = False
    """True if the operator accepted the loss that the guard holds."""

    def loses_too_much(self, before: int, after: int) -> bool:
        """Return True if the guard must hold the registry.

        It must if at least `guard_min` entries, and more than `guard_share` of all entries, would be lost at
        once.
        """
        lost = before - after
        return lost >= self.guard_min and lost > before * self.guard_share


class Keep:
    """The file is right. Write nothing."""


class Adopt:
    """The file is right, but not recorded. Sync it, and record it as published."""


class Write:
    """Replace the file."""


class BackUpThenWrite:
    """Back up the external change, then replace the file."""


class Tolerate:
    """Back up the external change, and leave it in the file until CMP changes."""


@dataclass(frozen=True, slots=True)
class HoldFor:
    """Hold the registry for this reason: its last good file stays."""

    fault: Fault
    by_guard: bool = False


Decision = Keep | Adopt | Write | BackUpThenWrite | Tolerate | HoldFor


def decide(wanted: Wanted, found: Found, policy: Policy, unreadable: Fault | None = None) -> Decision:
    """Return the decision. `unreadable` is the reason for Found.UNREADABLE."""
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
