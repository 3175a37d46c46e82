"""Verifies one project in every registry. It trusts only CMP and the files, and needs no daemon.

`audit` verifies all projects at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.errors import ConfigError, RegistryError
from omnicdc.files.contents import Contents, read_contents
from omnicdc.files.manifest import read_manifest
from omnicdc.formats.item import ABSENT, Item, compare, is_certain
from omnicdc.registries.catalog import registries
from omnicdc.registries.scanners import scanners
from omnicdc.verify.expectation import Expectation, expect, is_uuid, quarantine_fault
from omnicdc.verify.holds import read_holds
from omnicdc.verify.host import Host
from omnicdc.verify.report import WAIT, Check, Report, Status, report_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from omnicdc.config.settings import Config
    from omnicdc.db import Connection
    from omnicdc.formats.item import Differences
    from omnicdc.formats.layout import Layout
    from omnicdc.model import Inputs, Published

__all__ = [
    "check_absent", "check_present", "genesis_names", "known_inputs", "quarantine_fault", "registry_names",
    "verify_project",
]  # fmt: skip


def verify_project(conn: Connection, config: Config, inputs: Inputs, inputs_known: bool, uuid: str) -> Report:
    """Compare the files with CMP for one project, or another key. Writes nothing; a repeat compares again.

    If the result is not good and a file was replaced meanwhile, the comparison is repeated once. Raises
    ConfigError if `uuid` is not a UUID or the root is not a directory, SchemaMismatch if the role may read
    none of CMP's tables, and DatabaseUnavailable. An error of one registry is in its check.
    """
    report, _ = examine_project(conn, config, inputs, inputs_known, uuid)
    return report if report.verified else report.with_holds(read_holds(conn, config))


def examine_project(
    conn: Connection, config: Config, inputs: Inputs, inputs_known: bool, uuid: str
) -> tuple[Report, Mapping[str, Expectation]]:
    """As `verify_project`, without what is held; also return scanner to what CMP requires of its registry."""
    host = Host.of(conn, config, inputs, inputs_known)
    project = _canonical(uuid, host)
    before = _signatures(host)
    found = _examine_once(conn, host, project)
    if found[0].in_cmp is None:
        host.require_readable(conn)
    if found[0].verified or before == _signatures(host):
        return found
    return _examine_once(conn, host, project)


UNKNOWN_INPUTS = "the inputs that the daemon saved cannot be read, or none are saved yet"
"""Why inputs are not complete."""


def known_inputs(config: Config) -> tuple[Inputs, bool]:
    """Return the inputs that the daemon saved, with the present clones, and whether they are complete.

    They are not complete if there are no saved inputs that can be read, or if a workspace does not answer.
    """
    # Imported here, because a caller that has its own inputs does not need these modules.
    from omnicdc.inputs import workspaces  # noqa: PLC0415
    from omnicdc.inputs.parts import InputSettings  # noqa: PLC0415
    from omnicdc.inputs.read_only import read_now  # noqa: PLC0415

    settings = InputSettings.of(config)
    inputs, answered = read_now(settings)
    return inputs, answered and workspaces.load(settings.state_dir, settings.roots) is not None


def registry_names(config: Config) -> Mapping[str, str]:
    """Return the name of each scanner's file. Raises ConfigError for a registry that cannot be."""
    return {name: scanner.registry for name, scanner in registries(config).items()}


def genesis_names() -> Mapping[str, str]:
    """Return Genesis's name of a scanner to the name of its file, for the scanners that have such a name."""
    return {it.genesis_name: it.registry for it in scanners().values() if it.genesis_name}


def _canonical(text: str, host: Host) -> str:
    """Return a key as PostgreSQL writes it. Raises ConfigError if no registry can have such a key."""
    if is_uuid(text):
        return text.strip().lower()
    if all(scanner.builtin for scanner in host.scanners.values()):
        raise ConfigError(
            f"not a UUID: {text!r:.100}", hint="8-4-4-4-12 hexadecimal digits, as in CMP's column id"
        )
    return text


def _signatures(host: Host) -> Sequence[object]:
    """Return a value that changes if any registry file is replaced or written."""
    return [_signature(host.root / scanner.path) for scanner in host.scanners.values()]


