"""`omnicdc migrate`: plan, apply, undo."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from support.host import COMMAND, process, until
from support.terminal import on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp
    from support.host import Host


NO_WRITER = """
select not exists (select from pg_stat_activity
                    where datname = current_database() and state like 'idle in transaction%%')
"""


def test_a_plan_file_is_reviewed_applied_and_undone(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    atlas = cmp.upsert("atlas", status="active")
    host.daemon()
    file = tmp_path / "plan.json"

    planned = host.ask(
        "migrate", "plan", "--where", "name = 'atlas'", "--set", "status=archived", "--out", str(file)
    )
    applied = host.ask("migrate", "apply", str(file), "--yes")

    assert json.loads(file.read_text()) == planned
    assert (applied["success"], applied["applied"], applied["verified"]) == (True, 1, 1)
    assert host.canonical()[atlas]["status"] == "archived"

    undone = host.ask("migrate", "undo", f"{file}.report", "--yes")
    repeated = host.ask("migrate", "apply", str(file), "--yes")

    assert (undone["success"], undone["applied"]) == (True, 1)
    assert host.canonical()[atlas]["status"] == "active"
    assert not repeated["success"]
    assert "this plan was applied" in repeated["error"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("changes.json", '[{{"uuid": "{}", "set": {{"status": "archived"}}}}]'),
        ("changes.yaml", "- uuid: {}\n  set:\n    status: archived\n"),
        ("changes.csv", "uuid,status,metadata_.domain\n{},archived,\n"),
    ],
)
def test_changes_are_read_from_files(cmp: Cmp, host: Host, tmp_path: Path, name: str, text: str) -> None:
    atlas = cmp.upsert("atlas", status="active", domain="labs")
    file = tmp_path / name
    file.write_text(text.format(atlas))

    planned = host.ask("migrate", "plan", str(file))

    assert [(it["uuid"], it["after"]) for it in planned["items"]] == [(atlas, {"status": "archived"})]


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("changes.json", "[{", "not JSON: Expecting property name"),
        ("changes.yaml", "- uuid: [", "not YAML: "),
        ("changes.yaml", "- uuid: x\n  set: {created_at: 2024-01-01}\n", "in quotes"),
        ("changes.csv", "id,status\n", "line 1: no column `uuid`"),
        ("changes.csv", "uuid,status\na,b,c\n", "line 2: 3 cells, and the header has 2"),
        ("changes.txt", "", "of which format?"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_line_and_exit_2(
    host: Host, tmp_path: Path, name: str, text: str, named: str
) -> None:
    file = tmp_path / name
    file.write_text(text)

    done = host.run("migrate", "plan", str(file))

    assert done.returncode == 2
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("name = ", "it ends too early"),
        ("name = 'a'; drop table projects; --", "at character 11"),
        ("exists (select from pg_catalog.pg_authid)", "at character 21"),
        ("pg_catalog.pg_sleep(9) is null", "pg_sleep"),
        ("statsu = 'x'", 'column "statsu" does not exist, at character 1 - Perhaps you meant to reference'),
        ("colour = 'red'", 'column "colour" does not exist, at character 1 - public.projects has created_at'),
        ("p.name = 'x'", "p.name"),
        ("name = 'x' and id in (select 1)", "uuid = integer, at character 19 - No operator matches"),
        (
            "id = 'atlas'",
            'invalid input syntax for type uuid: "atlas", at character 6 - change the condition',
        ),
        ("1 / abs(0) > 1", "division by zero - change the condition"),
        ("length(name) > 1", "the condition calls length"),
        ("exists (select from agents a)", "reads agents - it can read the table projects only"),
        ("id in (select q.idd from projects q)", "column q.idd does not exist"),
    ],
)
def test_a_condition_can_only_read_the_table(cmp: Cmp, host: Host, where: str, named: str) -> None:
    cmp.upsert("atlas")

    done = host.run("migrate", "plan", "--where", where, "--set", "status=x")

    assert done.returncode == 2, done.stdout
    assert named in done.stderr
    assert "--where: " in done.stderr
    assert "omnicdc install" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_condition_that_matches_nothing_is_said(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", status="active")

    none = host.run("migrate", "plan", "--where", "name = 'nope'", "--set", "status=x", "-o", "text")
    same = host.run("migrate", "plan", "--where", "name = 'atlas'", "--set", "status=active", "-o", "text")

    assert (none.returncode, none.stdout) == (0, "no project matches\n")
    assert (same.returncode, same.stdout) == (0, "nothing would change: 1 project has the values already\n")


NEITHER: LiteralString = """
create function neither() returns trigger language plpgsql as $$
begin
  if new.status = 'odd' then
    raise exception 'no odd status' using detail = 'Status is odd.', hint = 'Use an even one.';
  end if;
  return new;
