"""How long a write and its publication take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

LONGEST_WRITE_S = 1.0


def timed_upsert(cmp: Cmp, name: str) -> float:
    """Write a project. Returns how many seconds that took."""
    started = time.perf_counter()
    cmp.upsert(name)
    return time.perf_counter() - started


def timed_arrival(cmp: Cmp) -> float:
    """Return how many seconds it takes until the files show all that was written."""
    started = time.perf_counter()
    cmp.arrived()
    return time.perf_counter() - started


def lag_ms(cmp: Cmp, host: Host, project: str) -> float:
    """Change a project. Returns the milliseconds from its commit to its acknowledgement."""
    with cmp.transaction() as (conn, token):
        cmp.upsert(f"sentinel {token}", id=project, conn=conn)
        began = time.time()
    cmp.arrived(token)
    acknowledged = cmp.value(
        """select extract(epoch from min(h.at))::float8 from omnicdc.history h
            where h.consumer = %s and pg_visible_in_snapshot(%s::text::xid8, h.snapshot)""",
        host.env["OMNICDC_CONSUMER"],
        token,
    )
    return (float(acknowledged) - began) * 1000
