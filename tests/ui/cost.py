"""Measures what an open page costs the writer and the idle daemon, in alternating pairs of one run.

`PYTHONPATH=tests python -m ui.cost`: the figures of docs/performance.md.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import httpx
import psycopg
from ui.estate import Estate, estate, service
from ui.page import page

from omnicdc.cli.demo.fixtures import UPSERT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ui.page import Page

PAIRS = 7
WRITE_S, IDLE_S = 4.0, 10.0


def upserts_per_second(served: Estate) -> float:
    """Upsert as fast as one client can."""
    with psycopg.connect(served.served.dsn, autocommit=True) as conn:
        began, count = time.perf_counter(), 0
        while (took := time.perf_counter() - began) < WRITE_S:
            conn.execute(UPSERT, service(count % 60, domain=f"d{count}"))
            count += 1
    served.published()
    return count / took


def idle_share(served: Estate) -> float:
    """Return the processor time of the daemon that does nothing, as a share of one core."""
    process = served.served._process
    assert process
    file = Path(f"/proc/{process.pid}/schedstat")
    before = int(file.read_text().split()[0])
    time.sleep(IDLE_S)  # the length of the measurement
    return (int(file.read_text().split()[0]) - before) / 1e9 / IDLE_S


def drain(states: Iterator[object]) -> None:
    """Read the event stream as a browser does."""
    with suppress(httpx.HTTPError):  # the measurement has ended
        for _ in states:
            pass


def measured(served: Estate, shown: Page, measure: Callable[[Estate], float]) -> dict[str, list[float]]:
    """Measure with the page open and without, in turns, in the opposite order each time."""
    found: dict[str, list[float]] = {"open": [], "closed": []}
    for pair in range(PAIRS):
        for kind in ("open", "closed") if pair % 2 else ("closed", "open"):
            with ExitStack() as undo:
                if kind == "open":
                    states = undo.enter_context(shown.events())
                    next(states)
                    threading.Thread(target=drain, args=(states,), daemon=True).start()
                else:
                    time.sleep(6.0)  # the page leaves the database
                found[kind].append(measure(served))
    return found


def main() -> None:
    """Print the medians and the ratios."""
    with tempfile.TemporaryDirectory() as place, estate(Path(place), hostile=False) as served:
        for name, measure in (("upserts/s", upserts_per_second), ("idle share", idle_share)):
            with page(served.environ) as shown:
                found = measured(served, shown, measure)
            ratio = median(a / b for a, b in zip(found["open"], found["closed"], strict=True))
            for kind, values in found.items():
                figures = " ".join(f"{it:.5g}" for it in sorted(values))
                sys.stdout.write(f"{name}, {kind}: median {median(values):.5g} of {figures}\n")
            sys.stdout.write(f"{name}: open / closed {ratio:.3f}\n")


if __name__ == "__main__":
    main()
