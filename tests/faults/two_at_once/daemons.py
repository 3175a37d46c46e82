"""Several daemons at once: how tests start them, and how tests read what they did."""

from __future__ import annotations

import statistics
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.host import until

from omnicdc.files.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.cmp import Cmp
    from support.host import Daemon, Host

WAVE = """
update projects
   set status = %(update)s,
       metadata_ = jsonb_build_object(
         'github_url', format('https://github.com/acme/%%s-%%s', %(update)s::text, key))
"""
"""One transaction that changes every entry of every registry."""


def write_wave(cmp: Cmp, number: int) -> None:
    """Change all projects in one transaction."""
    cmp.conn.execute(WAVE, {"update": f"w{number:06}"})


@contextmanager
def updates(cmp: Cmp) -> Iterator[list[int]]:
    """Write updates in the background. Gives a list whose only item is the number written so far."""
    count, done = [0], threading.Event()

    def write() -> None:
        with cmp.connect() as conn:
            while not done.is_set():
                count[0] += 1
                conn.execute(WAVE, {"update": f"w{count[0]:06}"})
                done.wait(0.03)  # leaves the readers their share of two processors

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()


def generations(cmp: Cmp, host: Host) -> list[int]:
    """Return the generations that a consumer acknowledged, in this order."""
    query = "select generation from omnicdc.history where consumer = %s order by id"
    return [number for (number,) in cmp.conn.execute(query, [host.env["OMNICDC_CONSUMER"]]).fetchall()]


def generation_on_disk(host: Host) -> int:
    """Return the generation of the manifest; 0 if there is no manifest."""
    found = read_manifest(host.root)
    return found.generation if found else 0


def settled_generation(cmp: Cmp, host: Host, consumer: str) -> int:
    """Wait until the manifest has the acknowledged generation, and return it."""
    until(
        lambda: generation_on_disk(host) == cmp.consumer(consumer)["generation"],
        "the manifest is written",
    )
    return generation_on_disk(host)


def never_decreases(numbers: Sequence[int]) -> bool:
    return list(numbers) == sorted(numbers)


def publications(daemon: Daemon) -> int:
    """Return how often a daemon reported that it published."""
    return sum(event["event"] == "published" for event in daemon.events)


def exit_of(daemon: Daemon) -> tuple[int, str]:
    """Wait for a daemon that ends without a signal; returns its exit status and its messages."""
    until(lambda: daemon.process.poll() is not None, "the daemon ends")
    return daemon.stop(), "".join(daemon.noise)


def starting_as(host: Host, program: Sequence[str], **env: str) -> Daemon:
    """Start a daemon with another program than the host's own."""
    own, host.program = host.program, tuple(program)
    try:
        return host.starting(**env)
    finally:
        host.program = own


def median_and_most_ms(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:,.0f} ms at the median, {max(seconds) * 1000:,.0f} ms at most"
