"""P8: from any state a start or a sweep converges to the right files without help."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.cmp import TABLE, Cmp
from support.hands import put_at_once
from support.host import CANONICAL, INVENTORY, PROJECT, REGISTRIES, Daemon, Host, until
from support.memory import in_memory
from support.rebuild import assert_as_rebuilt, rebuilt

from omnicdc.daemon.once import run_to_the_end
from omnicdc.demo.embedded import EmbeddedServer
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.pace import Pace

MANIFEST = "governance/registry/omnicdc_manifest.json"


def gone(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).unlink()


def emptied(host: Host) -> None:
    for name in REGISTRIES:
        os.truncate(host.root / name, 0)


def cut(host: Host) -> None:
    for name in REGISTRIES:
        os.truncate(host.root / name, 100)


def edited(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).write_bytes(host.raw(name).replace(b"project-1", b"project-X"))


def edited_with_its_time_put_back(host: Host) -> None:
    """As long as before, and with the same inode and time: only reading it tells."""
    for name in REGISTRIES:
        path = host.root / name
        stat = path.stat()
        with path.open("r+b") as file:
            file.write(host.raw(name).replace(b"project-1", b"project-X"))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def linked(host: Host) -> None:
    elsewhere = host.root.parent / "elsewhere"
    elsewhere.write_text("not ours")
    for name in REGISTRIES:
        (host.root / name).unlink()
        (host.root / name).symlink_to(elsewhere)


def linked_to_nothing(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).unlink()
        (host.root / name).symlink_to("/nowhere/at/all")


def directories(host: Host) -> None:
    for name in REGISTRIES:
        (host.root / name).unlink()
        (host.root / name / "inside").mkdir(parents=True)


def pipes(host: Host) -> None:
    """Opening one to read waits for a writer, for ever."""
    for name in REGISTRIES:
        (host.root / name).unlink()
        os.mkfifo(host.root / name)


def leftovers(host: Host) -> None:
    """What a killed writer leaves: half a temporary file, here beside files that were cut."""
    for name in REGISTRIES:
        path = host.root / name
        path.with_name(f".{path.name}.omnicdc-tmp").write_bytes(b"half of it")
        os.truncate(path, 50)


def no_tree(host: Host) -> None:
    away(host.root / "governance", host)


def no_manifest(host: Host) -> None:
    (host.root / MANIFEST).unlink()
    edited(host)


def no_state(host: Host) -> None:
    shutil.rmtree(host.state)
    edited(host)


def garbled_manifest(host: Host) -> None:
    (host.root / MANIFEST).write_bytes(b'{"version": 1, "registries": 7}')
    cut(host)


def of_another_day(host: Host) -> None:
    """Files, manifest and state as they were before the last change: a backup put back."""
    away(host.root, host)
    shutil.copytree(host.root.parent / "backup", host.root, symlinks=True)


def away(tree: Path, host: Host) -> None:
    """Take it away at once: the daemon may be writing its manifest there."""
    tree.rename(host.root.parent / f"away{len([*host.root.parent.iterdir()])}")


HARMS: list[Callable[[Host], None]] = [
    gone, emptied, cut, edited, linked, linked_to_nothing, directories, pipes, leftovers, no_tree,
    no_manifest, no_state, garbled_manifest, of_another_day,
]  # fmt: skip


def served(cmp: Cmp, host: Host, **env: str) -> tuple[Daemon, dict[str, bytes]]:
    """Have a daemon publish 30 projects, then one more; returns it and the right files."""
    cmp.fill(30)
    daemon = host.daemon(**env)
    shutil.copytree(host.root, host.root.parent / "backup")
    cmp.upsert("the last change", github_url="https://github.com/acme/last")
    cmp.arrived()
    return daemon, host.content()


def right(host: Host, content: dict[str, bytes]) -> bool:
    """Whether plain files stand there with this content, and no temporary file beside them."""
    plain = all((host.root / name).is_file() and not (host.root / name).is_symlink() for name in REGISTRIES)
    return plain and host.content() == content and not [*host.root.rglob("*.omnicdc-tmp")]


def test_a_start_converges(cmp: Cmp, host: Host) -> None:
    """P8: from each of these states, one after the other."""
    daemon, content = served(cmp, host)
    daemon.kill()

    for harm in [*HARMS, edited_with_its_time_put_back]:
        harm(host)
        run_to_the_end(host.config(), Stop(), lambda _point: None)
        assert right(host, content), harm.__name__
        assert (host.root / MANIFEST).is_file(), harm.__name__


def test_a_daemon_s_look_converges(cmp: Cmp, host: Host) -> None:
    """P8: found at a poll, without a change in CMP.

    The manifest comes back as well, and the daemon goes on.
    """
    _, content = served(cmp, host, OMNICDC_POLL_S="0.05")

    for harm in HARMS:
        harm(host)
        until(partial(right, host, content), harm.__name__)
        until((host.root / MANIFEST).exists, f"the manifest after {harm.__name__}")
        cmp.upsert(harm.__name__)
        cmp.arrived()
        content = host.content()
        assert harm.__name__ in str(host.canonical())


def test_a_sweep_finds_what_no_look_can_tell(cmp: Cmp, host: Host) -> None:
    """P8: size, inode and time as they were; the sweep reads the files."""
    _, content = served(cmp, host, OMNICDC_POLL_S="0.05", OMNICDC_SWEEP_S="0.1")
    edited_with_its_time_put_back(host)

    until(lambda: right(host, content), "the sweep")
    assert len([*(host.state / "drift").iterdir()]) == 3


def test_a_sweep_finds_what_the_log_never_told(cmp: Cmp, host: Host) -> None:
    """P8: rows changed while the triggers were off."""
    _, _ = served(cmp, host, OMNICDC_POLL_S="0.05", OMNICDC_SWEEP_S="0.1")
    cmp.conn.execute("alter table projects disable trigger user")
    cmp.conn.execute("update projects set status = 'silent' where key like 'key-1%'")
    cmp.conn.execute("alter table projects enable always trigger omnicdc_log_row")
    wanted = rebuilt(cmp)

    until(lambda: host.content() == wanted, "the sweep")


def test_what_another_hand_wrote_is_kept_aside(cmp: Cmp, host: Host) -> None:
    """P8: with `on_drift: restore`; said once, counted, and there to read."""
    daemon, content = served(cmp, host, OMNICDC_POLL_S="0.05")
    put_at_once(host.root / PROJECT, "projects: mine\n")
    told = daemon.wait_for("drift_found")
    until(lambda: right(host, content), "restored")
    cmp.upsert("told with the next generation")
    cmp.arrived()
    [kept] = (host.state / "drift").iterdir()

    assert kept.read_text() == "projects: mine\n"
    assert told["kept"] == str(kept)
    assert cmp.consumer("host")["registries"][PROJECT]["drifted"] == 1


def replaced_by_hand(path: Path) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(b"by hand")
    beside.replace(path)


def overwritten_by_hand(path: Path) -> None:
    path.write_bytes(b"by hand")


def made_a_directory_by_hand(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "within").write_bytes(b"by hand")


@pytest.mark.parametrize("deed", [replaced_by_hand, overwritten_by_hand, made_a_directory_by_hand])
def test_what_a_hand_puts_there_between_the_last_look_and_the_swap_is_kept_aside(
    cmp: Cmp, host: Host, deed: Callable[[Path], None]
) -> None:
    """P8: rename would destroy it."""
    cmp.fill(5)
    run_to_the_end(host.config(), Stop(), lambda _point: None)
    cmp.upsert("one more")

    def meddle(point: str) -> None:
        if point == "rename cmp_projects":
            deed(host.root / CANONICAL)

    run_to_the_end(host.config(), Stop(), meddle)

    places = [host.state / "drift", (host.root / CANONICAL).parent]
    kept = [file.read_bytes() for place in places for file in place.rglob("*") if file.is_file()]
    assert kept.count(b"by hand") == 1
    assert len(host.canonical()) == 6
    assert not [*host.root.rglob(".*.omnicdc-tmp")]


def test_with_alert_another_hand_s_file_stays_until_the_registry_changes(cmp: Cmp, host: Host) -> None:
    """P8: through polls, sweeps and a restart; told once a session, and kept aside when it is replaced."""
    env = {"OMNICDC_ON_DRIFT": "alert", "OMNICDC_POLL_S": "0.05", "OMNICDC_SWEEP_S": "0.05"}
    daemon, _ = served(cmp, host, **env)
    put_at_once(host.root / PROJECT, "projects: mine\n")
    daemon.wait_for("drift_found")
    # Another spelling of the type: only the canonical registry tells them apart.
    cmp.set(cmp.value("select id::text from projects limit 1"), type="Service")
    cmp.arrived()
    (host.root / CANONICAL).unlink()
    until((host.root / CANONICAL).exists, "a file that is gone is put back, with alert as well")
    told = [event["registry"] for event in daemon.events if event["event"] == "drift_found"]
    daemon.stop()
    daemon = host.daemon(**env)
    stayed = host.raw(PROJECT)
    cmp.upsert("now it changes")
    cmp.arrived()
    copies = [
        copy.read_text() for copy in (host.state / "drift").iterdir() if copy.name.startswith("PROJECT")
    ]

    assert told.count("PROJECT_REGISTRY_V1.yaml") == 1
    assert stayed == b"projects: mine\n"
    assert "now it changes" in host.raw(PROJECT).decode()
    assert set(copies) == {"projects: mine\n"}


@pytest.mark.parametrize(
    "stored",
    [
        "timeline = 77, snapshot = '9000000000:9000000010:9000000003', generation = 99",
        pytest.param("system_identifier = 1", marks=pytest.mark.campaign),
        pytest.param("snapshot = '9000000000:9000000000:'", marks=pytest.mark.campaign),
    ],
)
def test_a_database_of_another_cluster_is_scanned_in_full(cmp: Cmp, host: Host, stored: str) -> None:
    """P8: restored elsewhere, or failed over: what the consumer's row tells means nothing here."""
    daemon, _ = served(cmp, host)
    daemon.stop()
    cmp.conn.execute(f"update omnicdc.consumer set {stored}")
    cmp.conn.execute("update projects set status = 'restored'")
    daemon = host.daemon()
    daemon.wait_for("snapshot_of_another_cluster")
    cmp.upsert("and goes on")
    verdict = cmp.arrived()

    assert verdict.status == "published"
    assert_as_rebuilt(cmp, host)


