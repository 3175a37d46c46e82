"""Sessions that write CMP: pgbench, and one transaction that stays open."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from bench.pgbench import DRAW, VALUES, command
from support.cmp import UPSERT, Cmp
from support.host import DEADLINE_S

from omnicdc.testing.embedded import bundled

if TYPE_CHECKING:
    from pathlib import Path

BURST_CLIENTS = 20
BURSTS_EVERY_S = 60


class Writers:
    """pgbench: many connections write at a limited rate. Some more write as fast as they can, in bursts."""

    def __init__(self, cmp: Cmp, where: Path, projects: int, burst_s: int = 0) -> None:
        self._dsn, self._burst_s = cmp.dsn, burst_s
        self._path = where / "upsert.pgbench"
        self._path.write_text(DRAW.format(projects=projects) + UPSERT.strip() % VALUES + ";\n")
        self._started: list[subprocess.Popen[str]] = []
        self._bursts = 0
        self._began = time.monotonic()

    def start(self, clients: int, seconds: int, rate: int | None = None) -> subprocess.Popen[str]:
        """Start pgbench."""
        pgbench = str(bundled() / "pgbench")
        run = command(pgbench, self._path, self._dsn, clients=clients, seconds=seconds, rate=rate)
        process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._started.append(process)
        return process

    def burst_if_due(self) -> None:
        """Start a burst of writes if the last one started a minute ago."""
        if time.monotonic() - self._began >= self._bursts * BURSTS_EVERY_S:
            self._bursts += 1
            self.start(BURST_CLIENTS, self._burst_s)

    def end(self) -> int:
        """Wait for all processes; check that no transaction failed. Returns the number of transactions."""
        written = 0
        for process in self._started:
            output, errors = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, errors
            assert "number of failed transactions: 0 (" in output, output
            written += int(output.partition("actually processed: ")[2].split("/")[0].split()[0])
        return written

    def close(self) -> None:
        """Kill the processes that still run."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()


class LongTransaction:
    """A transaction that writes a project and then stays open."""

    def __init__(self, cmp: Cmp) -> None:
        self._cmp = cmp
        self._conn = cmp.connect()
        self._began = self.lasted_s = 0.0
        self.token = ""

    def begin(self) -> None:
        """Write a project, and do not commit."""
        self._conn.execute("begin")
        self.project = self._cmp.upsert("open for long", conn=self._conn)
        row = self._conn.execute("select pg_current_xact_id()::text").fetchone()
        assert row
        self.token, self._began = row[0], time.monotonic()

    def commit(self) -> None:
        """Commit the transaction."""
        self._conn.execute("commit")
        self.lasted_s = time.monotonic() - self._began

    def close(self) -> None:
        self._conn.close()
