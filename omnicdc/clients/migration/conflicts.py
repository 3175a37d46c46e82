"""What stands against a plan: two projects that would be the same, and what people would lose. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.clients.migration.facts import IDENTIFYING, Duplicate, by_value
from omnicdc.formats.urls import github, names_of, url_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
    for uuid, one in after.items():
        old, new = url_key(before[uuid].github_url), url_key(one.github_url)
        if old and old not in kept:
            yield from _left_behind(one, old, host)
        override = host.inputs.overrides.get(new)
        if one.status != before[uuid].status and override and override.status not in (None, one.status):
            yield Obstacle(
                "override_masks_status",
                (uuid,),
                f"{one.name}: an override says status {override.status}, so the project registry would not "
                f"show {one.status}",
                "remove `status` from the override",
                _place(host.overrides, new),
            )


def _left_behind(one: Facts, old: str, host: Host) -> Iterator[Obstacle]:
    new_url, new = one.github_url or "", url_key(one.github_url)
    if clone := host.inputs.clones.get(old):
        yield Obstacle(
            "clone_has_old_url",
            (one.uuid,),
            f"{one.name}: the clone has the remote {old}, so the project would have no local path",
            f"git -C {clone} remote set-url origin {new_url}"
            if new_url
            else "remove the clone, or keep the URL",
            clone,
        )
    of_people: tuple[tuple[Kind, tuple[Named, ...]], ...] = (
        ("override_names_old_url", host.overrides),
        ("exclusion_names_old_url", host.exclusions),
    )
    for kind, entries in of_people:
        for entry in entries:
            named = {*entry.names}
            if not named.isdisjoint(names_of(old)) and named.isdisjoint(names_of(new)):
                yield Obstacle(
                    kind,
                    (one.uuid,),
                    f"{one.name}: the entry names {old}, so it would no longer apply",
                    f"name {new_url} there" if new_url else "remove the entry, or keep the URL",
                    entry.where,
                )
    known = host.inputs.repositories
    if old in known and new not in known and github(new):
        yield Obstacle(
            "github_metadata_lost",
            (one.uuid,),
            f"{one.name}: GitHub's metadata is known of {old} and not of {new}",
            "it comes with the next `gh` refresh, if GitHub lists the repository there",
        )


def _place(entries: Iterable[Named], key: str) -> str:
    """Return where the entry is that counts for a key: the last one."""
    return next((entry.where for entry in reversed([*entries]) if key in entry.names), "")
