"""Checks of the delivery: capture, held registries, quarantine, external changes, other faults. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.clients.validation.context import Held
from omnicdc.clients.validation.findings import REBUILD, Place, finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.clients.validation.context import Context, Files
    from omnicdc.clients.validation.findings import Finding


def faults(context: Context) -> Iterator[Finding]:
    """Yield the faults of `omnicdc status` that no other kind names."""
    for fault in context.delivery.others:
        detail, _, remedy = fault.partition(" - ")
        yield finding("fault", Place(), detail, remedy)


def capture(context: Context) -> Iterator[Finding]:
    """Yield the fault of the capture, if it is broken: then changes may be missed."""
    if fault := context.delivery.capture:
        yield finding("capture", Place(where="CMP"), f"capture is broken: {fault.reason}", fault.hint)


def held(context: Context) -> Iterator[Finding]:
    """Yield the registries that a consumer holds: their files stay as they are."""
    for it in context.delivery.held:
        yield finding(
            "held",
            Place(where=f"{it.consumer}: {it.registry}"),
            f"the registry is held: {it.reason}",
            it.remedy,
        )


def quarantine(context: Context) -> Iterator[Finding]:
    """Yield the projects that are held back from a registry, by a consumer or by the comparison here."""
    known = {(it.registry, it.project) for it in context.delivery.quarantine}
    here = (
        Held("", it.report.registry, reason, project=project)
        for it in (context.files.compared.values() if context.files else ())
        for project, reason in it.registry.quarantined_projects().items()
        if (it.report.registry, project) not in known
    )
    for it in (*context.delivery.quarantine, *here):
        one = context.projects.get(it.project or "")
        yield finding(
            "quarantine",
            Place(it.project, one.name if one else None, f"{it.consumer}: {it.registry}".removeprefix(": ")),
            f"the project is held back from {it.registry}: {it.reason}",
            f"fix its row in CMP; then `omnicdc verify {it.project}`",
            found=it.reason,
        )


def drift(context: Context) -> Iterator[Finding]:
    """Yield the registry files of this host that another process changed since omnicdc published them."""
    files = context.files
    for registry, path in files.drifted.items() if files else ():
        yield finding(
            "drift", Place(where=path),
            with_hold(files, f"{registry} was changed outside omnicdc", registry),
            remedy(files, registry), repairable=is_repairable(files, registry),
        )  # fmt: skip


def is_repairable(files: Files | None, *registries: str) -> bool:
    """Return whether a rebuild writes registries again that differ."""
    return files is not None and all(_is_written(files, it) for it in registries)


def _is_written(files: Files, registry: str) -> bool:
    """Return whether the daemon writes a registry that differs.

    It writes no registry that is held. With `on_drift: alert` it leaves an external change in the file.
    """
    return registry not in files.holds and (files.restores or registry not in files.drifted)


def with_hold(files: Files | None, detail: str, *registries: str) -> str:
    """Return the detail of a difference, with why one of these registries is held, if it is."""
    hold = next((files.holds[it] for it in registries if it in files.holds), None) if files else None
    return f"{detail}; the registry is held: {hold.reason}" if hold else detail


def remedy(files: Files | None, *registries: str) -> str:
    """Return the command that writes registries again that differ: of the first that a rebuild leaves."""
    left = next((it for it in registries if files and not _is_written(files, it)), None)
    if files is None or left is None:
        return REBUILD
    if hold := files.holds.get(left):
        return hold.hint
    return f"on_drift: alert leaves it; a backup is in STATE/drift; to restore it: rm {files.drifted[left]}"
