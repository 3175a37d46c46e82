"""Faults 6: the database is suddenly another one, an older one, or its transaction ids or clock have jumped.

Every test takes copies of one prepared cluster; several may take turns at one socket, so that one DSN reaches
them all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.cmp import TABLE, Cmp
from support.fresh import FreshServer
from support.frozen import freeze
from support.host import INVENTORY, Host, until
from support.rebuild import assert_as_rebuilt, barrier

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.delivery import wait as waits
from omnicdc.demo.embedded import EmbeddedServer, bundled
from omnicdc.errors import ConfigError
from omnicdc.registries.scanners import scanners
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.evidence import Evidence, Scale
    from support.host import Daemon

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("time_travel")]  # of one prepared cluster

PROJECTS = 30
LOST = "lost-in-time"
"""The status of what the files show and the database, once it has gone back, never held."""

SETTINGS = {"fsync": "off", "wal_level": "logical", "max_wal_size": "128MB"}


class Cluster(FreshServer):
    """A server whose socket may be where another's was."""

    def __init__(self, directory: Path, socket: Path, programs: Path | None = None, **settings: str) -> None:
        self.socket = socket
        super().__init__(
            directory, {**SETTINGS, **settings, "unix_socket_directories": str(socket)}, programs
        )

    @property
    def data(self) -> Path:
        return self._data

    @property
    def programs(self) -> Path:
        return self._programs

    def dsn(self, dbname: str = "cmp", user: str = "postgres") -> str:
        return f"host={self.socket} port={self.port} dbname={dbname} user={user}"

    def cmp(self) -> Cmp:
        """Open CMP; to be closed before the server stops."""
        return Cmp(self.dsn())

    def own(self, path: Path) -> Path:
        """Make a directory in which the server may write."""
        path.mkdir(exist_ok=True)
        if self._user:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        return path

    def call(self, program: str, *arguments: object) -> str:
        """Run one of the server's programs as its user; returns what it printed."""
        done = self._call(program, *map(str, arguments))
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def ask(self, program: str, *arguments: str | Path, said: str = "") -> str:
        """Run one of its client programs as ourselves; returns what it printed."""
        command = [self.programs / program, *arguments]
        return subprocess.run(command, input=said, check=True, capture_output=True, text=True).stdout

    def put(self, other: Cluster) -> None:
        """Take over another one's data, as if a backup of the file system was put back. Both are stopped."""
        shutil.rmtree(self.directory, ignore_errors=True)
        subprocess.run(["cp", "-a", other.directory, self.directory], check=True)


class Scene:
    """One test's clusters and hosts; all end with it."""

    def __init__(self, directory: Path, prepared: Cluster) -> None:
        self.directory = directory
        self.prepared = prepared
        self.socket = prepared.own(directory / "socket")
        self._number = count()
        self._undo = ExitStack()

    def cluster(self, of: Cluster | None = None, socket: Path | None = None, **settings: str) -> Cluster:
        """Return a copy of a stopped cluster, not running either."""
        cluster = self.nowhere(socket, **settings)
        cluster.put(of or self.prepared)
        return cluster

    def nowhere(self, socket: Path | None = None, **settings: str) -> Cluster:
        """Return a cluster without any data."""
        directory = self.directory / f"cluster{next(self._number)}"
        cluster = Cluster(directory, socket or self.socket, self.prepared.programs, **settings)
        self._undo.callback(cluster.delete)
        cluster.own(directory)
        return cluster

    def backup(self, of: Cluster, *options: object) -> Cluster:
        """Return what pg_basebackup makes of a running cluster, as another one, not running."""
        made = self.nowhere(self.prepared.own(self.directory / f"socket{next(self._number)}"))
        of.call("pg_basebackup", "-D", made.data, "-c", "fast", "-d", of.dsn("postgres"), *options)
        return made

    def host(self, dsn: str, name: str = "host") -> Host:
        """Return a registry host, its daemon not running."""
        host = Host(self.directory / f"{next(self._number)}" / name, dsn)
        self._undo.callback(host.close)
        return host

    def close(self) -> None:
        self._undo.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def place() -> Path:
    """Make a directory that the servers' user may pass through."""
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-past-"))
    directory.chmod(0o711)
    return directory


@pytest.fixture(scope="module")
def prepared() -> Iterator[Cluster]:
    """A CMP with projects and the capture, not running."""
    directory = place()
    made = Cluster(directory / "cluster", directory / "cluster")
    made.create()
    made.start()
    with psycopg.connect(made.dsn("postgres"), autocommit=True) as admin:
        admin.execute("create database cmp")
    with made.cmp() as cmp, db.connect(made.dsn()) as conn:
        conn.execute(TABLE)
        install.install(conn, "projects", derive(scanners().values()).fields)
        cmp.fill(PROJECTS)
    made.stop()
    yield made
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def empty(prepared: Cluster) -> Iterator[Cluster]:
    """Another cluster, with nothing in it, not running."""
    directory = place()
    made = Cluster(directory / "cluster", directory / "cluster", prepared.programs)
    EmbeddedServer.create(made)  # with a system identifier of its own
    yield made
    shutil.rmtree(directory)


