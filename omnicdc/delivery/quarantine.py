"""Finds what changed in the quarantine, so that only the changes are logged and stored."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger()

LISTED = 100
"""The largest number of projects of one registry that an acknowledgement lists, and the largest number of
lines of each kind that one generation logs for one registry."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed in the quarantine of one registry."""

    registry: str
    entered: Mapping[str, str]
    """Projects that entered the quarantine, or are in it for another reason than before: id to reason."""
    left: tuple[str, ...]
    """Ids of the projects that left the quarantine."""


def differences(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> list[Difference]:
    """Return the differences, sorted by registry. Registries without a difference are left out."""
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
    """Return the quarantine, with at most LISTED projects of each registry."""
    return {registry: dict(islice(held.items(), LISTED)) for registry, held in quarantine.items()}


def log_difference(difference: Difference) -> None:
    """Log one line for each project that entered, got another reason, or left.

    Beyond LISTED projects, log only their number.
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
