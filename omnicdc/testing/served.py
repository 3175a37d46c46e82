"""A CMP with the capture, a registry host, and its daemon: what one test uses."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.clients.genesis import GenesisClient
from omnicdc.config import settings as configuration
from omnicdc.errors import ConfigError
from omnicdc.registries.catalog import registries
from omnicdc.stop import Stop
from omnicdc.testing import cmp
from omnicdc.testing.databases import uri
from omnicdc.testing.process import await_publication, end_of, isolate, start, stop_process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from omnicdc.config.settings import Config

CONSUMER = "test-host"
"""The name of the daemon in the answers."""

DEFAULTS: Mapping[str, object] = {"consumer": CONSUMER, "gh": "no", "poll_s": 0.5}
"""The settings of the daemon, unless the test has its own."""

OWN_SETTINGS = frozenset({"dsn", "password_file", "root", "state_dir"})
"""The settings that a test cannot have: they lead to what was created for it."""


class Served:
    """A CMP that only this test uses, and a daemon that keeps its registries current."""

    def __init__(self, directory: Path, config: Config, dsn: str, admin_dsn: str) -> None:
        self.dsn = dsn
        """CMP for the service: an URI, with the login role `genesis`. It may write every table and wait."""
        self.admin_dsn = admin_dsn
        """The same database for a superuser."""
        self.root = config.require_root()
        """The infrastructure root. The registries are below it."""
        self.config = config
        """The settings for a client: `MigrationClient(config=served.config)`. It connects by `dsn`."""
        self.environ = variables(directory, dsn)
        """The environment variables for a program, or for a client that reads its settings itself."""
        self.log = directory / "daemon.log"
        """The daemon's log."""
        self._environ = {**os.environ}
        isolate(self._environ)
        daemon_dsn = uri(dsn, user=cmp.DAEMON, password=cmp.DAEMON)
        self._environ |= variables(directory, daemon_dsn)
        self._process: subprocess.Popen[bytes] | None = None

    @cached_property
    def client(self) -> GenesisClient:
        """A client of this CMP. It is closed at the end of the test."""
        return GenesisClient(config=self.config)

    def registry(self, scanner: str) -> Path:
        """Return the file of a registry: `cmp_projects`, `project`, `git`, or one of the configuration's."""
        return self.root / registries(self.config)[scanner].path

    def start(self) -> None:
        """Start the daemon, and return when it has published. A repeat does nothing.

        Raises OmnicdcError with the end of the daemon's log if it does not publish.
        """
        if self._process and self._process.poll() is None:
            return
        self._process = start(self._environ, self.log)
        with db.connect(self.config.target) as conn:
            await_publication(conn, self._process, self.log, Stop())

    def stop(self) -> None:
        """Stop the daemon: from now on, waits end with `no_consumer`. A repeat does nothing."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)  # a paused process would not end
            stop_process(self._process)
            self._process = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the daemon for a block. Waits in the block end with `no_consumer`, after two seconds."""
        self.stop()
        yield
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the daemon for a block, as if it were busy. Waits in the block end with `timeout`."""
        assert self._process, "the daemon was stopped"  # noqa: S101 - a fault of the test
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if self._process:
                self._process.send_signal(signal.SIGCONT)

    def end_of_log(self) -> str:
        """Return the end of the daemon's log; empty before its first start."""
        return end_of(self.log, 4000) if self.log.exists() else ""

    def close(self) -> None:
        """Stop the daemon, and close the client. A repeat does nothing."""
        self.stop()
        if "client" in self.__dict__:
            self.client.close()


def variables(directory: Path, dsn: str) -> dict[str, str]:
    """Return the environment variables of a registry host whose files are in `directory`."""
    return {
        "OMNICDC_CONFIG": str(directory / "omnicdc.yaml"),
        "OMNICDC_DSN": dsn,
        "OMNICDC_ROOT": str(directory / "root"),
        "OMNICDC_STATE_DIR": str(directory / "state"),
    }


def write_settings(directory: Path, settings: Mapping[str, object]) -> None:
    """Write the configuration file, and create the root. Raises ConfigError for what a test cannot set."""
    if refused := OWN_SETTINGS & settings.keys():
        raise ConfigError(
            f"omnicdc_settings cannot have {', '.join(sorted(refused))}",
            hint="the fixture creates these; ask omnicdc_served for them",
        )
    (directory / "root").mkdir()
    # JSON is YAML too.
    text = json.dumps({**DEFAULTS, **settings}, indent=1, ensure_ascii=False, default=str)
    (directory / "omnicdc.yaml").write_text(text + "\n", "utf-8")


def load_config(directory: Path, dsn: str) -> Config:
    """Read the settings of a test. Raises ConfigError for invalid ones."""
    return configuration.load({}, variables(directory, dsn), uid=os.getuid())