@pytest.fixture
def scene(prepared: Cluster) -> Iterator[Scene]:
    scene = Scene(place(), prepared)
    yield scene
    scene.close()


def write(cmp: Cmp, name: str, **columns: Any) -> str:  # noqa: ANN401 - columns of CMP
    """Insert a project; returns the token."""
    with cmp.transaction() as (conn, token):
        cmp.upsert(name, conn=conn, github_url=f"https://github.com/acme/{name}", **columns)
    return token


def lose(cmp: Cmp) -> str:
    """Change everything in a way that will never have been, see it published, and return the token.

    Its id is far enough that what happens afterwards in its stead does not soon have it.
    """
    burn(cmp, 200)
    with cmp.transaction() as (conn, token):
        conn.execute("update projects set status = %s", [LOST])
        cmp.upsert(LOST, conn=conn, status=LOST, github_url=f"https://github.com/acme/{LOST}")
    cmp.arrived(token)
    return token


def burn(cmp: Cmp, ids: int) -> None:
    """Use up transaction ids."""
    for _ in range(ids):
        cmp.conn.execute("select pg_current_xact_id()")


def shows(host: Host, text: str = LOST) -> bool:
    """Whether any registry contains a text."""
    return any(text.encode() in data for data in host.content().values())


def served(cmp: Cmp, host: Host, **env: str) -> Daemon:
    """Have a daemon publish what is there and one change more."""
    daemon = host.daemon(**env)
    cmp.arrived(write(cmp, "before"))
    return daemon


def goes_on(cluster: Cluster, host: Host, daemon: Daemon) -> None:
    """Insist that files are right, a write arrives, nothing unread is pruned, and pruning goes on."""
    with cluster.cmp() as cmp:
        until(lambda: cmp.wait().status == "published", "published again")
        assert not shows(host), [name for name, data in host.content().items() if LOST.encode() in data]
        assert_as_rebuilt(cmp, host)
        for name in ("it goes on", "after pruning"):
            token = write(cmp, name)
            assert cmp.wait(token).status == "published"
            assert name in str(host.canonical())
            until(partial(pruned, cmp), f"nothing read stays in the log: {cmp.log()}")
        assert_as_rebuilt(cmp, host)
    assert daemon.process.poll() is None


def pruned(cmp: Cmp) -> bool:
    """Prune what everybody has read, however young; whether that was all."""
    cmp.conn.execute("select changes from omnicdc.prune('0 s', '1 day')")
    return not cmp.log()


def swapped(old: Cluster, new: Cluster, host: Host, daemon: Daemon | None) -> Daemon:
    """Stop one server, start the other in its place.

    The daemon runs meanwhile, or is None and started afterwards.
    """
    seen = len(daemon.events) if daemon else 0
    old.stop()
    new.start()
    if daemon is None:
        return host.daemon()
    daemon.wait_for("recovered", after=seen)
    return daemon


def restore(cluster: Cluster, roles: str, dump: Path) -> None:
    """Create CMP from a dump in a cluster that has none."""
    admin = cluster.dsn("postgres")
    cluster.ask("psql", "-Xq", admin, said=roles)  # one of them is there: its error does not matter
    if dump.suffix == ".sql":
        cluster.ask("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", dump, admin)
    else:
        cluster.ask("pg_restore", "--create", "--exit-on-error", "-d", admin, dump)


def dumped(cluster: Cluster, directory: Path, *options: str, suffix: str = ".custom") -> tuple[str, Path]:
    """Return the roles, and the file that CMP was dumped into."""
    file = directory / f"cmp{suffix}"
    form = "plain" if suffix == ".sql" else "custom"
    cluster.ask("pg_dump", *options, f"--format={form}", "-f", file, cluster.dsn())
    return cluster.ask("pg_dumpall", "--roles-only", "-d", cluster.dsn("postgres")), file


def emigrate(scene: Scene, empty: Cluster, suffix: str, *, running: bool) -> tuple[Cluster, Host, Daemon]:
    """Dump a served CMP whose ids are far, and restore the dump into a new cluster.

    The new cluster takes the place of the old one.
    """
    old = scene.cluster()
    old.start()
    host = scene.host(old.dsn())
    with old.cmp() as cmp:
        daemon = served(cmp, host)
        assert pruned(cmp)
        # Ids that a new cluster will give out later: unread rows of the future, one that opens the guard
        # among them.
        burn(cmp, 400)
        cmp.arrived(write(cmp, "of the old cluster"))
        cmp.arrived(cmp.value("select omnicdc.request_accept()::text"))
        roles, dump = dumped(old, scene.directory, "--create", suffix=suffix)
        lose(cmp)
    if not running:
        daemon.stop()
    new = scene.cluster(empty, scene.prepared.own(scene.directory / f"aside{next(scene._number)}"))
    new.start()
    restore(new, roles, dump)
    new.stop()
    moved = scene.cluster(new)
    return moved, host, swapped(old, moved, host, daemon if running else None)


