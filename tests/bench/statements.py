"""The cost of the capture for one statement that upserts all projects. For single upserts see `writers`."""

from __future__ import annotations

import time
from functools import partial
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
select array_agg(p.id::text), array_agg(p.name), array_agg(p.key), array_agg(p.type),
       array_agg(p.metadata_::text)
  from projects p
"""

STAGED: LiteralString = """
create table batch as
select p.id, p.name, p.key, p.type, p.metadata_ from projects p;
analyze batch;
"""

SENT: LiteralString = (
    "unnest(%(id)s::uuid[], %(name)s::text[], %(key)s::text[], %(type)s::text[], %(metadata_)s::jsonb[])"
)

UPSERT: LiteralString = """
insert into projects as p (id, name, key, type, status, metadata_)
select id, name || ' ' || %(round)s, key, type, 'stage ' || %(round)s,
       metadata_ || jsonb_build_object('domain', 'domain ' || %(round)s)
  from {} as batch (id, name, key, type, metadata_)
on conflict (id) do update
   set name = excluded.name, key = excluded.key, type = excluded.type, status = excluded.status,
       metadata_ = excluded.metadata_, updated_at = clock_timestamp()
"""


def measure(run: Run) -> None:
    """Measure the same statement in two estates, with and uncaptured the capture.

    No daemon reads the log, so only the cost of the writer is measured.
    """
    rows = run.effort.sizes[-1]
    run.report(f"statements: one upsert of {rows:,} rows, capture on and off, no daemon")
    with (
        run.ground.estate("statement_plain", rows, captured=False) as plain,
        run.ground.estate("statement_captured", rows) as captured,
    ):
        both = {"no capture": Statement(plain), "omnicdc": Statement(captured)}
        for form, how in (("sent as arrays", SENT), ("staged in a table before", "batch")):
            each = {name: partial(statement.once, how) for name, statement in both.items()}
            alternated(1, each)  # the tables reach their size
            found = alternated(run.effort.rounds, each)
            ours, uncaptured = (Series(tuple(found[name]), "s") for name in ("omnicdc", "no capture"))
            run.results.figures.append(
                Figure(
                    f"one statement upserting {rows:,} rows, {form}, capture on",
                    ours,
                    LIMIT,
                    uncaptured,
                    "no capture",
                )
            )


class Statement:
    """One estate, and the statement that changes all of its projects.

    The rows are sent as arrays, as by an application, or they are in a table before.
    """

    def __init__(self, estate: Estate) -> None:
        self._conn = estate.cmp.conn
        [columns] = self._conn.execute(BATCH).fetchall()
        self._values = dict(zip(("id", "name", "key", "type", "metadata_"), columns, strict=True))
        self._conn.execute(STAGED)
        self._round = count()

    def once(self, rows: LiteralString) -> Iterator[float]:
        """Yield the seconds of one statement, after a vacuum and a checkpoint."""
        for command in ("vacuum", "checkpoint"):
            self._conn.execute(command)
        values = {"round": str(next(self._round))} | (self._values if rows == SENT else {})
        began = time.perf_counter()
        self._conn.execute(UPSERT.format(rows), values)
        yield time.perf_counter() - began
