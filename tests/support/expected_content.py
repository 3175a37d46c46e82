"""Computes what the registries must hold, from rows of CMP and the documented rules only.

This is a second implementation, small and slow. It shares no code with the scanners, so an error in only one
of the two is found.
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

import yaml

from support.agents import REGISTRY as AGENTS
from support.agents import STAFF, TEAMS
from support.host import CANONICAL, INVENTORY, PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AGENT_ROWS: LiteralString = """
select id::text, name, kind, role, metadata_ ->> 'clearance_tier', metadata_ ->> 'twin_bond', project_id::text
  from agents
"""

ROWS: LiteralString = """
select id::text, name, type, key, metadata_ ->> 'github_url' as github_url, metadata_ ->> 'domain' as domain,
       status
  from projects
"""

Row = tuple[str | None, ...]
Parsed = Any
"""The parsed content of a registry. Mappings are lists of pairs, as their order matters."""


@dataclass
class Surroundings:
    """The inputs besides CMP: people's files, clones and the adopted inventory. Searched without an index."""

    overrides: list[dict[str, Any]] = field(default_factory=list)
    exclusions: list[str] = field(default_factory=list)
    clones: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Path of a clone to the URL of its origin and the number of files that import the heart."""
    adopted: list[dict[str, Any]] = field(default_factory=list)
    """Elements of the inventory that was there before omnicdc."""


def expected(rows: Sequence[Row], agents: Sequence[Row], around: Surroundings) -> dict[str, Parsed]:
    """Return the expected content of each registry, without `generated_at`."""
    by_name = sorted(rows, key=lambda row: (row[1] or "", row[0] or ""))
    return {
        AGENTS: _agents(sorted(agents, key=lambda row: (row[1] or "", row[0] or ""))),
        TEAMS: _teams(by_name, sorted(agents)),
        STAFF: _staff(rows, sorted(agents)),
        CANONICAL: _canonical(by_name),
        PROJECT: _project(by_name, around),
        INVENTORY: _inventory(by_name, around),
    }


def read_back(registry: str, data: bytes) -> Parsed:
    """Parse a registry as its readers do, without `generated_at`."""
    if registry == STAFF:
        return [*csv.reader(io.StringIO(data.decode(), newline=""), strict=True)]
    parsed = _pairs(yaml.load(data, yaml.CSafeLoader) if registry == PROJECT else json.loads(data))
    return [pair for pair in parsed if pair[0] != "generated_at"] if registry != INVENTORY else parsed


def _pairs(value: Any) -> Parsed:  # noqa: ANN401 - whatever was parsed
    if isinstance(value, dict):
        return [(key, _pairs(inner)) for key, inner in value.items()]
    return [_pairs(inner) for inner in value] if isinstance(value, list) else value


def _agents(agents: Sequence[Row]) -> Parsed:
    names = ("kind", "role", "clearance_tier", "twin_bond")
    entries = {
        row[0]: {
            "name": row[1],
            "type": "AGENT",
            **dict(zip(names, row[2:6], strict=True)),
            "status": "active",
        }
        | {"source": "cmp_db"}
        for row in agents
    }
    return _pairs({"version": "1.0.0", "entity_type": "agents", "count": len(agents), "uuids": entries})


def _teams(rows: Sequence[Row], agents: Sequence[Row]) -> Parsed:
    entries = {
        row[0]: {
            "name": row[1],
            "status": row[6],
            "agents": [it[1] for it in agents if it[6] == row[0]] or None,
        }
        for row in rows
    }
    return _pairs({"count": len(rows), "teams": entries})


def _staff(rows: Sequence[Row], agents: Sequence[Row]) -> Parsed:
    names = {row[0]: row[1] for row in rows}
    joined = ([it[0], it[1] or "", names[it[6]] or ""] for it in agents if it[6] in names)
    return [["id", "name", "project"], *joined]


def _canonical(rows: Sequence[Row]) -> Parsed:
    fields = ("name", "type", "key", "github_url", "domain", "status")
    return _pairs(
        {
            "version": "1.0.0",
            "entity_type": "projects",
            "count": len(rows),
            "uuids": {row[0]: dict(zip(fields, row[1:], strict=True)) | {"source": "cmp_db"} for row in rows},
        }
    )


def _project(rows: Sequence[Row], around: Surroundings) -> Parsed:
    entries = [_entry(row, around) for row in rows if not _excluded(key_of(row[4]), around)]
    return _pairs(
        {
            "version": "1.0.0",
            "namespace": "c9c22e70-3882-4503-9db6-353d2629000b",
            "stats": _stats(entries),
            "projects": entries,
        }
    )


def _stats(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    there = [entry for entry in entries if entry["status"] != "snapshot"]
    return {
        "total": len(entries),
        "github": sum(bool(entry["github_url"]) for entry in entries),
        "local_only": 0,
        "linked": sum(bool(entry["local_paths"]) for entry in there),
        "cloud_only": sum(bool(entry["github_url"]) and not entry["local_paths"] for entry in there),
        "local_snapshot": len(entries) - len(there),
        "virtual": sum(not entry["github_url"] for entry in entries),
        "heart_connected": sum(entry["heart_connected"] for entry in entries),
        "heart_disconnected": sum(
            not entry["heart_connected"] and bool(entry["local_paths"]) for entry in entries
        ),
    }


def _entry(row: Row, around: Surroundings) -> dict[str, Any]:
    project, name, kind, key, github_url, domain, status = row
    url_key = key_of(github_url)
    overrides = [it for it in around.overrides if url_key and url_key in _names(it)]
    override = overrides[-1] if overrides else {}
    found = [path for path in around.clones if key_of(around.clones[path][0]) == url_key]
    clone = min(found, key=lambda path: (path.count("/"), path.split("/")), default=None)
    paths = override.get("local_paths") or ([clone] if clone else [])
    repository = next((it for it in around.adopted if key_of(it["url"]) == url_key), {})
    visibility = repository.get("visibility")
    hearts = [around.clones[path][1] for path in paths if path in around.clones and around.clones[path][1]]
    return {
        "uuid": project,
        "name": name if key is None else key,
        "display_name": name,
        "github_url": github_url,
        "local_paths": paths,
        "classification": "project" if kind is None else kind.lower(),
        "status": override.get("status") or ("active" if status is None else status),
        "origin": "cmp_db",
        "visibility": visibility if visibility in ("PUBLIC", "PRIVATE", "INTERNAL") else "private",
        "updated_at": repository.get("updatedAt"),
        "notes": override.get("notes") or None,
        "heart_connected": bool(hearts),
        "heart_import_count": hearts[0] if hearts else 0,
        "domain": domain,
    }


def _names(override: Mapping[str, Any]) -> list[str]:
    return [key_of(url) for url in (override["github_url"], *override.get("aliases", []))]


def _excluded(key: str, around: Surroundings) -> bool:
    return any(f"/{key}".endswith(f"/{name.lower()}") for name in around.exclusions)


def _inventory(rows: Sequence[Row], around: Surroundings) -> Parsed:
    users: dict[str, list[Row]] = {key_of(element["url"]): [] for element in around.adopted}
    for row in rows:
        if on_github(key_of(row[4])):
            users.setdefault(key_of(row[4]), []).append(row)
    adopted = {key_of(element["url"]): element for element in around.adopted}
    return _pairs(
        [
            adopted[key] | _uuids(found)
            if key in adopted
            else _element_of(found[0]) | _uuids(found) | {"source": "cmp"}
            for key, found in sorted(users.items())
        ]
    )


def _element_of(row: Row) -> dict[str, Any]:
    owner, name = cased(row[4] or "").split("/")[3:]
    return {
        "description": None,
        "name": name,
        "owner": {"id": "", "login": owner},
        "updatedAt": None,
        "url": f"https://github.com/{owner}/{name}",
        "visibility": "unknown",
    }


def _uuids(rows: Sequence[Row]) -> dict[str, Any]:
    ids = [row[0] for row in rows]
    return ({"uuid": ids[0]} if ids else {}) | ({"uuids": ids} if len(ids) > 1 else {})


def key_of(url: str | None) -> str:
    """Return the URL key."""
    return cased(url or "").lower()


def on_github(key: str) -> bool:
    """Return whether a URL key names a repository on GitHub."""
    return bool(re.fullmatch(r"https://github\.com/[^/]+/[^/]+", key))


def cased(url: str) -> str:
    """Normalise a URL, except for upper and lower case."""
    url = re.sub(r"^git@([^/:\s]+):", r"https://\1/", url.strip(), flags=re.IGNORECASE)
    url = re.sub(r"^(https?://|ssh://git@)(www\.)?|^www\.", "https://", url, flags=re.IGNORECASE)
    return re.sub(r"(/|\.git)+\Z", "", url, flags=re.IGNORECASE)
