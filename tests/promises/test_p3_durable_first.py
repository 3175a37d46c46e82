"""P3: omnicdc acknowledges a change only after the files are durable on the disk."""

from __future__ import annotations

import errno
import os
import random
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.host import REGISTRIES, Host

from omnicdc.daemon.once import run_to_the_end
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.evidence import Scale

NAMES = ["cmp_projects", "project", "git"]
STEPS = ["open", "write", "fsync", "rename", "fsync_directory"]
SCANNED = [*(f"scanned {name}" for name in NAMES), "scanned"]
STAGED = [f"{step} {name}" for name in NAMES for step in ("open", "write", "fsync")]
"""The registries are staged in parallel. The points of each registry come in this order."""
FINISHED = [
    *(f"rename {name}" for name in NAMES),
    *(f"fsync_directory {name}" for name in NAMES),
    *(f"published {name}" for name in NAMES),
    "published", "acknowledged", "manifest",
]  # fmt: skip
POINTS = [*SCANNED, *STAGED, *FINISHED]
"""Every point of a cycle that rewrites all three registries."""
ONE_OF_EACH_KIND = [
    "scanned git", "scanned", "open cmp_projects", "write project", "fsync git", *FINISHED[:3],
    "fsync_directory project", "published cmp_projects", *FINISHED[9:],
]  # fmt: skip
"""One point for each step that is the same in all registries. A campaign uses all points."""


class Ended(BaseException):
    """Ends a cycle, as if the process ended at this point."""


def cycle(host: Host, fail_at: str = "", failure: BaseException | None = None) -> list[str]:
    """Run one cycle in this process, let it fail at a point, and return the points that it passed."""
    passed: list[str] = []

    def observe(point: str) -> None:
        passed.append(point)
        if point == fail_at and failure:
            raise failure

    with suppress(Ended):
        run_to_the_end(host.config(), Stop(), observe)
    return passed


def write(cmp: Cmp, project: str, number: int) -> str:
    """Write a number that every registry shows for the project. Return the token."""
    with cmp.transaction() as (conn, token):
        cmp.upsert(
            "p", id=project, conn=conn, status=f"{number}", github_url=f"https://github.com/acme/n{number}"
        )
    return token


def shown(host: Host, project: str) -> set[int]:
    """Return the numbers that the three files show for a project."""
    [inventory] = [
        int(element["name"][1:])
        for element in host.inventory()
        if project in element.get("uuids", [element["uuid"]])
    ]
    return {int(host.canonical()[project]["status"]), int(host.projects()[project]["status"]), inventory}


def acknowledged(cmp: Cmp, host: Host, token: str) -> bool:
    """Return whether the consumer's row says that the files hold a transaction."""
    return bool(
        cmp.value(
            "select pg_visible_in_snapshot(%s::text::xid8, snapshot) from omnicdc.consumer where name = %s",
            token, host.env["OMNICDC_CONSUMER"],
        )
    )  # fmt: skip


def test_a_cycle_passes_its_points_in_order(cmp: Cmp, host: Host) -> None:
    """P3: all files are written and synced, then all are renamed, then all directories are synced.

    The acknowledgement comes after that, and the manifest comes last.
    """
    project = cmp.upsert("p")
    cycle(host)
    token = write(cmp, project, 1)
    acknowledged_at = {}

    def observe(point: str) -> None:
        acknowledged_at[point] = acknowledged(cmp, host, token)

    run_to_the_end(host.config(), Stop(), observe)
    write(cmp, project, 2)

    points = cycle(host)
    staged, finished = points[len(SCANNED) : -len(FINISHED)], points[-len(FINISHED) :]
    finished[3:6] = by_registry(finished[3:6])

    assert (points[: len(SCANNED)], by_registry(staged), finished) == (SCANNED, STAGED, FINISHED)
    assert [point for point, done in acknowledged_at.items() if done] == ["acknowledged", "manifest"]


def by_registry(points: list[str]) -> list[str]:
    """Sort the points of parallel work by registry. The points of one registry keep their order."""
    return sorted(points, key=lambda point: NAMES.index(point.split()[1]))


