"""Lines for a reader that does not read.

The writer goes on, order is kept, and what was dropped is counted.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from support.pipe import FullPipe

from omnicdc.log.events import configure, drain

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def events(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


@pytest.mark.timeout(60)
def test_a_full_pipe_holds_up_nobody_and_its_lines_come_in_order() -> None:
    with FullPipe() as pipe, os.fdopen(os.dup(pipe.writing), "w") as stream:
        configure("info", stream)

        for number in range(50):
            structlog.get_logger().info("work", number=number)

        def later() -> None:
            drain()
            stream.close()

        threading.Thread(target=later).start()

        assert [it["number"] for it in events(pipe.lines())] == [*range(50)]


@pytest.mark.timeout(60)
def test_what_does_not_fit_is_dropped_and_counted_where_it_is_missing() -> None:
    with FullPipe() as pipe, os.fdopen(os.dup(pipe.writing), "w") as stream:
        configure("info", stream, capacity=5000)
        log = structlog.get_logger()

        for number in range(500):
            log.info("work", number=number)

        def later() -> None:
            drain()
            log.info("work", number=500)
            drain()
            stream.close()

        threading.Thread(target=later).start()
        told = events(pipe.lines())

    (at,) = [at for at, it in enumerate(told) if it["event"] == "log_lines_dropped"]
    before = [it["number"] for it in told[:at]]
    assert before == [*range(len(before))]
    assert len(before) > 10
    assert told[at]["count"] == 500 - len(before)
    assert (told[at]["level"], "timestamp" in told[at]) == ("warning", True)
    assert [it["number"] for it in told[at + 1 :]] == [500]


def test_a_line_is_written_when_the_call_returns() -> None:
    """To a reader that reads.

    What is written to stderr in other ways comes before and after it, as it should.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        configure("info", stream)

        structlog.get_logger().info("first")
        os.write(writing, b"second\n")

        assert json.loads(reader.readline())["event"] == "first"
        assert reader.readline() == "second\n"


def test_a_reader_that_is_gone_holds_up_nobody_either() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        configure("info", stream)
        os.close(reading)

        for _ in range(100):
            structlog.get_logger().info("work")
