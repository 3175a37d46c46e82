"""A second daemon on the same root is refused, however it reaches the root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.two_at_once.daemons import exit_of, generation_on_disk, never_decreases, starting_as
from support.host import COMMAND, Host, until
from support.rebuild import assert_as_rebuilt

from omnicdc.files.lock import LOCK

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Daemon

pytestmark = pytest.mark.timeout(400)

OTHER_USER = 65534
AS_OTHER_USER = f"""
import os
import encodings.idna, importlib, pkgutil
import omnicdc.cli
for module in pkgutil.walk_packages(omnicdc.__path__, "omnicdc."):
    if "demo" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
os.setgroups([])
os.setresgid({OTHER_USER}, {OTHER_USER}, {OTHER_USER})
os.setresuid({OTHER_USER}, {OTHER_USER}, {OTHER_USER})
omnicdc.cli.main()
"""
"""Runs the command as another user, which may not even read the directory where omnicdc is installed."""

MOUNTED_ELSEWHERE = (
    'mkdir -p "$1" && mount --bind "$0" "$1" && export OMNICDC_ROOT="$1" && shift && exec "$@"'
)


def refused_first(racers: list[Daemon]) -> list[Daemon]:
    """Return the daemon that ended, then the one that still runs."""
    until(lambda: any(it.process.poll() is not None for it in racers), "one is refused")
    return sorted(racers, key=lambda it: it.process.poll() is None)


def test_of_two_daemons_that_start_at_once_one_serves_and_the_other_is_refused(
    cmp: Cmp, host: Host, tmp_path: Path, dice: random.Random, scale: Scale, evidence: Evidence
) -> None:
    """P2, P8: both use the same path, or one uses a symbolic link. Both have the same name, or two names.

    Before each round the daemon that served is killed.
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
        status, message = exit_of(loser)
        winner.wait_for("serving")
        seen.append(generation_on_disk(host))
        winner.kill()

        assert (status, loser.events) == (2, [])
        assert f"process {winner.process.pid} on " in message

    assert_as_rebuilt(cmp, host)
    assert never_decreases(seen)
    evidence(
        "P2 P8",
        "two daemons started at the same moment on one root, by one path or by a symbolic link, of one name "
        "or of two",
        times=races,
        found=f"one served each time; {races} reported the other's process and ended with status 2",
    )


def test_a_second_daemon_is_refused_whichever_name_path_or_option_it_has(
    cmp: Cmp, host: Host, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P8: while a daemon serves, a second one has another name, a symbolic link, or `--once`.

    It touches no file.
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
            status, message = exit_of(other)

            assert status == 2
            assert f"process {first.process.pid} on " in message
            assert "systemctl stop omnicdc" in message

    assert host.rewritten(before) == set()
    assert cmp.value("select array_agg(name) from omnicdc.consumer") == ["host"]
    evidence(
        "P7 P8",
        "a second daemon, or `run --once`, beside one that serves: of another name, through a symbolic link "
        "to the root",
        times=rounds * len(others),
        found="each ended with status 2 and the other's process; no file was touched, no consumer was added",
    )


def test_a_second_daemon_is_refused_through_mounts_and_namespaces(
    cmp: Cmp, host: Host, tmp_path: Path, scale: Scale, evidence: Evidence
) -> None:
    """P8: two containers share a directory.

    One sees it through a bind mount, and has its own process ids, network and host name.
    """
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
    ways = ways[scale(1, 0) :]  # a short run tries only the second way, which includes the first
    cmp.fill(30)
    first = host.daemon()
    for _ in range(rounds):
        for way in ways:
            status, message = exit_of(starting_as(host, way, OMNICDC_CONSUMER="other"))

            assert status == 2
            assert f"process {first.process.pid} on " in message
            assert f"already publishes below {where}" in message
    first.kill()
    inside = starting_as(host, ways[-1])
    inside.wait_for("serving")
    status, message = exit_of(host.starting(OMNICDC_CONSUMER="other"))

    assert status == 2
    assert "already publishes below" in message
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
def test_a_second_daemon_of_another_user_is_refused(cmp: Cmp, scale: Scale, evidence: Evidence) -> None:
    """P8: root comes after the service's user, or the service's user comes after root.

    If a user may not even open the lock, the daemon reports why.
    """
    if os.geteuid():
        pytest.skip("another user can only be tried by root")
    rounds = scale(1, 5)
    where = Path(tempfile.mkdtemp(prefix="omnicdc-users-"))
    where.chmod(0o755)
    host = Host(where / "host", cmp.dsn)
    as_other_user = (sys.executable, "-c", AS_OTHER_USER)
    try:
        cmp.fill(30)
        for _ in range(rounds):
            root_is_refused(host, as_other_user)
            other_user_is_refused(host, as_other_user)
    finally:
        host.close()
        shutil.rmtree(where)
    evidence(
        "P8",
        "two daemons of two users on one root: root beside the service's user, and the other way round",
        times=2 * rounds,
        found="the second was refused; it reported which process serves, or that the files belong to another "
        "user, with `chown`",
    )


def root_is_refused(host: Host, as_other_user: Sequence[str]) -> None:
    give_to(host.root.parent, OTHER_USER)
    first = starting_as(host, as_other_user)
    first.wait_for("serving")
    status, message = exit_of(host.starting(OMNICDC_CONSUMER="other"))
    first.kill()

    assert status == 2
    assert f"process {first.process.pid} on " in message
    assert (host.root / LOCK).stat().st_uid == OTHER_USER


def other_user_is_refused(host: Host, as_other_user: Sequence[str]) -> None:
    give_to(host.root.parent, 0)
    first = host.daemon()
    status, message = exit_of(starting_as(host, as_other_user, OMNICDC_CONSUMER="other"))
    first.kill()

    assert status == 2
    assert "Permission denied - `chown nobody " in message


def give_to(tree: Path, user: int) -> None:
    for path in (tree, *tree.rglob("*")):
        os.chown(path, user, user)
