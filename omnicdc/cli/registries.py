"""The commands about registries and sources: `registries`, `check-config`, `source`."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering, Group
from omnicdc.cli.output import answer, say, table
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.capture.watch_list import Watch
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config
    from omnicdc.db import Connection
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables


@click.command(cls=Answering)
@options.registries
@options.output
def registries(*, output: Output, **given: Any) -> None:
    """List the registries: file, sources, what is watched, format, number of entries, and state.

    Count and state are those that the daemon of this host (see --consumer) acknowledged last.
    """
    from omnicdc import db
    from omnicdc.capture.watch_list import derive
    from omnicdc.registries.catalog import registries as catalog

    config = options.load(given)
    scanners = catalog(config)
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        with db.translated("listing the registries"), db.confined(conn):
            consumers = {row["name"]: row for row in db.fetch_all(conn, "status_consumers")}
            keys = {row["name"]: row["key_column"] for row in db.fetch_all(conn, "sources")}
    found = _listed(scanners, derive(scanners.values()), consumers.get(config.consumer))
    for one in found:
        scanner = scanners[one["name"]]
        if not scanner.builtin and keys.get(scanner.source, scanner.main_column) != scanner.main_column:
            one["scan"] = "full"

    def text() -> None:
        rows = [(one["name"], PurePath(one["path"]).name, one["count"], one["state"]) for one in found]
        table(["registry", "file", "entries", "state"], rows, firm=["registry", "file", "entries"])

    def wide() -> None:
        rows = [
            (
                one["name"], one["path"], ", ".join(one["sources"]), one["format"], one["scan"], one["count"],
                one["state"],
            )
            for one in found
        ]  # fmt: skip
        table(["registry", "file", "sources", "format", "scan", "entries", "state"], rows, wide=True)

    answer({"registries": found}, output, wide if output == "wide" else text)


def _listed(
    scanners: Mapping[str, Scanner], watch: Watch, consumer: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    entries = {entry["name"]: entry for entry in (consumer or {}).get("registries", {}).values()}
    return [
        {
            "name": name,
            "path": scanner.path,
            "sources": {source: sorted(fields) for source, fields in watch.by_scanner[name].items()},
            "format": scanner.format,
            "scan": "targeted" if scanner.targeted else "full",
            "count": entries.get(scanner.registry, {}).get("count"),
            "state": _state(scanner.registry, consumer, served=scanner.registry in entries),
        }
        for name, scanner in scanners.items()
    ]


def _state(registry: str, consumer: Mapping[str, Any] | None, *, served: bool) -> str:
    """Return the state of a registry in one line."""
    if consumer is None:
        return "not published: no daemon of this host has run"
    for state in ("held", "unused"):
        if (why := consumer[state].get(registry)) is not None:
            return f"{'held' if state == 'held' else 'not published'}: {why['reason']} - {why['hint']}"
    if not served:
        return "not published: the daemon runs with another configuration - `systemctl reload omnicdc`"
    quarantined = consumer["quarantined_counts"].get(registry)
    return f"published, {quarantined} held back" if quarantined else "published"


@click.command("check-config", cls=Answering)
@options.registries
@click.option("--offline", is_flag=True, help="Do not connect to CMP: only read the configuration.")
@options.output
def check_config(*, offline: bool, output: Output, **given: Any) -> None:
    """Read the configuration, try each registry's query in CMP, and show what would be watched.

    Nothing is changed. Exit status 0 if all is well, 1 if a query fails in CMP, 2 if the configuration has a
    fault.
    """
    from omnicdc.capture.watch_list import derive
    from omnicdc.registries.catalog import registries as catalog

    config = options.load(given)
    scanners = catalog(config)
    watch = derive(scanners.values())
    faults, full = ({}, set[str]()) if offline else _tried(config, scanners)
    result = {
        "good": not faults,
        "faults": faults,
        "watched": {source: list(watch.fields_of(source)) for source in watch.sources},
        "registries": [one["name"] for one in _listed(scanners, watch, None)],
    }

    def text() -> None:
        for name, scanner in scanners.items():
            reads = ", ".join(f"{it} ({', '.join(watch.fields_of(it))})" for it in scanner.sources)
            scan = "; each change scans everything" if name in full or not scanner.targeted else ""
            fault = faults.get(name)
            say(f"{name}: {scanner.path} from {reads}{scan}", good=fault is None)
            if fault:
                say(f"  {fault}")

    answer(result, output, text)
    sys.exit(NO if faults else YES)


def _tried(config: Config, scanners: Mapping[str, Scanner]) -> tuple[dict[str, str], set[str]]:
    """Run each query without reading a row.

    Return scanner to fault, and the scanners whose first column is not the key by which changes are logged.
    """
    from omnicdc import db
    from omnicdc.errors import RegistryError
    from omnicdc.registries.functions import function_fault
    from omnicdc.registries.rows import select
    from omnicdc.registries.tables import find_tables, used

    faults: dict[str, str] = {}
    full: set[str] = set()
    with db.connect(config.target) as conn:
        tables = find_tables(conn, config, scanners.values())
        with db.one_snapshot(conn):
            for name, scanner in used(scanners, tables).items():
                try:
                    select(conn, scanner, tables, ())
                except RegistryError as exc:
                    faults[name] = str(exc)
                    continue
                if fault := function_fault(conn, scanner.functions):
                    faults[name] = f"{fault.reason} - {fault.hint}"
                if not scanner.builtin:
                    uncaptured, is_full = _capture(conn, scanner, tables)
                    full |= {name} if is_full else set()
                    faults |= {name: uncaptured} if uncaptured else {}
    return faults, full


def _capture(conn: Connection, scanner: Scanner, tables: Tables) -> tuple[str, bool]:
    """Return why a table of a scanner cannot be captured, and whether each change scans everything."""
    from omnicdc import db
    from omnicdc.registries.tables import qualified

    full = False
    for source in scanner.sources:
        name = tables[source]
        facts = db.fetch_one(conn, "table_facts", {"table": qualified(name).as_string(conn)})
        if not facts["ordinary"]:
            return f"{name} is no table: read the tables that it consists of", full
        if not facts["keyed"]:
            return f"table {name} has no primary key - `alter table {name} add primary key (COLUMN)`", full
        if facts["secured"]:
            return f"table {name} has row-level security, which may hide rows: read another table", full
        if twin := next((it for it, table in tables.items() if table == name and it != source), None):
            return f"{source} and {twin} are the same table, {name}: use one name in all queries", full
        full |= source == scanner.source and facts["key_column"] != scanner.main_column
    return "", full


@click.group(cls=Group)
def source() -> None:
    """List the sources: CMP's tables whose changes are captured. Or end the capture of one."""


