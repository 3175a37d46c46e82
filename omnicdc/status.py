"""What the database knows of every consumer: the answer to `omnicdc status`."""

from __future__ import annotations

import shlex
from typing import Any

from omnicdc import db


def status(conn: db.Connection) -> dict[str, Any]:
    """Return capture, log and consumers, and in `faults` one line for all that needs a look."""
    with db.translated("asking for the status"), db.confined(conn):
        watch = db.maybe(conn, "watch") or {"target": None, "watched": []}
        capture = db.one(conn, "capture_fault")
        log = db.one(conn, "log_size")
        publications = db.rows(conn, "unexpected_publications")
        consumers = db.rows(conn, "status_consumers")
    faults = [f"capture is broken: {capture['fault']} - {capture['mend']}"] if capture["fault"] else []
    faults += [_published(found["name"]) for found in publications]
    if not consumers:
        faults.append("no consumer has ever run here - `omnicdc run` on the registry host")
    faults += [line for consumer in consumers for line in _faults(consumer)]
    return {
        "healthy": not faults,
        "faults": faults,
        "capture": {"table": watch["target"], "watched": watch["watched"], "fault": capture["fault"]},
        "log": {"changes": log["changes"], "estimated": log["estimated"], "oldest": log["oldest"]},
        "consumers": consumers,
    }


def _published(publication: str) -> str:
    return (
        f"publication {publication} carries omnicdc's tables: a subscriber that lacks them stops - replace it by one that names tables or "
        "schemas; or create the tables on each subscriber (`omnicdc install --print-tables`), then run "
        f"`omnicdc install --allow-publication {shlex.quote(publication)}`"
    )


def _not_serving(consumer: str, host: str) -> str:
    return (
        f"{consumer}: no daemon is serving - on {host}: `systemctl start omnicdc`; `journalctl -u omnicdc` says why; "
        f"if it is gone for good: `omnicdc consumer forget {shlex.quote(consumer)}`"
    )


def _faults(consumer: db.Row) -> list[str]:
    name = consumer["name"]
    lines = [] if consumer["alive"] or not consumer["daemon"] else [_not_serving(name, consumer["host"])]
    lines += [
        f"{name}: it waits for a lock that backend {pid} holds - let that end, or `select pg_terminate_backend({pid})`"
        for pid in consumer["blocked_by"]
    ]
    lines += [f"{name}: {consumer['last_error']}"] if consumer["last_error"] else []
    lines += [
        f"{name}: {registry} is held: {held['reason']} - {held['hint']}"
        for registry, held in consumer["held"].items()
    ]
    lines += [
        f"{name}: project {project} is held back from {registry}: {reason}"
        for registry, held_back in consumer["quarantined"].items()
        for project, reason in held_back.items()
    ]
    lines += [
        f"{name}: {count - len(consumer['quarantined'].get(registry, ()))} more projects are held back from {registry} - "
        "all are in table omnicdc.quarantine"
        for registry, count in consumer["quarantined_counts"].items()
        if count > len(consumer["quarantined"].get(registry, ()))
    ]
    return lines
