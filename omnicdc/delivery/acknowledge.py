"""Reports to the database which transactions the durable files hold, and notifies the waits."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from omnicdc import __version__, db
from omnicdc.delivery.quarantine import differences, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.files.registry_file import RegistryFile
    from omnicdc.model import Generation
    from omnicdc.registries.projection import Projection
    from omnicdc.state import State


def acknowledge(conn: db.Connection, state: State, generation: Generation | None = None) -> None:
    """Store the state's snapshot in the consumer's row. With a generation, add it to the history and notify.

    This takes one transaction and one round trip. A repeat is harmless. Raises DatabaseUnavailable; the
    session of the daemon must then end.
    """
    quarantine, report = state.quarantine(), state.inputs_report()
    with db.translated("acknowledging"), conn.pipeline():
        db.execute(conn, "begin")
        row = db.start(conn, "acknowledge", {**_consumer(state, generation), "inputs": Jsonb(report)})
        _store_quarantine(conn, state, quarantine)
        if generation:
            db.execute(conn, "add_history", _history(state, generation))
            db.execute(conn, "notify")
        db.execute(conn, "commit")
    state.inputs_reported = report
    before, state.stored_quarantine = state.stored_quarantine, quarantine
    if before and db.single(row)["added"]:
        # The consumer was removed meanwhile, and its stored quarantine with it. So store all of it again.
        state.stored_quarantine = None
        acknowledge(conn, state)


def _store_quarantine(conn: db.Connection, state: State, quarantine: Mapping[str, Mapping[str, str]]) -> None:
    """Write the changes of the quarantine since the last acknowledgement, or all of it if there was none."""
    name = state.config.consumer
    if state.stored_quarantine is None:
        db.execute(conn, "reset_quarantine", {"name": name})
    scanners = {projection.name: projection.scanner for projection in state.projections.values()}
    for difference in differences(state.stored_quarantine or {}, quarantine):
        of = {"name": name, "registry": difference.registry}
        if difference.left:
            db.execute(conn, "leave_quarantine", of | {"projects": list(difference.left)})
        if difference.entered:
            entered = {"projects": list(difference.entered), "reasons": list(difference.entered.values())}
            scanner = scanners[difference.registry]
            joined = [source for source in scanner.sources if source != scanner.source]
            db.execute(conn, "enter_quarantine", of | entered | {"source": scanner.source, "joined": joined})


def _consumer(state: State, generation: Generation | None) -> dict[str, Any]:
    config = state.config
    return {
        "name": config.consumer,
        "snapshot": state.snapshot,
        "system_identifier": state.identity.system_identifier,
        "timeline": state.identity.timeline,
        "generation": state.generation,
        "registries": Jsonb({file.path: _on_disk(file) for file in state.files.values()}),
        "held": Jsonb({projection.name: _held(projection) for projection in state.held()}),
        "quarantined": Jsonb(listed(state.quarantine())),
        "postponed": Jsonb({it.name: it.as_of for it in state.projections.values() if it.postponed}),
        "faults": Jsonb([*state.background_faults, *state.plugin_faults]),
        "unused": Jsonb({name: {"reason": it.reason, "hint": it.hint} for name, it in state.unused.items()}),
        "quarantined_counts": Jsonb({name: len(held) for name, held in state.quarantine().items()}),
        "host": socket.gethostname(),
        "root": str(config.require_output_root()),
        "version": __version__,
        **_last_error(state),
        "started_at": state.started_at,
        "relation_identity": state.relation_identity,
        "published_at": generation.at if generation and generation.registries else None,
        "capture_fingerprint": state.verified_fingerprint,
        "daemon": state.daemon,
        "expiry": config.consumer_expiry,
    }


def _last_error(state: State) -> dict[str, Any]:
    for fault, since in (
        (state.delivery_fault, state.delivery_fault_since),
        (state.pruning, state.pruning_since),
    ):
        if fault:
            return {"last_error": f"{fault.reason} - {fault.hint}", "last_error_at": since}
    if state.capture.lacking:
        lacking = ", ".join(state.capture.lacking)
        error = f"the capture does not watch {lacking}, which this daemon reads - run `omnicdc install`"
        return {"last_error": error, "last_error_at": state.started_at}
    return {"last_error": state.manifest.error, "last_error_at": state.manifest.error_at}


def _on_disk(file: RegistryFile) -> dict[str, Any]:
    published = file.published
    return {
        "name": file.name,
        "scanner": file.projection.scanner.name,
        "rank": file.projection.scanner.rank,
        "count": published.count if published else None,
        "size": published.size if published else None,
        "generated_at": published.stamp if published else None,
        "drifted": file.drift_count,
    }


def _held(projection: Projection) -> dict[str, Any]:
    fault = projection.hold.fault
    assert fault is not None  # noqa: S101 - every projection of state.held() has a fault
    return {
        "reason": fault.reason,
        "hint": fault.hint,
        "since": projection.as_of or None,
        "guard": projection.hold.by_guard,
    }


def _history(state: State, generation: Generation) -> dict[str, Any]:
    # Without the stage `acknowledge`: this is a part of it, so its duration is not known yet.
    return {
        "name": state.config.consumer,
        "generation": generation.number,
        "snapshot": generation.snapshot,
        "changes": generation.changes,
        "registries": list(generation.registries),
        "held": sorted(generation.held),
        "postponed": list(generation.postponed),
        "timings": Jsonb({stage: round(ms, 3) for stage, ms in generation.timings.items()}),
    }