def _signature(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as exc:
        return exc.errno
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _examine_once(conn: Connection, host: Host, project: str) -> tuple[Report, Mapping[str, Expectation]]:
    manifest = read_manifest(host.root)
    published = manifest.registries if manifest else {}
    files = {
        name: _File(host.root / scanner.path, scanner.layout, published.get(scanner.path))
        for name, scanner in host.scanners.items()
    }
    # Hashing the files and querying CMP take about equally long, and both release Python's interpreter lock.
    with ThreadPoolExecutor() as pool:
        searches = {name: pool.submit(file.search, [project.encode()]) for name, file in files.items()}
        with db.one_snapshot(conn):
            expected = {
                name: expect(conn, scanner, host.tables, host.inputs, project)
                for name, scanner in host.scanners.items()
            }
    known = {it.scanner.name: it.in_cmp for it in expected.values()}
    if any(known.values()):
        expected = {name: it.filtered() if it.in_cmp is False else it for name, it in expected.items()}
    checks = [
        _check(files[name], searches[name], it, project, host.inputs_known) for name, it in expected.items()
    ]
    name = next((it.name for it in expected.values() if it.name is not None), None)
    return report_of(project, name, known, checks), expected


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    layout: Layout
    published: Published | None

    def search(self, needles: Sequence[bytes]) -> Contents | None:
        return read_contents(self.layout, self.path, self.published, needles)


def _check(
    file: _File, search: Future[Contents | None], expected: Expectation, project: str, inputs_known: bool
) -> Check:
    """Check the project in one file."""
    blank = Check(expected.scanner, "unreadable")
    try:
        contents = search.result()
        found = _find_entries(file, contents, expected, project)
    except RegistryError as exc:
        return replace(blank, detail=exc.message, hint=exc.hint)
    if expected.fault:
        status: Status = "unreadable" if expected.in_cmp is None else "missing"
        return replace(blank, status=status, detail=expected.fault.reason, hint=expected.fault.hint)
    if not expected.items:
        return check_absent(blank, expected.why, [item for item in found if project in item.projects])
    if contents is None:
        return replace(blank, status="missing", detail="the file does not exist", hint=WAIT)
    return check_present(blank, expected.layout, expected.items, found, inputs_known)


def _find_entries(
    file: _File, contents: Contents | None, expected: Expectation, project: str
) -> Sequence[Item]:
    """Return the entries that concern the project: those that name it, and the one that should name it."""
    needles = [project.encode()]
    keys = {item.entry_key for item in expected.items}
    found = contents.items(project, keys, needles) if contents else []
    if keys <= {item.entry_key for item in found}:
        return found
    if more := [needle for item in expected.items for needle in expected.layout.needles(item)]:
        needles += more
        contents = file.search(needles)
        found = contents.items(project, keys, needles) if contents else []
    return found


def check_absent(blank: Check, why: str, strays: Sequence[Item]) -> Check:
    """Check a registry that should not have the project. `strays` are its entries that name it."""
    if strays:
        return replace(blank, status="unexpected", detail=f"it is there, though {why}", hint=WAIT)
    return replace(blank, status="not_expected", detail=why)


def check_present(
    blank: Check, layout: Layout, wanted: Sequence[Item], found: Sequence[Item], inputs_known: bool
) -> Check:
    """Check a registry that should have the project as `wanted`, usually one entry.

    `found` are the entries of the registry that concern the project.
    """
    keys = {item.entry_key for item in wanted}
    here = [item for item in found if item.entry_key in keys]
    strays = [item.entry_key for item in found if item.entry_key not in keys]
    if not here:
        return replace(blank, status="missing", detail=_other_entries(strays) or "it has no entry", hint=WAIT)
    of_inputs = tuple(dict.fromkeys(name for item in wanted for name in _unknown(layout, item, inputs_known)))
    lacking, surplus = _unmatched(layout, wanted, here, inputs_known)
    pairs = [(ours, theirs) for ours in wanted for theirs in surplus if ours.entry_key == theirs.entry_key]
    differing = {
        name: pair
        for ours, theirs in pairs
        for name, pair in _compared(layout, ours, theirs, inputs_known).items()
    }
    if differing:
        blank = replace(
            blank, status="stale", detail=f"{', '.join(differing)}: not as CMP has it", differences=differing
        )
    elif strays:
        blank = replace(blank, status="unexpected", detail=_other_entries(strays))
    elif surplus:
        blank = replace(blank, status="unexpected", detail=f"it is there {len(here)} times")
    elif lacking:
        blank = replace(blank, status="stale", detail=f"{len(lacking)} of {len(wanted)} entries are missing")
    else:
        return replace(blank, status="current", not_compared=of_inputs)
    return replace(blank, hint=WAIT, not_compared=of_inputs)


def _unmatched(
    layout: Layout, wanted: Sequence[Item], here: Sequence[Item], inputs_known: bool
) -> tuple[list[Item], list[Item]]:
    """Return the wanted entries that the file lacks, and those of the file that equal no wanted one."""
    lacking, surplus = [*wanted], []
    for theirs in here:
        for ours in lacking:
            if ours.entry_key == theirs.entry_key and not _compared(layout, ours, theirs, inputs_known):
                lacking.remove(ours)
                break
        else:
            # An entry that does not show its key may be another one's: then it is there twice, and right.
            surplus += [theirs] if theirs.identified else []
    return lacking, surplus


def _unknown(layout: Layout, wanted: Item, inputs_known: bool) -> list[str]:
    """Return the fields whose value depends on inputs that are not known here."""
    return [
        name
        for name, value in wanted.fields.items()
        if not inputs_known and layout.of_inputs(name) and not is_certain(name, value)
    ]


def _compared(layout: Layout, ours: Item, theirs: Item, inputs_known: bool) -> Differences:
    """Return the fields that differ, without those that are not known here."""
    unknown = _unknown(layout, ours, inputs_known)
    return {
        name: pair
        for name, pair in compare(ours.fields, theirs.fields).items()
        if name not in unknown and not (not inputs_known and pair[0] is ABSENT and layout.of_inputs(name))
    }


def _other_entries(strays: Sequence[str]) -> str:
    return f"it is there, but of {', '.join(strays)}" if strays else ""
