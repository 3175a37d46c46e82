"""If the reader of the log does not read, the daemon continues, keeps the order and counts dropped lines."""

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
def _reset_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def events(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


@pytest.mark.timeout(60)
def test_a_full_pipe_does_not_block_and_its_lines_stay_in_order() -> None:
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
def test_lines_beyond_the_capacity_are_dropped_and_counted_in_their_place() -> None:
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
        read = events(pipe.lines())

    (at,) = [at for at, it in enumerate(read) if it["event"] == "log_lines_dropped"]
    before = [it["number"] for it in read[:at]]
    assert before == [*range(len(before))]
    assert len(before) > 10
    assert read[at]["count"] == 500 - len(before)
    assert (read[at]["level"], "timestamp" in read[at]) == ("warning", True)
    assert [it["number"] for it in read[at + 1 :]] == [500]


def test_a_line_is_written_when_the_call_returns() -> None:
    """The reader reads here. So other output to the same stream keeps its place between the log lines."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as reader, os.fdopen(writing, "w") as stream:
        configure("info", stream)

        structlog.get_logger().info("first")
        os.write(writing, b"second\n")

        assert json.loads(reader.readline())["event"] == "first"
        assert reader.readline() == "second\n"


@pytest.mark.timeout(60)
def test_a_closed_pipe_does_not_block() -> None:
    """100 lines that each waited for PATIENCE_S would take longer than the time-out."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        configure("info", stream)
        os.close(reading)

        for _ in range(100):
            structlog.get_logger().info("work")
