"""Checks the rights of omnicdc's roles, function by function, and the login roles of daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.doctor.finding import (
    FIX_INSTALL,
    INSTALL,
    NO_SCHEMA,
    ROOM,
    Finding,
    Skipped,
    fail,
    ok,
    warn,
)
from omnicdc.answers.doctor.rights import CLIENT, DAEMON, Right, needed
from omnicdc.formats.times import to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from omnicdc.answers.doctor.site import Site


SHOWN = 3
"""At most so many lacking rights are named."""


def check_rights(site: Site) -> Iterator[Finding]:
    """Whether omnicdc's roles, and the asking one, have each right that an installation grants."""
    conn = site.conn
    if site.schema_fault and not site.closed:
        raise Skipped(NO_SCHEMA)
    asked = {DAEMON: needed(DAEMON), CLIENT: needed(CLIENT)}
    own = {*site.role.groups} if site.role.inherits and not site.role.superuser else set()
    if own:
        asked[site.role.name] = tuple({right for name in own for right in needed(name)})
    rights = [(role, right) for role, wanted in asked.items() for right in wanted]
    with db.translated("asking for the rights"), db.confined(conn):
        lacking = db.fetch_all(
            conn,
            "lacking_rights",
            {
                "roles": [role for role, _ in rights],
                "kinds": [right.kind for _, right in rights],
                "names": [right.name for _, right in rights],
                "privileges": [right.privilege for _, right in rights],
            },
        )
    site.lacks_rights = bool(lacking)
    groups = {row["role"] for row in lacking}
    for role in asked:
        found = [row for row in lacking if row["role"] == role]
        if found and not (role == site.role.name and groups & own):
            yield lacking_rights(role, found)
    if not lacking:
        yield ok("all granted: " + ", ".join(f"{len(rights)} to {role}" for role, rights in asked.items()))


def lacking_rights(role: str, lacking: Iterable[db.Row]) -> Finding:
    """Return the finding of a role that lacks rights."""
    things = [str(Right(**row)) for row in lacking]
    more = len(things) - SHOWN
    shown = ", ".join(things[:SHOWN]) + (f" and {more} more" if more > 0 else "")
    seen = f"{role} has no {shown}"
    return fail(seen, INSTALL, FIX_INSTALL)


def check_reading(site: Site) -> Iterator[Finding]:
    """Whether the asking role may read the watched columns of CMP's tables."""
    conn = site.installed
    with db.translated("asking for the columns"), db.confined(conn):
        found = db.fetch_all(conn, "unreadable_columns")
    site.unreadable = "columns" if found else ""
    for row in found:
        yield fail(
            f"{site.role.name} may not read {', '.join(row['columns'])} of {row['target']}",
            f"{INSTALL}; for what declared registries show, `omnicdc install --grant-clients`",
        )
    if not found:
        yield ok(f"{site.role.name} may read all watched columns")


def check_daemon_roles(site: Site) -> Iterator[Finding]:
    """Whether the login roles of the daemons are valid, and may open two connections."""
    conn = site.conn
    if not site.role.roles_exist:
        raise Skipped("omnicdc's roles do not exist yet: see `schema`")
    with db.translated("asking for the roles"), db.confined(conn):
        roles = db.fetch_all(conn, "daemon_roles")
    if not roles:
        yield warn(
            f"no login role is a member of {DAEMON}",
            f"`create role registry_host login in role {DAEMON}`, then `\\password registry_host` in psql",
        )
    for row in roles:
        yield from daemon_role(row)


def daemon_role(row: db.Row) -> Iterator[Finding]:
    """Yield what is wrong with a login role of a daemon, or that nothing is."""
    name, limit = row["name"], row["connections"]
    if row["expired"]:
        yield fail(
            f"the password of {name} expired on {to_seconds(row['valid_until'])}",
            f"`alter role {name} valid until 'infinity'`, or a new password",
        )
    if 0 <= limit < ROOM:
        yield fail(
            f"{name} may open {limit} connections; the daemon needs {ROOM}",
            f"`alter role {name} connection limit {ROOM}`",
        )
    if not row["expired"] and not 0 <= limit < ROOM:
        yield ok(name)
