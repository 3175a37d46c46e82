"""Whether the registries show everything besides CMP as well.

The clones and GitHub's metadata that there are.

`wait` tells whether they show CMP; its verdict gets the answer of this module added.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.delivery.connections import as_connections

if TYPE_CHECKING:
    from omnicdc.delivery.connections import Connections
    from omnicdc.delivery.observation import InputsState
    from omnicdc.delivery.verdict import Verdict
    from omnicdc.stop import Stop

SLICE_S = 0.2
"""Between two looks."""


def wait_for_inputs(
    source: db.Connection | Connections,
    verdict: Verdict,
    *,
    timeout_s: float,
    stop: Stop,
    consumer: str | None = None,
) -> Verdict:
    """Have the daemons look at all inputs anew, and wait until the registries show them.

    Of nothing published, at once.

    Returns the verdict with `inputs: current`, or a time-out that tells what is still looked at. Raises
    DatabaseUnavailable.
    """
    if not verdict.arrived:
        return verdict
    source = as_connections(source)
    with source.connection(max(timeout_s, SLICE_S)) as conn, db.translated("asking for a look at the inputs"):
        asked = str(db.fetch_one(conn, "request_look")["token"])
    return wait_until_shown(source, verdict, asked, timeout_s=timeout_s, stop=stop, consumer=consumer)


def wait_until_shown(
    source: db.Connection | Connections,
    verdict: Verdict,
    asked: str,
    *,
    timeout_s: float,
    stop: Stop,
    consumer: str | None = None,
) -> Verdict:
    """As `wait_for_inputs`, where transaction `asked` of the log has asked for the look already."""
    source, end = as_connections(source), time.monotonic() + timeout_s
    while True:
        heard = source.heard()
        with source.connection(max(end - time.monotonic(), SLICE_S)) as conn:
            state, told = _state(conn, asked, consumer)
        if state != "looking":
            return replace(verdict, inputs=state)
        left = end - time.monotonic()
        if left <= 0 or stop.requested:
            return _late(verdict, told)
        source.sleep(heard, min(SLICE_S, left))


def _state(
    conn: db.Connection, asked: str, consumer: str | None
) -> tuple[InputsState | None, dict[str, list[str]]]:
    """Return the state of all together, and of each that still looks what it looks at; None if none tells."""
    with db.translated("asking for the state of the inputs"), db.confined(conn):
        rows = db.fetch_all(conn, "inputs_state", {"asked": asked, "consumer": consumer})
    told = {row["name"]: row for row in rows if row["inputs"] is not None}
    looking = {
        name: row["inputs"]["waiting_for"] or ["what was asked for"]
        for name, row in told.items()
        if not row["covered"] or row["inputs"]["state"] != "current"
    }
    return ("looking" if looking else "current") if told else None, looking


def _late(verdict: Verdict, looking: dict[str, list[str]]) -> Verdict:
    told = "; ".join(f"{name} still looks at {', '.join(what)}" for name, what in looking.items())
    return replace(
        verdict,
        status="timeout",
        detail=f"CMP is published, but not all inputs: {told}",
        hint="`omnicdc status`: a workspace may hang, or `gh` be slow",
        inputs="looking",
    )
