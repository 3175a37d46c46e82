"""A full rebuild as scripts do it today, from CMP to three files. Prints the milliseconds.

It runs as a process: `python -m bench.rebuild DSN DIRECTORY`. The directory contains the old YAML file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg.rows import dict_row
from support.host import CANONICAL, INVENTORY, PROJECT

Rows = list[dict[str, Any]]


def rebuild(dsn: str, directory: Path) -> None:
    """Select all rows, write the JSON files, and write the YAML file with the notes of the old one."""
    with psycopg.connect(dsn, row_factory=dict_row) as conn:
        rows = conn.execute(
            """select id::text, name, type, key, metadata_ ->> 'github_url' as github_url,
                      metadata_ ->> 'domain' as domain, status from projects order by name"""
        ).fetchall()
    with (directory / Path(CANONICAL).name).open("w") as file:
        json.dump(canonical(rows), file, indent=2, ensure_ascii=False)
    old = yaml.safe_load((directory / Path(PROJECT).name).read_text())
    with (directory / Path(PROJECT).name).open("w") as file:
        yaml.dump(registry(rows, old), file, default_flow_style=False, sort_keys=False, allow_unicode=True)
    with (directory / Path(INVENTORY).name).open("w") as file:
        json.dump(inventory(rows), file, indent=4, ensure_ascii=False)


def canonical(rows: Rows) -> dict[str, Any]:
    """Return canonical_projects_uuids.json."""
    uuids = {
        row["id"]: {name: value for name, value in row.items() if name != "id"} | {"source": "cmp_db"}
        for row in rows
    }
    return {"version": "1.0.0", "entity_type": "projects", "count": len(uuids), "uuids": uuids}


def registry(rows: Rows, old: dict[str, Any]) -> dict[str, Any]:
    """Return PROJECT_REGISTRY_V1.yaml, with the notes of the old file."""
    noted = {project["uuid"]: project for project in old["projects"]}
    projects = [_project(row, noted.get(row["id"], {})) for row in rows]
    return {"version": "1.0.0", "stats": {"total": len(projects)}, "projects": projects}


def inventory(rows: Rows) -> list[dict[str, Any]]:
    """Return repo_inventory.json."""
    return [_repository(row) for row in rows if row["github_url"]]


def _project(row: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    return {
        "uuid": row["id"],
        "name": row["key"] or row["name"],
        "display_name": row["name"],
        "github_url": row["github_url"],
        "local_paths": old.get("local_paths", []),
        "classification": (row["type"] or "project").lower(),
        "status": row["status"] or "active",
        "origin": "cmp_db",
        "visibility": old.get("visibility", "private"),
        "updated_at": old.get("updated_at"),
        "notes": old.get("notes"),
        "heart_connected": old.get("heart_connected", False),
        "heart_import_count": old.get("heart_import_count", 0),
        "domain": row["domain"],
    }


def _repository(row: dict[str, Any]) -> dict[str, Any]:
    owner, name = row["github_url"].split("/")[-2:]
    return {
        "description": None,
        "name": name,
        "owner": {"id": "", "login": owner},
        "updatedAt": None,
        "url": row["github_url"],
        "visibility": "unknown",
        "uuid": row["id"],
        "source": "cmp",
    }


if __name__ == "__main__":
    began = time.perf_counter()
    rebuild(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.write(f"{(time.perf_counter() - began) * 1000}\n")
