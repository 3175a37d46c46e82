"""What the checks look at. It is read once, and passed to every check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.clients.migration.facts import Facts
    from omnicdc.inputs.reading import Named
    from omnicdc.model import Fault, Inputs
    from omnicdc.verify.audit import Compared


@dataclass(frozen=True, slots=True)
class Held:
    """A registry that a consumer holds, or a project that it holds back from a registry."""

    consumer: str
    registry: str
    reason: str
    remedy: str = ""
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the database says about the capture and the consumers."""

    capture: Fault | None = None
    held: tuple[Held, ...] = ()
    quarantine: tuple[Held, ...] = ()
    others: tuple[str, ...] = ()
    """All other faults of `omnicdc status`."""


@dataclass(frozen=True, slots=True)
class Files:
    """What the files of this host say."""

    inputs: Inputs
    compared: Mapping[str, Compared]
    """Scanner to its registry as it should be, and the comparison with the file."""
    overrides: tuple[Named, ...] = ()
    exclusions: tuple[Named, ...] = ()
    manifests: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    """URL key of a clone to the path and the content of its manifest."""
    drifted: Mapping[str, str] = field(default_factory=dict)
    """The registries that another process changed since omnicdc published them, to their paths."""
    restores: bool = True
    """Whether the daemon restores them: the setting `on_drift`."""
    holds: Mapping[str, Fault] = field(default_factory=dict)
    """The registries that the daemon of this host holds: a rebuild does not write them."""
    missing_paths: frozenset[str] = frozenset()
    """The `local_paths` of overrides that do not exist on this host."""


@dataclass(frozen=True, slots=True)
class Context:
    """CMP, the files of this host if it is a registry host, and the state of the delivery."""

    projects: Mapping[str, Facts]
    keys: Mapping[str, str]
    """Project to its URL key; empty for none."""
    agents: frozenset[str]
    """The ids of the agents, if CMP has that table."""
    delivery: Delivery
    statuses: frozenset[str]
    types: frozenset[str]
    files: Files | None = None
