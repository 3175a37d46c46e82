"""The delivery of a contender, as the measuring process sees it: its consumer, and its arrivals."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support.host import until

from bench import upserts
from bench.contenders.program import SilentError
from bench.latency import Propagation

if TYPE_CHECKING:
    import subprocess
    from typing import Any, LiteralString

    import psycopg

    from bench.contenders.program import Program
    from bench.ground import Estate, Running

DEADLINE_S = 15.0
"""Longer than any contender takes to poll after a missed notification."""

START_S = 60.0
TRY_S = 0.3
DRAIN_S = 3.0
NAP_S = 0.01
LOOK_S = 0.05
IDLE_SHARE = 0.1
"""The share of a core below which a consumer counts as idle."""

AT_WORK: LiteralString = """
select exists (
  select from pg_stat_activity
   where datname = current_database() and pid <> pg_backend_pid()
     and backend_type = 'client backend' and (xact_start is not null or state <> 'idle'))
"""


class Delivery:
    """One estate and the process of its consumer, which is paused while others are measured."""

    def __init__(self, estate: Estate, process: subprocess.Popen[bytes] | None) -> None:
        self._estate = estate
        self._process = process

    def once(self) -> float:
        """Upsert one project, and return the milliseconds from before the commit to the arrival."""
        raise NotImplementedError

    def settle(self) -> None:
        """Return when everything that was written is processed."""

    def attach(self) -> None:
        """Start the capture, if it costs the server something even without writes here."""

    def detach(self) -> None:
        """Stop the capture, and release what only `once` needs."""

    def pause(self) -> None:
        """Stop the process, but not within a transaction, which would block others.

        Raise SilentError if it never becomes idle, or has ended.
        """
        if not self._process:
            return
        deadline = time.monotonic() + DEADLINE_S
        self._process.send_signal(signal.SIGSTOP)
        while self._estate.cmp.value(AT_WORK):
            if time.monotonic() > deadline:
                raise SilentError(f"at work for {DEADLINE_S} s when there was nothing to do")
            self.resume()
            time.sleep(NAP_S)
            self._process.send_signal(signal.SIGSTOP)
        if self._process.poll() is not None:
            raise SilentError("its consumer has ended")

    def resume(self) -> None:
        """Continue the process."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill the process, so that it does not affect the other contenders."""
        if self._process:
            self._process.kill()

    def share(self, seconds: float) -> float:
        """Return the share of a core that the process of the consumer takes during `seconds`."""
        began, before = time.monotonic(), self._cpu_s()
        time.sleep(seconds)
        return (self._cpu_s() - before) / (time.monotonic() - began)

    def _cpu_s(self) -> float:
        if not self._process:
            return 0.0
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


class PausableListener(Propagation):
    """A propagation that can stop listening.

    Unread notifications would fill the socket, and then the backend of PostgreSQL blocks.
    """

    def discard(self) -> None:
        """Discard the notifications that have arrived."""
        for _ in self._listener.notifies(timeout=0):
            pass

    def stop_listening(self) -> None:
        """Stop listening."""
        self._listener.execute("unlisten *")
        self.discard()


class Publisher(Delivery):
    """The daemon of omnicdc. An arrival means that three files are durable."""

    def __init__(self, estate: Estate, daemon: Running, listener: PausableListener) -> None:
        super().__init__(estate, daemon.process)
        self._listener = listener

    def once(self) -> float:
        return self._listener.once()

    def settle(self) -> None:
        self._estate.cmp.arrived()
        self._listener.discard()

    def detach(self) -> None:
        self._listener.stop_listening()


class Consumer(Delivery):
    """A program that records arrivals. `purge` empties its queue, if it has one."""

    def __init__(
        self,
        estate: Estate,
        program: Program,
        writer: psycopg.Connection[tuple[Any, ...]],
        purge: LiteralString = "",
    ) -> None:
        super().__init__(estate, program.process)
        self._program = program
        self._writer = writer
        self._purge = purge
        self._rows = upserts.values(upserts.projects(estate.cmp))

    def once(self) -> float:
        return self._once(DEADLINE_S)

    def settle(self) -> None:
        """Empty the queue, and receive what remains, as not every program keeps up with pgbench."""
        if self._purge:
            self._estate.cmp.conn.execute(self._purge)
        self._program.wait_until_quiet(DRAIN_S)
        deadline = time.monotonic() + DRAIN_S
        while self.share(LOOK_S) > IDLE_SHARE and time.monotonic() < deadline:
            pass

    def wait_until_serving(self) -> None:
        """Upsert until an upsert arrives."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._once(TRY_S)
            except SilentError:
                if time.monotonic() > deadline or self._program.process.poll() is not None:
                    raise
            else:
                return

    def _once(self, deadline_s: float) -> float:
        row = next(self._rows)
        upserts.upsert(self._writer, row)
        began = time.time()
        self._writer.commit()
        return (self._program.arrival(row["id"], began, deadline_s) - began) * 1000


class Decoder(Consumer):
    """A program that uses logical decoding. The server decodes its whole log, including other databases."""

    def settle(self) -> None:
        """Wait only for arrivals. The processor time never becomes low, as the program polls."""
        self._program.wait_until_quiet(DRAIN_S)

    def attach(self) -> None:
        self._program.send("attach")
        self.wait_until_serving()

    def detach(self) -> None:
        self._program.send("detach")
        until(lambda: self._slots() == 0, "the slot is dropped")

    def _slots(self) -> int:
        return int(self._estate.cmp.value("select count(*) from pg_replication_slots"))
