"""Builds the answer of `omnicdc status`: what the database knows about the capture and every consumer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from omnicdc import db
from omnicdc.capture.writers import writers_recorded
from omnicdc.delivery.verdict import no_writes
from omnicdc.log.timings import stages
from omnicdc.model import OVERDUE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LAG_S = 90.0
"""The default of the setting `max_lag_s`."""

NO_CONSUMER = "no consumer has ever run here - `omnicdc run` on the registry host"


@dataclass(frozen=True, slots=True)
class StatusFault:
    """One fault, as one line for people."""

    kind: Literal["capture", "held", "quarantine", "other"]
    """`held` and `quarantine` are also in the answer's `consumers`, and `capture` in its `capture`."""
    text: str


def status(conn: db.Connection, *, max_lag_s: float = MAX_LAG_S) -> dict[str, Any]:
    """Return the state of the capture, the log and the consumers, and in `faults` one line for each fault.

    A consumer that lags behind for more than `max_lag_s` seconds is a fault. Raises DatabaseUnavailable and
    SchemaMismatch.
    """
    answer, _ = examine(conn, max_lag_s=max_lag_s)
    return answer


def examine(conn: db.Connection, *, max_lag_s: float) -> tuple[dict[str, Any], list[StatusFault]]:
    """As `status`, but also return the faults with their kinds."""
    with db.translated("asking for the status"), db.confined(conn):
        asked = db.fetch_one(conn, "asked_at")
        sources = db.fetch_all(conn, "sources")
        capture = db.fetch_one(conn, "capture_fault")
        log = db.fetch_one(conn, "log_size")
        reads = db.fetch_one(conn, "only_reads")
        publications = db.fetch_all(conn, "unexpected_publications")
        consumers = [_spread(row) for row in db.fetch_all(conn, "status_consumers")]
        writers = writers_recorded(conn)
    faults: list[StatusFault] = []
    if not any(consumer["alive"] for consumer in consumers) and (cause := no_writes(**reads)):
        faults.append(StatusFault("other", f"{cause.reason} - {cause.hint}"))
    if capture["fault"]:
        text = f"capture is broken: {capture['fault']} - {capture['remedy']}"
        faults.append(StatusFault("capture", text))
    faults += [StatusFault("other", writers.fault)] if writers.fault else []
    faults += [StatusFault("other", publication_fault(found["name"])) for found in publications]
    if not consumers:
        faults.append(StatusFault("other", NO_CONSUMER))
    for consumer in consumers:
        faults += consumer_faults(consumer, max_lag_s=max_lag_s)
    answer = {
        "healthy": not faults,
        "faults": [fault.text for fault in faults],
        "capture": {
            "fault": capture["fault"],
            "remedy": capture["remedy"] if capture["fault"] else None,
            "sources": {row["name"]: {"table": row["target"], "watched": row["watched"]} for row in sources},
            "writers_recorded": writers.recorded,
        },
        "log": {"changes": log["changes"], "estimated": log["estimated"], "oldest": log["oldest"]},
        "consumers": consumers,
        "database": asked["database"],
        "at": asked["at"],
    }
    return answer, faults


def publication_fault(publication: str) -> str:
    """Return the fault of a publication that carries omnicdc's tables and is not allowed to."""
    return (
        f"publication {publication} carries omnicdc's tables: a subscriber that lacks them stops - replace "
        f"it by one that names tables or "
        "schemas; or create the tables on each subscriber (`omnicdc install --print-tables`), then run "
        f"`omnicdc install --allow-publication {shlex.quote(publication)}`"
    )


def _not_serving(consumer: str, host: str) -> str:
    return (
        f"{consumer}: no daemon is serving - on {host}: `systemctl start omnicdc`; `journalctl -u omnicdc` "
        f"says why; "
        f"if it is gone for good: `omnicdc consumer forget {shlex.quote(consumer)}`"
    )


def _spread(consumer: db.Row) -> db.Row:
    """Replace the JSON value `inputs` of a consumer's row by separate keys, and order its stages."""
    inputs = consumer.pop("inputs") or {}
    return consumer | {
        "stages_ms": consumer["stages_ms"] and stages(consumer["stages_ms"]),
        "inputs": inputs.get("state"),
        "inputs_waiting_for": inputs.get("waiting_for", []),
        "input_faults": inputs.get("faults", []),
        "input_fault_count": inputs.get("fault_count", 0),
        "input_notices": inputs.get("notices", []),
        "input_notice_count": inputs.get("notice_count", 0),
        "shadow_of": inputs.get("shadow_of"),
    }


def consumer_faults(consumer: db.Row, *, max_lag_s: float) -> Iterator[StatusFault]:
    """Yield the faults of one consumer of the answer of `status`."""
    yield from _faults(consumer)
    yield from (StatusFault("other", line) for line in late(consumer, max_lag_s=max_lag_s))


def _faults(consumer: db.Row) -> Iterator[StatusFault]:
    name = consumer["name"]
    lines = [] if consumer["alive"] or not consumer["daemon"] else [_not_serving(name, consumer["host"])]
    lines += [
        f"{name}: it waits for a lock that backend {pid} holds - let that end, or `select "
        f"pg_terminate_backend({pid})`"
        for pid in consumer["blocked_by"]
    ]
    lines += [f"{name}: {consumer['last_error']}"] if consumer["last_error"] else []
    yield from (StatusFault("other", line) for line in lines)
    for registry, held in consumer["held"].items():
        yield StatusFault("held", f"{name}: {registry} is held: {held['reason']} - {held['hint']}")
    lines = [f"{name}: {fault}" for fault in (*consumer["faults"], *consumer["input_faults"])]
    more = consumer["input_fault_count"] - len(consumer["input_faults"])
    lines += [f"{name}: {more} more faults of the inputs - see the log"] if more > 0 else []
    yield from (StatusFault("other", line) for line in lines)
    yield from (StatusFault("quarantine", f"{name}: {line}") for line in _quarantined(consumer))


def _quarantined(consumer: db.Row) -> Iterator[str]:
    for registry, held_back in consumer["quarantined"].items():
        for project, reason in held_back.items():
            yield f"project {project} is held back from {registry}: {reason}"
    for registry, count in consumer["quarantined_counts"].items():
        more = count - len(consumer["quarantined"].get(registry, ()))
        if more > 0:
            yield (
                f"{more} more projects are held back from {registry} - all are in table omnicdc.quarantine"
            )


def late(consumer: db.Row, *, max_lag_s: float) -> list[str]:
    """Return the fault of a connected daemon that lags behind for too long or sends no heartbeat, as a list.

    The lag is counted from the time when the oldest unpublished change was written, but at the earliest from
    the last heartbeat. At a heartbeat the daemon has read everything that is committed. A change may be
    written long before its transaction commits.
    """
    if not consumer["alive"]:
        return []
    restart = (
        f"on {consumer['host']}: `journalctl -u omnicdc`; "
        "if it is stopped or hangs, `systemctl restart omnicdc`"
    )
    silent_s = consumer["heartbeat_age_s"]
    lag_s = min(consumer["lag_s"] or 0.0, silent_s)
    if lag_s > max_lag_s:
        return [f"{consumer['name']}: {consumer['behind']} changes behind for {lag_s:.0f} s - {restart}"]
    if silent_s > OVERDUE_S:
        return [f"{consumer['name']}: connected, but no heartbeat for {silent_s:.0f} s - {restart}"]
    return []
