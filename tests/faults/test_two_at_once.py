"""Faults 8: two daemons on one root, or of one name; and the stand-by that takes over from one of them."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import COMMAND, DEADLINE_S, Host, until
from support.reader import Reader
from support.rebuild import assert_as_rebuilt

from omnicdc.files.lock import LOCK
from omnicdc.files.manifest import read_manifest

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Daemon
    from support.pace import Pace

pytestmark = pytest.mark.timeout(400)

TAKEN_OVER_S = 2.0
PROJECTS = 100

WAVE = """
update projects
   set status = %(wave)s,
       metadata_ = jsonb_build_object(
         'github_url', format('https://github.com/acme/%%s-%%s', %(wave)s::text, key))
"""
"""One transaction that alters every entry of every registry."""

NOBODY = 65534
AS_NOBODY = f"""
import os
import omnicdc.daemon, omnicdc.cli, encodings.idna
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
omnicdc.cli.main()
"""
"""The command as another user, who may not even read where it is installed."""

MOUNTED_ELSEWHERE = (
    'mkdir -p "$1" && mount --bind "$0" "$1" && export OMNICDC_ROOT="$1" && shift && exec "$@"'
)


def write_wave(cmp: Cmp, number: int) -> None:
    """Change everything at once."""
    cmp.conn.execute(WAVE, {"wave": f"w{number:06}"})


@contextmanager
def waves(cmp: Cmp) -> Iterator[list[int]]:
    """Write wave after wave in the background; gives how many there were, so far."""
    count, done = [0], threading.Event()

    def write() -> None:
        with cmp.connect() as conn:
            while not done.is_set():
                count[0] += 1
                conn.execute(WAVE, {"wave": f"w{count[0]:06}"})
                done.wait(0.03)  # leaves the readers their share of two processors

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()


def generations(cmp: Cmp, host: Host) -> list[int]:
    """Return the numbers that a consumer acknowledged, in this order."""
    query = "select generation from omnicdc.history where consumer = %s order by id"
    return [number for (number,) in cmp.conn.execute(query, [host.env["OMNICDC_CONSUMER"]]).fetchall()]


def on_disk(host: Host) -> int:
    """Return the generation that the manifest tells."""
    found = read_manifest(host.root)
    return found.generation if found else 0


def settled(cmp: Cmp, host: Host, consumer: str) -> int:
    """Return the generation that was acknowledged, when the manifest tells it as well."""
    until(lambda: on_disk(host) == cmp.consumer(consumer)["generation"], "the manifest is written")
    return on_disk(host)


def never_back(numbers: Sequence[int]) -> bool:
    return list(numbers) == sorted(numbers)


def published(daemon: Daemon) -> int:
    """Return how often it said that it published."""
    return sum(event["event"] == "published" for event in daemon.events)


def ended(daemon: Daemon) -> tuple[int, str]:
    """Return exit status and words of a daemon that ends by itself."""
    until(lambda: daemon.process.poll() is not None, "it ends")
    return daemon.stop(), "".join(daemon.noise)


def starting_as(host: Host, program: Sequence[str], **env: str) -> Daemon:
    """Start a daemon in another way."""
    own, host.program = host.program, tuple(program)
    try:
        return host.starting(**env)
    finally:
        host.program = own


def told_in_ms(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:,.0f} ms at the median, {max(seconds) * 1000:,.0f} ms at most"


def refused_first(racers: list[Daemon]) -> list[Daemon]:
    """Return them in the order of their end; only one ends."""
    until(lambda: any(it.process.poll() is not None for it in racers), "one is refused")
    return sorted(racers, key=lambda it: it.process.poll() is None)


def test_of_two_that_start_at_once_one_serves_and_the_other_is_told(
    cmp: Cmp, host: Host, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P2, P8: by the same path or through a symbolic link, of the same name or of another.

    Each comes after the kill of the other.
    """
    races = scale(2, 50)
    cmp.fill(30)
    link = tmp_path / "link"
    link.symlink_to(host.root)
    seen = []
    for _ in range(races):
        racers = [
            host.starting(
                OMNICDC_ROOT=str(dice.choice([host.root, link])),
                OMNICDC_CONSUMER=dice.choice(["host", "other"]),
            )
            for _ in range(2)
        ]
        loser, winner = refused_first(racers)
        status, said = ended(loser)
        winner.wait_for("serving")
        seen.append(on_disk(host))
        winner.kill()

        assert (status, loser.events) == (2, [])
        assert f"process {winner.process.pid} on " in said

    assert_as_rebuilt(cmp, host)
    assert never_back(seen)
    evidence(
        "P2 P8",
        "two daemons started at the same moment on one root, by one path or by a symbolic link, of one name "
        "or of two",
        times=races,
        found=f"one served each time; {races} were told the other's process and ended with status 2",
    )


