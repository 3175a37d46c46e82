"""What changed among the projects that are held back.

What is logged and stored, in place of all of them each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger()

LISTED = 100
"""How many projects of a registry the acknowledgement lists, and how many lines a generation logs of each
registry."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one registry: what is held back now, or for another reason than before, and what no longer is."""

    registry: str
    entered: Mapping[str, str]
    left: tuple[str, ...]


def differences(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> list[Difference]:
    """Return what differs, by registry; registries in which nothing does are left out."""
    found = []
    for registry in sorted({*before, *now}):
        old, new = before.get(registry, {}), now.get(registry, {})
        if old is new:
            continue
        entered = {project: reason for project, reason in new.items() if old.get(project) != reason}
        left = tuple(project for project in old if project not in new)
        if entered or left:
            found.append(Difference(registry, entered, left))
    return found


def listed(quarantine: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return at most so many projects of each registry."""
    return {registry: dict(islice(held.items(), LISTED)) for registry, held in quarantine.items()}


def say(difference: Difference) -> None:
    """Log one line for each project that entered, got another reason, or left.

    Beyond a bound, their number.
    """
    registry = difference.registry
    for project, reason in islice(difference.entered.items(), LISTED):
        log.warning("quarantined", registry=registry, project=project, reason=reason)
    for project in difference.left[:LISTED]:
        log.info("quarantine_released", registry=registry, project=project)
    entered, left = (max(0, len(them) - LISTED) for them in (difference.entered, difference.left))
    if entered or left:
        log.warning(
            "quarantine_truncated",
            registry=registry,
            entered=entered,
            left=left,
            hint="see table omnicdc.quarantine",
        )
