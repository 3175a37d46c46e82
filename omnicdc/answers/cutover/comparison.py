"""Compares Omni's files below the root with what omnicdc would write there now. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from omnicdc import db, verify
from omnicdc.answers.cutover.rulings import Judgement, judge
from omnicdc.files.drift import signature, stamp_in
from omnicdc.files.manifest import is_published
from omnicdc.registries.catalog import registries
from omnicdc.verify.audit import compare_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from omnicdc.config.settings import Config
    from omnicdc.formats.layout import Layout
    from omnicdc.registries.scanner import Scanner
    from omnicdc.verify.audit import Compared

OMNIS = frozenset({"cmp_projects", "project", "git"})
"""The scanners that Omni has always had."""

LISTED = 20
"""At most so many differences without a known reason are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class RegistryComparison:
    """The comparison of one registry."""

    registry: str
    path: Path
    written_at: str | None
    """When Omni's scanner wrote the file, RFC 3339; None if there is no file."""
    entries: int
    equal: int
    judgement: Judgement
    fault: str = ""
    """Why the file or CMP cannot be read; then nothing was compared."""

    @property
    def explained(self) -> int:
        """The number of entries that differ, and whose every difference has a known reason."""
        unexplained = {it.entry_key for it in self.judgement.unexplained if it.kind != "only Omni"}
        return self.entries - self.equal - len(unexplained - {""})

    @property
    def agrees(self) -> bool:
        """Whether every difference has a known reason."""
        return not (self.fault or self.judgement.unexplained)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        rest = self.judgement.unexplained
        return {
            "registry": self.registry,
            "path": str(self.path),
            "written_at": self.written_at,
            "agrees": self.agrees,
            "fault": self.fault,
            "entries": self.entries,
            "equal": self.equal,
            "explained": dict(self.judgement.explained),
            "unexplained_count": len(rest),
            "unexplained": [
                {
                    "entry_key": it.entry_key,
                    "name": it.name,
                    "kind": it.kind,
                    "fields": {key: {"omnicdc": a, "omni": b} for key, (a, b) in it.fields.items()},
                }
                for it in islice(rest, LISTED)
            ],
        }


def published_by_omnicdc(root: Path, scanners: Mapping[str, Scanner]) -> bool:
    """Return True if each of Omni's files that is there was published by omnicdc: none is Omni's any more."""
    present = [it.path for name, it in scanners.items() if name in OMNIS and (root / it.path).exists()]
    return bool(present) and all(_is_ours(root, path) for path in present)


def compare(
    conn: db.Connection, config: Config, omnis: Path, progress: Callable[[str], None]
) -> list[RegistryComparison]:
    """Compare each built-in registry. Raises ConfigError without a root, and DatabaseUnavailable.

    `omnis` is the directory that has Omni's files: the root, or the copies that a switch has kept. A project
    that CMP changed after Omni's file was written is not counted against it, as far as the log still has the
    change.
    """
    live = replace(config, shadow=None)
    inputs, known = verify.known_inputs(live)
    root = omnis
    found = compare_all(conn, replace(live, root=omnis), inputs, known, progress)
    result = []
    for name, scanner in registries(live).items():
        if scanner.builtin and name in found:
            path = root / scanner.path
            written_at = _written_at(path, scanner.layout)
            changed = _changed_since(conn, scanner.source, written_at)
            ours = _is_ours(root, scanner.path)
            result.append(_comparison(name, path, written_at, found[name], changed=changed, ours=ours))
    return result


def _is_ours(root: Path, path: str) -> bool:
    now = signature(root / path)
    return now is not None and is_published(root, path, now)


def _comparison(
    name: str,
    path: Path,
    written_at: datetime | None,
    found: Compared,
    *,
    changed: frozenset[str],
    ours: bool,
) -> RegistryComparison:
    difference = found.report.difference
    at = written_at.isoformat() if written_at else None
    if not found.present and name in OMNIS:
        fault = f"there is no such file of Omni's at {path} - is `root` the directory that Omni writes into?"
        return RegistryComparison(path.name, path, at, 0, 0, Judgement({}, ()), fault)
    if found.present and name in OMNIS and ours:
        fault = f"omnicdc has published {path} itself - let Omni's scanner write it again"
        return RegistryComparison(path.name, path, at, 0, 0, Judgement({}, ()), fault)
    if found.present and (difference is None or difference.fault):
        fault = f"{found.report.detail} - let Omni's scanner write it again"
        return RegistryComparison(path.name, path, at, 0, 0, Judgement({}, ()), fault)
    if difference is None:
        return RegistryComparison(path.name, path, at, 0, 0, Judgement({}, ()), found.report.detail)
    judgement = judge(name, difference, present=found.present, changed=changed)
    equal = difference.expected - sum(1 for it in difference.entries if it.expected)
    return RegistryComparison(path.name, path, at, difference.expected, equal, judgement)


def _written_at(path: Path, layout: Layout) -> datetime | None:
    """Return the `generated_at` in the file, else its modification time; None if there is no file."""
    try:
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
    try:
        stamp = datetime.fromisoformat(stamp_in(path, layout))
    except ValueError:
        return changed
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)


def _changed_since(conn: db.Connection, source: str, at: datetime | None) -> frozenset[str]:
    if at is None:
        return frozenset()
    with db.translated("reading the log"), db.confined(conn):
        rows = db.fetch_all(conn, "keys_changed_since", {"source": source, "at": at})
    return frozenset(row["key"] for row in rows)