@pytest.mark.campaign
def test_a_dump_restored_into_a_new_cluster_behind_the_same_dsn(
    scene: Scene, empty: Cluster, scale: Scale, evidence: Evidence
) -> None:
    """P8: what the log, the history and the consumers say is of another cluster, and means nothing here."""
    ways = [(".custom", True), (".sql", True), (".custom", False), (".sql", False)]
    times = scale(1, 4)
    for suffix, running in ways[:times]:
        new, host, daemon = emigrate(scene, empty, suffix, running=running)
        daemon.wait_for("snapshot_of_another_cluster")
        daemon.wait_for("log_of_another_cluster")
        goes_on(new, host, daemon)
        with new.cmp() as cmp:
            assert cmp.consumer("host")["system_identifier"] == cmp.value(
                "select system_identifier from pg_control_system()"
            )
        host.close()
        new.stop()

    evidence(
        "P1 P5 P8",
        "pg_dump (plain, custom), restored with omnicdc's schema into a new cluster that then answers to "
        "the same DSN; "
        "the daemon runs or is down meanwhile",
        times=times,
        found="said each time; log and history of the other cluster forgotten; files equal to a full "
        "rebuild, writes arrive, "
        "pruning goes on",
    )


@pytest.mark.campaign
def test_what_came_with_the_dump_is_not_taken_for_what_happens_here(
    scene: Scene, empty: Cluster, evidence: Evidence
) -> None:
    """P5: the old cluster's history, its prune mark and its `accept` lie in the new one's future.

    They must not come true.
    """
    new, host, _ = emigrate(scene, empty, ".custom", running=False)
    with new.cmp() as cmp:
        asked = host.run("wait", "--project", "of the old cluster")
        assert asked.returncode == 0, asked.stderr
        # A file that cannot be written: what the old history says of these ids would call it published.
        directory = (host.root / INVENTORY).parent
        directory.rename(directory.with_name("aside"))
        directory.touch()
        held = cmp.wait(write(cmp, "held"))
        directory.unlink()
        directory.with_name("aside").rename(directory)
        until(lambda: cmp.wait().arrived, "the directory is back")
        # A write that nobody notes: the old prune mark would say that its row was pruned long ago.
        cmp.conn.execute("alter table projects disable trigger omnicdc_log_row")
        unnoted = cmp.wait(write(cmp, "unnoted"), timeout_s=1)
        cmp.conn.execute("alter table projects enable always trigger omnicdc_log_row")
        # All gone: the guard holds, also once the ids have passed that of the old cluster's `accept`.
        cmp.conn.execute("delete from projects")
        before = cmp.wait()
        burn(cmp, 600)
        after = cmp.wait(write(cmp, "later"))

    assert held.status == "held", held
    assert unnoted.status == "capture_broken", unnoted
    assert (before.status, after.status) == ("held", "held")
    assert len(host.canonical()) > PROJECTS
    evidence(
        "P5 P8",
        "after such a restore: a file that cannot be written, a write that no trigger notes, every project "
        "deleted, "
        "while ids reach those of the old cluster's history, prune mark and `accept`",
        times=3,
        found="`held`, `capture_broken`, `held`: no false `published`, and the guard stays shut",
    )


@pytest.mark.campaign
def test_another_database_of_the_cluster_takes_the_name(
    scene: Scene, scale: Scale, evidence: Evidence
) -> None:
    """P8: a dump restored beside CMP, and renamed into its place.

    Ids and snapshots are of the same cluster.
    """
    times = scale(1, 2)
    for running in (True, False)[:times]:
        cluster = scene.cluster()
        cluster.start()
        host = scene.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            _, dump = dumped(cluster, scene.directory)
            lose(cmp)
        if not running:
            daemon.stop()
        with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as admin:
            admin.execute("create database restored")
            cluster.ask("pg_restore", "--exit-on-error", "-d", cluster.dsn("restored"), dump)
            seen = len(daemon.events)
            admin.execute("alter database cmp with allow_connections false")
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'cmp'")
            until(partial(renamed, admin, "cmp", "gone"), "nobody is connected")
            assert renamed(admin, "restored", "cmp")
        if running:
            daemon.wait_for("recovered", after=seen)
        else:
            daemon = host.daemon()
        goes_on(cluster, host, daemon)
        host.close()
        cluster.stop()

    evidence(
        "P1 P8",
        "pg_dump restored into another database of the same cluster, which is then renamed to CMP's name; "
        "the daemon runs or is down",
        times=times,
        found="files equal to a full rebuild, writes arrive, pruning goes on",
    )


