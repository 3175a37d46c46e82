"""The system under test of `tests/faults/model/`: a CMP, its server, and a registry host with faults.

`support.writer` has the connections of CMP. `support.commit_history` checks what must hold.
"""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING, Any, LiteralString

import yaml

from omnicdc import db
from omnicdc.capture import install
from support.agents import MODELLED, declare
from support.cmp import Cmp
from support.commit_history import CommitHistory
from support.faulty_command import FAULTS, PROGRAM
from support.host import DEADLINE_S, INVENTORY, Daemon, Host, until
from support.sources import installed
from support.writer import Writer

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from omnicdc.testing.embedded import EmbeddedServer

PEOPLES_FILE = "governance/registry/projects/{}_V1.yaml"
ADOPTED: list[dict[str, Any]] = [
    {
        "description": "known before", "name": "a", "owner": {"id": "7", "login": "acme"},
        "updatedAt": "2025-01-01T00:00:00Z", "url": "https://github.com/acme/a", "visibility": "PUBLIC",
        "stars": 7,
    },
    {
        "description": None, "name": "alone", "owner": {"id": "7", "login": "acme"},
        "updatedAt": None, "url": "https://github.com/acme/alone", "visibility": "PRIVATE",
    },
]  # fmt: skip
"""The inventory that is there before omnicdc."""


