"""Waits as `wait` does, for asyncio: it takes the steps of `waiting` without a thread."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from omnicdc.delivery.inputs_state import SLICE_S as INPUTS_SLICE_S
from omnicdc.delivery.inputs_state import showing
from omnicdc.delivery.waiting import Check, Patience, Sleep, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.delivery.async_pool import AsyncPool
    from omnicdc.delivery.verdict import Verdict
    from omnicdc.delivery.waiting import Steps


async def wait(
    pool: AsyncPool,
    token: str | int | None = None,
    *,
    timeout_s: float,
    projects: Sequence[str] | None = None,
    all_hosts: bool = False,
) -> Verdict:
    """Wait until every live daemon has published a transaction: see `wait.wait`."""
    patience = Patience(timeout_s, time.monotonic, lambda: False, lambda: pool.longest_poll_s)
    return await take_steps(pool, waiting(token, patience, projects=projects, all_hosts=all_hosts))


async def wait_until_shown(pool: AsyncPool, verdict: Verdict, request: str, *, timeout_s: float) -> Verdict:
    """Wait until the registries show the current inputs: see `inputs_state`."""
    patience = Patience(timeout_s, time.monotonic, lambda: False, lambda: INPUTS_SLICE_S)
    return await take_steps(pool, showing(verdict, request, patience))


async def take_steps(pool: AsyncPool, steps: Steps) -> Verdict:
    """Take the steps of a wait, one after the other, and return its verdict."""
    seen, answer = 0, None
    try:
        step = next(steps)
        while True:
            if isinstance(step, Check):
                seen = pool.notifications
                answer = await pool.ask(step.asking, step.within_s)
            elif isinstance(step, Sleep):
                answer = await pool.sleep(seen, step.seconds)
            else:
                await asyncio.sleep(step.seconds)
            step = steps.send(answer)
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict
