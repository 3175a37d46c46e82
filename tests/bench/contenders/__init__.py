"""Compares omnicdc with other programs that deliver a change of a row from PostgreSQL to a consumer.

All get the same upserts, on the same server, at the same time.

`compare` measures the `entrants` on one `server` by their `delivery`. A consumer is a `program`, a separate
process that reports each arrival through `recorder`. Each other module is one consumer. Its docstring
describes the setup of its product, and the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.effort import Run


def measure(run: Run) -> None:
    """Compare all contenders. What is not installed (Java, a library) becomes a remark."""
    from bench.contenders import compare  # noqa: PLC0415 - the consumers in this package do not need it

    compare.measure(run)
