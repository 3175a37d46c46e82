"""Decides which scanners must look at which projects. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.model import ALL, NO_IDS, Ids, Work

if TYPE_CHECKING:
    from collections.abc import Iterable

    from omnicdc.capture.watch_list import Watch
    from omnicdc.model import Change


def route(changes: Iterable[Change], watch: Watch, *, trusted: bool) -> Work:
    """Map the changes to scanners and ids.

    A change that names fields concerns the scanners that read one of them; any other concerns all that read
    the source. Its keys are those of the source: a scanner that only joins the source must scan everything.
    `trusted` says that the installed capture knows this watch list: if not, every change concerns
    every scanner, as a field missing from an old list would go unnoticed.
    """
    work: Work = {}
    for change in changes:
        if change.op in ("accept", "look"):
            continue
        fields = change.fields if trusted else None
        keys = ALL if change.projects is ALL else frozenset(change.projects)
        concerned = watch.scanners_of(change.source, fields)
        work = merge(work, {name: keys if watch.is_main(name, change.source) else ALL for name in concerned})
    return work


def merge(work: Work, more: Work) -> Work:
    """Return the work of both; sets that are in one only are shared and not copied."""
    both = {name: _united(work.get(name, NO_IDS), more.get(name, NO_IDS)) for name in work | more}
    return {name: ids for name, ids in both.items() if ids is ALL or ids}


def _united(some: Ids, others: Ids) -> Ids:
    if some is ALL or others is ALL:
        return ALL
    return (some | others) if some and others else (some or others)