def renamed(admin: psycopg.Connection[Any], name: str, to: str) -> bool:
    """Rename a database; whether nobody was connected to it."""
    try:
        admin.execute(f"alter database {name} rename to {to}")
    except psycopg.errors.ObjectInUse:
        return False
    return True


def test_a_restore_in_place_under_a_sleeping_daemon(scene: Scene, scale: Scale, evidence: Evidence) -> None:
    """P5 P8: one transaction drops and creates everything, the log too.

    Nothing rings, and nothing in the log tells of it.
    """
    times = scale(1, 5)
    cluster = scene.cluster()
    cluster.start()
    host = scene.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
    for _ in range(times):
        with cluster.cmp() as cmp:
            _, dump = dumped(cluster, scene.directory)
            lost = lose(cmp)
            seen = len(daemon.events)
            freeze(daemon, cmp)
            cluster.ask(
                "pg_restore", "--clean", "--if-exists", "--single-transaction", "-d", cluster.dsn(), dump
            )
            assert shows(host)
            blind = [cmp.wait(timeout_s=0.2), cmp.wait(lost, timeout_s=0.2)]
            daemon.process.send_signal(signal.SIGCONT)
            daemon.wait_for("recovered", after=seen)
        assert not any(verdict.status == "published" for verdict in blind), blind
        goes_on(cluster, host, daemon)

    evidence(
        "P5 P8",
        "pg_restore --clean --single-transaction over CMP while the daemon sleeps: table and log are "
        "others, and nothing rings",
        times=times,
        found="noticed at the next look; until then `wait` does not say `published`; then the files equal a "
        "full rebuild",
    )


REPLACED = """
create table fresh (like projects including all);
insert into fresh select * from projects;
drop table projects;
alter table fresh rename to projects;
select omnicdc.watch('projects', w.watched) from omnicdc.source w
"""


@pytest.mark.campaign
def test_a_scan_that_waits_behind_a_new_table_does_not_publish_it_as_empty(
    scene: Scene, scale: Scale, evidence: Evidence
) -> None:
    """P2: the scan's snapshot is older than the table that it gets to read.

    Too few entries here for the guard to help.
    """
    times = scale(1, 6)
    cluster = scene.cluster()
    cluster.start()
    host = scene.host(cluster.dsn())
    with cluster.cmp() as cmp:
        cmp.conn.execute("delete from projects where key not in ('key-1', 'key-2', 'key-3')")
        daemon = served(cmp, host)
        one = next(iter(host.canonical()))
        for number in range(times):
            whole = number % 2 == 0
            told = cmp.consumer("host")["generation"]
            until(
                lambda: any(event.get("generation") == told for event in daemon.events),  # noqa: B023
                "logged",
            )
            freeze(daemon, cmp)
            if whole:
                cmp.conn.execute("select omnicdc.request_rebuild()")
            else:
                cmp.set(one, status=f"changed {number}")
            with cmp.connect() as conn, conn.transaction():
                conn.execute("lock table projects")
                seen = len(daemon.events)
                daemon.process.send_signal(signal.SIGCONT)
                until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "the scan waits")
                conn.execute(REPLACED)
            until(lambda: cmp.wait().status == "published", "published")
            daemon.wait_for("recovered", after=seen)
            assert daemon.events[seen]["event"] == "session_lost", daemon.events[seen:]
            assert len(host.canonical()) == 4

    goes_on(cluster, host, daemon)
    evidence(
        "P2 P8",
        "a scan (full, or of one project) waits for a transaction that drops CMP's table and creates it "
        "again: a table younger than the "
        "scan's snapshot looks empty",
        times=times,
        found="noticed before anything was written; the files never lost an entry",
    )


@pytest.mark.campaign
def test_a_copy_of_the_data_directory_is_put_back(scene: Scene, scale: Scale, evidence: Evidence) -> None:
    """P5 P8: the same cluster on the same timeline, only older.

    Its transaction ids are given out once more.
    """
    times = scale(1, 6)
    for number in range(times):
        running = number % 2 == 0
        cluster = scene.cluster()
        cluster.start()
        host = scene.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            kept = write(cmp, "kept")
            cmp.arrived(kept)
        cluster.stop()
        old = scene.cluster(cluster)
        cluster.start()
        with cluster.cmp() as cmp:
            until(lambda: cmp.wait().arrived, "published")
            lost = lose(cmp)
        if not running:
            daemon.stop()
        daemon = swapped(cluster, old, host, daemon if running else None)
        daemon.wait_for("database_restored")
        with old.cmp() as cmp:
            with pytest.raises(ConfigError, match="not a transaction of this cluster"):
                cmp.wait(lost)
            assert cmp.wait(kept).status == "published"
        goes_on(old, host, daemon)
        host.close()
        old.stop()

    evidence(
        "P1 P5 P8",
        "a copy of the data directory put back (same system identifier, same timeline), with transaction "
        "ids that are given out a second "
        "time; the daemon runs or is down",
        times=times,
        found="said; a token of the lost time is refused while its id is not given out again; files equal "
        "to a full rebuild",
    )


