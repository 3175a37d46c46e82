"""The nouns that travel through the pipeline, all frozen. No module below, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

HEARTBEAT_S = 60.0
"""How often a consumer with nothing to publish writes its row."""

ALL = None
"""In place of a set of ids: all projects."""

NO_IDS: frozenset[str] = frozenset()

Ids = frozenset[str] | None
"""Of projects."""

Work = dict[str, Ids]
"""Scanner to the ids of the projects it must look at; ALL for all of them."""


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Change:
    """All changes of one kind in a reading: which projects to look at, not what they hold.

    `projects` is None when the log could not tell (truncate, or a table whose id column is gone), or
    they are too many to be named: then every project is meant. `fields` is None when the whole row is meant.
    """

    op: str
    fields: tuple[str, ...] | None
    projects: Sequence[str] | None
    rows: int = 1
    """How many rows of the log."""


class Entry(NamedTuple):
    """One project (or repository) in one registry: where it sorts, its bytes, what it counts for."""

    sort: tuple[str, str]
    data: bytes
    counters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds the entries. Every entry's bytes end with `separator`; the file's last drops it."""

    header: bytes
    footer: bytes
    separator: bytes = b""


@dataclass(frozen=True, slots=True)
class Override:
    """What a person wrote about one project; empty or None where they wrote nothing."""

    local_paths: tuple[str, ...] = ()
    notes: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything besides CMP's rows that the registries depend on, at one moment.

    All mappings but `heart` are by URL key (`omnicdc.inputs.url_key`); `heart` is by the clone's
    absolute path in lower case. `excluded` holds bare repository names (no slash: any owner)
    and `owner/name`, in lower case. `repositories` holds one inventory element a repository,
    as GitHub or the adopted inventory gave it, unknown fields included.
    """

    overrides: Mapping[str, Override] = field(default_factory=_empty)
    excluded: frozenset[str] = frozenset()
    clones: Mapping[str, str] = field(default_factory=_empty)
    heart: Mapping[str, int] = field(default_factory=_empty)
    repositories: Mapping[str, Mapping[str, Any]] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something is held back, and the command that fixes it."""

    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """One registry file as it was put on disk: enough to know it again, and to count what it would lose."""

    count: int
    size: int
    mtime_ns: int
    inode: int
    stamp: str
    """The `generated_at` inside the file; empty where the registry has none."""
    blocks: tuple[tuple[int, str], ...]
    """Length in bytes and SHA-256 of each block, in order: the whole file."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What one cycle did: the log line, the row of `omnicdc.history` and the answer to whoever waits."""

    number: int
    snapshot: str
    changes: int
    projects: int | None
    """How many projects were looked at; None for all."""
    scanners: tuple[str, ...]
    registries: tuple[str, ...]
    """The registries whose files were rewritten."""
    held: Mapping[str, Fault]
    quarantined: Mapping[str, Mapping[str, str]]
    """Registry to project id to reason."""
    timings: Mapping[str, float]
    """Milliseconds spent in each stage."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """Snapshots and transaction ids mean something in one cluster, on one timeline only."""

    system_identifier: int
    timeline: int