def test_a_cycle_that_ends_at_any_point_is_not_acknowledged_too_early(
    cmp: Cmp, host: Host, scale: Scale
) -> None:
    """P3, P8: the process ends at each point, one after the other. The next start completes the work."""
    project = cmp.upsert("p")
    write(cmp, project, 0)
    cycle(host)
    found: dict[str, tuple[bool, int]] = {}
    for number, point in enumerate(POINTS if scale(0, 1) else ONE_OF_EACH_KIND, start=1):
        token = write(cmp, project, number)
        cycle(host, point, Ended())
        behind = shown(host, project) != {number}
        assert not (acknowledged(cmp, host, token) and behind), point
        cycle(host)
        assert acknowledged(cmp, host, token), point
        assert shown(host, project) == {number}, point
        found[f"{number} {point}"] = (behind, number)

    assert {behind for behind, _ in found.values()} == {True, False}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_holds_only_its_registry_until_the_next_cycle(
    cmp: Cmp, host: Host, step: str
) -> None:
    """P3, P6: a step of the first registry fails once.

    The other registries are published. The consumer's row names the held one and the reason.
    """
    project = cmp.upsert("p")
    write(cmp, project, 1)
    cycle(host)
    token = write(cmp, project, 2)
    cycle(host, f"{step} cmp_projects", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    row = cmp.consumer("host")
    status = host.canonical()[project]["status"]
    points = cycle(host)

    assert list(row["held"]) == ["canonical_projects_uuids.json"]
    assert "No space left" in row["held"]["canonical_projects_uuids.json"]["reason"]
    assert status == ("2" if step == "fsync_directory" else "1")
    assert acknowledged(cmp, host, token)
    assert cmp.consumer("host")["held"] == {}
    assert shown(host, project) == {2}
    assert "fsync_directory cmp_projects" in points, (
        "a renamed file that was not synced is synced before the acknowledgement"
    )


def test_a_daemon_killed_at_random_moments_never_acknowledges_too_early(
    cmp: Cmp, host: Host, scale: Scale
) -> None:
    """P3, P8: SIGKILL again and again, during a stream of writes. Each next start continues the work."""
    seed = int(os.environ.get("OMNICDC_TEST_SEED", random.randrange(10**6)))
    sys.stdout.write(f"OMNICDC_TEST_SEED={seed}\n")
    rng = random.Random(seed)
    cmp.fill(100)
    project = cmp.upsert("p", status="0", github_url="https://github.com/acme/n0")
    host.once()
    tokens: list[str] = []
    done = threading.Event()

    def writer() -> None:
        number = 0
        while not done.is_set():
            number += 1
            tokens.append(write(cmp, project, number))

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(int(os.environ.get("OMNICDC_TEST_KILLS", scale(2, 8)))):
            daemon = host.daemon()
            for _ in range(rng.randrange(4)):
                daemon.wait_for("published", after=len(daemon.events))
            done.wait(rng.random() * 0.05)
            daemon.kill()
            assert_not_acknowledged_too_early(cmp, host, project, tokens)
    finally:
        done.set()
        thread.join()
    host.daemon()
    cmp.arrived()

    assert shown(host, project) == {len(tokens)}


def assert_not_acknowledged_too_early(cmp: Cmp, host: Host, project: str, tokens: list[str]) -> None:
    on_disk = shown(host, project)
    visible = cmp.value(
        """select coalesce(max(number), 0)
             from unnest(%s::text[]) with ordinality as written (token, number), omnicdc.consumer
            where name = %s and pg_visible_in_snapshot(token::xid8, snapshot)""",
        [*tokens], host.env["OMNICDC_CONSUMER"],
    )  # fmt: skip
    assert min(on_disk) >= visible


def test_a_correct_file_found_at_a_start_is_synced_before_the_acknowledgement(cmp: Cmp, host: Host) -> None:
    """P3: the process ended between the rename and the sync of the directory.

    The next start finds the correct file, but it may not be on the disk yet.
    """
    project = cmp.upsert("p")
    write(cmp, project, 1)
    cycle(host)
    write(cmp, project, 2)
    cycle(host, "fsync_directory cmp_projects", Ended())
    before = host.stats()[REGISTRIES[0]]
    points = cycle(host)

    assert host.stats()[REGISTRIES[0]] == before
    assert points[3:6] == ["scanned", "fsync cmp_projects", "fsync_directory cmp_projects"]
