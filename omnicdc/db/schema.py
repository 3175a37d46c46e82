"""Checks that the database has a schema that this omnicdc can use.

A breaking migration raises the schema's version, which must be the one that the program knows. An additive
one raises only its revision: programs that know less, or more, go on with what both know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.db import sql
from omnicdc.db.errors import translated
from omnicdc.db.queries import fetch_one, fetch_optional
from omnicdc.errors import SchemaMismatch

if TYPE_CHECKING:
    from omnicdc.db.connection import Connection


def check_schema(conn: Connection) -> None:
    """Raise SchemaMismatch unless a schema of this version is installed and its rows can be read.

    Its revision may be another one.
    """
    with translated("looking for omnicdc's schema"):
        if not fetch_one(conn, "schema_state")["installed"]:
            raise SchemaMismatch(
                f"omnicdc is not installed in database {conn.info.dbname}", hint="run `omnicdc install`"
            )
        found = int(fetch_one(conn, "schema_version")["version"])
        if not found and fetch_one(conn, "hidden_schema")["hidden"]:
            check_row_security(conn)
    check_version(found, conn.info.dbname)


def check_version(found: int, database: str) -> None:
    """Raise SchemaMismatch unless `found`, the newest breaking migration installed, is the one known here."""
    wanted = sql.version()
    if found < wanted:
        raise SchemaMismatch(
            f"the schema in {database} is at {found}, this omnicdc needs {wanted}",
            hint="run `omnicdc install`",
        )
    if found > wanted:
        raise SchemaMismatch(
            f"the schema in {database} is at {found}, newer than this omnicdc knows ({wanted})",
            hint="upgrade omnicdc on this host: `pip install --upgrade omnicdc`",
        )


def schema_revision(conn: Connection) -> int:
    """Return the number of the newest migration that was applied, additive or not; 0 if none was.

    Raises DatabaseUnavailable.
    """
    with translated("looking for omnicdc's schema"):
        state = fetch_one(conn, "schema_state")
        found = int(fetch_one(conn, "schema_version")["version"]) if state["installed"] else 0
        if state["additions"]:
            found = max(found, int(fetch_one(conn, "schema_revision")["revision"]))
        return found


def check_row_security(conn: Connection) -> None:
    """Raise SchemaMismatch if a row policy hides rows of omnicdc's own tables.

    With such a policy, no query of these tables can be trusted.
    """
    if found := fetch_optional(conn, "row_security_fault"):
        raise SchemaMismatch(found["fault"], hint=found["remedy"])