def test_it_stops_within_a_second(cmp: Cmp, host: Host, pace: Pace) -> None:
    """P8: asleep, and under a stream of writes; exit status 0, and nothing half done."""
    cmp.fill(2000)
    took = []
    for busy in (False, True):
        daemon = host.daemon()
        if busy:
            cmp.conn.execute("update projects set status = clock_timestamp()::text")
        started = time.monotonic()
        status = daemon.stop()
        took.append(time.monotonic() - started)
        assert status == 0
        assert daemon.events[-1]["event"] == "stopped"
        assert not [*host.root.rglob("*.omnicdc-tmp")]

    assert max(took) < pace.allows(1.0)


def test_a_reload_takes_the_new_configuration(cmp: Cmp, host: Host) -> None:
    """P8: SIGHUP: another root, published at once; a broken file leaves what was in force."""
    project = cmp.upsert("one")
    file, moved = host.root.parent / "omnicdc.yaml", host.root.parent / "moved"
    moved.mkdir()
    del host.env["OMNICDC_ROOT"]
    host.env["OMNICDC_CONFIG"] = str(file)
    file.write_text(f"root: {host.root}\n")
    daemon = host.daemon()
    file.write_text(f"root: {host.root}\nno_such_setting: 1\n")
    daemon.process.send_signal(signal.SIGHUP)
    failed = daemon.wait_for("reload_failed")
    cmp.set(project, status="still published")
    cmp.arrived()
    file.write_text(f"root: {moved}\n")
    daemon.process.send_signal(signal.SIGHUP)
    until((moved / CANONICAL).exists, "published below the new root")
    cmp.set(project, status="published there")
    cmp.arrived()

    assert "no_such_setting" in failed["error"]
    assert host.canonical()[project]["status"] == "still published"
    host.root = moved
    assert host.canonical()[project]["status"] == "published there"


