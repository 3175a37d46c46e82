"""How a contender delivers, as the measuring process sees it.

Who consumes, and when a change has reached them.
"""

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
"""Longer than any of them takes to look by itself when it has missed a notification."""

START_S = 60.0
TRY_S = 0.3
DRAIN_S = 3.0
NAP_S = 0.01
LOOK_S = 0.05
RESTING = 0.1
"""Of a core."""

AT_WORK: LiteralString = """
select exists (
  select from pg_stat_activity
   where datname = current_database() and pid <> pg_backend_pid()
     and backend_type = 'client backend' and (xact_start is not null or state <> 'idle'))
"""


class Delivery:
    """One estate and its consumer's process, which is stopped while it is the turn of others."""

    def __init__(self, estate: Estate, process: subprocess.Popen[bytes] | None) -> None:
        self._estate = estate
        self._process = process

    def once(self) -> float:
        """Upsert one project, and return the milliseconds from before the commit to the arrival."""
        raise NotImplementedError

    def settle(self) -> None:
        """Return when nothing of what was written is left to do."""

    def attach(self) -> None:
        """Begin to capture, if that costs the server something even while nobody writes here."""

    def detach(self) -> None:
        """Undo it, and let go of whatever only `once` needs."""

    def pause(self) -> None:
        """Take no processor time; not from within a transaction, whose end others would wait for.

        Raises SilentError.
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
        """Be ready again."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Take it out of the comparison: nobody else shall wait for it or share the processors with it."""
        if self._process:
            self._process.kill()

    def share(self, seconds: float) -> float:
        """Return the share of a core that the consumer's process takes for so long."""
        began, before = time.monotonic(), self._cpu_s()
        time.sleep(seconds)
        return (self._cpu_s() - before) / (time.monotonic() - began)

    def _cpu_s(self) -> float:
        if not self._process:
            return 0.0
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


class Hearing(Propagation):
    """Hears only while it is asked.

    Unread, what PostgreSQL tells would fill the socket, and then its backend hangs.
    """

    def forget(self) -> None:
        """Throw away what has been told."""
        for _ in self._listener.notifies(timeout=0):
            pass

    def deafen(self) -> None:
        """Have nothing told any more."""
        self._listener.execute("unlisten *")
        self.forget()


class Publisher(Delivery):
    """omnicdc's daemon: what arrives is durable in three files by then."""

    def __init__(self, estate: Estate, daemon: Running, hearing: Hearing) -> None:
        super().__init__(estate, daemon.process)
        self._hearing = hearing

    def once(self) -> float:
        return self._hearing.once()

    def settle(self) -> None:
        self._estate.cmp.arrived()
        self._hearing.forget()

    def detach(self) -> None:
        self._hearing.deafen()


class Consumer(Delivery):
    """A program that records arrivals; `purge` empties its queue, where it has one."""

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
        """Not everybody keeps up with pgbench.

        What is left in a queue is thrown away, notifications are taken.
        """
        if self._purge:
            self._estate.cmp.conn.execute(self._purge)
        self._program.wait_until_quiet(DRAIN_S)
        deadline = time.monotonic() + DRAIN_S
        while self.share(LOOK_S) > RESTING and time.monotonic() < deadline:
            pass

    def wait_until_serving(self) -> None:
        """Upsert until something arrives."""
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
    """A program for which the server decodes its log: all of it, also what is written in other databases."""

    def settle(self) -> None:
        """Its processor time tells nothing: it polls."""
        self._program.wait_until_quiet(DRAIN_S)

    def attach(self) -> None:
        self._program.tell("attach")
        self.wait_until_serving()

    def detach(self) -> None:
        self._program.tell("detach")
        until(lambda: self._slots() == 0, "the slot is dropped")

    def _slots(self) -> int:
        return int(self._estate.cmp.value("select count(*) from pg_replication_slots"))