@pytest.mark.campaign
def test_until_its_first_scan_a_daemon_vouches_for_nothing(scene: Scene, evidence: Evidence) -> None:
    """P5: it is alive, and its row is of the older state and covers what was asked for.

    The files show what never was.
    """
    cluster = scene.cluster()
    old = scene.cluster(cluster)
    cluster.start()
    host = scene.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
        kept = write(cmp, "kept")
        cmp.arrived(kept)
    cluster.stop()
    old.put(cluster)
    cluster.start()
    with cluster.cmp() as cmp:
        until(lambda: cmp.wait().arrived, "published")
        lose(cmp)
        seen = len(daemon.events)
        freeze(daemon, cmp)
    cluster.stop()
    old.start()
    with old.cmp() as cmp:
        with cmp.connect() as conn, conn.transaction():
            conn.execute("lock table projects")
            daemon.process.send_signal(signal.SIGCONT)
            until(lambda: cmp.value("select count(*) from pg_locks where not granted"), "its scan waits")
            # As if the new session had the number of the one that wrote the row: where there are few, they
            # come again.
            cmp.conn.execute("update omnicdc.consumer set backend = omnicdc.consumer_pid(name)")
            blind = [cmp.wait(timeout_s=0.3), cmp.wait(kept, timeout_s=0.3)]
            showed = shows(host)
        daemon.wait_for("recovered", after=seen)
        seeing = cmp.wait(kept)

    assert showed
    assert {verdict.status for verdict in blind} == {"timeout"}, blind
    assert "has yet to compare its files" in blind[0].detail
    assert seeing.status == "published"
    goes_on(old, host, daemon)
    evidence(
        "P5",
        "an older copy put back, and the daemon's first scan kept waiting by a lock, while `wait` asks",
        times=2,
        found="`timeout`, which says that the daemon has yet to compare its files; `published` after the "
        "scan",
    )


@pytest.mark.campaign
def test_the_guard_holds_what_going_back_would_empty(scene: Scene, evidence: Evidence) -> None:
    """P8: back to before a bulk import: said, held, and let through by `accept`."""
    cluster = scene.cluster()
    cluster.start()
    host = scene.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
        held = len(host.canonical())
    cluster.stop()
    old = scene.cluster(cluster)
    cluster.start()
    with cluster.cmp() as cmp:
        until(lambda: cmp.wait().arrived, "published")
        cmp.fill(PROJECTS * 3)
        cmp.arrived()
        many = len(host.canonical())
    swapped(cluster, old, host, daemon)
    with old.cmp() as cmp:
        verdict = cmp.wait()
        stayed = len(host.canonical())
        host.run("accept")
        until(lambda: cmp.wait().arrived, "accepted")

    assert verdict.status == "held"
    assert (stayed, len(host.canonical())) == (many, held)
    goes_on(old, host, daemon)
    evidence(
        "P8",
        "an older copy put back that has a quarter of the projects",
        times=1,
        found="held with its numbers, `wait` says so; `omnicdc accept` lets it through",
    )


@pytest.mark.campaign
def test_a_restore_under_the_daemon_s_eyes(scene: Scene, empty: Cluster, evidence: Evidence) -> None:
    """P1 P5 P8: section by section.

    It finds tables without rows, then rows without triggers, while CMP writes already.
    """
    old = scene.cluster()
    old.start()
    host = scene.host(old.dsn())
    host.program = (sys.executable, "-c", IMPATIENT)
    with old.cmp() as cmp:
        daemon = served(cmp, host)
        roles, dump = dumped(old, scene.directory)
        lose(cmp)
    old.stop()
    new = scene.cluster(empty)
    new.start()
    new.ask("psql", "-Xq", new.dsn("postgres"), said=roles)
    part = partial(new.ask, "pg_restore", "--exit-on-error", "-d", new.dsn(), dump)
    with psycopg.connect(new.dsn("postgres"), autocommit=True) as admin:
        admin.execute("create database cmp")
    part("--section=pre-data")
    with new.cmp() as cmp:
        part("--section=data")
        until(lambda: not shows(host), "what it finds is published")
        cmp.conn.execute("update projects set status = 'unnoted'")
        blind = cmp.wait(timeout_s=1)
        part("--section=post-data")
        until(lambda: shows(host, "unnoted"), "what no trigger noted")

    assert blind.status == "capture_broken", blind
    goes_on(new, host, daemon)
    evidence(
        "P1 P5 P8",
        "pg_restore, section by section, into the server that the daemon tries to reach; CMP writes before "
        "the triggers are there",
        times=3,
        found="`capture_broken` while there are no triggers; what they did not note is found a minute after "
        "they are there",
    )