def test_a_reload_to_a_root_that_cannot_be_used_goes_on_with_the_old_one(cmp: Cmp, host: Host) -> None:
    """P8: the file is fine, what it names is not; the daemon ended then."""
    file = host.root.parent / "omnicdc.yaml"
    del host.env["OMNICDC_ROOT"]
    host.env["OMNICDC_CONFIG"] = str(file)
    file.write_text(f"root: {host.root}\n")
    daemon = host.daemon()
    file.write_text(f"root: {host.root}/nowhere\n")
    daemon.process.send_signal(signal.SIGHUP)
    failed = daemon.wait_for("reload_failed")
    project = cmp.upsert("one")
    cmp.arrived()

    assert "nowhere" in failed["error"]
    assert project in host.canonical()


def test_a_lost_connection_is_opened_again(cmp: Cmp, host: Host) -> None:
    """P8: the server ends the daemon's backend, asleep and at work.

    What was written meanwhile is published.
    """
    daemon = host.daemon()
    for number in range(2):
        if number % 2:
            cmp.fill(500)
        seen = len(daemon.events)
        cmp.conn.execute(
            """select pg_terminate_backend(a.pid) from pg_locks l join pg_stat_activity a using (pid)
                where l.locktype = 'advisory' and l.classid = 1869442666 and a.datname = current_database()"""
        )
        project = cmp.upsert(f"while it was away {number}")
        daemon.wait_for("published", after=seen)
        until(lambda: cmp.wait().status == "published", "published again")
        assert project in host.canonical()

    assert daemon.process.poll() is None
    assert len(host.canonical()) == len(host.projects()) == 502