@source.command("list")
@options.connection
@options.output
def list_(*, output: Output, **given: Any) -> None:
    """List the sources, their tables, and what is watched of each."""
    from omnicdc import db
    from omnicdc.capture.fingerprint import installed_sources

    config = options.load(given)
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        with db.translated("listing the sources"), db.confined(conn):
            found = [
                {"name": name, "table": row["target"], "key": row["key_column"], "watched": row["watched"]}
                for name, row in installed_sources(conn).items()
            ]

    def text() -> None:
        rows = [(one["name"], one["table"], one["key"] or "-", ", ".join(one["watched"])) for one in found]
        table(["source", "table", "key", "watched"], rows, firm=["source", "key"], wide=output == "wide")

    answer({"sources": found}, output, text)


@source.command()
@options.connection
@click.argument("name")
@options.output
def release(*, name: str, output: Output, **given: Any) -> None:
    """End the capture of a source: remove its triggers, and omnicdc's right to read its table.

    Do this when no registry host reads the source any more: a host that still does holds its registries, and
    without `projects` no daemon serves. Run it as a superuser, or as the role that installed omnicdc and owns
    the table.
    """
    from omnicdc import db
    from omnicdc.capture.install import release as release_source

    config = options.load(given)
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        if not release_source(conn, name):
            raise ConfigError(f"no source is named {name!r}", hint="see `omnicdc source list`")
    answer({"released": name}, output, lambda: say(f"released: {name}", good=True))
