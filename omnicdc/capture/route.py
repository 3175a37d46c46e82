"""Decides which scanners must look at which projects. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.model import EVERYTHING, NOBODY, Ids, Work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from omnicdc.capture.watch_list import Watch
    from omnicdc.model import Change


def route(changes: Iterable[Change], watch: Watch, *, trusted: bool) -> Work:
    """Map the changes to scanners and ids.

    A change that names fields concerns the scanners that read one of them; any other concerns all.
    `trusted` says that the installed capture knows this watch list: if not, every change concerns
    every scanner, as a field missing from an old list would go unnoticed.
    """
    work: Work = {}
    for change in changes:
        if change.op in ("accept", "look"):
            continue
        concerned: Collection[str] = watch.by_scanner
        if trusted and change.fields is not None:
            concerned = watch.scanners_of(change.fields)
        projects = EVERYTHING if change.projects is EVERYTHING else frozenset(change.projects)
        work = merge(work, dict.fromkeys(concerned, projects))
    return work


def merge(work: Work, more: Work) -> Work:
    """Return the work of both; sets that are in one only are shared and not copied."""
    both = {name: _united(work.get(name, NOBODY), more.get(name, NOBODY)) for name in work | more}
    return {name: ids for name, ids in both.items() if ids is EVERYTHING or ids}


def _united(some: Ids, others: Ids) -> Ids:
    if some is EVERYTHING or others is EVERYTHING:
        return EVERYTHING
    return (some | others) if some and others else (some or others)
