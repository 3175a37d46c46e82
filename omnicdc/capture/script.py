"""The SQL of an installation as a text, for a DBA to read and to run in psql: `omnicdc install --print`.

`install` runs the same SQL itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql as pgsql

from omnicdc.capture.attempts import USUAL
from omnicdc.capture.writers import CHOICES
from omnicdc.db import sql
from omnicdc.registries.tables import qualified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.capture.install import Wanted

_HOW_TO_RUN = "-- Run with: psql --single-transaction -v ON_ERROR_STOP=1 -f FILE\n"

_PINNED = "-- From here on a bare name is PostgreSQL's own.\nset search_path = pg_catalog, pg_temp;\n\n"
"""For the scripts: else an operator of another user's could get into a constraint of omnicdc's tables."""


_MIGRATED = pgsql.SQL("insert into omnicdc.migration (version, name) values ({}, {});\n")
_ADDED = pgsql.SQL("insert into omnicdc.addition (revision, name) values ({}, {});\n")


def script(
    sources: Sequence[Wanted], *, allowed: Sequence[str] = (), record_writers: bool | None = None
) -> str:
    """Return the SQL of a first installation, for a DBA to read and to run in psql as the tables' owner."""
    allow = pgsql.SQL(
        "select pg_catalog.set_config('omnicdc.allowed_publications', {}::text[]::text, false);\n"
    )
    choose = pgsql.SQL("select pg_catalog.set_config('omnicdc.record_writers', {}, false);\n")
    lacking, grant = sql.executes()
    parts = [
        _HOW_TO_RUN,
        *(_table_found(source) for source in sources),
        _PINNED,
        sql.foreign().as_string(),
        "\n",
        allow.format(list(allowed)).as_string(),
        choose.format(CHOICES[record_writers]).as_string(),
        sql.publications().text,
        sql.roles().text,
        "\nset role omnicdc_owner;\n",
        lacking.text,
        "\nreset role;\n",
        grant.text,
        "\nset role omnicdc_owner;\n",
    ]
    for migration in sql.migrations():
        record = _ADDED if migration.additive else _MIGRATED
        done = record.format(migration.number, migration.script.name)
        parts += [migration.script.text, "\n", sql.policies().text, done.as_string()]
    parts += ["\n" + function.text for function in sql.functions()]
    parts += ["\n" + sql.grants().text, "\nselect omnicdc.allow_publications();\n"]
    parts += ["select omnicdc.record_writers();\n", "\nreset role;\n"]
    parts += [pgsql.SQL("\nset lock_timeout = {};\n").format(USUAL.lock_timeout).as_string()]
    parts += [_watched(source) for source in sources]
    return "".join([*parts, "reset search_path;\n"])


def _table_found(source: Wanted) -> str:
    """Return the statement that looks for a source's table, by the search_path of the one who runs it."""
    find = pgsql.SQL("pg_catalog.to_regclass({})" if source.optional else "{}::pg_catalog.regclass")
    statement = pgsql.SQL(
        "select pg_catalog.set_config({}, coalesce({}::pg_catalog.oid::pg_catalog.text, ''), false);\n"
    )
    return statement.format(_setting(source), find.format(qualified(source.table).as_string())).as_string()


def _watched(source: Wanted) -> str:
    """Return the statement that captures a source. It does nothing if CMP lacks the table, and may."""
    statement = pgsql.SQL(
        "select omnicdc.watch({source}, found.number::oid::regclass, {key}, {watched}, {clients},\n"
        "                     {required})\n"
        "  from nullif(current_setting({setting}), '') as found (number)\n"
        " where found.number is not null;\n"
    )
    return statement.format(
        source=source.source,
        key=source.key,
        watched=list(source.watched),
        clients=list(source.for_clients),
        required=source.required,
        setting=_setting(source),
    ).as_string()


def _setting(source: Wanted) -> str:
    return f"omnicdc.table_{source.source}"


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
