"""What the database knows of every consumer: the answer to `omnicdc status`."""

from __future__ import annotations

from typing import Any

from omnicdc import db


def status(conn: db.Connection) -> dict[str, Any]:
    """Return capture, log and consumers, and in `faults` one line for all that needs a look."""
    with db.translated("asking for the status"), db.confined(conn):
        watch = db.maybe(conn, "watch") or {"target": None, "watched": []}
        capture = db.one(conn, "capture_fault")
        log = db.one(conn, "log_size")
        consumers = [_spread(row) for row in db.rows(conn, "status_consumers")]
    faults = [f"capture is broken: {capture['fault']} - {capture['mend']}"] if capture["fault"] else []
    if not consumers:
        faults.append("no consumer has ever run here - `omnicdc run` on the registry host")
    faults += [line for consumer in consumers for line in _faults(consumer)]
    return {
        "healthy": not faults,
        "faults": faults,
        "capture": {"table": watch["target"], "watched": watch["watched"], "fault": capture["fault"]},
        "log": {"changes": log["changes"], "oldest": log["oldest"]},
        "consumers": consumers,
    }


def _spread(consumer: db.Row) -> db.Row:
    """Tell of the inputs in keys of their own."""
    told = consumer.pop("inputs") or {}
    return consumer | {
        "inputs": told.get("state"),
        "inputs_waiting_for": told.get("waiting_for", []),
        "input_faults": told.get("faults", []),
        "input_fault_count": told.get("fault_count", 0),
        "input_notices": told.get("notices", []),
        "input_notice_count": told.get("notice_count", 0),
    }


def _faults(consumer: db.Row) -> list[str]:
    name = consumer["name"]
    lines = (
        []
        if consumer["alive"]
        else [
            f"{name}: no daemon is serving - on {consumer['host']}: `systemctl start omnicdc`; `journalctl -u omnicdc` says why"
        ]
    )
    lines += [
        f"{name}: it waits for a lock that backend {pid} holds - let that end, or `select pg_terminate_backend({pid})`"
        for pid in consumer["blocked_by"]
    ]
    lines += [f"{name}: {consumer['last_error']}"] if consumer["last_error"] else []
    lines += [
        f"{name}: {registry} is held: {held['reason']} - {held['hint']}"
        for registry, held in consumer["held"].items()
    ]
    lines += [f"{name}: {fault}" for fault in consumer["input_faults"]]
    more = consumer["input_fault_count"] - len(consumer["input_faults"])
    lines += [f"{name}: {more} more faults of the inputs - see the log"] if more > 0 else []
    lines += [
        f"{name}: project {project} is held back from {registry}: {reason}"
        for registry, held_back in consumer["quarantined"].items()
        for project, reason in held_back.items()
    ]
    return lines
