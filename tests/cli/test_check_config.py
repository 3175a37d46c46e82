"""`omnicdc config check` and `install` name the line of a declared registry that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.agents import AGENTS

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

DECLARED = """root: {root}
registries:
  - name: mine
    path: x/mine.csv
    format: csv
    query: |
      {query}
"""


@pytest.fixture
def file(cmp: Cmp, host: Host) -> Path:
    """The configuration file of a host; CMP has agents, a view and a table without a primary key."""
    cmp.conn.execute(AGENTS)
    cmp.conn.execute("create view v_agents as select id, name from agents")
    cmp.conn.execute("create table keyless (id uuid, name text)")
    cmp.conn.execute("create function myf(text) returns text immutable language sql as 'select $1'")
    path = host.root.parent / "omnicdc.yaml"
    host.env["OMNICDC_CONFIG"] = str(path)
    return path


@pytest.mark.parametrize(
    ("query", "place", "fault"),
    [
        ("select id, nmae from agents", "7:18", 'column "nmae" does not exist - fix the query'),
        (
            "select a.id, p.name from agents a\n        join projects p on p.id = a.projcet",
            "8:35",
            "column a.projcet does not exist - fix the query",
        ),
        (
            "select agents.id, length(agents.name) as n, agents.nmae from agents",
            "7:51",
            "column agents.nmae does not exist - fix the query",
        ),
        ("select id, '%{}' as x, nmae from agents", "7:30", 'column "nmae" does not exist - fix the query'),
        ("select id, name from agnets", "7:28", 'relation "agnets" does not exist - fix the query'),
        (
            "select id, myf(name) as n from agents",
            "7:18",
            "function myf(text) does not exist - fix the query: it can use what is PostgreSQL's own",
        ),
        (
            "select id, name from v_agents",
            "7",
            "public.v_agents is a view: a source must be a table with a primary key",
        ),
        ("select id, name from keyless", "7", "table public.keyless has no primary key - "),
    ],
)
def test_what_only_cmp_knows_is_reported_with_its_place(
    host: Host, file: Path, query: str, place: str, fault: str
) -> None:
    """Regression: no file, no line, and "put the column back, or upgrade omnicdc"."""
    file.write_text(DECLARED.format(root=host.root, query=query))

    found = host.run("config", "check", "-o", "text", COLUMNS="1000")
    installed = host.run("install", COLUMNS="1000")

    assert found.returncode == 1, found.stdout + found.stderr
    assert f"{file}:{place}: registry mine: {fault}" in found.stdout
    if "myf" not in query:
        assert installed.returncode == 2, installed.stdout
        assert f"{file}:{place}: registry mine: {fault}" in installed.stderr


def test_a_union_is_refused_with_its_place(host: Host, file: Path) -> None:
    file.write_text(
        DECLARED.format(root=host.root, query="select id from agents union select id from projects")
    )

    found = host.run("config", "check", "--offline", COLUMNS="1000")

    assert found.returncode == 2
    assert f"{file}:7:" in found.stderr
    assert "registry mine: the query must not be a UNION, INTERSECT or EXCEPT" in found.stderr


def test_a_registry_over_a_table_that_cmp_is_said_to_lack_is_a_fault(host: Host, file: Path) -> None:
    """Regression: the file was good, and the registry was held after the reload."""
    query = "select id, name from agents"
    file.write_text(DECLARED.format(root=host.root, query=query) + 'tables: {agents: ""}\n')

    found = [host.run("config", "check", *more, COLUMNS="1000") for more in ((), ("--offline",))]

    assert [it.returncode for it in found] == [1, 1]
    assert all(f"{file}:8: agents has no table, but registry mine reads it" in it.stdout for it in found)


def test_a_held_registry_names_its_line(cmp: Cmp, host: Host, file: Path) -> None:
    file.write_text(DECLARED.format(root=host.root, query="select id, name, kind from agents"))
    host.ask("install")
    cmp.conn.execute("alter table agents drop column kind")
    host.run("run", "--once")

    found = host.run("rebuild", "--dry-run", "-o", "text", COLUMNS="1000")

    assert f'{file}:7:24: registry mine: column "kind" does not exist - fix the query' in found.stdout
