"""Reads what the checks look at: CMP, and on a registry host its files."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc import db, verify
from omnicdc.clients.migration.rows import read_facts, read_table
from omnicdc.clients.validation.context import Content, Context, Files
from omnicdc.db import sql
from omnicdc.delivery.status import status
from omnicdc.files.contents import content
from omnicdc.formats.urls import url_key
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, qualified
from omnicdc.verify.audit import compare_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner

MANIFEST = ".genesis/PROJECT_MANIFEST.yaml"


def read_context(
    conn: db.Connection,
    config: Config,
    *,
    statuses: Iterable[str],
    types: Iterable[str],
    progress: Callable[[str], None],
) -> Context:
    """Read everything once. Raises ConfigError, DatabaseUnavailable and SchemaMismatch."""
    known = registries(config)
    tables = find_tables(conn, config, known.values())
    table = read_table(conn, tables["projects"])
    faults = status(conn, max_lag_s=config.max_lag_s)["faults"]
    with db.one_snapshot(conn):
        projects = read_facts(conn, table)
        agents = _ids(conn, tables.get("agents"))
    return Context(
        projects,
        agents,
        tuple(faults),
        frozenset(statuses),
        frozenset(types),
        _files(conn, config, known, progress) if config.root is not None else None,
    )


def _ids(conn: db.Connection, table: str | None) -> frozenset[str]:
    if table is None:
        return frozenset()
    query = pgsql.SQL(sql.query("ids")).format(table=qualified(table))
    with conn.cursor(row_factory=tuple_row) as cursor:
        return frozenset(uuid for (uuid,) in cursor.execute(query))


def _files(
    conn: db.Connection, config: Config, known: Mapping[str, Scanner], progress: Callable[[str], None]
) -> Files:
    # Imported here: importing a client must not import ruamel.yaml, which these modules need.
    from omnicdc.inputs.parts import InputSettings, peoples_files  # noqa: PLC0415

    inputs, inputs_known = verify.known_inputs(config)
    overrides, exclusions = peoples_files(InputSettings.of(config))
    paths = {path for it in inputs.overrides.values() for path in it.local_paths}
    contents = {
        name: found
        for name, scanner in known.items()
        if scanner.builtin and scanner.source == "projects"
        if (found := _content(config.require_root(), scanner))
    }
    return Files(
        inputs,
        compare_all(conn, config, inputs, inputs_known, progress),
        overrides.read().entries,
        exclusions.read().entries,
        {path: found for clone in inputs.clones.values() for path, found in _manifest(clone)},
        contents,
        frozenset(path for path in paths if not os.path.exists(path)),  # noqa: PTH110 - never raises
    )


def _content(root: Path, scanner: Scanner) -> Content | None:
    """Return what a file shows; None if it is missing, or cannot be read: then it differs from CMP anyway."""
    layout = scanner.layout
    try:
        data = content(root / scanner.path) or b""
        items = [layout.item(core) for core in layout.split(data).cores]
    except Exception:  # noqa: BLE001 - as the docstring says
        return None
    urls = {
        project: item.entry_key if scanner.grouped else url_key(_text(item.fields.get("github_url")))
        for item in items
        for project in item.projects
    }
    return Content(scanner.registry, not scanner.uses_inputs, urls)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _manifest(clone: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the path and the content of a clone's manifest; nothing if there is none."""
    path = Path(clone) / MANIFEST
    try:
        text = path.read_text("utf-8")
    except OSError:
        return []
    except UnicodeDecodeError:
        return [(str(path), {})]
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        found = YAML(typ="safe").load(text)
    except YAMLError:
        found = None
    return [(str(path), found if isinstance(found, dict) else {})]
