"""The SQL of an installation as a text, for a DBA to read and to run in psql: `omnicdc install --print`.

`install` runs the same SQL itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql as pgsql

from omnicdc.capture.install import USUAL
from omnicdc.db import sql
from omnicdc.registries.rows import qualified

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOW_TO_RUN = "-- Run with: psql --single-transaction -v ON_ERROR_STOP=1 -f FILE\n"

_PINNED = "-- From here on a bare name is PostgreSQL's own.\nset search_path = pg_catalog, pg_temp;\n\n"
"""For the scripts: else an operator of another user's could get into a constraint of omnicdc's tables."""


def script(table: str, watched: tuple[str, ...], *, allowed: Sequence[str] = ()) -> str:
    """Return the SQL of a first installation, for a DBA to read and to run in psql as the table's owner."""
    allow = pgsql.SQL(
        "select pg_catalog.set_config('omnicdc.allowed_publications', {}::text[]::text, false);\n"
    )
    found = pgsql.SQL(
        "select pg_catalog.set_config('omnicdc.table', "
        "{}::pg_catalog.regclass::pg_catalog.oid::pg_catalog.text, false);\n"
    )
    lacking, grant = sql.executes()
    parts = [
        _HOW_TO_RUN,
        found.format(qualified(table).as_string()).as_string(),
        _PINNED,
        sql.foreign().as_string(),
        "\n",
        allow.format(list(allowed)).as_string(),
        sql.publications().text,
        sql.roles().text,
        "\nset role omnicdc_owner;\n",
        lacking.text,
        "\nreset role;\n",
        grant.text,
        "\nset role omnicdc_owner;\n",
    ]
    for migration in sql.migrations():
        done = pgsql.SQL("insert into omnicdc.migration (version, name) values ({}, {});\n").format(
            migration.version, migration.script.name
        )
        parts += [migration.script.text, "\n", sql.policies().text, done.as_string()]
    parts += ["\n" + function.text for function in sql.functions()]
    parts += ["\n" + sql.grants().text, "\nselect omnicdc.allow_publications();\n", "\nreset role;\n"]
    watch = pgsql.SQL(
        "\nset lock_timeout = {};\n"
        "select omnicdc.watch('projects', current_setting('omnicdc.table')::oid::regclass, 'id', {});\n"
        "reset search_path;\n"
    ).format(USUAL.lock_timeout, list(watched))
    return "".join([*parts, watch.as_string()])


def tables_script() -> str:
    """Return the SQL that creates omnicdc's tables and nothing else.

    A subscriber of a publication that carries these tables runs it.
    """
    migrations = (migration.script.text for migration in sql.migrations())
    return "".join(
        [
            _HOW_TO_RUN,
            _PINNED,
            sql.roles().text,
            "\nset role omnicdc_owner;\n",
            *migrations,
            "\nreset role;\nreset search_path;\n",
        ]
    )
