"""omnicdc beside others that carry a row's change from PostgreSQL to a consumer.

The same upserts, server and minutes.

`compare` measures: on one `server`, the `entrants`, by their `delivery`. A consumer is a `program` that runs
as a process of its own and tells of each arrival through `recorder`. The other modules are one consumer each,
and say in their docstring how their product is set up, and why so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.effort import Run


def measure(run: Run) -> None:
    """Compare; what a machine lacks (Java, a library) is a remark and no figure."""
    from bench.contenders import compare  # noqa: PLC0415 - the consumers in this package do without it

    compare.measure(run)
