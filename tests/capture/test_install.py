"""A second install is harmless, blocks writers only briefly, and is the same from Python and psql."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.host import until
from support.sessions import backend, dump, psql, waits_for_a_lock
from support.sources import WATCHED, projects

from omnicdc import db
from omnicdc.capture import install, script
from omnicdc.capture.attempts import USUAL, Attempts
from omnicdc.db import sql
from omnicdc.errors import LockBusy, SchemaMismatch

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.pace import Pace


def install_capture(cmp: Cmp, watched: tuple[str, ...] = WATCHED, attempts: Attempts = USUAL) -> bool:
    """Install the capture. Return whether it was changed."""
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, projects("projects", watched), attempts=attempts)


def test_a_second_install_changes_nothing(bare: Cmp) -> None:
    first = install_capture(bare)
    before = dump(bare)
    second = install_capture(bare)

    assert (first, second) == (True, False)
    assert dump(bare) == before


def test_a_second_install_waits_for_no_lock_on_the_table(cmp: Cmp) -> None:
    with cmp.connect() as other, other.transaction():
        other.execute("lock table projects in access exclusive mode")

        assert install_capture(cmp) is False


def test_another_watch_list_is_added_to_the_first(cmp: Cmp) -> None:
    changed = install_capture(cmp, ("name", "description"))
    project = cmp.upsert("apollo")
    cmp.conn.execute("update projects set description = 'x', status = 'y'")

    assert changed
    assert cmp.log() == [(project, "insert", None), (project, "update", ("description", "status"))]


def test_psql_installs_the_same_with_the_printed_script(bare: Cmp) -> None:
    install_capture(bare)
    by_python = dump(bare)
    migrations = bare.value("select array_agg(row (version, name)::text) from omnicdc.migration")
    watch = bare.value("select row (target, watched, source_hash)::text from omnicdc.source")
    with db.connect(bare.dsn) as conn:
        install.uninstall(conn)

    result = psql(bare.dsn, script.script(projects()))

    assert result.returncode == 0, result.stderr
    assert dump(bare) == by_python
    assert bare.value("select array_agg(row (version, name)::text) from omnicdc.migration") == migrations
    assert bare.value("select row (target, watched, source_hash)::text from omnicdc.source") == watch
    assert install_capture(bare) is False


def test_a_script_that_fails_leaves_nothing(bare: Cmp) -> None:
    result = psql(bare.dsn, script.script(projects("no_such_table")))

    assert result.returncode != 0
    assert bare.value("select to_regnamespace('omnicdc')") is None


def test_concurrent_installations_all_succeed(bare: Cmp) -> None:
    barrier = threading.Barrier(3)

    def install_together() -> bool:
        barrier.wait()
        return install_capture(bare)

    with ThreadPoolExecutor(3) as pool:
        changed = sorted(done.result() for done in [pool.submit(install_together) for _ in range(3)])

    assert changed == [False, False, True]


def test_a_table_that_stays_locked_is_reported(bare: Cmp) -> None:
    with bare.connect() as writer, writer.transaction():
        bare.upsert("apollo", conn=writer)
        with pytest.raises(LockBusy, match=r"within 50ms, 2 times.*long transaction"):
            install_capture(bare, attempts=Attempts(2, "50ms"))

    assert bare.value("select to_regnamespace('omnicdc')") is None


def test_an_installation_blocks_writers_no_longer_than_its_lock_timeout(bare: Cmp, pace: Pace) -> None:
    """P4: while an installation waits for the table's lock, every writer waits behind it."""
    attempts = Attempts(lock_timeout="200ms")
    with ThreadPoolExecutor(1) as pool, bare.connect() as open_writer, db.connect(bare.dsn) as conn:
        open_writer.execute("begin")
        bare.upsert("long", conn=open_writer)
        installing = pool.submit(install.install, conn, projects(), attempts=attempts)
        until(lambda: waits_for_a_lock(bare, backend(conn)), "the installation waits for the open writer")
        with bare.connect() as writer:
            started = time.monotonic()
            bare.upsert("apollo", conn=writer)
            blocked_s = time.monotonic() - started
        open_writer.execute("commit")

        assert installing.result() is True
    assert blocked_s < pace.allows(0.5)
    bare.upsert("artemis")
    assert len(bare.log()) == 1


def test_a_transaction_that_began_before_the_capture_is_logged(bare: Cmp) -> None:
    with bare.connect() as writer, writer.transaction():
        writer.execute("select pg_current_xact_id()")
        install_capture(bare)
        project = bare.upsert("apollo", conn=writer)

    assert bare.log() == [(project, "insert", None)]


