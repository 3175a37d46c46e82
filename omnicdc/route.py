"""Decides which scanners must look at which projects. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.model import EVERYTHING, Work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from omnicdc.model import Change
    from omnicdc.watch import Watch


def route(changes: Iterable[Change], watch: Watch, *, trusted: bool) -> Work:
    """Map the changes to scanners and ids.

    A change that names fields concerns the scanners that read one of them; any other concerns all.
    `trusted` says that the installed capture knows this watch list: if not, every change concerns
    every scanner, as a field missing from an old list would go unnoticed.
    """
    work: Work = {}
    for change in changes:
        if change.op == "accept":
            continue
        concerned: Collection[str] = watch.by_scanner
        if trusted and change.fields is not None:
            concerned = watch.scanners_of(change.fields)
        for name in concerned:
            _add(work, name, change.projects)
    return work


def merge(work: Work, more: Mapping[str, Collection[str] | None]) -> Work:
    """Return the work of both."""
    merged: Work = {name: None if ids is None else set(ids) for name, ids in work.items()}
    for name, ids in more.items():
        if ids is EVERYTHING:
            merged[name] = EVERYTHING
        elif (known := merged.setdefault(name, set())) is not EVERYTHING:
            known.update(ids)
    return {name: ids for name, ids in merged.items() if ids is EVERYTHING or ids}


def _add(work: Work, name: str, projects: Collection[str] | None) -> None:
    if projects is EVERYTHING:
        work[name] = EVERYTHING
    elif (ids := work.setdefault(name, set())) is not EVERYTHING:
        ids.update(projects)
