"""The house that the demo plays in: a temporary directory with PostgreSQL, CMP, a daemon and its registries.

Everything in it ends with it. Its neighbour `daemon` is the one process that runs omnicdc itself.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.capture.install import install
from omnicdc.capture.watch_list import derive
from omnicdc.config import settings as configuration
from omnicdc.demo import cast
from omnicdc.demo.daemon import Daemon
from omnicdc.demo.embedded import UNPRIVILEGED, EmbeddedServer, bundled
from omnicdc.errors import ConfigError
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping

    from omnicdc.config.settings import Config
    from omnicdc.demo.daemon import Event
    from omnicdc.stop import Stop

CONSUMER = "demo"
PEOPLE = "governance/registry/projects"
SETTINGS = {"unix_socket_permissions": "0700"}
"""Run by root, the directory is open to all: the socket is for the server's user and root alone."""

ELSEWHERE = "put it elsewhere: `TMPDIR=/tmp omnicdc demo`"
SOCKET_MAX = 107

_FOREIGN = ("OMNICDC_", "CMP_DB_", "PG")
_SYSTEMD = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"})


@dataclass(frozen=True, slots=True)
class House:
    """Where everything is. The daemon is not started yet."""

    directory: Path
    server: EmbeddedServer
    programs: Path
    """PostgreSQL's, psql among them."""

    @property
    def root(self) -> Path:
        """The infrastructure root."""
        return self.directory / "root"

    @property
    def log(self) -> Path:
        """What the daemon logs."""
        return self.directory / "daemon.log"

    @property
    def settings(self) -> dict[str, str]:
        """What the daemon is told through its environment."""
        return {
            "OMNICDC_DSN": self.dsn(cast.READER),
            "OMNICDC_ROOT": str(self.root),
            "OMNICDC_STATE_DIR": str(self.directory / "state"),
            "OMNICDC_CONSUMER": CONSUMER,
            "OMNICDC_GH": "no",
        }

    def dsn(self, user: str) -> str:
        """Return a connection string to CMP."""
        return self.server.dsn(cast.DATABASE, user)

    def config(self) -> Config:
        """Return the configuration of a program on this host, and of nothing outside the house."""
        return configuration.load({}, self.settings | {"HOME": str(self.directory)}, uid=os.getuid())

    def run_daemon(self, environ: Mapping[str, str]) -> Daemon:
        """Start `omnicdc run`."""
        return Daemon([sys.executable, "-m", "omnicdc", "run"], {**environ, **self.settings}, self.log)


def seclude(environ: MutableMapping[str, str]) -> None:
    """Take out what could lead to a real CMP, or to systemd: libpq reads the process's own environment."""
    for name in [name for name in environ if name.startswith(_FOREIGN) or name in _SYSTEMD]:
        del environ[name]


@contextmanager
def house() -> Iterator[House]:
    """Give a house with its server created and not started; on the way out all is stopped and removed.

    Raises ConfigError without the `embedded` extra, or if the temporary directory does not serve.
    """
    programs = bundled()
    with ExitStack() as undo:
        directory = _directory()
        undo.callback(shutil.rmtree, directory, ignore_errors=True)
        _check_place(directory)
        server = EmbeddedServer(directory / "pg", SETTINGS)
        undo.callback(server.delete)
        server.create()
        yield House(directory, server, programs)


def make_cmp(home: House, checkpoint: Callable[[], None]) -> str:
    """Make CMP's database with its projects; returns the server's version."""
    with db.connect(home.server.dsn()) as conn:
        with db.translated("making CMP's database"):
            conn.execute(cast.ROLES)
            conn.execute(pgsql.SQL("create database {}").format(pgsql.Identifier(cast.DATABASE)))
        version = str(conn.info.parameter_status("server_version")).split(" ", 1)[0]
    checkpoint()
    with db.connect(home.dsn("postgres")) as conn, db.translated("filling CMP"), conn.transaction():
        conn.execute(cast.TABLE)
        with conn.cursor() as cursor:
            cursor.executemany(cast.UPSERT, [one.values() for one in cast.CAST])
    return version


def make_root(home: House) -> None:
    """Write what people would have written by hand."""
    people = home.root / PEOPLE
    people.mkdir(parents=True)
    (people / "EXCLUSION_LIST_V1.yaml").write_text(cast.EXCLUSIONS, "utf-8")
    (people / "LOCAL_OVERRIDES_V1.yaml").write_text(cast.OVERRIDES, "utf-8")


def put_capture(home: House) -> tuple[str, ...]:
    """Do what `omnicdc install` does; returns what is watched."""
    watched = derive(scanners().values()).fields
    with db.connect(home.dsn("postgres")) as conn:
        install(conn, "projects", watched)
        conn.execute(cast.GRANTS)
    return watched


def await_daemon(daemon: Daemon, stop: Stop) -> Event:
    """Return the log's line of the first publication, once the daemon serves."""
    daemon.wait_for("serving", stop)
    return daemon.wait_for("published", stop)


def _directory() -> Path:
    try:
        directory = Path(tempfile.mkdtemp(prefix="omnicdc-demo-"))
    except OSError as exc:
        raise ConfigError(f"no temporary directory can be made: {exc.strerror}", hint=ELSEWHERE) from exc
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return directory


def _check_place(directory: Path) -> None:
    """Refuse, in words of the user's own, where PostgreSQL would fail in its."""
    if len(os.fsencode(directory / "pg" / ".s.PGSQL.5432")) > SOCKET_MAX:
        raise ConfigError(f"{directory.parent} is too long a name for a socket's path", hint=ELSEWHERE)
    if os.geteuid() == 0 and not all(parent.stat().st_mode & stat.S_IXOTH for parent in directory.parents):
        raise ConfigError(
            f"run by root, PostgreSQL runs as {UNPRIVILEGED}, who may not enter {directory.parent}",
            hint=ELSEWHERE,
        )