def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add one more migration, as the next version of omnicdc will."""
    later = sql.Migration(3, sql.Script("0003_later.sql", "alter table omnicdc.change add remark text"))
    known = [*sql.migrations(), later]
    monkeypatch.setattr(sql, "migrations", lambda: known)


def test_an_older_schema_is_reported_with_the_command_to_run(
    cmp: Cmp, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_version(monkeypatch)
    with pytest.raises(SchemaMismatch, match="is at 1, this omnicdc needs") as raised:
        check_version(cmp)

    assert "omnicdc install" in raised.value.hint


def test_a_newer_schema_is_reported_with_the_command_to_run(cmp: Cmp) -> None:
    cmp.conn.execute("insert into omnicdc.migration (version, name) values (999, 'of the future')")
    with pytest.raises(SchemaMismatch, match="is at 999, newer than this omnicdc knows") as raised:
        check_version(cmp)

    assert "pip install --upgrade" in raised.value.hint


def test_the_next_migration_is_applied_once_and_keeps_the_log(
    bare: Cmp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade of a log that is in use keeps the log's rows, and the capture goes on."""
    install_capture(bare)
    apollo = bare.upsert("apollo")
    next_version(monkeypatch)
    install_capture(bare)
    install_capture(bare)
    artemis = bare.upsert("artemis")

    assert bare.value("select array_agg(version order by version) from omnicdc.migration") == [1, 3]
    assert bare.log() == [(apollo, "insert", None), (artemis, "insert", None)]


def test_a_schema_of_a_development_version_must_be_uninstalled_first(bare: Cmp) -> None:
    """Before the first release there were nine migrations, and other names of triggers and functions."""
    with db.connect(bare.dsn) as conn:
        conn.execute(sql.roles().text)
        conn.execute("set role omnicdc_owner")
        conn.execute(
            """create table omnicdc.migration (version integer primary key, name text not null);
               insert into omnicdc.migration values (9, '0009_pruned_history.sql');
               create table omnicdc.canary (id uuid not null);
               create function omnicdc.note_row() returns trigger
                 language plpgsql as 'begin return null; end';
               create function omnicdc.log_if_allowed(uuid[], text, text[]) returns void
                 language sql as '';
               create trigger omnicdc_note_row after insert on omnicdc.canary
                 for each row execute function omnicdc.note_row()"""
        )
        conn.execute("reset role")
    with pytest.raises(SchemaMismatch, match="is at 9, newer than this omnicdc knows"):
        install_capture(bare)
    with db.connect(bare.dsn) as conn:
        install.uninstall(conn)

    assert install_capture(bare)


def check_version(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        db.check_schema(conn)


def test_a_schema_restored_without_its_data_is_installed_again(bare: Cmp) -> None:
    """`pg_restore --schema-only` creates such a schema.

    Its version is unknown, and it holds no data that could be lost.
    """
    with db.connect(bare.dsn) as conn:
        install.install(conn, projects())
        conn.execute("truncate omnicdc.migration, omnicdc.source, omnicdc.change")
        changed = install.install(conn, projects())
        db.check_schema(conn)
        fault = db.fetch_one(conn, "capture_fault")["fault"]
    project = bare.upsert("atlas")

    assert (changed, fault) == (True, None)
    assert bare.log() == [(project, "insert", None)]


def test_install_refuses_to_replace_a_newer_schema(cmp: Cmp) -> None:
    cmp.conn.execute("insert into omnicdc.migration (version, name) values (999, 'of the future')")
    before = dump(cmp)

    with pytest.raises(SchemaMismatch, match="newer"):
        install_capture(cmp)
    assert dump(cmp) == before


def test_a_newer_additive_migration_stops_no_program_but_an_older_install(cmp: Cmp) -> None:
    cmp.conn.execute("insert into omnicdc.addition (revision, name) values (999, 'of the future')")
    before = dump(cmp)
    check_version(cmp)

    with pytest.raises(SchemaMismatch, match="is at 999, newer") as raised:
        install_capture(cmp)
    assert "pip install --upgrade" in raised.value.hint
    assert dump(cmp) == before


def test_a_database_without_omnicdc_is_reported_with_the_command_to_run(bare: Cmp) -> None:
    with pytest.raises(SchemaMismatch, match="omnicdc install"), db.connect(bare.dsn) as conn:
        db.check_schema(conn)
