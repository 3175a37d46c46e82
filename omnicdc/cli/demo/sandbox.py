"""The demo's sandbox: a temporary directory with PostgreSQL, CMP, a daemon and its registries."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.capture.install import install, wanted
from omnicdc.cli.demo import fixtures
from omnicdc.config.settings import Config
from omnicdc.errors import ConfigError
from omnicdc.registries.scanners import scanners
from omnicdc.testing.embedded import EmbeddedServer, unprivileged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

HINT = "use another directory: `TMPDIR=/tmp omnicdc demo`"
SOCKET_MAX = 107  # bytes of a socket's path (sockaddr_un), without the final null
END_S = 10.0

_FOREIGN = ("OMNICDC_", "CMP_DB_", "PG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_", "STATE_DIRECTORY")
"""Prefixes of environment variables that may lead to a real CMP or to systemd."""


class Sandbox:
    """A directory with a server that is not started yet, the infrastructure root, and the daemon's log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = EmbeddedServer(directory / "pg")
        self.root = directory / "root"
        self.log = directory / "daemon.log"

    def dsn(self, user: str) -> str:
        """Return a connection string to CMP."""
        return self.server.dsn(fixtures.DATABASE, user)

    def settings(self) -> dict[str, str]:
        """Return the daemon's settings, as environment variables."""
        return {
            "OMNICDC_DSN": self.dsn(fixtures.READER),
            "OMNICDC_ROOT": str(self.root),
            "OMNICDC_STATE_DIR": str(self.directory / "state"),
            "OMNICDC_CONSUMER": "demo",
            "OMNICDC_POLL_S": "0.5",  # seconds between two checks for edited files; the default is 5
            "OMNICDC_GH": "no",
        }


def isolate(environ: MutableMapping[str, str]) -> None:
    """Remove variables that may lead to a real CMP or to systemd: libpq reads this process's environment."""
    for name in [name for name in environ if name.startswith(_FOREIGN)]:
        del environ[name]


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Create the directory and the server's files; at the end, stop the server and remove everything.

    Raises ConfigError without the `embedded` extra, or if the temporary directory cannot be used.
    """
    with ExitStack() as undo:
        try:
            directory = Path(tempfile.mkdtemp(prefix="omnicdc-demo-"))
        except OSError as exc:
            raise ConfigError(f"cannot create a temporary directory: {exc.strerror}", hint=HINT) from exc
        undo.callback(shutil.rmtree, directory, ignore_errors=True)
        _check(directory)
        box = Sandbox(directory)
        box.root.mkdir()
        undo.callback(box.server.delete)
        box.server.create()
        yield box


def create_cmp(box: Sandbox) -> None:
    """Create CMP's database with its projects, and do what `omnicdc install` does."""
    with db.connect(box.server.dsn()) as conn, db.translated("creating CMP's database"):
        conn.execute(fixtures.ROLES)
        conn.execute(f"create database {fixtures.DATABASE}")
    with db.connect(box.dsn("postgres")) as conn, db.translated("filling CMP"):
        conn.execute(fixtures.TABLE)
        fixtures.upsert(conn, *fixtures.PROJECTS)
        install(conn, wanted(Config(), scanners().values()))
        conn.execute(fixtures.GRANTS)


@contextmanager
def daemon(
    box: Sandbox, environ: Mapping[str, str], end_s: float = END_S
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `omnicdc run`; at the end, stop it, and kill it if that takes more than `end_s` seconds."""
    with box.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "omnicdc", "run"], env={**environ, **box.settings()},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,  # Ctrl-C goes only to the demo, which then stops the daemon
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(end_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _check(directory: Path) -> None:
    """Open the directory to PostgreSQL's user. Raises ConfigError if PostgreSQL cannot start there."""
    parent = directory.parent
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    if len(os.fsencode(directory / "pg" / ".s.PGSQL.5432")) > SOCKET_MAX:
        raise ConfigError(f"the path {parent} is too long for PostgreSQL's socket", hint=HINT)
    if os.geteuid() == 0 and not all(each.stat().st_mode & stat.S_IXOTH for each in directory.parents):
        raise ConfigError(
            f"PostgreSQL does not run as root, and user {unprivileged().pw_name} has no access to {parent}",
            hint=HINT,
        )
