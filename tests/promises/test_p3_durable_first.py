"""P3: the acknowledgement never runs ahead of the disk."""

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
"""These side by side, each registry's in this order."""
TOLD = [
    *(f"rename {name}" for name in NAMES),
    *(f"fsync_directory {name}" for name in NAMES),
    *(f"published {name}" for name in NAMES),
    "published", "acknowledged", "manifest",
]  # fmt: skip
POINTS = [*SCANNED, *STAGED, *TOLD]
"""Every point that a cycle passes which rewrites all three registries."""
OF_EACH_KIND = [
    "scanned git", "scanned", "open cmp_projects", "write project", "fsync git", *TOLD[:3],
    "fsync_directory project", "published cmp_projects", *TOLD[9:],
]  # fmt: skip
"""Of what is done alike for each registry, one; a campaign ends at all of them."""


class Ended(BaseException):
    """The process ended here."""


def cycle(host: Host, fail_at: str = "", failure: BaseException | None = None) -> list[str]:
    """Run one session of one cycle in this process, failing at a point of it; returns the points passed."""
    passed: list[str] = []

    def observe(point: str) -> None:
        passed.append(point)
        if point == fail_at and failure:
            raise failure

    with suppress(Ended):
        run_to_the_end(host.config(), Stop(), observe)
    return passed


def write(cmp: Cmp, project: str, number: int) -> str:
    """Change what every registry shows of a project to a number; returns the token."""
    with cmp.transaction() as (conn, token):
        cmp.upsert(
            "p", id=project, conn=conn, status=f"{number}", github_url=f"https://github.com/acme/n{number}"
        )
    return token


def shown(host: Host, project: str) -> set[int]:
    """Return the numbers that the three files show of a project."""
    [inventory] = [
        int(element["name"][1:])
        for element in host.inventory()
        if project in element.get("uuids", [element["uuid"]])
    ]
    return {int(host.canonical()[project]["status"]), int(host.projects()[project]["status"]), inventory}


def acknowledged(cmp: Cmp, host: Host, token: str) -> bool:
    """Whether the consumer's row says that the files hold a transaction."""
    return bool(
        cmp.value(
            "select pg_visible_in_snapshot(%s::text::xid8, snapshot) from omnicdc.consumer where name = %s",
            token, host.env["OMNICDC_CONSUMER"],
        )
    )  # fmt: skip


def test_a_cycle_passes_its_points_in_this_order(cmp: Cmp, host: Host) -> None:
    """P3: all written and synced, all renamed, all directories synced; then the word.

    Nobody waits for the manifest.
    """
    project = cmp.upsert("p")
    cycle(host)
    token = write(cmp, project, 1)
    ahead = {}

    def observe(point: str) -> None:
        ahead[point] = acknowledged(cmp, host, token)

    run_to_the_end(host.config(), Stop(), observe)
    write(cmp, project, 2)

    points = cycle(host)
    staged, told = points[len(SCANNED) : -len(TOLD)], points[-len(TOLD) :]
    told[3:6] = by_registry(told[3:6])

    assert (points[: len(SCANNED)], by_registry(staged), told) == (SCANNED, STAGED, TOLD)
    assert [point for point, told in ahead.items() if told] == ["acknowledged", "manifest"]


def by_registry(points: list[str]) -> list[str]:
    """What is done side by side, put in order; each registry's own steps stay as they came."""
    return sorted(points, key=lambda point: NAMES.index(point.split()[1]))


def test_ended_at_any_point_the_word_is_not_ahead_and_the_next_start_mends_it(
    cmp: Cmp, host: Host, scale: Scale
) -> None:
    """P3, P8: a process that ends at each of the points, one after the other."""
    project = cmp.upsert("p")
    write(cmp, project, 0)
    cycle(host)
    found: dict[str, tuple[bool, int]] = {}
    for number, point in enumerate(POINTS if scale(0, 1) else OF_EACH_KIND, start=1):
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
def test_a_disk_that_fails_at_a_step_is_said_and_not_acknowledged_away(
    cmp: Cmp, host: Host, step: str
) -> None:
    """P3, P6: the first registry's step fails once; the others are published, the word names the one held."""
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
        "what was renamed and not synced is synced before it is acknowledged"
    )


def test_killed_at_random_moments_the_word_is_never_ahead(cmp: Cmp, host: Host, scale: Scale) -> None:
    """P3, P8: SIGKILL under a stream of writes, again and again; each next start goes on from there."""
    seed = int(os.environ.get("OMNICDC_TEST_SEED", random.randrange(10**6)))
    sys.stdout.write(f"OMNICDC_TEST_SEED={seed}\n")
    dice = random.Random(seed)
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
            for _ in range(dice.randrange(4)):
                daemon.wait_for("published", after=len(daemon.events))
            done.wait(dice.random() * 0.05)
            daemon.kill()
            assert_not_ahead(cmp, host, project, tokens)
    finally:
        done.set()
        thread.join()
    host.daemon()
    cmp.arrived()

    assert shown(host, project) == {len(tokens)}


def assert_not_ahead(cmp: Cmp, host: Host, project: str, tokens: list[str]) -> None:
    on_disk = shown(host, project)
    visible = cmp.value(
        """select coalesce(max(number), 0)
             from unnest(%s::text[]) with ordinality as written (token, number), omnicdc.consumer
            where name = %s and pg_visible_in_snapshot(token::xid8, snapshot)""",
        [*tokens], host.env["OMNICDC_CONSUMER"],
    )  # fmt: skip
    assert min(on_disk) >= visible


def test_a_file_that_is_only_recognised_is_made_durable_before_it_is_acknowledged(
    cmp: Cmp, host: Host
) -> None:
    """P3: ended between rename and the directory's sync, the next start finds the right file.

    It may not be on disk.
    """
    project = cmp.upsert("p")
    write(cmp, project, 1)
    cycle(host)
    write(cmp, project, 2)
    cycle(host, "fsync_directory cmp_projects", Ended())
    right = host.stats()[REGISTRIES[0]]
    points = cycle(host)

    assert host.stats()[REGISTRIES[0]] == right
    assert points[3:6] == ["scanned", "fsync cmp_projects", "fsync_directory cmp_projects"]
