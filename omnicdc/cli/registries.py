"""The commands about registries and sources: `registries`, `check-config`, `source`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import Answering, Group
from omnicdc.cli.output import answer, say, table
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.capture.watch_list import Watch
    from omnicdc.cli.output import Output
    from omnicdc.registries.scanner import Scanner


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
        rows = [
            (one["name"], PurePath(one["path"]).name, one["count"], one["state"].partition(": ")[0])
            for one in found
        ]
        table(["registry", "file", "entries", "state"], rows)
        for one in found:
            if ": " in one["state"]:
                say(f"{one['name']}: {one['state']}", good=False if one["state"].startswith("held") else None)

    def wide() -> None:
        rows = [
            (
                one["name"], one["path"], ", ".join(one["sources"]), one["format"], one["scan"], one["count"],
                one["state"],
            )
            for one in found
        ]  # fmt: skip
        table(["registry", "file", "sources", "format", "scan", "entries", "state"], rows)

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
        table(["source", "table", "key", "watched"], rows, firm=["source", "key"])

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
