"""Waits until the registries also show the current inputs: all clones and GitHub's metadata.

The module `wait` waits for CMP's changes. This module adds the state of the inputs to its verdict.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.delivery.asking import Asking, rows
from omnicdc.delivery.connections import as_connections
from omnicdc.delivery.wait import take_steps
from omnicdc.delivery.waiting import Check, Patience, Sleep

if TYPE_CHECKING:
    from omnicdc.delivery.connections import Connections
    from omnicdc.delivery.observation import InputsState
    from omnicdc.delivery.verdict import Verdict
    from omnicdc.delivery.waiting import Steps
    from omnicdc.stop import Stop

SLICE_S = 0.2
"""Seconds between two checks."""


def wait_for_inputs(
    source: db.Connection | Connections,
    verdict: Verdict,
    *,
    timeout_s: float,
    stop: Stop,
    consumer: str | None = None,
) -> Verdict:
    """Request a refresh of all inputs from every daemon, and wait until the registries show them.

    Returns `verdict` with `inputs: current`. If the time is up, returns a verdict `timeout` whose detail
    names the inputs that are still being refreshed. If `verdict` does not say that CMP's changes are
    published, it is returned at once. Raises DatabaseUnavailable.
    """
    if not verdict.arrived:
        return verdict
    source = as_connections(source)
    with source.connection(max(timeout_s, SLICE_S)) as conn, db.translated("asking for a look at the inputs"):
        request = str(db.fetch_one(conn, "request_look")["token"])
    return wait_until_shown(source, verdict, request, timeout_s=timeout_s, stop=stop, consumer=consumer)


def wait_until_shown(
    source: db.Connection | Connections,
    verdict: Verdict,
    request: str,
    *,
    timeout_s: float,
    stop: Stop,
    consumer: str | None = None,
) -> Verdict:
    """Wait as `wait_for_inputs` does; transaction `request` has already requested the refresh."""
    source = as_connections(source)
    patience = Patience(timeout_s, time.monotonic, lambda: stop.requested, lambda: SLICE_S)
    with db.translated("asking for the state of the inputs"):
        return take_steps(source, showing(verdict, request, patience, consumer=consumer))


def showing(verdict: Verdict, request: str, patience: Patience, *, consumer: str | None = None) -> Steps:
    """Return the steps of `wait_until_shown`."""
    end = patience.clock() + patience.timeout_s
    while True:
        state, pending = yield Check(_state(request, consumer), max(end - patience.clock(), SLICE_S))
        if state != "looking":
            return replace(verdict, inputs=state)
        left = end - patience.clock()
        if left <= 0 or patience.stopped():
            return _timed_out(verdict, pending)
        yield Sleep(min(SLICE_S, left))


def _state(request: str, consumer: str | None) -> Asking[tuple[InputsState | None, dict[str, list[str]]]]:
    """Return the state of all consumers' inputs together, and the inputs that are not current yet.

    The state is None if no consumer reports its inputs. The second result is a dict by consumer.
    """
    found = yield from rows("inputs_state", {"asked": request, "consumer": consumer})
    reporting = {row["name"]: row for row in found if row["inputs"] is not None}
    pending = {
        name: row["inputs"]["waiting_for"] or ["what was asked for"]
        for name, row in reporting.items()
        if not row["covered"] or row["inputs"]["state"] != "current"
    }
    return ("looking" if pending else "current") if reporting else None, pending


def _timed_out(verdict: Verdict, pending: dict[str, list[str]]) -> Verdict:
    listed = "; ".join(f"{name} still looks at {', '.join(inputs)}" for name, inputs in pending.items())
    return replace(
        verdict,
        status="timeout",
        detail=f"CMP is published, but not all inputs: {listed}",
        hint="`omnicdc status`: a workspace may hang, or `gh` be slow",
        inputs="looking",
    )
