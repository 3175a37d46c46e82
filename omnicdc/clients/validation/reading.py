"""Reads what the checks look at: CMP, and on a registry host its files."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql as pgsql
from psycopg.rows import tuple_row

from omnicdc import db, verify
from omnicdc.answers.status import examine
from omnicdc.clients.migration.rows import read_facts, read_table
from omnicdc.clients.validation.context import Context, Delivery, Files, Held
from omnicdc.db import sql
from omnicdc.errors import RegistryError
from omnicdc.files.drift import intact, rehash, signature
from omnicdc.files.manifest import read_announced, read_manifest
from omnicdc.formats.urls import url_key
from omnicdc.model import Fault
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, qualified
from omnicdc.verify.audit import compare_all
from omnicdc.verify.holds import read_holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from omnicdc.config.settings import Config
    from omnicdc.verify.audit import Compared

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
    delivery = _delivery(conn, config)
    with db.one_snapshot(conn):
        projects = read_facts(conn, table)
        agents = _ids(conn, tables.get("agents"))
    return Context(
        projects,
        {uuid: url_key(one.github_url) for uuid, one in projects.items()},
        agents,
        delivery,
        frozenset(statuses),
        frozenset(types),
        _files(conn, config, progress) if config.root is not None else None,
    )


def _ids(conn: db.Connection, table: str | None) -> frozenset[str]:
    if table is None:
        return frozenset()
    query = pgsql.SQL(sql.query("ids")).format(table=qualified(table))
    with conn.cursor(row_factory=tuple_row) as cursor:
        return frozenset(uuid for (uuid,) in cursor.execute(query))


def _files(conn: db.Connection, config: Config, progress: Callable[[str], None]) -> Files:
    # Imported here: importing a client must not import ruamel.yaml, which these modules need.
    from omnicdc.inputs.parts import InputSettings, peoples_files  # noqa: PLC0415

    inputs, inputs_known = verify.known_inputs(config)
    overrides, exclusions = peoples_files(InputSettings.of(config))
    paths = {path for it in inputs.overrides.values() for path in it.local_paths}
    root = config.require_output_root()
    compared = compare_all(conn, config, inputs, inputs_known, progress)
    return Files(
        inputs,
        compared,
        overrides.read().entries,
        exclusions.read().entries,
        {key: found for key, clone in inputs.clones.items() if (found := _manifest(clone))},
        _drifted(root, compared),
        config.on_drift == "restore",
        read_holds(conn, config),
        frozenset(path for path in paths if not os.path.exists(path)),  # noqa: PTH110 - never raises
    )


def _delivery(conn: db.Connection, config: Config) -> Delivery:
    found, faults = examine(conn, max_lag_s=config.max_lag_s)
    with db.translated("asking for the quarantine"), db.confined(conn):
        rows = db.fetch_all(conn, "quarantined")
    capture = found["capture"]
    return Delivery(
        Fault(capture["fault"], capture["remedy"]) if capture["fault"] else None,
        tuple(
            Held(consumer["name"], registry, held["reason"], held["hint"])
            for consumer in found["consumers"]
            for registry, held in consumer["held"].items()
        ),
        tuple(Held(row["consumer"], row["registry"], row["reason"], project=row["key"]) for row in rows),
        tuple(fault.text for fault in faults if fault.kind == "other"),
    )


def _drifted(root: Path, compared: Mapping[str, Compared]) -> dict[str, str]:
    """Return the registries whose files are not the ones that omnicdc published, to their paths.

    A file that is as it should be is not among them. Each is looked at twice, because the daemon may write it
    between the reading of the file and of the manifest.
    """
    paths = {it.report.registry: it.registry.scanner.path for it in compared.values() if _differs(it)}
    return {
        registry: str(root / path)
        for registry, path in paths.items()
        if _is_changed(root, path) and _is_changed(root, path)
    }


def _differs(it: Compared) -> bool:
    return it.present and it.report.difference is not None and it.report.difference.rewritten


def _is_changed(root: Path, path: str) -> bool:
    """Return True if the file is neither the published one nor the one that is just being published."""
    found = signature(root / path)
    manifest = read_manifest(root)
    published = manifest.registries.get(path) if manifest else None
    if found is None or published is None or found in read_announced(root).get(path, ()):
        return False
    try:
        return not (intact(root, path, published) or rehash(root, path, published))
    except RegistryError:
        return False


def _manifest(clone: str) -> tuple[str, Mapping[str, Any]] | None:
    """Return the path and the content of a clone's manifest; None if there is none."""
    path = Path(clone) / MANIFEST
    try:
        text = path.read_text("utf-8")
    except OSError:
        return None
    except UnicodeDecodeError:
        return str(path), {}
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        found = YAML(typ="safe").load(text)
    except YAMLError:
        found = None
    return str(path), found if isinstance(found, dict) else {}
