"""Follows the log live: each transaction when it is committed, each generation when it is published."""

from __future__ import annotations

import select
import time
from collections import deque
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.log.entries import generation, visible
from omnicdc.answers.log.reading import described
from omnicdc.stop import SLICE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.log.entries import Generation, Transaction
    from omnicdc.answers.log.question import Question

BACKSTOP_S = 5.0
"""The longest time between two looks: writers notify only if a daemon waits, and poolers deliver nothing."""

MOST_AT_ONCE = 1000
"""So many transactions are shown of one look, and so many are remembered until they are published."""


class Follower:
    """Where a live log has got to."""

    def __init__(self, conn: db.Connection, asked: Question) -> None:
        """Begin at what is committed now. Raises DatabaseUnavailable."""
        self._conn = conn
        self._asked = asked
        self._pending: dict[str, deque[str]] = {}
        """Consumer to the transactions that were shown and that it has not published yet."""
        self._recent: deque[str] = deque(maxlen=MOST_AT_ONCE)
        with db.translated("following the log"):
            if not conn.behind_pooler:
                conn.execute("listen omnicdc_change; listen omnicdc_published")
            with db.confined(conn):
                ends = db.fetch_all(conn, "log_history_end")
                self._last = str(db.fetch_one(conn, "snapshot")["snapshot"])
        self._ends = {str(row["consumer"]): int(row["id"]) for row in ends}

    def new(self) -> Iterator[Transaction | Generation]:
        """Give what was committed and published since the last call. Raises DatabaseUnavailable."""
        with db.translated("following the log"):
            with db.confined(self._conn):
                # The generations first: all that they publish is visible to the query after it.
                history = db.fetch_all(self._conn, "log_new_generations", self._history_params())
                found = db.fetch_one(self._conn, "log_since", self._log_params())
            self._last = found["now"]
            tokens = [] if self._asked.of == "registry" else found["tokens"][-MOST_AT_ONCE:]
            shown = described(self._conn, self._asked, tokens, live=True)
        self._recent.extend(it["token"] for it in shown)
        yield from shown
        for row in history:
            self._ends[row["consumer"]] = row["id"]
            tokens = self._published(row)
            if self._concerns(row, tokens):
                yield generation(row, tokens)

    def _published(self, row: db.Row) -> list[str]:
        """Return which of the transactions that were shown this generation is the first to hold."""
        done = self._pending.setdefault(row["consumer"], deque(maxlen=MOST_AT_ONCE))
        tokens = [it for it in self._recent if it not in done and visible(it, row["snapshot"])]
        done.extend(tokens)
        return tokens

    def _concerns(self, row: db.Row, tokens: list[str]) -> bool:
        if self._asked.of == "registry":
            return self._asked.name in row["registries"]
        return self._asked.of == "all" or bool(tokens)

    def _history_params(self) -> dict[str, object]:
        ends = {"consumers": [*self._ends], "ids": [*self._ends.values()]}
        return {**ends, "consumer": self._asked.consumer, "most": MOST_AT_ONCE}

    def _log_params(self) -> dict[str, object]:
        return {"last": self._last, "key": self._asked.key, "sources": list(self._asked.sources)}

    def wait(self, output: int) -> bool:
        """Sleep until there may be something new; false if the pipe `output` lost its reader."""
        arrival = select.poll()
        arrival.register(self._conn.fileno(), select.POLLIN)
        arrival.register(output, 0)  # only errors: the reader of a pipe has closed it
        end = time.monotonic() + BACKSTOP_S
        while (left := end - time.monotonic()) > 0:
            if list(self._conn.notifies(timeout=0)):
                return True
            ready = dict(arrival.poll(min(left, SLICE_S) * 1000))
            if ready.get(output, 0) & (select.POLLERR | select.POLLHUP):
                return False
        return True
