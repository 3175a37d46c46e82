"""The configured name of CMP's table is used as a name, never as SQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Host


TABLES = [
    "projects; drop table projects",
    'projects" s; drop table projects; --',
    "(select 1)",
    "projects, pg_authid",
    "pg_catalog.pg_authid",
    "projects where false union select rolpassword from pg_authid",
    "projects tablesample system (0)",
    "only projects",
    "public.projects.name",
    "other.public.projects",
    "$1",
    "%s",
    "{table}",
    "''",
    " ",
]
"""What a configuration might hold in the place of the table's name."""


def test_sql_in_the_table_s_name_is_refused(cmp: Cmp, host: Host, scale: Scale, evidence: Evidence) -> None:
    """P4 for the database: the command refuses it with one line, and the server never runs any of it."""
    project = cmp.upsert("apollo")
    commands = [
        ["run", "--once"],
        ["install"],
        ["verify", project],
        ["wait", "--project", "apollo"],
        ["install", "--print"],
    ]
    tables = [*enumerate(TABLES)][:: scale(8, 1)]
    tries = [(table, commands[(at + more) % len(commands)]) for at, table in tables for more in (0, 2)]
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda it: host.run(*it[1], OMNICDC_TABLES=f"projects={it[0]}"), tries))

    accepted = [
        (table, command) for (table, command), done in zip(tries, ended, strict=True) if done.returncode == 0
    ]
    # Printing the SQL for another table does no harm.
    assert [it for it in accepted if it[1] != ["install", "--print"]] == []
    assert {done.returncode for done in ended} <= {0, 2}
    assert all(len(done.stderr.splitlines()) == 1 for done in ended if done.returncode == 2)
    assert cmp.value("select count(*) from projects") == 1
    evidence(
        "P4",
        "SQL in the place of the table's name",
        times=len(tries),
        found="refused in one line; nothing was run",
    )
