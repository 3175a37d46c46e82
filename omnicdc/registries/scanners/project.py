"""PROJECT_REGISTRY_V1.yaml: CMP's projects with the inputs of this host, as block style YAML."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from omnicdc.formats import projects
from omnicdc.formats.urls import is_excluded, url_key
from omnicdc.model import Entry, Override
from omnicdc.registries.origin import CONSTANT, Origin, of_cmp
from omnicdc.registries.scanner import Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.model import Frame, Inputs

_VISIBILITIES = frozenset({"PUBLIC", "PRIVATE", "INTERNAL"})
_NO_OVERRIDE = Override()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything that the inputs say about one project."""

    excluded: bool
    local_paths: tuple[str, ...]
    notes: str | None
    status: str | None
    visibility: str
    updated_at: str | None
    heart: int | None
    """Number of files that import the heart; None if the project is not connected."""


_UNKNOWN = tuple(Surroundings(excluded, (), None, None, "private", None, None) for excluded in (False, True))
"""For a project that no input knows: index 0 if it is not excluded, 1 if it is."""


class Project(Scanner):
    """Scanner `project`. It needs all inputs."""

    name = "project"
    path = "governance/registry/projects/PROJECT_REGISTRY_V1.yaml"
    check = "in_project_registry"
    genesis_name = "project_registry"
    rank = 20
    layout = projects.Items()
    query = """
        select id, name::text, key::text, type::text, status::text, metadata_ ->> 'github_url' as github_url,
               metadata_ ->> 'domain' as domain
          from {projects}
    """

    def key(self, row: Row) -> str:
        """Return the URL key."""
        return url_key(row[5])

    def inputs_for(self, inputs: Inputs, key: str) -> Surroundings:
        """Return what the inputs say about a URL key."""
        if not (key in inputs.overrides or key in inputs.repositories or key in inputs.clones):
            return _UNKNOWN[is_excluded(key, inputs.excluded)]
        override = inputs.overrides.get(key, _NO_OVERRIDE)
        repository = inputs.repositories.get(key, {})
        paths = override.local_paths or ((inputs.clones[key],) if key in inputs.clones else ())
        visibility, updated_at = repository.get("visibility"), repository.get("updatedAt")
        return Surroundings(
            excluded=is_excluded(key, inputs.excluded),
            local_paths=paths,
            notes=override.notes,
            status=override.status,
            visibility=visibility if visibility in _VISIBILITIES else "private",
            updated_at=updated_at if isinstance(updated_at, str) else None,
            heart=next((inputs.heart[path.lower()] for path in paths if path.lower() in inputs.heart), None),
        )

    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:
        """Return the project's entry; None if it is excluded."""
        [row] = rows
        _id, name, key, kind, status, github_url, domain = row
        if name is None:
            raise ValueError("its name is NULL")
        surroundings = self.inputs_for(inputs, self.key(row))
        if surroundings.excluded:
            return None
        status = surroundings.status or (status if status is not None else "active")
        data = projects.text(
            entry_key,
            name=name,
            key=key,
            github_url=github_url,
            local_paths=surroundings.local_paths,
            classification="project" if kind is None else kind.lower(),
            status=status,
            visibility=surroundings.visibility,
            updated_at=surroundings.updated_at,
            notes=surroundings.notes,
            heart=surroundings.heart,
            domain=domain,
        )
        connected = surroundings.heart is not None
        counters = _counters(
            status == "snapshot", bool(github_url), bool(surroundings.local_paths), connected
        )
        return Entry((name, entry_key), data, counters)

    def origins(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Mapping[str, Origin]:  # noqa: ARG002 - by the URL key
        """Return where each value comes from. People's overrides win over CMP and over the clones."""
        [row] = rows
        override = inputs.overrides.get(self.key(row), _NO_OVERRIDE)
        found = self.inputs_for(inputs, self.key(row))
        return {
            **_OF_CMP,
            "name": of_cmp("name" if row[2] is None else "key"),
            "classification": of_cmp("type") if row[3] is not None else _default("type"),
            "status": Origin("override", "status") if override.status
            else of_cmp("status") if row[4] is not None else _default("status"),
            "local_paths": Origin("override", "local_paths") if override.local_paths else Origin("clone"),
            "notes": Origin("override", "notes") if override.notes else Origin("omnicdc", "no override"),
            "visibility": Origin("repository", "visibility") if found.visibility in _VISIBILITIES
            else Origin("omnicdc", "the default, because GitHub's metadata is not known"),
            "updated_at": Origin("repository", "updatedAt"),
            "heart_connected": Origin("clone", "Python files that import the heart"),
            "heart_import_count": Origin("clone", "Python files that import the heart"),
        }  # fmt: skip

    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:
        """Return the header with the statistics."""
        return projects.frame(count, counters, stamp)


@cache
def _counters(snapshot: bool, on_github: bool, local: bool, connected: bool) -> tuple[int, ...]:
    return (
        int(on_github),
        0,
        int(not snapshot and local),
        int(not snapshot and not local and on_github),
        int(snapshot),
        int(not on_github),
        int(connected),
        int(not connected and local),
    )


def _default(column: str) -> Origin:
    return Origin("omnicdc", f"the default, because {column} is NULL in CMP")


_OF_CMP = {
    "uuid": of_cmp("id"),
    "display_name": of_cmp("name"),
    "github_url": of_cmp("metadata_.github_url"),
    "domain": of_cmp("metadata_.domain"),
    "origin": CONSTANT,
}

SCANNER = Project()
