"""Verifies that each registry has exactly the entries that it should have. `project` verifies one project.

Each registry is rendered from CMP, as the daemon does it. A file is parsed only if its bytes differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.errors import ConfigError, RegistryError
from omnicdc.files.contents import content
from omnicdc.filesystem.atomic import no_observer
from omnicdc.formats.item import is_certain
from omnicdc.model import ALL
from omnicdc.registries.gc_pause import without_garbage_collection
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import readable
from omnicdc.verify.difference import EntryDifference, RegistryDifference, differences
from omnicdc.verify.holds import read_captured, read_holds
from omnicdc.verify.host import Host
from omnicdc.verify.report import WAIT, AllReport, RegistryReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from omnicdc.config.settings import Config
    from omnicdc.db import Connection
    from omnicdc.formats.layout import Layout
    from omnicdc.model import Inputs
    from omnicdc.registries.scanner import Scanner

FIX_ROW = "fix the rows in CMP that cannot be shown"


def verify_all(
    conn: Connection,
    config: Config,
    inputs: Inputs,
    inputs_known: bool,
    progress: Callable[[str], None] = no_observer,
) -> AllReport:
    """Compare every registry with CMP, in one snapshot. This writes nothing; a repeat compares again.

    The daemon may publish during the comparison. So registries that differ are compared a second time, and
    only entries that differ both times are reported. `progress` is called with the name of each scanner.
    Raises ConfigError if the root is not a directory, SchemaMismatch if the role may read none of CMP's
    tables, and DatabaseUnavailable. An error of one registry is in its report.
    """
    compared = compare_all(conn, config, inputs, inputs_known, progress)
    return AllReport(tuple(it.report for it in compared.values()), inputs_known)


def verify_registry(
    conn: Connection, config: Config, inputs: Inputs, inputs_known: bool, name: str
) -> RegistryReport:
    """As `verify_all`, for the registry of one scanner. Raises ConfigError if CMP lacks a table of it."""
    host = Host.of(conn, config, inputs, inputs_known)
    if name not in host.scanners:
        raise ConfigError(f"the registry of {name!r} is not published: CMP lacks a table that it reads")
    return compare_all(conn, config, inputs, inputs_known, only=name)[name].report


@dataclass(frozen=True, slots=True)
class Compared:
    """One registry as it should be, and the result of its comparison."""

    registry: Projection
    report: RegistryReport
    present: bool
    """True if the file exists."""


def compare_all(
    conn: Connection,
    config: Config,
    inputs: Inputs,
    inputs_known: bool,
    progress: Callable[[str], None] = no_observer,
    *,
    only: str | None = None,
) -> dict[str, Compared]:
    """As `verify_all`, but return scanner to result, which includes the registry as it should be.

    `only` is the scanner of the one registry to compare; None for all.
    """
    host = Host.of(conn, config, inputs, inputs_known)
    found = _compare_registries(conn, host, host.scanners if only is None else [only], progress)
    for name in host.every.keys() - host.scanners.keys():
        progress(name)
    if all(it.report.difference is None for it in found.values()):
        host.require_readable(conn)
    differing = [name for name, it in found.items() if not it.report.good]
    if differing:
        again = _compare_registries(conn, host, differing, progress)
        found |= {
            name: replace(it, report=_in_both(found[name].report, it.report)) for name, it in again.items()
        }
        holds, captured = read_holds(conn, config), read_captured(conn)
        for name, it in found.items():
            lacking = [] if captured is None else sorted({*host.every[name].sources} - captured)
            report = it.report.with_hold(holds.get(it.report.registry)).with_uncaptured(lacking)
            found[name] = replace(it, report=report)
    return found


def _compare_registries(
    conn: Connection, host: Host, names: Iterable[str], progress: Callable[[str], None]
) -> dict[str, Compared]:
    found = {}
    with db.one_snapshot(conn), without_garbage_collection():
        for name in names:
            progress(name)
            found[name] = _compare(conn, host, host.every[name])
    return found


def _compare(conn: Connection, host: Host, scanner: Scanner) -> Compared:
    registry, path = Projection(scanner, host.inputs), host.root / scanner.path
    try:
        registry.rebuild(*readable(conn, scanner, host.tables, ALL))
    except RegistryError as exc:
        unreadable = RegistryReport(scanner.name, path.name, "unreadable", exc.message, exc.hint)
        return Compared(registry, unreadable, present=True)
    return compare(registry, path, host.inputs_known)


def compare(registry: Projection, path: Path, inputs_known: bool) -> Compared:
    """Compare a registry that was rendered from CMP with its file, which may be written meanwhile."""
    blank = RegistryReport(registry.scanner.name, path.name, "unreadable")
    try:
        data = content(path)
        found = differences(registry, data)
    except RegistryError as exc:
        return Compared(registry, replace(blank, detail=exc.message, hint=exc.hint), present=True)
    found = found if inputs_known else _without_inputs(found, registry.scanner.layout)
    held = registry.quarantined | registry.unreadable
    judged = _with_status(replace(blank, difference=found, held=held), found)
    return Compared(registry, judged, present=data is not None)


def _with_status(report: RegistryReport, found: RegistryDifference) -> RegistryReport:
    if found.fault:
        return replace(report, status="unreadable", detail=found.fault.reason, hint=found.fault.hint)
    if found.entries or found.header:
        kinds = {"missing": found.added, "stale": found.changed, "unexpected": found.removed}
        reasons = [f"{len(entries)} {kind}" for kind, entries in kinds.items() if entries]
        reasons += [f"header: {', '.join(found.header)}"] if found.header else []
        return replace(report, status="differs", detail="; ".join(reasons), hint=WAIT)
    detail = f"{len(report.held)} held back" if report.held else ""
    if not detail and found.rewritten:
        detail = "right, but in another order or layout than omnicdc's"
    return replace(report, status="current", detail=detail, hint=FIX_ROW if report.held else "")


def _in_both(first: RegistryReport, second: RegistryReport) -> RegistryReport:
    """Return the second report, reduced to the differences that the first report has too."""
    before, now = first.difference, second.difference
    if before is None or now is None or before.fault or now.fault:
        return second
    entry_keys = {entry.entry_key for entry in before.entries}
    entries = tuple(entry for entry in now.entries if entry.entry_key in entry_keys)
    header = {name: pair for name, pair in now.header.items() if name in before.header}
    rewritten = bool(entries or header) or (
        before.rewritten and not (now.entries or now.header) and now.rewritten
    )
    in_both = replace(now, entries=entries, header=header, rewritten=rewritten)
    return _with_status(replace(second, difference=in_both), in_both)


def _without_inputs(found: RegistryDifference, layout: Layout) -> RegistryDifference:
    """Remove the differences that may exist only because the inputs are not known here."""
    if not layout.of_inputs("visibility"):
        return found
    entries = tuple(entry for entry in found.entries if _is_certain(entry, layout))
    return replace(found, entries=entries, header={}, rewritten=bool(entries or found.fault))


def _is_certain(entry: EntryDifference, layout: Layout) -> bool:
    if entry.expected and entry.found:
        return not all(
            layout.of_inputs(name) and not is_certain(name, pair[0]) for name, pair in entry.fields.items()
        )
    return entry.found is None or bool(entry.found.item.projects)