end $$;
create trigger neither before update on projects for each row execute function neither();
"""
"""A trigger of CMP's own, which refuses a value."""


def test_what_cmp_refuses_is_told_in_its_own_words(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    cmp.conn.execute("create unique index u on projects (key)")
    cmp.upsert("atlas", key="a")
    cmp.upsert("boreas", key="b")
    file, own = str(tmp_path / "plan.json"), str(tmp_path / "own.json")
    which = ["migrate", "plan", "--where", "name = 'boreas'", "--set"]

    refused = host.ask(*which, "key=a")["conflicts"]
    host.ask(*which, "key=c", "--out", file)
    host.ask(*which, "status=odd", "--out", own)
    cmp.upsert("cetus", key="c")
    applied = host.ask("migrate", "apply", file, "--yes")
    cmp.conn.execute(NEITHER)
    triggered = host.ask(*which, "status=odd")["conflicts"]
    own_applied = host.ask("migrate", "apply", own, "--yes")
    archived = host.run("archive", "add", "boreas", "--status", "odd", "--yes", "-o", "text")
    statement = host.run("plan", "update projects set status = 'odd'")

    unique = 'duplicate key value violates unique constraint "u": Key (key)=({}) already exists'
    assert unique.format("a") in [it["detail"] for it in refused]
    assert unique.format("c") in applied["errors"][0]["detail"]
    words, hint = "no odd status: Status is odd", "Use an even one."
    assert [(it["detail"], it["hint"]) for it in triggered] == [(words, hint)]
    assert [(it["detail"], it["hint"]) for it in own_applied["errors"]] == [
        (f"changing public.projects: {words}", hint)
    ]
    assert f"{words} - {hint}" in " ".join(archived.stdout.split())
    assert f"PostgreSQL refuses this: {words} - {hint}" in statement.stderr


def test_a_plan_shows_an_empty_text_and_that_no_registry_would_change(cmp: Cmp, host: Host) -> None:
    cmp.upsert("atlas", status="active")
    which = ["migrate", "plan", "--where", "true", "-o", "text", "--set"]

    unwatched = host.run(*which, "description=")
    wrong = host.run(*which, "status.x=1")

    assert '""' in unwatched.stdout
    assert unwatched.stdout.endswith("\nno registry would change\n")
    assert "is not of type json or jsonb - set status itself, or a key of metadata_\n" in wrong.stderr


def test_a_plan_with_conflicts_is_exit_1_and_is_applied_only_if_they_are_accepted(
    cmp: Cmp, host: Host, tmp_path: Path
) -> None:
    cmp.upsert("atlas")
    cmp.upsert("boreas")
    host.daemon()
    file = str(tmp_path / "plan.json")

    planned = host.run("migrate", "plan", "--rename", "boreas", "atlas", "--out", file)
    refused = host.run("migrate", "apply", file, "--yes")
    accepted = host.run("migrate", "apply", file, "--yes", "--accept", "duplicate_name")

    assert (planned.returncode, refused.returncode, accepted.returncode) == (1, 1, 0)
    assert json.loads(refused.stdout)["conflicts"][0]["kind"] == "duplicate_name"


def test_nothing_is_written_without_a_yes(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    cmp.upsert("atlas", status="active")
    file = str(tmp_path / "plan.json")
    host.ask("migrate", "plan", "--where", "true", "--set", "status=archived", "--out", file)

    done = host.run("migrate", "apply", file)

    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert cmp.value("select status from projects") == "active"


@pytest.mark.parametrize("noted", [1, 2, 4])
def test_a_killed_apply_leaves_all_or_nothing_of_each_batch_and_a_repeat_knows_which(
    cmp: Cmp, host: Host, tmp_path: Path, noted: int
) -> None:
    for number in range(20):
        cmp.upsert(f"p{number}", status="active")
    host.daemon()
    file, journal = tmp_path / "plan.json", tmp_path / "plan.json.journal"
    plan = host.ask("migrate", "plan", "--where", "true", "--set", "status=archived", "--out", str(file))
    command = (COMMAND, "migrate", "apply", str(file), "--yes", "--batch-size", "4")

    with process(command, host.env) as running:
        until(lambda: lines(journal) > noted or running.poll() is not None, "a batch is noted")
        running.kill()
    until(lambda: cmp.value(NO_WRITER), "the server has ended the session")
    found = dict(cmp.conn.execute("select id::text, status from projects").fetchall())
    batches = [plan["items"][at : at + 4] for at in range(0, 20, 4)]
    written = [{found[item["uuid"]] for item in batch} for batch in batches]
    again = host.ask("migrate", "apply", str(file), "--yes", "--batch-size", "4")

    assert all(len(statuses) == 1 for statuses in written), written
    assert (again["success"], again["applied"], again["skipped"]) == (True, 20, 0)
    assert {status for (status,) in cmp.conn.execute("select status from projects")} == {"archived"}


def test_a_journal_of_another_plan_is_refused(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    cmp.upsert("atlas", status="active")
    host.daemon()
    journal = str(tmp_path / "journal")
    for name, status in (("first", "archived"), ("second", "snapshot")):
        host.ask(
            "migrate", "plan", "--where", "true", "--set", f"status={status}", "--out", str(tmp_path / name)
        )
        done = host.run("migrate", "apply", str(tmp_path / name), "--yes", "--journal", journal)

    assert json.loads(done.stdout)["success"] is False
    assert "is the journal of another plan" in json.loads(done.stdout)["error"]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_dry_runs_write_neither_cmp_nor_a_file(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    cmp.upsert("atlas", status="active")
    host.daemon()
    file = tmp_path / "plan.json"
    host.ask("migrate", "plan", "--where", "true", "--set", "status=archived", "--out", str(file))

    dry = host.run("migrate", "apply", str(file), "--dry-run")
    files, status = sorted(it.name for it in tmp_path.glob("plan*")), cmp.value("select status from projects")
    host.ask("migrate", "apply", str(file), "--yes")
    undo = host.run("migrate", "undo", f"{file}.report", "--dry-run")

    assert (dry.returncode, json.loads(dry.stdout)["applied"]) == (0, 1)
    assert (files, status) == (["plan.json"], "active")
    assert (undo.returncode, json.loads(undo.stdout)["applied"]) == (0, 1)
    assert cmp.value("select status from projects") == "archived"
    assert not (tmp_path / "plan.json.report.undo").exists()


def test_on_a_terminal_a_plan_and_a_report_are_words_and_on_a_pipe_json(
    cmp: Cmp, host: Host, tmp_path: Path
) -> None:
    cmp.upsert("atlas", status="active")
    host.daemon()
    file = str(tmp_path / "p")
    plan = [COMMAND, "migrate", "plan", "--where", "true", "--set", "status=archived", "--out", file]

    planned = on_a_terminal(plan, host.env, columns=80)
    dry = on_a_terminal([COMMAND, "migrate", "apply", file, "--dry-run"], host.env, columns=80)
    declined = on_a_terminal([COMMAND, "migrate", "apply", file], host.env, typed="n\n", columns=80)
    agreed = on_a_terminal([COMMAND, "migrate", "apply", file], host.env, typed="y\n", columns=80)
    piped = host.run("migrate", "undo", f"{file}.report", "--yes")

    assert planned.status == 0
    assert re.search(r"atlas +status +active +archived", planned.text)
    assert re.search(r"canonical_projects_uuids.json +1 +0 +0", planned.text)
    assert "planning" in planned.text
    assert "dry run: 1 applied, 0 as they should be already, of 1 projects" in dry.text
    assert (declined.status, agreed.status) == (1, 0)
    assert "Change 1 projects in CMP? [y/N]" in declined.text
    assert "1 applied, 0 as they should be already, 1 verified, of 1 projects" in agreed.text
    assert (piped.returncode, piped.stderr, json.loads(piped.stdout)["applied"]) == (0, "", 1)


def test_without_a_daemon_an_apply_is_exit_3_and_says_that_it_was_written(
    cmp: Cmp, host: Host, tmp_path: Path
) -> None:
    cmp.upsert("atlas", status="active")
    file = str(tmp_path / "plan.json")
    host.ask("migrate", "plan", "--where", "true", "--set", "status=archived", "--out", file)

    done = host.run("migrate", "apply", file, "--yes", "--timeout", "0")

    assert done.returncode == 3
    assert (json.loads(done.stdout)["applied"], json.loads(done.stdout)["verdict"]) == (1, "no_consumer")


def refusal(host: Host, *words: str) -> str:
    """Return the one line with which a command refuses its input."""
    done = host.run("migrate", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    return done.stderr


@pytest.mark.parametrize(("verb", "other"), [("apply", "plan"), ("undo", "report of an apply")])
def test_a_file_that_is_no_plan_or_no_report_is_named(
    host: Host, tmp_path: Path, verb: str, other: str
) -> None:
    file = tmp_path / "x.json"
    missing = refusal(host, verb, str(file), "--yes")
    file.write_text("[1]")
    wrong = refusal(host, verb, str(file), "--yes")
    file.write_text("{'a': 1}")
    broken = refusal(host, verb, str(file), "--yes")

    assert f"{file}: not a {other}: it has no list `items`" in wrong
    assert f"{file}: No such file or directory - `omnicdc migrate " in missing
    assert f"{file}: not JSON: Expecting property name" in broken
    assert " - `omnicdc migrate " in broken


def test_a_plan_for_a_report_and_a_report_for_a_plan_are_told(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    cmp.upsert("atlas", status="active")
    plan, report = str(tmp_path / "plan.json"), str(tmp_path / "plan.json.report")
    host.ask("migrate", "plan", "--where", "true", "--set", "status=archived", "--out", plan)

    early = refusal(host, "undo", plan, "--yes")
    host.ask("migrate", "apply", plan, "--yes", "--timeout", "0")
    late = refusal(host, "undo", plan, "--yes")
    twice = refusal(host, "apply", report, "--yes")

    assert f"{plan} is a plan, and not the report of an apply - `omnicdc migrate apply {plan}` makes" in early
    assert late.endswith(f"not the report of an apply - `omnicdc migrate undo {report}`\n")
    assert f"{report} is the report of an apply, and not a plan" in twice
    assert f"`omnicdc migrate undo {report}`" in twice


def test_a_repeated_apply_leaves_the_report_that_undo_needs(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """Regression: the report of the refused repeat replaced it, and then nothing could be undone."""
    cmp.upsert("atlas", status="active")
    host.daemon()
    file = str(tmp_path / "plan.json")
    host.ask("migrate", "plan", "--where", "true", "--set", "status=archived", "--out", file)
    host.ask("migrate", "apply", file, "--yes")

    repeated = host.ask("migrate", "apply", file, "--yes")
    undone = host.ask("migrate", "undo", f"{file}.report", "--yes")

    assert "this plan was applied" in repeated["error"]
    assert (undone["success"], undone["applied"]) == (True, 1)
    assert cmp.value("select status from projects") == "active"