IMPATIENT = (
    "from omnicdc import cli; from omnicdc.daemon import periodic; periodic.HEARTBEAT_S = 0.5; cli.main()"
)
"""The command, whose daemon looks after itself more often than once a minute."""


@pytest.mark.campaign
def test_recovery_to_a_point_in_time(scene: Scene, evidence: Evidence) -> None:
    """P8: a base backup and the WAL's archive, up to a transaction or a named point.

    Then a timeline of its own begins.
    """
    ways = [("name", True), ("xid", True), ("xid", False)]
    for target, running in ways:
        archive = scene.prepared.own(scene.directory / f"archive-{target}-{running}")
        cluster = scene.cluster(archive_mode="on", archive_command=f"cp %p {archive}/%f")
        cluster.start()
        host = scene.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            base = scene.backup(cluster, "-X", "none")
            kept = write(cmp, "kept")
            cmp.arrived(kept)
            cmp.conn.execute("select pg_create_restore_point('here')")
            lost = lose(cmp)
            cmp.conn.execute("select pg_switch_wal()")
        if not running:
            daemon.stop()
        recovered = scene.cluster(
            base,
            scene.socket,
            restore_command=f"cp {archive}/%f %p",
            recovery_target_action="promote",
            **{f"recovery_target_{target}": "here" if target == "name" else kept},
        )
        (recovered.data / "recovery.signal").touch()
        daemon = swapped(cluster, recovered, host, daemon if running else None)
        daemon.wait_for("snapshot_of_another_cluster")
        with recovered.cmp() as cmp:
            assert cmp.wait(kept).status == "published"
            assert cmp.consumer("host")["timeline"] == 2
            with pytest.raises(ConfigError, match="not a transaction of this cluster"):
                cmp.wait(lost)
        goes_on(recovered, host, daemon)
        host.close()
        recovered.stop()

    evidence(
        "P5 P8",
        "point in time recovery to a named point or a transaction, promoted in the old server's place; the "
        "daemon runs or is down",
        times=len(ways),
        found="the new timeline is said at once; a lost token is refused; files equal to a full rebuild",
    )


@pytest.mark.campaign
def test_a_standby_is_promoted(scene: Scene, evidence: Evidence) -> None:
    """P8: it lacks the primary's last commits, which the files show.

    Reached by a DSN of both, or in the old one's place.
    """
    for both in (True, False):
        primary = scene.cluster()
        primary.start()
        standby = scene.backup(primary, "-R", "-X", "stream")
        every = (
            f"host={primary.socket},{standby.socket} port=5432 dbname=cmp user=postgres "
            "target_session_attrs=read-write"
        )
        host = scene.host(every if both else primary.dsn())
        with primary.cmp() as cmp:
            daemon = served(cmp, host)
            standby.start()
            cmp.arrived(write(cmp, "kept"))
            with standby.cmp() as replica:
                until(
                    lambda: replica.value("select exists (select from projects where name = 'kept')"),
                    "replicated",
                )
            standby.stop()
            lost = lose(cmp)
        primary.stop(signal.SIGQUIT)
        seen = len(daemon.events)
        standby.start()
        late = scene.host(every, "late").starting() if both else None
        if late:
            late.wait_for("database_unavailable")
        standby.call("pg_ctl", "promote", "-w", "-D", standby.data)
        if not both:
            standby.stop()
            standby = scene.cluster(standby)
            standby.start()
        daemon.wait_for("recovered", after=seen)
        daemon.wait_for("snapshot_of_another_cluster", after=seen)
        if late:
            late.wait_for("serving")
            late.stop()
        with standby.cmp() as cmp:
            cmp.arrived()
            assert cmp.consumer("host")["timeline"] == 2
            cmp.conn.execute("delete from omnicdc.consumer where name = 'late'")
            with pytest.raises(ConfigError, match="not a transaction of this cluster"):
                cmp.wait(lost)
        goes_on(standby, host, daemon)
        host.close()
        standby.stop()

    evidence(
        "P5 P8",
        "the primary killed with commits that its stand-by lacks, which is promoted: both in the DSN with "
        "target_session_attrs=read-write, "
        "or the promoted one in the old one's place; another daemon is started in between",
        times=2,
        found="the new timeline is said at once; what was lost leaves the files; the daemon that was "
        "started waits for the promotion",
    )


