"""`omnicdc plan`: its answers as text and as JSON, what it refuses, and what it leaves behind: nothing."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.host import CANONICAL, COMMAND, process
from support.session import publish
from support.terminal import GREEN, RED, on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People

ARCHIVE = "update projects set status = 'archived', updated_at = now() where name = 'atlas'"
ROWS = "select array_agg(p order by id)::text || array_agg(p.xmin order by id)::text from projects p"


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Assert that a command was refused with one line, and return that line."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def unfolded(host: Host, *arguments: str, **env: str) -> str:
    """Return a plan as text, in one line."""
    return " ".join(host.run("plan", *arguments, "-o", "text", **env).stdout.split())


def test_it_shows_rows_registries_and_the_diff_and_changes_nothing(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas", status="active", github_url="https://github.com/acme/atlas")
    cmp.upsert("boreas")
    publish(host)
    rows, files, log = cmp.value(ROWS), host.stats(), cmp.log()

    shown = on_a_terminal([COMMAND, "plan", ARCHIVE], host.env, columns=80)
    plain = on_a_terminal([COMMAND, "plan", ARCHIVE, "--exit-code"], host.env | {"NO_COLOR": "1"}, columns=80)
    piped = host.ask("plan", "--limit", "0", ARCHIVE)

    assert (shown.status, plain.status) == (0, 1)
    assert "  update projects: watched: status; not watched: updated_at\n" in shown.text
    assert f"  atlas ({atlas}): update status\n" in shown.text
    assert shown.line("canonical_projects") == "canonical_projects_uuids.json: 1 changed (it reads status)"
    assert f'@@ {atlas} atlas @@\n       "domain": null,\n-      "status": "active",\n' in shown.text
    assert "repo_inventory.json" not in shown.text
    assert max(map(len, shown.text.partition("\nUPDATE")[2].splitlines())) <= 80
    assert GREEN in shown.raw
    assert RED in shown.raw
    assert GREEN not in plain.raw
    assert piped["would_change"] == ["canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"]
    assert piped["rows"] == {"count": 1, "first": []}
    canonical = piped["registries"]["canonical_projects_uuids.json"]
    assert (canonical["changed"], canonical["entries"], canonical["file"]) == (1, [], "current")
    assert piped["registries"]["repo_inventory.json"]["why"] == "it does not read status"
    assert (cmp.value(ROWS), host.stats(), cmp.log()) == (rows, files, log)


def test_without_statements_it_shows_what_a_rebuild_would_change(cmp: Cmp, host: Host) -> None:
    atlas, boreas = cmp.upsert("atlas", status="active"), cmp.upsert("boreas")
    publish(host)
    equal = host.run("plan", "--exit-code", "-o", "text")
    cmp.set(atlas, status="archived")
    cmp.set(boreas, status="gone")

    found = host.ask("plan")
    of_atlas = host.ask("plan", "--project", "atlas")
    static = host.ask("plan", "--static", ARCHIVE, OMNICDC_DSN="host=/nowhere", OMNICDC_ROOT="")
    behind = host.run("plan", "delete from projects where name = 'atlas'", "-o", "text")

    assert (equal.returncode, equal.stdout) == (0, "nothing would change\n")
    assert {it["key"] for it in found["registries"][CANONICAL.rsplit("/", 1)[1]]["entries"]} == {
        atlas,
        boreas,
    }
    [entry] = of_atlas["registries"]["canonical_projects_uuids.json"]["entries"]
    assert (entry["key"], entry["name"]) == (atlas, "atlas")
    assert (entry["before"]["status"], entry["after"]["status"]) == ("active", "archived")
    assert static["would_change"] == found["would_change"]
    assert "\n  its file is not as CMP is now (differs): more would change" in behind.stdout


def test_a_held_registry_is_reported_with_the_command_that_releases_it(cmp: Cmp, host: Host) -> None:
    cmp.fill(40)
    publish(host)
    cmp.conn.execute("delete from projects where id in (select id from projects order by id limit 30)")
    publish(host)

    again = "update projects set status = 'archived' where id = (select max(id::text)::uuid from projects)"
    found = host.ask("plan", again)
    texts = [unfolded(host, *sql, "--limit", "0") for sql in ([again], [])]

    [hold] = found["registries"]["canonical_projects_uuids.json"]["holds"]
    assert hold == {
        "consumer": "host",
        "reason": "it would lose 30 of its 40 entries at once",
        "hint": "look at CMP; if it is meant, run `omnicdc accept`",
        "guard": True,
    }
    line = (
        " held now on host: it would lose 30 of its 40 entries at once; nothing is written there until this "
        "is resolved - look at CMP; if it is meant, run `omnicdc accept` "
    )
    for text in texts:
        assert (
            f"canonical_projects_uuids.json: {'1 changed (it' if 'UPDATE' in text else '30 removed'}" in text
        )
        assert line in text
        assert "would be held" not in text
        assert "in another order" not in text
    assert "more would change" not in texts[0]


def test_a_registry_that_a_fault_holds_is_reported_with_the_remedy(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas")
    publish(host)
    file = host.root / CANONICAL
    (file.with_name(f".{file.name}.omnicdc-tmp") / "full").mkdir(parents=True)  # where it would be written
    cmp.set(atlas, status="archived")
    publish(host)

    text = unfolded(host, "update projects set status = 'x'")

    [(reason, hint)] = [
        (one["reason"], one["hint"]) for one in host.ask("status")["consumers"][0]["held"].values()
    ]
    assert f" held now on host: {reason}; nothing is written there until this is resolved - {hint} " in text


def test_a_truncation_shows_how_many_rows_and_that_the_guard_would_hold(cmp: Cmp, host: Host) -> None:
    cmp.fill(40)
    cmp.conn.execute(
        """create table children (project uuid references projects (id));
           create table parent (id int); create table heir () inherits (parent);
           insert into parent values (1); insert into heir values (2), (3)"""
    )
    publish(host)

    found = host.ask("plan", "truncate projects cascade; truncate only parent; truncate parent")
    text = unfolded(host, "truncate projects cascade", "--limit", "0")
    listed = unfolded(host, "truncate projects cascade", "--limit", "1")

    assert [each["rows"] for each in found["statements"]] == [40, 1, 2]
    assert found["rows"]["count"] == found["rows"]["first"][0]["rows"] == 40
    assert text.startswith("TRUNCATE (character 1): 40 rows ")
    assert "watched rows that would change: 40 and 40 more rows; --limit" in text
    assert " projects: all 40 rows: truncate canonical_projects" in listed
    assert (
        "canonical_projects_uuids.json: 40 removed (all rows are deleted) canonical_projects_uuids.json "
        "would be held: it would lose 40 of its 40 entries at once - after the write, `omnicdc accept` lets "
        "it through "
    ) in text


def test_a_truncation_of_another_table_that_cascades_shows_the_rows(cmp: Cmp, host: Host) -> None:
    cmp.fill(12)
    cmp.conn.execute(
        """create table owners (id int primary key); insert into owners values (1);
           alter table projects add owner int references owners (id)"""
    )

    text = unfolded(host, "truncate owners cascade", OMNICDC_ROOT="")

    assert text.startswith("TRUNCATE (character 1): 1 row ")
    assert " projects: all 12 rows: truncate " in text


def test_statements_are_read_from_stdin_and_from_a_file(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    cmp.upsert("atlas")
    file = tmp_path / "changes.sql"
    file.write_text("update projects set key = 'ä%s';\nupdate projects set nonsense = 1;\n")

    with process([COMMAND, "plan", "-", "--json"], host.env, stdin=subprocess.PIPE) as running:
        piped, _ = running.communicate("update projects set updated_at = now(), description = 'x'")
    from_file = refused(host.run("plan", "--file", str(file)))

    assert '"would_change": []' in piped
    assert 'line 2, character 21: PostgreSQL refuses this: column "nonsense"' in from_file


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("update projects set updated_at = now()", "nothing to publish: updated_at is not watched"),
        ("update projects set status = status", "nothing to publish: no watched column"),
        ("delete from projects where name = 'nobody'", "nothing to publish: no watched column"),
        ("update projects set key = nextval('numbers')", "nextval(): the rollback does not set the sequence"),
        ("update projects set key = own()", "own() may have effects that the rollback does not undo"),
        ("update projects set name = null", "refuses this: null value in column"),
        ("update projects set name = 'x'", "refuses this: duplicate key value violates unique"),
        ("insert into projects select * from projects limit 1", '"projects_pkey": Key (id)=('),
        ("update projects set name = null", "Failing row contains ("),
    ],
)
def test_what_follows_from_a_statement_is_said(cmp: Cmp, host: Host, sql: str, shown: str) -> None:
    cmp.conn.execute(
        """create sequence numbers; alter table projects add unique (name) deferrable initially deferred;
           create function own() returns text language sql as 'select null'"""
    )
    cmp.upsert("atlas"), cmp.upsert("boreas")
    done = host.run("plan", sql, "-o", "text", OMNICDC_ROOT="")

    assert shown in (done.stdout or refused(done))


def test_a_lock_and_a_missing_right_end_with_their_remedy(cmp: Cmp, host: Host, people: People) -> None:
    atlas = cmp.upsert("atlas")
    reader = people.dsn(people.add("omnicdc_client"))
    with psycopg.connect(cmp.dsn) as holder:
        holder.execute("update projects set key = 'x' where id = %s", [atlas])
        locked = refused(host.run("plan", ARCHIVE, "--timeout", "0.2"))
    lacking = refused(host.run("plan", ARCHIVE, OMNICDC_DSN=reader))

    assert "another session holds a lock that it needs, and did not release it in 0.2 s" in locked
    assert "pg_stat_activity" in locked
    assert "`grant select, update on projects to person_" in lacking
    assert "--static" in lacking


@pytest.mark.parametrize("words", [[ARCHIVE], [], ["--project", "atlas"]])
def test_a_lock_on_the_table_ends_every_plan_in_time_and_names_its_holder(
    cmp: Cmp, host: Host, words: list[str]
) -> None:
    cmp.upsert("atlas")
    with psycopg.connect(cmp.dsn, application_name="alter") as holder:
        holder.execute("lock table projects")
        pid = holder.info.backend_pid
        began = time.monotonic()
        locked = refused(host.run("plan", *words, "--timeout", "0.5"))
        lasted = time.monotonic() - began

    assert lasted < 20, locked  # PostgreSQL's own limit is 30 s
    assert f"planning: another session holds a lock on public.projects (pid {pid}, since " in locked
    assert "alter, idle in transaction), and did not release it in 0.5 s" in locked
    assert f"`select pg_terminate_backend({pid})`; or a longer --timeout" in locked


def test_a_row_that_changes_meanwhile_is_planned_again(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas", status="active")
    cmp.conn.execute(
        """create sequence attempts;
           create function race() returns text language plpgsql as $$
           begin
             if nextval('attempts') = 1 then
               raise exception using errcode = 'serialization_failure', message = 'as if';
             end if;
             return 'archived';
           end $$"""
    )
    found = host.ask("plan", f"update projects set status = race() where id = '{atlas}'", OMNICDC_ROOT="")

    assert cmp.value("select last_value from attempts") == 2
    assert found["rows"]["count"] == 1


def test_a_summary_below_the_diffs_names_what_would_be_held(cmp: Cmp, host: Host) -> None:
    cmp.fill(40)
    publish(host)
    delete = "delete from projects where id in (select id from projects order by id limit 30)"

    lines = host.run("plan", delete, "-o", "text").stdout.splitlines()
    one = host.run("plan", "update projects set name = name", "-o", "text").stdout
    cmp.conn.execute(delete)
    left = cmp.upsert("atlas")
    publish(host)
    cmp.conn.execute("delete from projects where id = %s", [left])
    held = unfolded(host, "--project", str(cmp.value("select min(id::text) from projects")))
    never = refused(host.run("plan", "--timeout", "0"))

    summary = next(number for number, line in enumerate(lines) if line.startswith("would be held: "))
    assert summary > max(number for number, line in enumerate(lines) if line.startswith("@@"))
    text = " ".join(lines[summary:])
    assert "canonical_projects_uuids.json, PROJECT_REGISTRY_V1.yaml" in text
    assert "  update projects: every column keeps its value\n" in one
    assert held.count("nothing would change") == 1
    assert "canonical_projects_uuids.json: as CMP has it held now on host: " in held
    assert "more than 0 seconds" in never
