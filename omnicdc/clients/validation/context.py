"""What the checks look at. It is read once, and passed to every check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.clients.migration.facts import Facts
    from omnicdc.inputs.reading import Named
    from omnicdc.model import Inputs
    from omnicdc.verify.audit import Compared


@dataclass(frozen=True, slots=True)
class Content:
    """What one registry file of projects shows."""

    registry: str
    is_mirror: bool
    """True if it should show every project."""
    urls: Mapping[str, str]
    """Project to the URL key that the file shows; empty for none."""


@dataclass(frozen=True, slots=True)
class Files:
    """What the files of this host say."""

    inputs: Inputs
    compared: Mapping[str, Compared]
    """Scanner to its registry as it should be, and the comparison with the file."""
    overrides: tuple[Named, ...] = ()
    exclusions: tuple[Named, ...] = ()
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Path of a clone's manifest to its content."""
    contents: Mapping[str, Content] = field(default_factory=dict)
    """Scanner to what its file shows, of the registries of projects whose files can be read."""
    missing_paths: frozenset[str] = frozenset()
    """The `local_paths` that do not exist on this host."""


@dataclass(frozen=True, slots=True)
class Context:
    """CMP, the files of this host if it is a registry host, and the faults that `omnicdc status` shows."""

    projects: Mapping[str, Facts]
    agents: frozenset[str]
    """The ids of the agents, if CMP has that table."""
    faults: tuple[str, ...]
    statuses: frozenset[str]
    types: frozenset[str]
    files: Files | None = None
