"""Reads the registry files with several parsers, and compares them with CMP's rows."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml
from ruamel.yaml import YAML
from support.host import CANONICAL, PROJECT, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from support.cmp import Cmp

READERS: dict[str, Callable[[bytes], Any]] = {
    "PyYAML in C": partial(yaml.load, Loader=yaml.CSafeLoader),
    "PyYAML": yaml.safe_load,
    "ruamel.yaml": lambda data: YAML(typ="safe", pure=True).load(data),
}
QUICK = ["PyYAML in C"]

Rows = dict[str, dict[str, str | None]]


def read_rows(cmp: Cmp, *, without: str | None = None) -> Rows:
    """Return the rows of CMP, read independently of omnicdc.

    The driver returns the texts, and this module parses the JSON values.
    """
    found = cmp.conn.execute(
        """select id::text, name::text, type::text, key::text, status::text,
                  (metadata_ -> 'github_url')::text, (metadata_ -> 'domain')::text
             from projects where id is distinct from %s""",
        [without],
    )
    return {
        project: {
            "name": name, "type": kind, "key": key, "github_url": json_text(url), "domain": json_text(domain),
            "status": status,
        }
        for project, name, kind, key, status, url, domain in found
    }  # fmt: skip


def json_text(value: str | None) -> str | None:
    """Return a JSON value as a text.

    A string is decoded, null becomes None, and every other value stays as it is written.
    """
    if value is None or value == "null":
        return None
    return str(json.loads(value)) if value.startswith('"') else value


def project_entry(project: str, row: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the entry of the project registry for a row."""
    name, kind, status = row["name"], row["type"], row["status"]
    return {
        "uuid": project, "name": name if row["key"] is None else row["key"], "display_name": name,
        "github_url": row["github_url"], "local_paths": [],
        "classification": "project" if kind is None else kind.lower(),
        "status": "active" if status is None else status, "origin": "cmp_db", "visibility": "private",
        "updated_at": None, "notes": None, "heart_connected": False, "heart_import_count": 0,
        "domain": row["domain"],
    }  # fmt: skip


def assert_files_show(host: Host, rows: Rows, readers: Iterable[str] = READERS) -> None:
    """Check that every reader finds exactly these rows in the files, in order."""
    in_order = sorted(rows, key=lambda project: (rows[project]["name"] or "", project))
    canonical = json.loads(host.raw(CANONICAL))
    assert list(canonical["uuids"].items()) == [
        (project, rows[project] | {"source": "cmp_db"}) for project in in_order
    ]
    assert canonical["count"] == len(rows)
    named = [project for project in in_order if rows[project]["name"] is not None]
    wanted = [project_entry(project, rows[project]) for project in named]
    for reader in readers:
        read = READERS[reader](host.raw(PROJECT))
        assert read["projects"] == (wanted or []), reader
        assert read["stats"]["total"] == len(wanted)
        assert read["stats"]["virtual"] == sum(not rows[project]["github_url"] for project in named)