class System:
    """One CMP and one registry host, for one example of the model."""

    def __init__(
        self, server: EmbeddedServer, dsn: str, where: Path, env: dict[str, str], counts: Counter[str]
    ) -> None:
        self.server = server
        self.cmp = Cmp(dsn)
        self.host = Host(where / "host", dsn)
        self.host.program, self.faults = PROGRAM, where / "faults"
        self.host.env |= env | {FAULTS: str(self.faults)} | declare(where, MODELLED)
        (self.host.root / INVENTORY).parent.mkdir(parents=True)
        (self.host.root / INVENTORY).write_text(json.dumps(ADOPTED))
        self.commits = CommitHistory(self.cmp, self.host, counts, ADOPTED)
        self.writers = [Writer(self.cmp.connect, self.commits.ended) for _ in range(3)]
        self.prepared: list[str] = []
        self.gone: LiteralString | None = None
        """The watched column that was dropped; None if all are there."""
        self.daemons: list[Daemon] = []
        self.start()
        self.daemons[0].wait_for("serving")

    # CMP

    def end_prepared(self, how: LiteralString) -> None:
        """End the oldest prepared transaction, on another connection."""
        if self.prepared:
            token = self.prepared.pop(0)
            self.cmp.conn.execute(f"{how} prepared '{token}'")
            self.commits.ended(token, committed=how == "commit")

    def end_transactions(self) -> None:
        """Commit all open transactions, and continue stopped daemons.

        Otherwise a change of the table would wait for their locks.
        """
        for writer in self.writers:
            writer.end("commit")
        while self.prepared:
            self.end_prepared("commit")
        for daemon in self.running():
            daemon.process.send_signal(signal.SIGCONT)

    def _alter(self, how: LiteralString) -> None:
        self.end_transactions()
        self.cmp.conn.execute(f"alter table projects {how}")

    def restart(self, how: signal.Signals) -> None:
        """Restart the server. Open transactions are lost."""
        lost = [writer.token for writer in self.writers if writer.token]
        self.server.stop(how)
        self.server.start()
        self.cmp.close()
        self.cmp.conn = self.cmp.connect()
        for writer in self.writers:
            writer.connect()
        self.commits.restarted(lost)

    def terminate(self) -> None:
        """End the daemon's connection."""
        consumer = self.host.env["OMNICDC_CONSUMER"]
        self.cmp.value("select pg_terminate_backend(omnicdc.consumer_pid(%s))", consumer)

    def disable(self, trigger: LiteralString) -> None:
        """Disable a trigger. From now on CMP may be changed without a row in the log."""
        self.commits.capture_missed = True
        self._alter(f"disable trigger {trigger}")

    def enable(self, trigger: LiteralString) -> None:
        """Enable a trigger. Changes from before are still not in the log."""
        self._alter(f"enable always trigger {trigger}")

    def drop(self, column: LiteralString) -> None:
        """Drop a watched column of CMP's table, unless one is dropped already."""
        if self.gone is None:
            self.gone, self.commits.capture_missed = column, True
            self._alter(f"drop column {column}")

    def install(self) -> None:
        """Repair the capture as an operator does: add the dropped column again, then `omnicdc install`."""
        self.end_transactions()
        if self.gone:
            self._alter(f"add column {self.gone} {'jsonb' if self.gone == 'metadata_' else 'text'}")
            self.gone = None
        with db.connect(self.cmp.dsn) as conn:
            install.install(conn, installed(self.host.config()))

    # the registry host

    def start(self) -> None:
        """Start a daemon. If another one runs, the new one is a stand-by."""
        standby = ["--standby"] if self.running() else []
        self.daemons.append(self.host.starting(*standby))

    def running(self) -> list[Daemon]:
        """Return the running daemons, the oldest first. Close those that have ended."""
        for daemon in self.daemons:
            if daemon.process.poll() is not None:
                daemon.close()
        self.daemons = [daemon for daemon in self.daemons if daemon.process.returncode is None]
        return self.daemons

    def signal(self, how: signal.Signals) -> None:
        """Send a signal to the oldest daemon. Kill it if it has not logged anything yet."""
        for daemon in self.running()[:1]:
            if not daemon.events and how != signal.SIGSTOP:
                how = signal.SIGKILL
            daemon.process.send_signal(how)
            if how in (signal.SIGTERM, signal.SIGKILL):
                daemon.process.send_signal(signal.SIGCONT)
                daemon.process.wait(DEADLINE_S)

    def sleep(self) -> None:
        """Prune the log as if the oldest daemon had slept for longer than the log is kept."""
        for daemon in self.running()[:1]:
            daemon.process.send_signal(signal.SIGSTOP)
            self.writers[0].run("update projects set name = 'slept through', updated_at = clock_timestamp()")
            self.writers[0].end("commit")
            self.cmp.conn.execute("update omnicdc.consumer set expiry = '0 s'")
            self.cmp.value("select changes from omnicdc.prune('0 s', '0 s')")
            daemon.process.send_signal(signal.SIGCONT)

    def people(self, overrides: list[dict[str, Any]], exclusions: list[str]) -> None:
        """Write people's files."""
        around = self.commits.around
        self.commits.inputs_changed, around.overrides, around.exclusions = True, overrides, exclusions
        self._written("LOCAL_OVERRIDES", {"overrides": overrides})
        self._written("EXCLUSION_LIST", {"exclusions": [{"repo": name} for name in exclusions]})

    def _written(self, name: str, content: object) -> None:
        path = self.host.root / PEOPLES_FILE.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))

    def clone(self, name: str, url: str | None, hearts: int) -> None:
        """Make a clone with `hearts` files that import the heart. Without a URL, remove the clone."""
        path, clones = self.host.root / "src" / name, self.commits.around.clones
        self.commits.inputs_changed = True
        shutil.rmtree(path, ignore_errors=True)
        clones.pop(str(path), None)
        if url is not None:
            clones[str(path)] = url, hearts
            (path / ".git").mkdir(parents=True)
            (path / ".git/config").write_text(f'[remote "origin"]\n\turl = {url}\n')
            for number in range(hearts):
                (path / f"{number}.py").write_text("from federation_heart import beat\n")

    # the end

    def quiet(self) -> None:
        """Repair what only an operator can repair. Then everything else must recover automatically."""
        was_armed = self.faults.exists()
        self.faults.unlink(missing_ok=True)
        if self.commits.capture_missed or any(writer.excludes for writer in self.writers):
            self.end_transactions()
        if self.commits.capture_missed:
            self.install()
        for daemon in self.running():
            daemon.process.send_signal(signal.SIGCONT)
        if not self.running():
            self.start()
        if was_armed:
            # The daemon may have read the fault just before it was removed, and ends a moment later.
            until(self._is_served, "a daemon serves after the last fault")
        open_ones = [writer.token for writer in self.writers if writer.token] + self.prepared
        self.commits.quiet(self.running, open_ones)

    def _is_served(self) -> bool:
        """Start a daemon if none runs; return whether one serves."""
        if not self.running():
            self.start()
        return any(event["event"] == "serving" for daemon in self.running() for event in daemon.events)

    def close(self) -> None:
        """End everything."""
        self.host.close()
        for token in self.prepared:
            self.cmp.conn.execute(f"rollback prepared '{token}'")
        for writer in self.writers:
            writer.conn.close()
        self.cmp.close()
