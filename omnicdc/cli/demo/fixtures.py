"""The content of the demo's CMP: roles, rights, and the projects of a small software company."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

if TYPE_CHECKING:
    from typing import LiteralString

    from omnicdc.db import Connection

DATABASE = "cms_db"

ROLES: LiteralString = "create role genesis login; create role omnicdc login"

RIGHTS: LiteralString = "grant select, insert, update, delete on projects to genesis"

UPSERT: LiteralString = """
insert into projects (id, name, key, type, status, metadata_)
     values (%(id)s, %(name)s, %(key)s, %(type)s, %(status)s, %(metadata)s::jsonb)
on conflict (id) do update
   set name = excluded.name, key = excluded.key, type = excluded.type, status = excluded.status,
       metadata_ = excluded.metadata_, updated_at = clock_timestamp()
"""

DELETE_MOST: LiteralString = "delete from projects where metadata_ ->> 'domain' is distinct from 'platform'"


Project = dict[str, Any]
"""One row of CMP, as Genesis upserts it: the parameters of UPSERT."""


def upsert(conn: Connection, *projects: Project) -> None:
    """Insert projects, or update those that exist. `updated_at` is always set."""
    for project in projects:
        conn.execute(UPSERT, project)


def _project(
    name: str,
    key: str | None,
    kind: str | None = "SERVICE",
    status: str | None = "active",
    **metadata: object,
) -> Project:
    """Return a project. Its id is derived from its name, so that every run has the same ids."""
    identity = str(uuid5(NAMESPACE_URL, f"https://omnicdc.example/{name}"))
    values = {"id": identity, "name": name, "key": key, "type": kind, "status": status}
    return values | {"metadata": json.dumps(metadata)}


def _usual(name: str, kind: str, domain: str, url: str = "") -> Project:
    key = name.lower().replace(" ", "-")
    url = url or f"https://github.com/meridian-labs/{key}"
    return _project(name, key, kind, domain=domain, github_url=url)


PROJECTS = (
    _usual("Atlas Gateway", "SERVICE", "platform"),
    _usual("Billing Core", "SERVICE", "finance"),
    _usual("Billing Reports", "JOB", "finance", "https://github.com/meridian-labs/billing-core"),
    _usual("Cartographer", "LIBRARY", "data"),
    _usual("Customer Portal", "APP", "web"),
    _usual("Design Tokens", "LIBRARY", "web", "git@github.com:meridian-labs/design-tokens.git"),
    _usual("Event Relay", "SERVICE", "platform", "https://github.com/meridian-labs/event-relay/"),
    _usual("Feature Flags", "SERVICE", "platform", "https://github.com/meridian-labs/Feature-Flags"),
    _usual("Identity Provider", "SERVICE", "security", "https://github.com/meridian-security/idp"),
    _usual("Legacy Importer", "JOB", "data"),
    _usual("Mobile App", "APP", "mobile"),
    _usual("Notification Hub", "SERVICE", "platform"),
    _usual("Search Index", "SERVICE", "data"),
    _usual("Vault Sync", "JOB", "security", "https://gitlab.com/meridian-security/vault-sync"),
    _usual("Zephyr Forecasts", "MODEL", "data", "https://github.com/zephyr-ml/zephyr"),
    _project("Office Moves", "office-moves", "INITIATIVE", "on hold"),
    _project("no", "norway", domain="NO"),
    _project("012", None, None, None),
    _project("1e3", "1_000", github_url=4711),
    _project("  blanks around  ", "~", domain="null"),
)

NEW = _usual("Helios Telemetry", "SERVICE", "platform")
LATE, EARLY = _usual("Late Commit", "JOB", "data"), _usual("Early Commit", "JOB", "data")

HOSTILE = (
    _project("null", "on", domain="off"),
    _project("2024-01-01", "12:30:45", ".5", "="),
    _project("- x: [y, {z}] # &a *b !c %d @e `f`", "<<", domain="%y"),
    _project("\ttab, two\nlines\r\n, a trailing blank ", "lines"),
    _project("\x1b[31mred\x07 \u2028 \x85 \ufeff \u202etfel-ot-thgir", "control"),
    _project("'\"\\ \N{ROCKET} \N{EXTRATERRESTRIAL ALIEN} " + "long " * 20, "long"),
)
