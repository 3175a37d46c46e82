"""`omnicdc doctor` finds each fault in one place, and its remedy, when carried out, ends the fault."""

from __future__ import annotations

import fcntl
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from support.gh import write_gh
from support.host import CANONICAL, REGISTRIES
from support.hung_mount import hung_mount
from support.pooler import needs_pooler, pooler

from omnicdc.answers.doctor.database import PER_GRANT
from omnicdc.files.lock import LOCK

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from support.estate import Estate
    from support.evidence import Scale

IN_THE_DATABASE = {
    "grant trigger on omnicdc.change to WRITER": "foreign objects",
    "alter table omnicdc.source enable row level security;"
    "create policy mine on omnicdc.source using (false)": "row security",
    "revoke execute on function omnicdc.release_canary() from omnicdc_daemon": "rights",
    "revoke insert on omnicdc.history from omnicdc_daemon": "rights",
    "revoke execute on function omnicdc.is_alive(text) from omnicdc_client": "rights",
    "revoke select (name) on projects from omnicdc_client": "columns",
    "grant omnicdc_client to CLIENT with inherit false": "role",
    "alter role DAEMON connection limit 1": "daemon roles",
    "alter role DAEMON valid until '2020-01-01'": "daemon roles",
    "alter table omnicdc.change set (autovacuum_enabled = off)": "parameters",
    "alter table projects disable trigger omnicdc_log_row": "triggers",
    "alter table projects enable trigger omnicdc_log_update": "triggers",
    "drop trigger omnicdc_log_truncate on projects": "triggers",
    "create or replace function omnicdc.log_row_1() returns trigger language plpgsql"
    " as 'begin return null; end'": "triggers",
    "update omnicdc.source set watched = array_remove(watched, 'status')": "watch list",
    "create publication everything for all tables": "publications",
}
"""What breaks the capture, to the check that finds it."""


def test_a_healthy_estate_has_no_fault_and_each_fault_of_the_database_has_its_remedy(
    estate: Estate, dice: random.Random, scale: Scale
) -> None:
    assert estate.failed() == {}

    for broken_by, check in dice.sample([*IN_THE_DATABASE.items()], scale(5, len(IN_THE_DATABASE))):
        if check == "role" and estate.cmp.conn.info.server_version < PER_GRANT:
            broken_by = "alter role CLIENT noinherit"  # noqa: PLW2901
        statement = broken_by.replace("WRITER", estate.writer).replace("DAEMON", estate.daemon_role)
        estate.cmp.conn.execute(statement.replace("CLIENT", estate.client_role).encode())
        faults = estate.failed()

        assert [*faults] == [check], broken_by  # so that the remedy before this one has worked, too
        estate.carry_out(faults[check])

    assert estate.failed() == {}


def test_a_missing_schema_is_one_fault_and_installing_it_is_the_remedy(estate: Estate) -> None:
    """Everything that needs the schema is skipped, with the reason."""
    estate.host.run("uninstall", "--yes", OMNICDC_DSN=estate.cmp.dsn)
    report = estate.examine()
    faults = estate.failed()

    assert [*faults] == ["schema"]
    assert {it.finding.status for it in report.results if it.group in ("capture", "log", "consumers")} == {
        "skipped"
    }
    estate.carry_out(faults["schema"])
    estate.publish()
    assert estate.failed() == {}


def test_a_session_that_locks_the_table_is_one_fault_and_no_check_waits_for_it(estate: Estate) -> None:
    with closing(estate.cmp.connect()) as other:
        other.execute("begin; lock table projects")
        faults = estate.failed()

        assert [*faults] == ["locks"]
        assert f"on public.projects (pid {other.info.backend_pid}; " in faults["locks"].seen
        estate.carry_out(faults["locks"])
        assert estate.failed() == {}


def test_a_renamed_table_is_one_fault(estate: Estate) -> None:
    estate.cmp.conn.execute("alter table projects rename to undertakings")
    faults = estate.failed()

    assert [*faults] == ["triggers"]
    assert "`tables: {projects: public.undertakings}`" in faults["triggers"].remedy


@pytest.mark.parametrize("kind", ["session", "prepared"])
def test_an_old_transaction_that_keeps_dead_rows_is_named(estate: Estate, kind: str) -> None:
    with closing(estate.cmp.connect()) as old, closing(estate.cmp.connect()) as writer:
        old.execute("begin isolation level repeatable read")
        old.execute("select from projects")
        if kind == "prepared":
            old.execute("select pg_current_xact_id()")
            old.execute("prepare transaction 'forgotten'")
        writer.execute("insert into omnicdc.change (op) select 'look' from generate_series(1, 12000)")
        writer.execute("delete from omnicdc.change")
        writer.close()  # the server counts the dead rows at the latest at the end of a session
        faults = estate.failed(["log"])

        assert [*faults] == ["dead rows"]
        assert (str(old.info.backend_pid) if kind == "session" else "'forgotten'") in faults[
            "dead rows"
        ].remedy
        estate.carry_out(faults["dead rows"])
        assert estate.failed(["log"]) == {}