@pytest.mark.campaign
def test_transaction_ids_far_ahead(scene: Scene, evidence: Evidence) -> None:
    """P1 P5 P8: pg_resetwal moves them on by a thousand million, and past 32 bits, several times."""
    jumps = [("-x", 2**30, "-u", 3), ("-e", 1), ("-e", 2, "-x", 2**30 + 2**29), ("-e", 2**31 - 1)]
    cluster = scene.cluster()
    cluster.start()
    host = scene.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
    for number, jump in enumerate(jumps):
        with cluster.cmp() as cmp:
            before = write(cmp, "before the jump")
            cmp.arrived(before)
        seen = len(daemon.events)
        if number % 2:
            daemon.stop()
        cluster.stop()
        cluster.call("pg_resetwal", *jump, "-D", cluster.data)
        cluster.start()
        if number % 2:
            daemon = host.daemon()
        else:
            daemon.wait_for("recovered", after=seen)
        with cluster.cmp() as cmp:
            after = write(cmp, "after the jump")
            assert cmp.wait(after).status == "published"
            assert cmp.wait(before).status in ("published", "nothing_to_do")
            assert int(after) - int(before) > 2**28
        goes_on(cluster, host, daemon)

    evidence(
        "P1 P5 P8",
        "pg_resetwal: transaction ids ahead by 2^30, then past 2^32, 2^33, 2^63; the daemon runs or is down",
        times=len(jumps),
        found="every write arrives, old tokens and new ones are told right, pruning goes on",
    )


@pytest.mark.campaign
def test_pg_resetwal_after_a_crash(scene: Scene, scale: Scale, evidence: Evidence) -> None:
    """P8: the WAL is thrown away, and with it what was committed since the last checkpoint."""
    times = scale(1, 3)
    for number in range(times):
        # Nothing may write a page of what will be lost: PostgreSQL waits for ever to change a row that a
        # transaction of the future wrote.
        cluster = scene.cluster(bgwriter_lru_maxpages="0", checkpoint_timeout="1h", autovacuum="off")
        cluster.start()
        host = scene.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            cmp.conn.execute("vacuum")
            cmp.conn.execute("checkpoint")
            lose(cmp)
        seen = len(daemon.events)
        if number % 2:
            daemon.stop()
        cluster.stop(signal.SIGQUIT)
        (cluster.data / "postmaster.pid").unlink(missing_ok=True)
        cluster.call("pg_resetwal", "-f", "-D", cluster.data)
        cluster.start()
        if number % 2:
            daemon = host.daemon()
        else:
            daemon.wait_for("recovered", after=seen)
        goes_on(cluster, host, daemon)
        host.close()
        cluster.stop()

    evidence(
        "P8",
        "the server killed and its WAL thrown away (pg_resetwal -f): back to the last checkpoint; the "
        "daemon runs or is down",
        times=times,
        found="files equal to a full rebuild, writes arrive, pruning goes on",
    )


