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


@pytest.mark.parametrize(
    ("more", "line", "fault"),
    [
        ("fromat: csv", 8, "a registry has no 'fromat', did you mean format?"),
        ("header: x", 8, "a registry of format csv has no 'header'; it has name, path, query"),
        ("colour: x", 8, "a registry of format csv has no 'colour'; it has name, path, query"),
    ],
)
def test_a_key_that_a_registry_does_not_have_is_named(
    host: Host, file: Path, more: str, line: int, fault: str
) -> None:
    file.write_text(DECLARED.format(root=host.root, query="select id, name from agents") + f"    {more}\n")

    found = host.run("config", "check", "--offline", COLUMNS="1000")

    assert found.returncode == 2
    assert f"{file}:{line}: {fault}" in found.stderr


@pytest.mark.parametrize(("value", "returncode"), [("{cuont}", 2), ("{count}", 0), ("count", 0), ("{x}", 0)])
def test_a_misspelled_placeholder_of_a_header_is_a_fault(
    host: Host, file: Path, value: str, returncode: int
) -> None:
    text = DECLARED.format(root=host.root, query="select id, name from agents").replace("csv", "json")
    file.write_text(f'{text}    entries: rows\n    header: {{total: "{value}"}}\n')

    found = host.run("config", "check", "--offline", COLUMNS="1000")

    assert found.returncode == returncode, found.stderr
    assert ("did you mean {count}?" in found.stderr) is (returncode == 2)


def test_a_program_that_does_not_exist_is_reported(host: Host, file: Path) -> None:
    text = DECLARED.format(root=host.root, query="select id, name from agents")
    commands = (
        "    check: [/no/such/check]\n    on_publish: [sh, -c, 'true']\non_publish: [no-such-hook, now]\n"
    )
    file.write_text(text + commands)

    found = host.run("config", "check", "-o", "text", COLUMNS="1000")
    offline = host.run("config", "check", "--offline")

    assert (found.returncode, offline.returncode) == (1, 0)
    missing = "names a program that does not exist here:"
    assert f"{file}:7: registry mine: check {missing} /no/such/check\n" in found.stdout
    assert f"{file}:10: on_publish {missing} no-such-hook\n" in found.stdout


def test_the_check_shows_whether_a_row_can_be_read_alone(host: Host, file: Path) -> None:
    file.write_text(DECLARED.format(root=host.root, query="select id, name from agents limit 5"))

    found = host.run("config", "check", "-o", "text", COLUMNS="1000")

    scans = {line.split(":")[0]: line.rpartition("; ")[2] for line in found.stdout.splitlines()}
    assert scans["mine"] == "each change scans everything"
    assert scans["cmp_agents"] == "a change scans its row alone"
