"""The demo's sandbox: a temporary directory with PostgreSQL, CMP, a daemon and its registries."""

from __future__ import annotations

import shutil
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
from omnicdc.testing import cmp
from omnicdc.testing.embedded import EmbeddedServer, open_to_server
from omnicdc.testing.process import END_S, start, stop_process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

HINT = "use another directory: `TMPDIR=/tmp omnicdc demo`"


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
            "OMNICDC_CONFIG": "",  # no file, not even this host's own
            "OMNICDC_DSN": self.dsn(cmp.DAEMON),
            "OMNICDC_ROOT": str(self.root),
            "OMNICDC_STATE_DIR": str(self.directory / "state"),
            "OMNICDC_CONSUMER": "demo",
            "OMNICDC_POLL_S": "0.5",  # seconds between two checks for edited files; the default is 5
            "OMNICDC_GH": "no",
        }


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
        open_to_server(directory, HINT)
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
        conn.execute(cmp.TABLE)
        conn.execute(fixtures.RIGHTS)
        fixtures.upsert(conn, *fixtures.PROJECTS)
        install(conn, wanted(Config(), scanners().values()))
        conn.execute(cmp.GRANTS)


@contextmanager
def daemon(
    box: Sandbox, environ: Mapping[str, str], end_s: float = END_S
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `omnicdc run`; at the end, stop it, and kill it if that takes more than `end_s` seconds."""
    process = start({**environ, **box.settings()}, box.log)
    try:
        yield process
    finally:
        stop_process(process, end_s)
