"""Full scans that a change of a joined table causes come after the other work, and not after each change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from support.agents import MODELLED, declare

from omnicdc.config import settings
from omnicdc.model import ALL, Fault, Inputs
from omnicdc.registries.catalog import registries
from omnicdc.registries.projection import FULL_SCAN_PAUSE, Projection
from omnicdc.registries.schedule import Schedule

if TYPE_CHECKING:
    from pathlib import Path

A = frozenset("a")


@pytest.fixture
def projections(tmp_path: Path) -> dict[str, Projection]:
    """The registries of the model, all scanned: `teams` and `staff` join two tables."""
    config = settings.load({"config": declare(tmp_path, MODELLED)["OMNICDC_CONFIG"]}, {}, uid=1)
    found = {name: Projection(scanner, Inputs()) for name, scanner in registries(config).items()}
    for projection in found.values():
        projection.mark_scanned()
    return found


def test_targeted_work_is_never_postponed(projections: dict[str, Projection]) -> None:
    schedule = Schedule(projections)

    assert schedule.due_now({"teams": A, "project": A}, rebuild=False) == {"teams": A, "project": A}
    assert schedule.due_in_s == math.inf


def test_a_full_scan_alone_is_done_at_once(projections: dict[str, Projection]) -> None:
    assert Schedule(projections).due_now({"teams": ALL}, rebuild=False) == {"teams": ALL}


def test_a_full_scan_beside_other_work_is_done_in_the_next_cycle(projections: dict[str, Projection]) -> None:
    schedule = Schedule(projections)
    now = schedule.due_now({"teams": ALL, "cmp_agents": A}, rebuild=False)
    same_cycle = schedule.overdue({}, accepted=False)
    due_in_s = schedule.due_in_s
    schedule.end_cycle()

    assert (now, same_cycle, due_in_s) == ({"cmp_agents": A}, {}, 0.0)
    assert projections["teams"].postponed
    assert schedule.overdue({}, accepted=False) == {"teams": ALL}


def test_a_full_scan_pauses_for_five_times_its_duration(projections: dict[str, Projection]) -> None:
    schedule = Schedule(projections)
    projections["teams"].mark_scanned(full_scan_s=100.0)
    now = schedule.due_now({"teams": ALL}, rebuild=False)
    schedule.end_cycle()

    assert now == {}
    assert schedule.overdue({}, accepted=False) == {}
    assert 0 < schedule.due_in_s <= 100.0 * FULL_SCAN_PAUSE


def test_while_a_full_scan_is_due_targeted_work_of_the_registry_waits_for_it(
    projections: dict[str, Projection],
) -> None:
    """A file must not show one row of a later snapshot than the others."""
    schedule = Schedule(projections)
    projections["teams"].mark_scanned(full_scan_s=100.0)
    schedule.due_now({"teams": ALL}, rebuild=False)
    schedule.end_cycle()

    assert schedule.due_now({"teams": A, "project": A}, rebuild=False) == {"project": A}


def test_a_requested_rebuild_is_not_postponed(projections: dict[str, Projection]) -> None:
    schedule = Schedule(projections)
    projections["teams"].mark_scanned(full_scan_s=100.0)

    assert schedule.due_now(dict.fromkeys(projections, ALL), rebuild=True) == dict.fromkeys(projections, ALL)


def test_a_registry_whose_full_scan_failed_is_held_and_not_postponed(
    projections: dict[str, Projection],
) -> None:
    schedule = Schedule(projections)
    schedule.due_now({"teams": ALL, "project": A}, rebuild=False)
    schedule.end_cycle()
    projections["teams"].hold.start(Fault("no such column"), took_s=100.0)
    projections["teams"].mark_scan_failed()

    assert not projections["teams"].postponed
    assert schedule.due_in_s == math.inf
    assert schedule.overdue({}, accepted=False) == {}
    assert schedule.overdue({}, accepted=True) == {"teams": ALL}


def test_inputs_are_scanned_by_their_keys(projections: dict[str, Projection]) -> None:
    assert Schedule(projections).overdue({"project": {"a"}}, accepted=False) == {"project": A}
