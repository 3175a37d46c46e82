"""What stands against a plan: two projects that would be the same, and what people would lose. No I/O."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.clients.migration.facts import IDENTIFYING, Duplicate, by_value
from omnicdc.formats.urls import github, names_of, url_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from omnicdc.clients.migration.facts import Facts
    from omnicdc.inputs.reading import Named
    from omnicdc.model import Inputs

Kind = (
    Duplicate
    | Literal[
        "refused", "clone_has_old_url", "override_names_old_url", "exclusion_names_old_url",
        "override_masks_status", "github_metadata_lost", "guard",
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One conflict, or one loss, with what fixes it."""

    kind: Kind
    projects: tuple[str, ...]
    detail: str
    hint: str = ""
    where: str = ""
    """`FILE:LINE`, or the path of a clone; empty if it is in CMP."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "kind": self.kind,
            "projects": list(self.projects),
            "detail": self.detail,
            "where": self.where,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Host:
    """What the files of a registry host say about repositories. Elsewhere nothing of it is known."""

    inputs: Inputs
    overrides: tuple[Named, ...] = field(default=())
    exclusions: tuple[Named, ...] = field(default=())


def duplicates(before: Mapping[str, Facts], after: Mapping[str, Facts]) -> Iterator[Obstacle]:
    """Yield the names, keys and URLs that several projects would share, of which one is changed to it.

    `after` has the changed projects only.
    """
    everything = {**before, **after}
    for kind, what, of in IDENTIFYING:
        moved = {of(one) for uuid, one in after.items() if of(one) != of(before[uuid])}
        sharing = by_value(everything.values(), of)
        for value in sorted(sharing.keys() & moved):
            if len(projects := sharing[value]) > 1:
                yield Obstacle(
                    kind,
                    tuple(one.uuid for one in projects),
                    f"{len(projects)} projects would have the {what} {value}: "
                    + ", ".join(sorted(f"{one.name} ({one.uuid})" for one in projects)[:5]),
                    f"give them different {what}s, or accept {kind}",
                )


def losses(before: Mapping[str, Facts], after: Mapping[str, Facts], host: Host) -> Iterator[Obstacle]:
    """Yield what a host's files would no longer say about the changed projects, or still say wrongly."""
    kept = {url_key(one.github_url) for one in ({**before, **after}).values()}
    overrides, exclusions = _by_name(host.overrides), _by_name(host.exclusions)
    for uuid, one in after.items():
        old, new = url_key(before[uuid].github_url), url_key(one.github_url)
        if old and old not in kept:
            yield from _clone(one, old, host)
            yield from _named("override_names_old_url", one, old, overrides)
            yield from _named("exclusion_names_old_url", one, old, exclusions)
            yield from _metadata(one, old, host)
        status = (override := host.inputs.overrides.get(new)) and override.status
        if one.status != before[uuid].status and status and status != (one.status or "active"):
            yield Obstacle(
                "override_masks_status",
                (uuid,),
                f"{one.name}: an override says status {status}, so the project registry would not "
                f"show {one.status}",
                f"remove the line `status: {status}` from the override",
                # If a repository has several overrides, the last one counts.
                overrides[new][-1].where if new in overrides else "",
            )


def _by_name(entries: Iterable[Named]) -> dict[str, list[Named]]:
    found: dict[str, list[Named]] = {}
    for entry in entries:
        for name in dict.fromkeys(entry.names):
            found.setdefault(name, []).append(entry)
    return found


def _clone(one: Facts, old: str, host: Host) -> Iterator[Obstacle]:
    if clone := host.inputs.clones.get(old):
        to = f"remote set-url origin {shlex.quote(one.github_url)}" if one.github_url else ""
        yield Obstacle(
            "clone_has_old_url",
            (one.uuid,),
            f"{one.name}: the clone has the remote {old}, so the project would have no local path",
            f"git -C {shlex.quote(clone)} {to}" if to else "remove the clone, or keep the URL",
            clone,
        )


def _named(kind: Kind, one: Facts, old: str, entries: Mapping[str, Sequence[Named]]) -> Iterator[Obstacle]:
    new = url_key(one.github_url)
    line = f"github_url: {one.github_url}"
    if kind == "exclusion_names_old_url":
        line = f"repo: {'/'.join(github(new) or (new,))}"
    found = {entry.where: entry for name in dict.fromkeys(names_of(old)) for entry in entries.get(name, ())}
    for entry in found.values():
        if {*entry.names}.isdisjoint(names_of(new)):
            yield Obstacle(
                kind,
                (one.uuid,),
                f"{one.name}: the entry names {old}, so it would no longer apply",
                f"write `{line}` there" if new else "remove the entry, or keep the URL",
                entry.where,
            )


def _metadata(one: Facts, old: str, host: Host) -> Iterator[Obstacle]:
    known, new = host.inputs.repositories, url_key(one.github_url)
    if old in known and new not in known and github(new):
        yield Obstacle(
            "github_metadata_lost",
            (one.uuid,),
            f"{one.name}: GitHub's metadata is known of {old} and not of {new}",
            "it comes with the next `gh` refresh, if GitHub lists the repository there",
        )
