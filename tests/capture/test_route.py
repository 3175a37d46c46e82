"""Routing: a change runs only the scanners that read what changed, and only for the projects it names."""

from __future__ import annotations

from omnicdc.capture.route import merge, route
from omnicdc.capture.watch_list import derive
from omnicdc.model import ALL, Change, Work
from omnicdc.registries.scanners import scanners

WATCH = derive(scanners().values())
A = frozenset("a")
EVERY_SCANNER = {"cmp_projects", "project", "git"}


def _update(project: str, *fields: str) -> Change:
    return Change("update", fields, [project])


def test_a_status_change_never_runs_git() -> None:
    assert route([_update("a", "status")], WATCH, trusted=True) == dict.fromkeys(
        ("cmp_projects", "project"), A
    )


def test_a_domain_concerns_the_mirror_and_the_project_registry() -> None:
    expected = dict.fromkeys(("cmp_projects", "project"), A)

    assert route([_update("a", "metadata_.domain")], WATCH, trusted=True) == expected


def test_an_insert_and_a_delete_concern_everyone() -> None:
    for op in ("insert", "delete"):
        assert route([Change(op, None, ["a"])], WATCH, trusted=True) == dict.fromkeys(EVERY_SCANNER, A)


def test_a_truncate_and_a_rebuild_mean_every_project() -> None:
    for op in ("truncate", "rebuild"):
        changes = [_update("a", "status"), Change(op, None, None), _update("b", "name")]

        assert route(changes, WATCH, trusted=True) == dict.fromkeys(EVERY_SCANNER, ALL)


def test_an_accept_concerns_no_project() -> None:
    assert route([Change("accept", None, None)], WATCH, trusted=True) == {}


def test_with_a_foreign_watch_list_every_change_concerns_everyone() -> None:
    assert route([_update("a", "status")], WATCH, trusted=False) == dict.fromkeys(EVERY_SCANNER, A)


def test_merging_keeps_the_work_of_both_and_alters_neither() -> None:
    first: Work = {"project": frozenset("a"), "git": ALL}
    second: Work = {"project": frozenset("b"), "git": frozenset("c"), "cmp_projects": ALL}

    assert merge(first, second) == {"project": frozenset("ab"), "git": ALL, "cmp_projects": ALL}
    assert first == {"project": A, "git": ALL}


def test_merging_nothing_is_no_work() -> None:
    assert merge({}, {"project": frozenset()}) == {}