@pytest.mark.campaign
def test_pg_upgrade(scene: Scene, evidence: Evidence) -> None:
    """P5 P8: the ids go on, in a cluster of another identifier."""
    versions = sorted(bundled().parents[1].glob("pginstall*/bin"))
    if len(versions) < 2:
        pytest.skip("needs a second, older PostgreSQL in the embedded extra's package")
    old = Cluster(scene.directory / "old", scene.socket, versions[0])
    new = Cluster(scene.directory / "new", scene.socket, scene.prepared.programs)
    host = scene.host(old.dsn())
    try:
        old.create()
        old.start()
        with psycopg.connect(old.dsn("postgres"), autocommit=True) as admin:
            admin.execute("create database cmp")
        with old.cmp() as cmp:
            cmp.conn.execute(TABLE)
            assert host.run("install").returncode == 0
            cmp.fill(PROJECTS)
            daemon = served(cmp, host)
            kept = write(cmp, "kept")
            cmp.arrived(kept)
        old.stop()
        new.own(new.directory)
        new.call(
            "initdb",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-data-checksums",
            "-D",
            new.data,
        )
        upgrade: list[str | Path] = [
            new.programs / "pg_upgrade", "-U", "postgres", "-s", scene.socket,
            "-b", old.programs, "-B", new.programs, "-d", old.data, "-D", new.data,
        ]  # fmt: skip
        done = subprocess.run(
            upgrade, cwd=new.directory, capture_output=True, text=True, check=False, **new._identity()
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen = len(daemon.events)
        new.start()
        daemon.wait_for("recovered", after=seen)
        daemon.wait_for("snapshot_of_another_cluster")
        with new.cmp() as cmp:
            assert cmp.wait(kept).status == "published"
        goes_on(new, host, daemon)
    finally:
        host.close()
        old.delete()
        new.delete()

    evidence(
        "P5 P8",
        f"pg_upgrade from {version(versions[0])} to {version(new.programs)} while the daemon runs",
        times=1,
        found="said; a token from before is told right; files equal to a full rebuild, writes arrive, "
        "pruning goes on",
    )


def version(programs: Path) -> str:
    command: list[str | Path] = [programs / "postgres", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.split()[-1]


SHIM = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long ahead(void) {
  char text[32] = {0};
  int kept = errno, file = syscall(SYS_openat, AT_FDCWD, getenv("CLOCK_AHEAD"), O_RDONLY | O_CLOEXEC);
  if (file >= 0) { if (read(file, text, 31) < 0) text[0] = 0; syscall(SYS_close, file); }
  errno = kept;
  return atol(text);
}
int clock_gettime(clockid_t which, struct timespec *at) {
  int failed = syscall(SYS_clock_gettime, which, at);
  if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead();
  return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""


class Clock:
    """The clock of those who are started with its environment: set as an operator would, while they run."""

    def __init__(self, directory: Path) -> None:
        source, library = directory / "clock.c", directory / "clock.so"
        self._ahead = directory / "ahead"
        source.write_text(SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self._ahead)}
        self.set(0)

    def set(self, hours: float) -> None:
        fresh = self._ahead.with_suffix(".new")
        fresh.write_text(str(int(hours * 3600)))
        fresh.rename(self._ahead)


@pytest.fixture
def clock(scene: Scene) -> Clock:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc, to set a clock for one process")
    return Clock(scene.directory)


def start_by(clock: Clock, cluster: Cluster) -> None:
    """Start a server by this clock."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clock.env.items():
            patch.setenv(name, value)
        cluster.start()


@pytest.mark.campaign
def test_the_clock_is_set(scene: Scene, clock: Clock, evidence: Evidence) -> None:
    """P1 P5 P8: back an hour, forth, and ten days ahead: no order and no delay is judged by it."""
    steps = [-1, 0, 1, 24 * 10]
    for whose in ("the server's", "the daemon's", "both"):
        clock.set(0)
        cluster = scene.cluster()
        if whose == "the daemon's":
            cluster.start()
        else:
            start_by(clock, cluster)
        host = scene.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host, **({} if whose == "the server's" else clock.env))
            for hours in steps:
                with cmp.transaction() as (conn, token):
                    cmp.upsert("across", conn=conn)
                    clock.set(hours)
                verdict = cmp.wait(token, timeout_s=5)
                theirs = cmp.value("select extract(epoch from clock_timestamp())::float8") - time.time()
                assert abs(theirs - (0 if whose == "the daemon's" else hours * 3600)) < 60
                assert verdict.status == "published", verdict
                assert (verdict.milliseconds or 0) >= 0, verdict
                assert cmp.wait(write(cmp, f"at {hours}"), timeout_s=5).status == "published"
                cmp.conn.execute("select changes from omnicdc.prune('7 days', '1 day')")
                cmp.arrived(write(cmp, f"pruned at {hours}"))
                assert f"pruned at {hours}" in str(host.canonical())
            assert all(value >= 0 for event in daemon.events for value in event.get("ms", {}).values())
        goes_on(cluster, host, daemon)
        host.close()
        cluster.stop()

    evidence(
        "P1 P5 P8",
        "the clock of the server, of the daemon, or of both set back an hour, forth, and ten days ahead, in "
        "the middle of transactions",
        times=3 * len(steps),
        found="every write arrives within seconds, no time told is negative, files equal to a full rebuild, "
        "pruning goes on",
    )


@pytest.mark.campaign
def test_a_daemon_whose_unread_changes_were_pruned_scans_everything(
    scene: Scene, clock: Clock, evidence: Evidence
) -> None:
    """P1 P5: it hangs while the clock leaps over its limit of silence, and another one prunes.

    Then it goes on in its session.
    """
    cluster = scene.cluster()
    start_by(clock, cluster)
    host, other = scene.host(cluster.dsn()), scene.host(cluster.dsn(), "other")
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
        hanging = other.daemon()
        cmp.arrived()
        freeze(hanging, cmp)
        write(cmp, "unread", status="unread")
        until(lambda: shows(host, "unread"), "read by the other one")
        clock.set(24 * 30)
        cmp.conn.execute("select changes from omnicdc.prune('7 days', '1 day')")
        with db.connect(cmp.dsn) as conn:
            blind = waits.wait(conn, timeout_s=0.3, stop=Stop(), consumer="other")
        left = cmp.log()
        hanging.process.send_signal(signal.SIGCONT)
        until(lambda: shows(other, "unread"), "what it never read")
        sessions = [event for event in hanging.events if event["event"] == "session_lost"]
        barrier(cmp, host, other)
        content, wanted = other.content(), host.content()
        hanging.stop()
        cmp.conn.execute("delete from omnicdc.consumer where name = 'other'")

    assert not left
    assert not sessions
    assert blind.status != "published", blind
    assert content == wanted
    goes_on(cluster, host, daemon)
    evidence(
        "P1 P5",
        "a daemon hangs, the server's clock leaps a month ahead, and what the hanging one has not read is "
        "pruned",
        times=1,
        found="its next look scans everything; until then `wait` does not say `published`",
    )
