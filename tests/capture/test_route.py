"""Routing: a change runs only the scanners that read its columns, and only for the projects it names."""

from __future__ import annotations

from support.sources import SCANNERS

from omnicdc.capture.route import merge, route
from omnicdc.capture.watch_list import derive
from omnicdc.model import ALL, Change, Work

WATCH = derive(SCANNERS.values())
A = frozenset("a")
EVERY_SCANNER = {"cmp_projects", "project", "git"}


def _update(project: str, *fields: str) -> Change:
    return Change("update", fields, [project], source="projects")


def test_a_status_change_never_runs_git() -> None:
    assert route([_update("a", "status")], WATCH, trusted=True) == dict.fromkeys(
        ("cmp_projects", "project"), A
    )


def test_a_domain_change_runs_both_scanners_of_projects() -> None:
    expected = dict.fromkeys(("cmp_projects", "project"), A)

    assert route([_update("a", "metadata_.domain")], WATCH, trusted=True) == expected


def test_an_insert_and_a_delete_run_every_scanner() -> None:
    for op in ("insert", "delete"):
        assert route([Change(op, None, ["a"], source="projects")], WATCH, trusted=True) == dict.fromkeys(
            EVERY_SCANNER, A
        )


def test_a_truncate_and_a_rebuild_mean_every_project() -> None:
    for op in ("truncate", "rebuild"):
        changes = [_update("a", "status"), Change(op, None, None), _update("b", "name")]

        assert route(changes, WATCH, trusted=True) == dict.fromkeys(EVERY_SCANNER, ALL)


def test_an_accept_runs_no_scanner() -> None:
    assert route([Change("accept", None, None)], WATCH, trusted=True) == {}


def test_every_change_runs_every_scanner_if_the_watch_list_is_not_trusted() -> None:
    assert route([_update("a", "status")], WATCH, trusted=False) == dict.fromkeys(EVERY_SCANNER, A)


def test_merging_keeps_the_work_of_both_and_alters_neither() -> None:
    first: Work = {"project": frozenset("a"), "git": ALL}
    second: Work = {"project": frozenset("b"), "git": frozenset("c"), "cmp_projects": ALL}

    assert merge(first, second) == {"project": frozenset("ab"), "git": ALL, "cmp_projects": ALL}
    assert (first, second) == (
        {"project": A, "git": ALL},
        {"project": frozenset("b"), "git": frozenset("c"), "cmp_projects": ALL},
    )


def test_merging_no_projects_gives_no_work() -> None:
    assert merge({}, {"project": frozenset()}) == {}