def test_a_second_one_is_refused_by_whatever_way_it_comes(
    cmp: Cmp, host: Host, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P8: while a daemon serves.

    Another name, a symbolic link, `run --once` from cron; no file is touched.
    """
    rounds = scale(1, 5)
    cmp.fill(30)
    link = tmp_path / "link"
    link.symlink_to(host.root)
    first = host.daemon()
    cmp.arrived()
    before = host.stats()
    for _ in range(rounds):
        others = [
            host.starting(OMNICDC_CONSUMER="other"),
            host.starting(OMNICDC_ROOT=str(link), OMNICDC_CONSUMER="other"),
            host.starting("--once"),
            host.starting("--once", OMNICDC_CONSUMER="other"),
        ]
        for other in others:
            status, said = ended(other)

            assert status == 2
            assert f"process {first.process.pid} on " in said
            assert "systemctl stop omnicdc" in said

    assert host.rewritten(before) == set()
    assert cmp.value("select array_agg(name) from omnicdc.consumer") == ["host"]
    evidence(
        "P7 P8",
        "a second daemon, or `run --once`, beside one that serves: of another name, through a symbolic link "
        "to the root",
        times=rounds * len(others),
        found="each ended with status 2 and the other's process; no file was touched, no consumer was added",
    )


def test_a_root_is_one_through_mounts_and_namespaces(
    cmp: Cmp, host: Host, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P8: as containers share a directory: a bind mount, and process ids, network, host name of their own."""
    where = str(tmp_path / "elsewhere")
    mounted = ("sh", "-c", MOUNTED_ELSEWHERE, str(host.root), where, COMMAND)
    ways = [
        ("unshare", "--mount", *mounted),
        ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", *mounted),
    ]
    tried = subprocess.run([*ways[1][:-1], "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"namespaces and bind mounts need root: {tried.stderr.strip()}")
    rounds = scale(1, 5)
    ways = ways[scale(1, 0) :]  # in a short run only what holds the other as well
    cmp.fill(30)
    inside, first = None, host.daemon()
    for _ in range(rounds):
        for way in ways:
            status, said = ended(starting_as(host, way, OMNICDC_CONSUMER="other"))

            assert status == 2
            assert f"process {first.process.pid} on " in said
            assert f"already publishes below {where}" in said
    first.kill()
    inside = starting_as(host, ways[-1])
    inside.wait_for("serving")
    status, said = ended(host.starting(OMNICDC_CONSUMER="other"))

    assert status == 2
    assert "already publishes below" in said
    assert_as_rebuilt(cmp, host)
    evidence(
        "P8",
        "a second daemon in another mount namespace, where the same directory is bound to another path; "
        "with process "
        "ids, network and host name of its own, too",
        times=rounds * len(ways) + 1,
        found="each was refused, from the inside and from the outside",
    )


@pytest.mark.campaign
def test_a_root_is_one_for_all_users(cmp: Cmp, scale: Scale, evidence: Evidence) -> None:
    """P8: root after the service's user, and the service's user after root.

    Who may not even open the lock is told why.
    """
    if os.geteuid():
        pytest.skip("another user can only be tried by root")
    rounds = scale(1, 5)
    where = Path(tempfile.mkdtemp(prefix="omnicdc-users-"))
    where.chmod(0o755)
    host = Host(where / "host", cmp.dsn)
    theirs = (sys.executable, "-c", AS_NOBODY)
    try:
        cmp.fill(30)
        for _ in range(rounds):
            refused_by_root(host, theirs)
            refused_by_nobody(host, theirs)
    finally:
        host.close()
        shutil.rmtree(where)
    evidence(
        "P8",
        "two daemons of two users on one root: root beside the service's user, and the other way round",
        times=2 * rounds,
        found="the second was refused: told who serves, or that the files are another's, with `chown`",
    )


def refused_by_root(host: Host, theirs: Sequence[str]) -> None:
    """Root comes second."""
    hand_over(host.root.parent, NOBODY)
    first = starting_as(host, theirs)
    first.wait_for("serving")
    status, said = ended(host.starting(OMNICDC_CONSUMER="other"))
    first.kill()

    assert status == 2
    assert f"process {first.process.pid} on " in said
    assert (host.root / LOCK).stat().st_uid == NOBODY


def refused_by_nobody(host: Host, theirs: Sequence[str]) -> None:
    """Root comes first."""
    hand_over(host.root.parent, 0)
    first = host.daemon()
    status, said = ended(starting_as(host, theirs, OMNICDC_CONSUMER="other"))
    first.kill()

    assert status == 2
    assert "Permission denied - `chown nobody " in said


def hand_over(tree: Path, user: int) -> None:
    for path in (tree, *tree.rglob("*")):
        os.chown(path, user, user)


@pytest.mark.parametrize("shared", ["root", "name"])
def test_a_standby_takes_over_within_two_seconds_and_nothing_is_lost(
    cmp: Cmp,
    host: Host,
    tmp_path: Path,
    dice: random.Random,
    scale: Scale,
    evidence: Evidence,
    shared: str,
    pace: Pace,
) -> None:
    """P1, P2, P8: killed, or told to end, at random moments under a stream of writes.

    Readers never look back.
    """
    rounds = scale(2 if shared == "root" else 1, 40 if shared == "root" else 10)
    cmp.fill(PROJECTS)
    write_wave(cmp, 0)
    places = [host, host if shared == "root" else elsewhere(host, tmp_path)]
    took: dict[signal.Signals, list[float]] = {signal.SIGKILL: [], signal.SIGTERM: []}
    told = [0]
    serving = places[0].daemon()
    readers = [Reader(places[0].root, "waves", scale(5, 0) / 1000)] if shared == "root" else []
    with waves(cmp) as written:
        for number in range(rounds):
            follower = places[(number + 1) % 2].starting("--standby")
            follower.wait_for("standing_by")
            time.sleep(dice.random() * 0.1)  # the moment is the fault
            how = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            idle, at = published(follower), time.monotonic()
            serving.process.send_signal(how)
            follower.wait_for("serving")
            took[how].append(time.monotonic() - at)
            told.append(on_disk(places[(number + 1) % 2]))

            assert idle == 0
            assert serving.process.wait(DEADLINE_S) == (0 if how is signal.SIGTERM else -9)
            serving = follower
    cmp.arrived()
    found = [reader.end() for reader in readers]
    all_took = took[signal.SIGKILL] + took[signal.SIGTERM]
    last = places[rounds % 2]

    assert [it["wrong"] for it in found] == [[]] * len(readers)
    assert f"w{written[0]:06}" in last.raw("governance/registry/git_repos/repo_inventory.json").decode()
    assert_as_rebuilt(cmp, last)
    assert never_back(generations(cmp, host))
    assert shared == "name" or never_back(told)
    assert max(all_took) < pace.allows(TAKEN_OVER_S)
    reads = sum(it["reads"] for it in found)
    evidence(
        "P1 P2 P8",
        f"the serving daemon killed (-9) or ended (-15) at a random moment under a stream of writes, with a "
        f"stand-by on the same {shared}",
        times=rounds,
        found=f"the stand-by published after {told_in_ms(all_took)}; {written[0]:,} transactions, none lost; "
        + (f"{reads:,} reads, none torn or older than the one before; " if readers else "")
        + "generations never went back; at the end files = full rebuild",
    )


def elsewhere(host: Host, tmp_path: Path) -> Host:
    """Return another root for a daemon of the same name."""
    other = Host(tmp_path / "elsewhere", host.env["OMNICDC_DSN"])
    other.env["OMNICDC_CONSUMER"] = host.env["OMNICDC_CONSUMER"]
    # It ends with the test's own host.
    other._daemons = host._daemons
    return other


@pytest.mark.campaign
def test_a_stopped_daemon_keeps_its_root_until_it_is_killed(
    cmp: Cmp, host: Host, dice: random.Random, scale: Scale, evidence: Evidence, pace: Pace
) -> None:
    """P2, P4, P5, P8: SIGSTOP at a random moment. Nobody may write beside it: it may go on at any time.

    Writes do not wait, and `wait` says what is behind. If it is killed (as systemd's watchdog does), another
    daemon follows it. If it is continued, it goes on.
    """
    rounds = scale(1, 5)
    cmp.fill(PROJECTS)
    serving, took, slowest = host.daemon(), [], 0.0
    for _ in range(rounds):
        follower = host.starting("--standby")
        follower.wait_for("standing_by")
        slowest = max(slowest, beside_a_stopped_one(cmp, host, serving, follower, dice))
        serving.process.send_signal(signal.SIGCONT)
        cmp.arrived()

        assert published(follower) == 0
        assert_as_rebuilt(cmp, host)
        slowest = max(slowest, beside_a_stopped_one(cmp, host, serving, follower, dice))
        at = time.monotonic()
        serving.process.kill()
        follower.wait_for("serving")
        took.append(time.monotonic() - at)
        cmp.arrived()
        serving = follower
        assert_as_rebuilt(cmp, host)

    assert slowest < pace.allows(1.0)
    assert max(took) < pace.allows(TAKEN_OVER_S)
    evidence(
        "P2 P4 P5 P8",
        "the serving daemon stopped (SIGSTOP) in the middle of its work, beside a stand-by; then continued, "
        "or killed as the watchdog does",
        times=2 * rounds,
        found="while it stood no process wrote a file, no write waited, and `wait` said how far behind it "
        "is; continued, it went on; "
        f"killed, the stand-by published after {told_in_ms(took)}; then files = full rebuild",
    )


def beside_a_stopped_one(
    cmp: Cmp, host: Host, serving: Daemon, follower: Daemon, dice: random.Random
) -> float:
    """Stop it while it works, and see that nobody takes its place; returns the seconds that a write took."""
    with waves(cmp):
        time.sleep(dice.random() * 0.1)  # the moment is the fault
        serving.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # and so is its length
    before, started = host.stats(), time.monotonic()
    write_wave(cmp, 999_999)
    took = time.monotonic() - started
    behind = cmp.wait(timeout_s=0.2)

    assert behind.status == "timeout", behind
    assert "to publish" in behind.detail
    assert (host.rewritten(before), published(follower)) == (set(), 0)
    return took


@pytest.mark.campaign
def test_two_do_not_serve_one_root_though_the_lock_was_removed(
    cmp: Cmp, host: Host, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P2, P8: as `git clean` does, or who moves the directory: the next one finds another file to lock."""
    rounds, served = scale(1, 9), 0
    cmp.fill(30)
    for number in range(rounds):
        first = host.daemon(OMNICDC_POLL_S="60")
        cmp.arrived()
        lose_the_lock(host, LOSSES[number % 3], tmp_path / f"aside{number}")
        second = host.starting(OMNICDC_CONSUMER="other")
        if serves(second):
            served += 1
            so_far = published(first)
            cmp.upsert(f"written beside two {number}")
            first.wait_for("standing_by")
            cmp.upsert(f"written after that {number}")
            cmp.arrived()

            assert published(first) == so_far
            assert_as_rebuilt(cmp, host)
            second.kill()
            first.wait_for("recovered")
        cmp.upsert(f"written at last {number}")
        # What was moved away is found missing at the next look, in a minute; a rebuild looks now.
        cmp.conn.execute("select omnicdc.request_rebuild()")
        cmp.arrived()

        assert_as_rebuilt(cmp, host)
        first.kill()
    evidence(
        "P2 P8",
        "the lock of a serving daemon removed, replaced, or moved away with its directory; and at once a "
        "second daemon started",
        times=rounds,
        found=f"{rounds - served} times the first had noticed by then, and the second was refused; {served} "
        f"times the second came first, "
        "and the first noticed before it wrote again, stood by, and went on when the second ended",
    )


def serves(daemon: Daemon) -> bool:
    """Whether a daemon comes to serve; if not, it was told that another one does."""

    def decided() -> bool:
        return daemon.process.poll() is not None or any(it["event"] == "serving" for it in daemon.events)

    until(decided, "it serves or ends")
    if daemon.process.poll() is None:
        return True
    status, said = ended(daemon)
    assert (status, "already publishes below" in said) == (2, True)
    return False


LOSSES = ("removed", "moved away", "replaced")


def lose_the_lock(host: Host, deed: str, aside: Path) -> None:
    """Take the locked file away."""
    lock = host.root / LOCK
    if deed == "moved away":
        (host.root / "governance").rename(aside)
    else:
        lock.unlink()
    if deed == "replaced":
        lock.write_text("1 somewhere\n")


def test_a_lock_that_was_removed_is_there_again_at_the_next_look(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P8: so that who starts later is refused as ever."""
    rounds = scale(1, 5)
    cmp.fill(30)
    first = host.daemon(OMNICDC_POLL_S="0.1")
    for _ in range(rounds):
        (host.root / LOCK).unlink()
        until((host.root / LOCK).exists, "it is there again")
        status, said = ended(host.starting(OMNICDC_CONSUMER="other"))

        assert status == 2
        assert f"process {first.process.pid} on " in said
    evidence(
        "P8",
        "the lock of a serving daemon removed, and a second one started after the next look (poll_s)",
        times=rounds,
        found="it was there again, and the second was refused",
    )


@pytest.mark.campaign
def test_a_standby_of_another_configuration_serves_with_its_own(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P7, P8: another name.

    Nothing is rewritten, the generation goes on; one that cannot serve ends and says why.
    """
    rounds = scale(1, 5)
    cmp.fill(30)
    for number in range(rounds):
        first = host.daemon()
        cmp.upsert(f"one more {number}")
        cmp.arrived()
        unfit = host.starting("--standby", OMNICDC_TABLE="elsewhere.projects")
        unfit.wait_for("standing_by")
        before, told = host.stats(), settled(cmp, host, "host")
        first.kill()
        status, said = ended(unfit)
        second = host.starting(
            "--standby", OMNICDC_CONSUMER="other", OMNICDC_WAKE="poll", OMNICDC_POLL_S="0.1"
        )
        second.wait_for("serving")

        assert status == 2
        assert "table elsewhere.projects does not exist" in said
        assert host.rewritten(before) == set()
        assert on_disk(host) == told
        cmp.upsert(f"and one {number}")
        cmp.arrived()
        assert settled(cmp, host, "other") == told + 1
        assert "no daemon is serving" in str(host.ask("status")["faults"])
        second.kill()
    evidence(
        "P7 P8",
        "a stand-by whose configuration differs: one of another name and way to wake, one for a table that "
        "is not there",
        times=2 * rounds,
        found="the first went on from the generation on disk and rewrote nothing that was right; the second "
        "ended with status 2 and the reason",
    )