def test_a_server_that_goes_down_and_comes_back_is_served_again(tmp_path: Path) -> None:
    """P8: by the same daemon, which says that the server is lost, and that it is back.

    After either shutdown.
    """
    server = EmbeddedServer(Path(tempfile.mkdtemp(prefix="omnicdc-test-", dir=in_memory())), {"fsync": "off"})
    host = Host(tmp_path / "host", server.dsn())
    try:
        server.create()
        server.start()
        with Cmp(server.dsn()) as cmp:
            cmp.conn.execute(TABLE)
        assert host.run("install").returncode == 0
        daemon = host.daemon()
        for how in (signal.SIGINT, signal.SIGQUIT):  # fast, immediate
            seen = len(daemon.events)
            server.stop(how)
            daemon.wait_for("session_lost", after=seen)
            server.start()
            with Cmp(server.dsn()) as cmp:
                project = cmp.upsert(f"while nobody listened {how.name}")
                daemon.wait_for("recovered", after=seen)
                cmp.arrived()
            assert project in host.canonical(), how
    finally:
        host.close()
        server.delete()


def test_killed_while_a_lock_of_cmp_s_blocks_it_the_next_one_takes_its_name(cmp: Cmp, host: Host) -> None:
    """P8: its backend waits behind an open TRUNCATE.

    The backend does not notice by itself that nobody is there any more.
    """
    daemon = host.daemon()
    with cmp.transaction() as (conn, _):
        conn.execute("truncate projects")
        cmp.conn.execute("select omnicdc.request_rebuild()")
        until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "the daemon is blocked")
        before = name_holder(cmp)
        daemon.kill()
        following = host.starting()
        until(
            lambda: following.process.poll() is not None or name_holder(cmp) not in (None, before),
            "the name is taken",
        )
        taken = name_holder(cmp)
        following_lives = following.process.poll() is None

    assert following_lives, following.noise
    assert taken != before
    cmp.arrived()


def name_holder(cmp: Cmp) -> int | None:
    """Return the backend that holds a consumer's name."""
    pids = cmp.value(
        """select array_agg(l.pid) from pg_locks l join pg_database d on d.oid = l.database
            where l.locktype = 'advisory' and l.classid = 1869442666 and d.datname = current_database()"""
    )
    return pids[0] if pids else None


@pytest.mark.campaign
def test_a_second_daemon_is_told_who_is_there(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """P8: on the same root, and of the same name; exit status 2 and one line, and no file of theirs."""
    first = host.daemon()
    elsewhere = Host(tmp_path / "elsewhere", cmp.dsn)
    of_the_name = elsewhere.starting(OMNICDC_CONSUMER="host")
    on_the_root = host.run("run", OMNICDC_CONSUMER="another-name")
    until(lambda: of_the_name.process.poll() is not None, "the name is told to be taken")
    of_the_name.close()

    assert (on_the_root.returncode, on_the_root.stdout) == (2, "")
    [line] = on_the_root.stderr.splitlines()
    assert f"process {first.process.pid} " in line
    assert str(host.root) in line
    assert of_the_name.process.returncode == 2
    [line] = of_the_name.noise
    assert "'host'" in line
    assert elsewhere.content() == {}
    assert cmp.value("select count(*) from omnicdc.consumer") == 1


def test_a_standby_takes_over_from_a_daemon_that_is_killed(cmp: Cmp, host: Host) -> None:
    """P8: it goes on with what its predecessor no longer published."""
    first = host.daemon()
    second = host.starting("--standby")
    second.wait_for("standing_by")
    cmp.upsert("published by the first")
    cmp.arrived()
    first.kill()
    cmp.upsert("published by the second")
    second.wait_for("serving")
    cmp.arrived()

    assert "published by the second" in str(host.canonical())
    assert second.stop() == 0


def test_a_standby_stops_when_it_is_asked_to(cmp: Cmp, host: Host) -> None:
    host.daemon()
    second = host.starting("--standby")
    second.wait_for("standing_by")

    assert second.stop() == 0
    assert cmp.wait().arrived


def test_the_state_directory_and_a_registry_lost_together_are_no_hindrance(cmp: Cmp, host: Host) -> None:
    """P8: nothing is left to adopt the inventory from, as a directory stands in its place."""
    daemon, content = served(cmp, host)
    daemon.kill()
    shutil.rmtree(host.state)
    (host.root / INVENTORY).unlink()
    (host.root / INVENTORY).mkdir()
    answer = host.run("run", "--once", "--json")

    assert answer.returncode == 0, answer.stderr
    assert right(host, content)
