"""Reads the registries as their readers do, and compares what they hold with what CMP holds.

Deliberately not omnicdc's own `verify`: plain parsers, the whole file, nothing but the rows to compare with.
"""

from __future__ import annotations

import json
import re
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from omnicdc.formats.urls import github, url_key
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import LiteralString

    from omnicdc.db import Connection, Row

ROWS: LiteralString = """
select id::text as id, name, key, type, status, metadata_ ->> 'github_url' as github_url,
       metadata_ ->> 'domain' as domain
  from projects order by name collate "C", id
"""
MIRRORED = ("name", "type", "key", "github_url", "domain", "status")

Entries = dict[str, dict[str, Any]]
"""One registry's entries by the project's id."""


def yaml_readers() -> dict[str, Callable[[bytes], Any]]:
    """Return two readers of YAML by name, one a version; PyYAML for 1.1 where it is installed."""
    readers = {"YAML 1.2 (ruamel.yaml)": _ruamel(None)}
    if find_spec("yaml"):
        return readers | {"YAML 1.1 (PyYAML)": import_module("yaml").safe_load}
    return readers | {"YAML 1.1 (ruamel.yaml)": _ruamel((1, 1))}


def canonical(paths: Mapping[str, Path]) -> Entries:
    """Read the canonical registry."""
    return dict(json.loads(_bytes(paths, "cmp_projects"))["uuids"])


def inventory(paths: Mapping[str, Path]) -> Entries:
    """Read the inventory, by every project that uses a repository."""
    elements = json.loads(_bytes(paths, "git"))
    return {uuid: it for it in elements if "uuid" in it for uuid in it.get("uuids", [it["uuid"]])}


def projects(paths: Mapping[str, Path], reader: Callable[[bytes], Any]) -> Entries:
    """Read the project registry."""
    return {it["uuid"]: it for it in reader(_bytes(paths, "project"))["projects"]}


def names(paths: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Return what each reader takes for the name of each project, by reader and id."""
    mirror = {uuid: entry["name"] for uuid, entry in canonical(paths).items()}
    read = {name: projects(paths, reader) for name, reader in yaml_readers().items()}
    return {"JSON": mirror} | {
        name: {uuid: entry["display_name"] for uuid, entry in entries.items()}
        for name, entries in read.items()
    }


def as_written(paths: Mapping[str, Path]) -> dict[str, str]:
    """Return how the project registry writes each name, by id."""
    found = re.findall(
        r"^- uuid: (.+)\n  name: .*\n  display_name: (.+)$", _bytes(paths, "project").decode(), re.MULTILINE
    )
    return dict(found)


def rows(conn: Connection) -> list[Row]:
    """Return all of CMP."""
    return conn.execute(ROWS).fetchall()


def differences(found: Sequence[Row], paths: Mapping[str, Path], excluded: frozenset[str]) -> list[str]:
    """Compare every row with every registry, through every reader; returns one line a difference."""
    return [
        *_compare("canonical", canonical(paths), {row["id"]: _mirror(row) for row in found}),
        *_compare("inventory", inventory(paths), {row["id"]: {} for row in found if _on_github(row)}),
        *(
            line
            for name, reader in yaml_readers().items()
            for line in _compare(
                f"project registry, {name}",
                projects(paths, reader),
                {row["id"]: _shown(row) for row in found if row["name"] not in excluded},
            )
        ),
    ]


def _compare(registry: str, entries: Entries, wanted: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for uuid in entries.keys() ^ wanted.keys():
        yield f"{registry}: {uuid} {'is left over' if uuid in entries else 'is missing'}"
    for uuid in entries.keys() & wanted.keys():
        for key, value in wanted[uuid].items():
            if entries[uuid].get(key) != value or type(entries[uuid].get(key)) is not type(value):
                yield f"{registry}: {uuid}: {key} is {entries[uuid].get(key)!r}, CMP has {value!r}"


def _mirror(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in MIRRORED}


def _shown(row: Row) -> dict[str, Any]:
    """Return what CMP alone decides of an entry of the project registry."""
    return {
        "name": row["name"] if row["key"] is None else row["key"],
        "display_name": row["name"],
        "github_url": row["github_url"],
        "classification": "project" if row["type"] is None else row["type"].lower(),
    }


def _on_github(row: Row) -> bool:
    return github(url_key(row["github_url"])) is not None


def _bytes(paths: Mapping[str, Path], scanner: str) -> bytes:
    return paths[scanners()[scanner].registry].read_bytes()


def _ruamel(version: tuple[int, int] | None) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:  # noqa: ANN401 - whatever the file holds
        yaml = YAML(typ="safe", pure=True)
        yaml.version = version
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it comments on numbers as 1.1 writes them
            return yaml.load(data)

    return read