def test_the_guard_is_named_with_its_remedy(estate: Estate) -> None:
    estate.cmp.conn.execute("delete from projects where key > 'key-2'")
    estate.publish()
    faults = estate.failed(["consumers", "files"])

    assert "is held: " in faults["held"].seen
    assert "`omnicdc accept`" in faults["held"].remedy
    estate.carry_out(faults["held"])
    estate.publish()
    assert "held" not in estate.failed(["consumers"])


def test_each_fault_of_the_files_is_found_at_its_place(estate: Estate, tmp_path: Path) -> None:
    host = estate.host
    overrides = host.root / "governance/registry/projects/LOCAL_OVERRIDES_V1.yaml"
    overrides.write_text("overrides: 7\n")
    people = estate.failed()
    overrides.unlink()
    (host.root / CANONICAL).write_text("{}")
    edited = estate.failed()
    estate.publish()
    host.state.rename(host.state.with_suffix(".gone"))
    missing = estate.failed()
    estate.carry_out(missing["directories"])
    with (host.root / LOCK).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        locked = estate.failed()
    gh = write_gh(tmp_path, "exit 1")
    path = f"{gh}:{host.env['PATH']}"
    logged_out = estate.failed(OMNICDC_GH="yes", PATH=path)
    write_gh(tmp_path, "exit 0")

    assert [*people] == ["people's files"]
    assert [*edited] == ["manifest", "content"]
    assert "was changed by another process" in edited["manifest"].seen
    assert [*missing] == ["directories"]
    assert [*locked] == ["lock"]
    assert [*logged_out] == ["gh"]
    assert "gh auth login" in logged_out["gh"].remedy
    assert estate.failed(OMNICDC_GH="yes", PATH=path) == {}


def test_faults_of_the_configuration_are_named_with_their_place(estate: Estate, tmp_path: Path) -> None:
    """Everything else is skipped; only the host is looked at."""
    file = tmp_path / "omnicdc.yaml"
    file.write_text("pol_s: 5s\nretention: 7\n")
    report = estate.examine(OMNICDC_CONFIG=str(file))
    seen = [it.finding.seen for it in report.results if it.finding.status == "fail"]

    assert len(seen) == 2
    assert "omnicdc.yaml:1: no such setting as pol_s, did you mean poll_s?" in seen[0]
    assert "omnicdc.yaml:2: a unit is missing" in seen[1]


def test_a_table_of_a_source_that_no_registry_reads_is_named(estate: Estate) -> None:
    faults = estate.failed(["configuration"], OMNICDC_TABLES="forgotten=cmp.forgotten")

    assert faults["registries"].seen == "tables names a source forgotten, which no registry reads"
    assert faults["registries"].remedy == "remove it: OMNICDC_TABLES"


def test_a_database_that_is_down_is_one_fault_and_the_files_are_checked(estate: Estate) -> None:
    report = estate.examine(OMNICDC_DSN="host=/nonexistent")
    found = {(it.group, it.finding.status) for it in report.results}

    assert [it.check for it in report.results if it.finding.status == "fail"] == ["connection"]
    assert {("database", "skipped"), ("clocks", "skipped"), ("files", "ok")} <= found
    assert report.role is None
    assert [*estate.failed(["log"], OMNICDC_DSN="host=/nonexistent")] == ["connection"]


@needs_pooler
def test_the_doorbell_is_tried_on_the_way_that_the_daemon_takes(estate: Estate) -> None:
    """A client may be behind any pooler: its waits poll."""
    with ExitStack() as stack:
        pooled = stack.enter_context(pooler(estate.cmp, "transaction", 1))
        as_daemon = estate.failed(["database"], OMNICDC_DSN=pooled)

    assert [*as_daemon] == ["doorbell"]
    assert "a pooler in transaction mode" in as_daemon["doorbell"].seen
    assert estate.failed(["database"], OMNICDC_DSN=estate.people.dsn(estate.daemon_role)) == {}


def test_a_root_that_hangs_is_one_fault_and_stops_no_check(estate: Estate, tmp_path: Path) -> None:
    with hung_mount(tmp_path / "hung") as root:
        report = estate.examine(OMNICDC_ROOT=str(root))
        found = {it.check: it.finding.status for it in report.results if it.group == "files"}

    assert [it.check for it in report.results if it.finding.status == "fail"] == ["root"]
    assert {status for check, status in found.items() if check != "root"} == {"skipped"}
    assert len(REGISTRIES) < len(found)
