"""Checks the connection, the role that asks, and omnicdc's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from omnicdc import db
from omnicdc.answers.doctor.finding import CONFIG_FAULT, FIX_INSTALL, Finding, Skipped, fail, ok, warn
from omnicdc.answers.doctor.rights import CLIENT, DAEMON
from omnicdc.config.settings import describe_dsn
from omnicdc.db import sql
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.registries.tables import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.doctor.role import AskingRole
    from omnicdc.answers.doctor.site import Site

PER_GRANT = 160000
"""From this version on, each grant of a role says whether its rights are inherited."""


def check_connection(site: Site) -> Iterator[Finding]:
    """Whether CMP's database can be reached."""
    if isinstance(site.loaded, ConfigError):
        raise Skipped(CONFIG_FAULT)
    try:
        conn = site.connect()
    except OmnicdcError as exc:
        yield fail(exc.message, "; ".join(filter(None, [exc.hint, _credential(site)])))
        return
    pooled = ", behind a pooler" if conn.behind_pooler else ""
    yield ok(f"{describe_dsn(conn.info.dsn)}{pooled}; {conn.sources}")


def _credential(site: Site) -> str:
    """Return how to use the service's password, if this command has none."""
    file = site.unit.credential if site.unit else ""
    if site.config.target.password_file or not file.startswith("/"):
        return ""
    return f"with the service's password, as root: `OMNICDC_PASSWORD_FILE={file} omnicdc doctor`"


def check_role(site: Site) -> Iterator[Finding]:
    """Whether the asking role is a member of one of omnicdc's roles."""
    role = site.role
    if role.superuser:
        yield ok(f"{role.name}, a superuser")
    elif not role.roles_exist:
        raise Skipped(f"{role.name}; omnicdc's roles do not exist yet: see `schema`")
    elif role.groups and not role.inherits:
        yield not_inherited(role, site.conn.info.server_version)
    elif role.groups:
        yield ok(f"{role.name}, of {' and '.join(role.groups)}")
    elif role.owner:
        yield ok(f"{role.name}, of omnicdc_owner: it may install and upgrade")
    else:
        yield fail(
            f"{role.name} is a member of no role of omnicdc's, so that most cannot be read",
            f"for a person or a client: `grant {CLIENT} to {role.name}`; "
            f"for a registry host: `grant {DAEMON} to {role.name}`",
        )


def not_inherited(role: AskingRole, version: int) -> Finding:
    """Return the finding of a member of a role that does not inherit the role's rights."""
    remedies = [f"`grant {group} to {role.name} with inherit true`" for group in role.groups]
    if version < PER_GRANT:
        remedies = [f"`alter role {role.name} inherit`"]
    groups = " and ".join(role.groups)
    return fail(f"{role.name} is a member of {groups}, but does not inherit its rights", ", ".join(remedies))


def check_schema(site: Site) -> Iterator[Finding]:
    """Whether the schema of this version is installed."""
    conn = site.conn
    if fault := site.schema_fault:
        if site.closed:
            raise Skipped(
                f"{site.role.name} may not read it: see `{'rights' if site.role.inherits else 'role'}`"
            )
        yield fail(fault.message, fault.hint, FIX_INSTALL if _is_older(site) else None)
        return
    found, known = db.schema_revision(conn), sql.migrations()[-1].number
    if found < known:
        yield warn(f"revision {found}; this omnicdc also knows {known}", "`omnicdc install`")
    else:
        yield ok(f"version {sql.version()}, revision {found}, as this omnicdc needs it")


def _is_older(site: Site) -> bool:
    """Whether omnicdc's own schema is there, and `install` would bring it to this version."""
    with db.translated("asking for the schema"):
        if not db.fetch_one(site.conn, "schema_is_ours")["ours"]:
            return False
        try:
            version = db.fetch_one(site.conn, "schema_version")["version"]
        except OmnicdcError:
            return False
    return 0 < int(version) < sql.version()


def check_foreign(site: Site) -> Iterator[Finding]:
    """Whether schema omnicdc has triggers, policies, functions or rights that are not omnicdc's."""
    conn = site.installed
    with conn.transaction(force_rollback=True):
        conn.execute("set transaction read only")
        try:
            conn.execute(sql.foreign())
        except psycopg.Error as exc:
            if exc.sqlstate != "OC001":
                raise
            found, hint = exc.diag.message_primary or "", exc.diag.message_hint or ""
        else:
            found = hint = ""
    if " policy " in found and site.policy_faults:
        raise Skipped(f"{found.removeprefix('omnicdc: ')}: see `row security`")
    if found:
        command, _, then = hint.partition("; then ")
        yield fail(found.removeprefix("omnicdc: "), f"`{command}`" + (f"; then {then}" if then else ""))
    else:
        yield ok("schema omnicdc has only what omnicdc created")


def check_row_security(site: Site) -> Iterator[Finding]:
    """Whether row-level security hides rows: of omnicdc's tables, and of CMP's."""
    conn = site.installed
    tables = [it for it in site.tables.values() if resolve(conn, it)]
    with db.translated("looking for row-level security"), db.confined(conn):
        hidden = {table: db.fetch_one(conn, "hidden", {"table": table}) for table in tables}
    found = site.policy_faults
    for row in found:
        yield fail(row["fault"], row["remedy"], FIX_INSTALL if "omnicdc install" in row["remedy"] else None)
    for table, row in hidden.items():
        if row["hidden"]:
            yield fail(
                f"row-level security hides rows of table {table} from {site.role.name}", f"`{row['remedy']}`"
            )
    if not found and not any(row["hidden"] for row in hidden.values()):
        yield ok("no row is hidden from " + site.role.name)
