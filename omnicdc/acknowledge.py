"""Tells the database, after the files are durable, which transactions they hold, and wakes whoever waits."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from omnicdc import __version__, db

if TYPE_CHECKING:
    from omnicdc.model import Generation
    from omnicdc.state import Standing, State


def acknowledge(conn: db.Connection, state: State, generation: Generation | None = None) -> None:
    """Store the snapshot in the consumer's row; with a generation, remember it and notify.

    One transaction and one round trip. Raises DatabaseUnavailable, and then the session is at its end;
    a repeat is harmless.
    """
    report = state.inputs_report()
    with db.translated("acknowledging"), conn.pipeline():
        db.run(conn, "begin")
        db.run(conn, "acknowledge", {**_consumer(state, generation), "inputs": Jsonb(report)})
        if generation:
            db.run(conn, "remember", _history(state, generation))
            db.run(conn, "tell")
        db.run(conn, "commit")
    state.inputs_reported = report


def _consumer(state: State, generation: Generation | None) -> dict[str, Any]:
    config = state.config
    return {
        "name": config.consumer,
        "snapshot": state.snapshot,
        "system_identifier": state.identity.system_identifier,
        "timeline": state.identity.timeline,
        "generation": state.generation,
        "registries": Jsonb({standing.path: _on_disk(standing) for standing in state.standings.values()}),
        "held": Jsonb({standing.name: _held(standing) for standing in state.held()}),
        "quarantined": Jsonb(
            {s.name: held for s in state.standings.values() if (held := s.registry.held_projects())},
        ),
        "host": socket.gethostname(),
        "root": str(config.root),
        "version": __version__,
        **_last_error(state),
        "started_at": state.started_at,
        "place": state.place,
        "published_at": generation.at if generation and generation.registries else None,
        "capture": state.proven,
    }


def _last_error(state: State) -> dict[str, Any]:
    if state.trouble:
        said = f"{state.trouble.reason} - {state.trouble.hint}"
        return {"last_error": said, "last_error_at": state.trouble_since}
    return {"last_error": state.last_error, "last_error_at": state.last_error_at}


def _on_disk(standing: Standing) -> dict[str, Any]:
    file = standing.published
    return {
        "name": standing.name,
        "count": file.count if file else None,
        "size": file.size if file else None,
        "generated_at": file.stamp if file else None,
        "drifted": standing.drifted,
    }


def _held(standing: Standing) -> dict[str, Any]:
    fault = standing.fault
    assert fault is not None  # noqa: S101 - held() gives only those
    return {
        "reason": fault.reason,
        "hint": fault.hint,
        "since": standing.since or None,
        "guard": standing.guarded,
    }


def _history(state: State, generation: Generation) -> dict[str, Any]:
    # How long this acknowledgement takes is not known before its end: the one before it stands for it.
    stages = {**generation.stages, "acknowledge": state.acknowledge_ms}
    return {
        "name": state.config.consumer,
        "generation": generation.number,
        "snapshot": generation.snapshot,
        "changes": generation.changes,
        "registries": list(generation.registries),
        "held": sorted(generation.held),
        "stages": Jsonb({stage: round(ms, 3) for stage, ms in stages.items()}),
    }
