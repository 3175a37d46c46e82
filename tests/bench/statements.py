"""What the capture adds to one statement that upserts every project there is. Single upserts: `writers`."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING

from bench.measure import Figure, Series, alternated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString

    from bench.effort import Run
    from bench.ground import Estate

LIMIT = 1.8

BATCH: LiteralString = """
create table batch as
select v.version, p.id, p.name || '-' || v.version as name, p.key, p.type, 'stage-' || v.version as status,
       p.metadata_ || jsonb_build_object('domain', 'domain-' || v.version) as metadata_
  from generate_series(0, 1) v (version), projects p;
analyze batch;
"""
"""Two versions of every project: each statement brings the one that is not there."""

UPSERT: LiteralString = """
insert into projects as p (id, name, key, type, status, metadata_)
select id, name, key, type, status, metadata_ from batch where version = %s
on conflict (id) do update
   set name = excluded.name, key = excluded.key, type = excluded.type, status = excluded.status,
       metadata_ = excluded.metadata_, updated_at = clock_timestamp()
"""


def measure(run: Run) -> None:
    """Time the same statement in two estates; nobody reads the log, so that the writer's share shows alone."""
    rows = run.effort.sizes[-1]
    run.tell(f"statements: one upsert of {rows:,} rows, capture on and off, no daemon")
    with (
        run.ground.estate("statement_plain", rows, captured=False) as plain,
        run.ground.estate("statement_captured", rows) as captured,
    ):
        statements = {"no capture": Statement(plain), "omnicdc": Statement(captured)}
        alternated(1, {name: it.once for name, it in statements.items()})  # the tables reach their size
        found = alternated(run.effort.rounds, {name: it.once for name, it in statements.items()})
    ours, plainly = (Series(tuple(found[name]), "s") for name in ("omnicdc", "no capture"))
    run.results.figures.append(
        Figure(f"one statement upserting {rows:,} rows, capture on", ours, LIMIT, plainly, "no capture")
    )


class Statement:
    """One estate, and the statement that alters all of its projects."""

    def __init__(self, estate: Estate) -> None:
        self._conn = estate.cmp.conn
        self._conn.execute(BATCH)
        self._version = count()

    def once(self) -> Iterator[float]:
        """Yield the seconds that it took. Everybody starts without bloat, and far from the next checkpoint."""
        for command in ("vacuum", "checkpoint"):
            self._conn.execute(command)
        began = time.perf_counter()
        self._conn.execute(UPSERT, [next(self._version) % 2])
        yield time.perf_counter() - began
