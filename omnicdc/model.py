"""The data types that the steps of the pipeline pass to each other. All are immutable. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

HEARTBEAT_S = 60.0
"""Seconds between two heartbeats of a consumer that has nothing to publish."""

OVERDUE_S = 2.5 * HEARTBEAT_S
"""If the last heartbeat is older, the daemon is stopped or hangs, although its connection is still open."""

ALL = None
"""Stands for a set of all ids: all projects."""

NO_IDS: frozenset[str] = frozenset()

Ids = frozenset[str] | None
"""A set of project ids; ALL for all projects."""

Work = dict[str, Ids]
"""Scanner to the ids of the projects that it must scan."""


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Change:
    """All changes of one kind in a reading: which projects to scan, without their new values.

    `projects` is None for all projects: the log cannot name them (truncate, or a table without its id
    column), or they are too many. `fields` is None if any column may have changed.
    """

    op: str
    fields: tuple[str, ...] | None
    projects: Sequence[str] | None
    rows: int = 1
    """Number of rows in the log."""
    source: str | None = None
    """The source whose rows changed; None for a request, which concerns every source."""


class Entry(NamedTuple):
    """One project (or repository) in one registry: its sort key, its bytes, its share of the counters."""

    sort: tuple[str, str]
    data: bytes
    counters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds the entries. Each entry ends with `separator`, except the last entry of the file."""

    header: bytes
    footer: bytes
    separator: bytes = b""


@dataclass(frozen=True, slots=True)
class Override:
    """What the overrides file says about one project. A field that it does not set is empty or None."""

    local_paths: tuple[str, ...] = ()
    notes: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything besides CMP's rows that the registries depend on, at one moment.

    The keys of all mappings except `heart` are URL keys (`omnicdc.inputs.url_key`); the keys of
    `heart` are absolute paths of clones, in lower case. `excluded` holds repository names
    (without a slash, for any owner) and `owner/name`, in lower case. `repositories` holds one inventory
    element for each repository, as GitHub or the adopted inventory gave it, including unknown fields.
    """

    overrides: Mapping[str, Override] = field(default_factory=_empty)
    excluded: frozenset[str] = frozenset()
    clones: Mapping[str, str] = field(default_factory=_empty)
    heart: Mapping[str, int] = field(default_factory=_empty)
    repositories: Mapping[str, Mapping[str, Any]] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its reason, and the command that fixes it."""

    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """One published registry file: enough to recognise it, and to count the entries that it would lose."""

    count: int
    size: int
    mtime_ns: int
    inode: int
    stamp: str
    """The `generated_at` inside the file; empty if the registry has none."""
    blocks: tuple[tuple[int, str], ...]
    """Length in bytes and SHA-256 of each block, in order. Together the blocks are the whole file."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace context that a writer set for its changes (W3C Trace Context)."""

    traceparent: str
    written_at: float
    """When its first change was written, by this host's `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What one cycle did. It becomes the log line, the row of `omnicdc.history` and the answer to waits."""

    number: int
    snapshot: str
    changes: int
    projects: int | None
    """Number of projects that were scanned; None for all."""
    scanners: tuple[str, ...]
    registries: tuple[str, ...]
    """The registries whose files were rewritten."""
    postponed: tuple[str, ...]
    """The registries that the changes concern, and whose files show them only in a later generation."""
    held: Mapping[str, Fault]
    quarantined: Mapping[str, Mapping[str, str]]
    """Registry to project id to reason."""
    timings: Mapping[str, float]
    """Milliseconds spent in each stage."""
    at: datetime
    transactions: int = 0
    """How many transactions the changes belong to; 0 if they were not counted."""
    traces: tuple[Trace, ...] = ()
    """The traces of the changes, the oldest first; at most `capture.reader.MOST_TRACES`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifies a cluster and its timeline. Snapshots and transaction ids are valid only there."""

    system_identifier: int
    timeline: int
