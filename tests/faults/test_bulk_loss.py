"""Faults 9: CMP loses most of its rows at once.

By mistake, with its table, with its database, or because it is meant.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as pgsql
from support.cmp import TABLE, Cmp
from support.host import INVENTORY, REGISTRIES, Daemon, Host, until

from omnicdc.demo.embedded import bundled
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from support.evidence import Evidence, Scale

NAMES = [path.rsplit("/", 1)[-1] for path in REGISTRIES]
MANIFEST = "governance/registry/omnicdc_manifest.json"
ACCEPT = "omnicdc accept"


def held(host: Host) -> dict[str, str]:
    """Return what `omnicdc status` says is held, and why; each with the command that lets it through."""
    answer = host.ask("status")
    [consumer] = answer["consumers"]
    for name, fault in consumer["held"].items():
        assert fault["guard"], fault
        assert any(name in line and fault["reason"] in line and ACCEPT in line for line in answer["faults"])
    return {name: fault["reason"] for name, fault in consumer["held"].items()}


def losing(gone: int, before: int) -> str:
    return f"it would lose {gone} of its {before} entries at once"


def keep(cmp: Cmp) -> None:
    """Remember all rows as they are."""
    cmp.conn.execute("drop table if exists kept; create table kept as select * from projects")


def put_back(cmp: Cmp) -> None:
    """Mend the mistake."""
    cmp.conn.execute("insert into projects select * from kept on conflict (id) do nothing")


def count(cmp: Cmp) -> int:
    number = cmp.value("select count(*) from projects")
    assert isinstance(number, int)
    return number


def ids(cmp: Cmp) -> list[str]:
    return [
        project for (project,) in cmp.conn.execute("select id::text from projects order by id").fetchall()
    ]


def truncated(cmp: Cmp, _ids: Sequence[str]) -> None:
    cmp.conn.execute("truncate projects")


def in_one_statement(cmp: Cmp, ids: Sequence[str]) -> None:
    cmp.conn.execute("delete from projects where id = any (%s)", [list(ids)])


def in_one_transaction(cmp: Cmp, ids: Sequence[str]) -> None:
    """One statement a row, some in savepoints, one of which is rolled back."""
    with cmp.transaction() as (conn, _):
        for project in ids:
            conn.execute("savepoint one")
            conn.execute("delete from projects where id = %s", [project])
            conn.execute("release one")
        conn.execute("savepoint never; delete from projects; rollback to never")


def moved_to_another_table(cmp: Cmp, ids: Sequence[str]) -> None:
    cmp.conn.execute("create table if not exists archive (like projects)")
    cmp.conn.execute(
        """with gone as (delete from projects where id = any (%s) returning *)
           insert into archive select * from gone""",
        [list(ids)],
    )


LOSSES: tuple[Callable[[Cmp, Sequence[str]], None], ...] = (
    truncated, in_one_statement, in_one_transaction, moved_to_another_table,
)  # fmt: skip


def test_a_loss_at_once_is_held_and_said_and_heals_when_the_rows_are_back(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P6: whatever took the rows away; nothing need be accepted, and no file is rewritten for it."""
    times, before = scale(4, 40), scale(40, 400)
    cmp.fill(before)
    keep(cmp)
    daemon = host.daemon()
    content, files = host.content(), host.stats()
    for turn in range(times):
        lose = LOSSES[turn % len(LOSSES)]
        lost = dice.sample(ids(cmp), dice.randint(before // 2 + 1, before))
        gone = before if lose is truncated else len(lost)
        seen = len(daemon.events)
        lose(cmp, lost)
        if turn < scale(1, len(LOSSES)):
            waited = host.run("wait")
            assert waited.returncode == 1
            assert '"held"' in waited.stdout
            assert losing(gone, before) in waited.stdout
            assert ACCEPT in waited.stdout
            assert held(host) == dict.fromkeys(NAMES, losing(gone, before))
        verdict = cmp.wait()
        assert (verdict.status, ACCEPT in verdict.hint) == ("held", True)
        for name in NAMES:
            event = daemon.wait_for("held", after=seen, registry=name, reason=losing(gone, before))
            assert ACCEPT in event["hint"]
        assert host.content() == content, lose.__name__
        put_back(cmp)
        cmp.arrived()

    assert held(host) == {}
    assert host.rewritten(files) == set()
    evidence(
        "P5 P6",
        f"TRUNCATE, or more than half of {before} rows deleted by one statement, by one transaction of "
        f"many, or moved away; "
        "then put back",
        times=times,
        found=f"held {times} times; `wait`, `status` and the log gave the numbers and the command; nothing "
        f"was rewritten, "
        "and it was released by itself",
    )


def test_accept_lets_a_loss_through_once(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P6: and not the next one, which is held again."""
    times = scale(2, 10)
    cmp.fill(60)
    keep(cmp)
    host.daemon()
    for _ in range(times):
        in_one_statement(cmp, dice.sample(ids(cmp), dice.randint(31, 60)))
        assert cmp.wait().status == "held"
        accepted = host.run("accept")
        assert (accepted.returncode, '"accepted": true' in accepted.stdout) == (0, True), accepted
        assert {*host.canonical()} == {*host.projects()} == {*ids(cmp)}
        put_back(cmp)
        cmp.arrived()
    truncated(cmp, [])

    assert cmp.wait().status == "held"
    assert held(host) == dict.fromkeys(NAMES, losing(60, 60))
    evidence(
        "P6",
        "a loss accepted, the rows brought back, the next loss",
        times=times,
        found=f"each of {times} was let through by its own `omnicdc accept`, and no later one with it",
    )


@pytest.mark.campaign
def test_an_acceptance_is_for_what_is_held_and_not_stored_up(
    cmp: Cmp, host: Host, evidence: Evidence
) -> None:
    """P6: given while nothing was held, to a daemon that runs and to one that does not.

    A loss that follows is held.

    What the next daemon read together with such a loss let it through.
    """
    cmp.fill(40)
    keep(cmp)
    daemon = host.daemon()
    content = host.content()
    for_nothing = host.run("accept").returncode
    truncated(cmp, [])
    after_nothing = cmp.wait().status
    put_back(cmp)
    cmp.arrived()
    daemon.stop()
    unheard = host.run("accept", "--timeout", "0.1").returncode
    truncated(cmp, [])
    daemon = host.daemon()
    at_the_start = cmp.wait().status
    daemon.kill()
    host.run("accept", "--timeout", "0.1")
    kept = host.content()
    host.daemon()
    cmp.arrived()

    assert (for_nothing, after_nothing) == (0, "held")
    assert (unheard, at_the_start) == (3, "held")
    assert kept == content
    assert host.canonical() == {}, "what was held when it was accepted is let through by the next daemon"
    evidence(
        "P6",
        "`omnicdc accept` before there was anything to accept, with the daemon running or down; then "
        "TRUNCATE",
        times=2,
        found="held all the same; accepted while it was held, the next daemon let it through",
    )


def test_accept_is_told_as_done_beside_a_row_that_cannot_be_shown(
    cmp: Cmp, host: Host, evidence: Evidence
) -> None:
    """P5, P6: exit status 0; `status` still tells of the row. It said "not accepted", with exit status 3."""
    cmp.conn.execute("alter table projects alter name drop not null")
    cmp.fill(40)
    bad = cmp.value("insert into projects (key) values ('nameless') returning id::text")
    host.daemon()
    cmp.conn.execute("delete from projects where name is not null")
    before = cmp.wait().status
    accepted = host.run("accept")

    assert before == "held"
    assert (accepted.returncode, '"accepted": true' in accepted.stdout) == (0, True), accepted.stdout
    assert {*host.canonical()} == {bad}
    assert held(host) == {}
    evidence(
        "P5 P6",
        "a loss accepted while one more row could not be shown",
        times=1,
        found="let through and told as accepted; the row stays told by `status`",
    )


def stopped(daemon: Daemon, _host: Host) -> None:
    assert daemon.stop() == 0


def killed(daemon: Daemon, _host: Host) -> None:
    daemon.kill()


def without_manifest(daemon: Daemon, host: Host) -> None:
    daemon.kill()
    (host.root / MANIFEST).unlink(missing_ok=True)


def with_a_garbled_manifest(daemon: Daemon, host: Host) -> None:
    daemon.kill()
    (host.root / MANIFEST).write_bytes(b'{"version": 1, "registries": {}')


def without_state_and_manifest(daemon: Daemon, host: Host) -> None:
    without_manifest(daemon, host)
    shutil.rmtree(host.state)


def unknown_to_the_database(daemon: Daemon, host: Host) -> None:
    """As in a database that was restored from before this host was there."""
    without_manifest(daemon, host)
    with psycopg.connect(host.env["OMNICDC_DSN"], autocommit=True) as conn:
        conn.execute("delete from omnicdc.consumer; delete from omnicdc.history")


ENDS: tuple[Callable[[Daemon, Host], None], ...] = (
    stopped, killed, without_manifest, with_a_garbled_manifest, without_state_and_manifest,
    unknown_to_the_database,
)  # fmt: skip


@pytest.mark.campaign
def test_a_loss_while_the_daemon_is_down_is_held_at_its_start(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P6, P8: also without the manifest, for then the entries of the files are counted.

    It was published then.
    """
    times = scale(2, 12)
    cmp.fill(60)
    keep(cmp)
    daemon = host.daemon()
    content, files = host.content(), host.stats()
    for turn in range(times):
        end = ENDS[(2 * turn if times < len(ENDS) else turn) % len(ENDS)]
        lost = dice.sample(ids(cmp), dice.randint(31, 60))
        end(daemon, host)
        if turn % 2:
            in_one_statement(cmp, lost)
        else:
            for project in lost:
                in_one_statement(cmp, [project])
        daemon = host.daemon()
        assert cmp.wait().status == "held", end.__name__
        assert held(host) == dict.fromkeys(NAMES, losing(len(lost), 60)), end.__name__
        assert host.content() == content, end.__name__
        put_back(cmp)
        cmp.arrived()

    assert host.rewritten(files) == set()
    evidence(
        "P6 P8",
        "rows deleted while the daemon was down, at once or one a transaction; the manifest there, lost or "
        "garbled, the state "
        "directory and the database's record of the host lost as well",
        times=times,
        found=f"held at {times} of {times} starts, and released when the rows were back",
    )


@pytest.mark.campaign
@pytest.mark.timeout(300)
def test_a_restart_does_not_forget_what_is_held(
    cmp: Cmp, host: Host, dice: random.Random, evidence: Evidence
) -> None:
    """P6, P8: killed, stopped, the manifest lost, the configuration read again; again and again."""
    cmp.fill(60)
    daemon = host.daemon()
    content, times = host.content(), 8
    cmp.conn.execute("delete from projects where key > 'key-2'")
    lost = 60 - count(cmp)
    assert cmp.wait().status == "held"
    for _ in range(times):
        dice.choice(ENDS[:5])(daemon, host)
        daemon = host.daemon()
        assert held(host) == dict.fromkeys(NAMES, losing(lost, 60))
        seen = len(daemon.events)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded", after=seen)
        cmp.conn.execute("update projects set status = %s", [f"changed meanwhile {seen}"])
        until(lambda: cmp.wait().status == "held", "held after the reload")
        assert host.content() == content
    accepted = host.run("accept").returncode

    assert accepted == 0
    assert {*host.canonical()} == {*ids(cmp)}
    evidence(
        "P6 P8",
        "while a loss is held: the daemon killed or stopped, manifest and state directory lost, "
        "configuration read again, "
        "the projects that are left written",
        times=times,
        found="held through all of it, the last good files untouched; accepted in the end, they were right",
    )


@pytest.mark.campaign
def test_the_guard_is_as_configured(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P6: share and least number come from the configuration, and from the new one after a reload."""
    times = scale(2, 16)
    file = host.root.parent / "omnicdc.yaml"
    host.env["OMNICDC_CONFIG"] = str(file)
    file.write_text("guard_share: 0.5\n")
    daemon = host.daemon()
    found = {"held": 0, "published": 0}
    for turn in range(times):
        rows, percent, least = dice.randint(12, 60), dice.randrange(0, 101, 5), dice.choice([0, 1, 10, 30])
        # Around the border, where it is decided.
        gone = min(rows, max(1, rows * percent // 100 + dice.randint(-1, 1), least - dice.randint(0, 1)))
        file.write_text(f"guard_share: {percent / 100}\nguard_min: {least}\n")
        seen = len(daemon.events)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded", after=seen)
        cmp.fill(rows)
        cmp.arrived()
        in_one_statement(cmp, ids(cmp)[:gone])
        wanted = "held" if gone >= least and gone * 100 > rows * percent else "published"
        found[wanted] += 1
        assert cmp.wait().status == wanted, (turn, rows, gone, percent, least)
        cmp.conn.execute("truncate projects")
        until(lambda: host.run("accept").returncode == 0, "accepted")

    assert found["held"] + found["published"] == times
    evidence(
        "P6",
        "`guard_share` and `guard_min` set to anything and read again by SIGHUP; as many rows deleted as "
        "are just too many, or just not",
        times=times,
        found=f"held {found['held']} and published {found['published']}, each as configured",
    )


@pytest.mark.campaign
def test_only_the_registry_that_would_lose_is_held(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P5, P6: a change of all URLs empties the inventory and no other registry, which go on."""
    before, times = scale(40, 1000), scale(2, 6)
    cmp.fill(before)
    keep(cmp)
    host.daemon()
    inventory = host.raw(INVENTORY)
    for turn in range(times):
        key = ("github_url", "domain")[turn % 2]
        change = (
            "metadata_ - 'github_url'", """metadata_ || '{"github_url": "https://gitlab.com/acme/moved"}'""",
            """metadata_ || '{"github_url": "https://github.com/acme/all-in-one"}'""",
        )[turn % 3]  # fmt: skip
        cmp.conn.execute(f"update projects set metadata_ = {change}")
        # What is read together is answered together, so one after the other.
        assert cmp.wait().status == "held"
        with cmp.transaction() as (conn, other):
            conn.execute("update projects set status = %s", [f"{key} {turn}"])
        # All in one is one that came, so one less is lost.
        lost = before - (turn % 3 == 2)
        assert cmp.wait(other).status == "published", "the inventory has nothing to do with a status"
        assert held(host) == {NAMES[REGISTRIES.index(INVENTORY)]: losing(lost, before)}
        assert {entry["status"] for entry in host.canonical().values()} == {f"{key} {turn}"}
        assert host.raw(INVENTORY) == inventory
        cmp.conn.execute("update projects p set metadata_ = k.metadata_ from kept k where k.id = p.id")
        cmp.arrived()

    assert host.raw(INVENTORY) == inventory
    evidence(
        "P5 P6",
        f"the URL of all {before:,} projects taken away, moved to another forge, or set to the same "
        f"repository, in one statement",
        times=times,
        found="only the inventory was held; the others followed at once, and the next writes with them",
    )


def test_ids_that_all_change_are_no_loss(cmp: Cmp, host: Host, scale: Scale, evidence: Evidence) -> None:
    """P1, P6: as many entries as before, all of them others."""
    before, times = scale(40, 1000), scale(2, 6)
    cmp.fill(before)
    daemon = host.daemon()
    for _ in range(times):
        old = {*ids(cmp)}
        cmp.conn.execute("update projects set id = gen_random_uuid()")
        cmp.arrived()
        assert {*host.canonical()} == {*host.projects()} == {*ids(cmp)}
        assert not old & {*host.canonical()}
    in_the_inventory = {element["uuid"] for element in host.inventory()}

    assert in_the_inventory == {*ids(cmp)}
    assert not [event for event in daemon.events if event["event"] == "held"]
    evidence(
        "P1 P6",
        f"the ids of all {before:,} rows changed in one statement",
        times=times,
        found="published; nothing was held, for nothing was lost",
    )


@pytest.mark.campaign
def test_what_trickles_away_is_followed(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P6: the guard is for what goes at once: between two publications.

    What a burst of small ones does depends on both.

    Either it is published, or it is held and said; never lost, and never half.
    """
    times, before = scale(1, 12), scale(24, 40)
    cmp.fill(before)
    keep(cmp)
    host.daemon()
    for project in dice.sample(ids(cmp), scale(before, before)):
        in_one_statement(cmp, [project])
        cmp.arrived()
    followed = host.canonical() == {} == host.projects()
    ended = {"held": 0, "published": 0}
    for _ in range(times):
        put_back(cmp)
        cmp.arrived()
        in_a_burst(cmp, dice.sample(ids(cmp), before - 2))
        ended[cmp.wait().status] += 1
        assert host.run("accept").returncode == 0
        assert {*host.canonical()} == {*host.projects()} == {*ids(cmp)}
        cmp.arrived()

    assert followed
    assert sum(ended.values()) == times
    evidence(
        "P1 P6",
        f"{before} rows deleted one a transaction: each waited for, then in bursts from four connections",
        times=before + times * (before - 2),
        found=f"each that was waited for was followed; of {times} bursts {ended['held']} were held and "
        f"accepted, "
        f"{ended['published']} followed; the files were right each time",
    )


def in_a_burst(cmp: Cmp, lost: Sequence[str]) -> None:
    """Delete one a transaction, from four connections at once."""

    def some(part: Sequence[str]) -> None:
        with cmp.connect() as conn:
            for project in part:
                conn.execute("delete from projects where id = %s", [project])

    writers = [threading.Thread(target=some, args=[lost[at::4]]) for at in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


@pytest.mark.campaign
def test_a_table_that_is_made_anew_and_empty_is_held(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P5, P6: said as long as the capture is broken, and after `omnicdc install` the loss is held.

    `wait` said "published" between the installation and the next sweep, for the log knew of no change.
    """
    times = scale(1, 4)
    cmp.fill(40)
    daemon = host.daemon()
    for turn in range(times):
        content = host.content()
        cmp.conn.execute("drop table projects")
        dropped = cmp.wait(timeout_s=0.1)
        cmp.conn.execute(TABLE)
        anew = cmp.wait(timeout_s=0.1)
        if turn % 2:
            daemon.kill()
            daemon = host.daemon()
        assert host.run("install").returncode == 0
        verdict = cmp.wait()
        assert dropped.status == anew.status == "capture_broken"
        assert "omnicdc install" in anew.hint
        assert (verdict.status, ACCEPT in verdict.hint) == ("held", True)
        assert held(host) == dict.fromkeys(NAMES, losing(40, 40))
        assert host.content() == content
        cmp.fill(40)
        cmp.arrived()
        assert {*host.canonical()} == {*host.projects()} == {*ids(cmp)}

    evidence(
        "P5 P6",
        "the table dropped and made anew, empty, in every other round with the daemon killed and started in "
        "between; "
        "then `omnicdc install`",
        times=times,
        found="`capture_broken` until installed, held after it; released when the rows were back",
    )


@pytest.fixture
def programs() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run one of PostgreSQL's programs."""
    try:
        where: Path | None = bundled()
    except ConfigError:
        where = None

    def run(program: str, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        found = str(where / program) if where else shutil.which(program)
        if not found:
            pytest.skip(f"{program} is not installed")
        return subprocess.run([found, *arguments], input=given, capture_output=True, check=True)

    return run


@pytest.mark.campaign
@pytest.mark.timeout(300)
def test_a_database_restored_without_its_rows_is_held(
    cmp: Cmp,
    host: Host,
    programs: Callable[..., subprocess.CompletedProcess[bytes]],
    evidence: Evidence,
) -> None:
    """P6, P8: by the daemon that was there, which finds another database under the same name.

    Of a dump without any data, `omnicdc install` said that a table of its own was there already.
    """
    times = 4
    daemon = host.daemon()
    for turn in range(times):
        cmp.fill(40)
        cmp.arrived()
        content, seen = host.content(), len(daemon.events)
        dump = programs("pg_dump", ("--schema-only", "--exclude-table-data=projects")[turn % 2], cmp.dsn)
        made_anew(cmp)
        programs("psql", "-q", "-v", "ON_ERROR_STOP=1", cmp.dsn, given=dump.stdout)
        daemon.wait_for("session_lost", after=seen)
        installed = host.run("install")
        assert installed.returncode == 0, installed.stderr
        until(lambda: cmp.wait().status == "held", "held")
        assert held(host) == dict.fromkeys(NAMES, losing(40, 40))
        assert host.content() == content
        assert host.run("accept").returncode == 0
        assert (host.canonical(), host.projects(), host.inventory()) == ({}, {}, [])

    evidence(
        "P6 P8",
        "the database dropped under the daemon and restored from `pg_dump --schema-only`, or from one "
        "without CMP's rows",
        times=times,
        found="held by the same daemon, the last good files untouched; let through when it was accepted",
    )


def made_anew(cmp: Cmp) -> None:
    """Drop the database and create it empty, whoever is connected; `cmp` is connected to the new one."""
    name = pgsql.Identifier(cmp.conn.info.dbname)
    cmp.close()
    admin = psycopg.conninfo.make_conninfo(cmp.dsn, dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(pgsql.SQL("drop database {} with (force)").format(name))
        conn.execute(pgsql.SQL("create database {} template template0").format(name))
    cmp.conn = cmp.connect()
