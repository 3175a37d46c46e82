"""A throw-away PostgreSQL for a test run. It gives each test a database of its own, with the capture."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.capture.install import install, wanted
from omnicdc.registries.catalog import registries
from omnicdc.testing import cmp
from omnicdc.testing.databases import copy_database, create_database, drop_database, uri
from omnicdc.testing.embedded import EmbeddedServer, bundled, open_to_server
from omnicdc.testing.served import Served, load_config, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from omnicdc.config.settings import Config

    Schema = str | Path | Sequence[str | Path] | Callable[[str], object]
    """SQL text, a file with SQL, several of both, or a function that creates CMP's tables: its argument is
    the connection string of the database's owner."""

_SERVER_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_prepared_transactions": "20"}

_NOT_SQL = re.compile(rb"^\\(un)?restrict .*$", re.MULTILINE)
"""Commands for psql, which pg_dump writes at the begin and the end of a dump."""


class Server:
    """One server for a test run. Each schema is installed once, in a template that each test copies."""

    def __init__(self, dsn: str, admin: psycopg.Connection[Any], directory: Path) -> None:
        self.dsn = dsn
        """The connection string of a superuser."""
        self._admin, self._directory = admin, directory
        self._run = f"omnicdc_{uuid4().hex[:8]}"
        """The beginning of the names of all databases of this run."""
        self._templates: dict[tuple[object, str], str] = {}
        self._numbers = count()
        self._unused: list[str] = []
        """The last test's database, which is dropped after the next one: PostgreSQL needs 100 ms to drop a
        database whose last connection has just been closed."""

    @contextmanager
    def serve(
        self, schema: Schema = cmp.TABLE, settings: Mapping[str, object] | None = None
    ) -> Iterator[Served]:
        """Create a CMP, a registry host and its daemon. At the end of the block, stop and remove them.

        `settings` are omnicdc's settings, as in its configuration file. Raises ConfigError for invalid
        settings, psycopg.Error for an invalid schema, and OmnicdcError if the daemon does not publish.
        """
        name = f"{self._run}_{next(self._numbers)}"
        directory = self._directory / name
        directory.mkdir(parents=True)
        write_settings(directory, settings or {})
        dsn = uri(self.dsn, dbname=name, user=cmp.WRITER, password=cmp.WRITER)
        config = load_config(directory, dsn)
        copy_database(self._admin, self._template(schema, settings or {}, config), name)
        served = Served(directory, config, dsn, uri(self.dsn, dbname=name))
        try:
            served.start()
            yield served
        finally:
            served.close()
            self._drop_unused()
            self._unused.append(name)

    def close(self) -> None:
        """Drop all databases of this run."""
        self._drop_unused()
        for name in self._templates.values():
            drop_database(self._admin, name)

    def _drop_unused(self) -> None:
        while self._unused:
            drop_database(self._admin, self._unused.pop())

    def _template(self, schema: Schema, settings: Mapping[str, object], config: Config) -> str:
        """Return the database with this schema and the capture. The first call creates it."""
        create = schema if callable(schema) else None
        texts = () if callable(schema) else tuple(_sql(schema))
        key = (create or texts, json.dumps(settings, sort_keys=True, default=str))
        if key not in self._templates:
            name = f"{self._run}_template_{next(self._numbers)}"
            create_database(self._admin, name)
            try:
                self._fill(uri(self.dsn, dbname=name), create, texts, config)
            except BaseException:
                drop_database(self._admin, name)
                raise
            self._templates[key] = name
        return self._templates[key]

    def _fill(
        self, dsn: str, create: Callable[[str], object] | None, texts: Sequence[bytes], config: Config
    ) -> None:
        """Create CMP's tables and install the capture.

        Both may create roles, which belong to the whole server, and several test processes may share it. So
        one of them does this at a time.
        """
        with self._admin.transaction():
            self._admin.execute("select pg_advisory_xact_lock(hashtext('omnicdc.testing'))")
            self._create_roles()
            if create:
                create(dsn)
            _install(dsn, texts, config)

    def _create_roles(self) -> None:
        """Create the login roles that are missing. Their passwords are their names."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            found = {name for (name,) in conn.execute("select rolname from pg_catalog.pg_roles")}
            for role in (cmp.WRITER, cmp.DAEMON):
                if role not in found:
                    create = pgsql.SQL("create role {} login password {}")
                    conn.execute(create.format(pgsql.Identifier(role), role))


@contextmanager
def open_server(directory: Path, given: str | None = None) -> Iterator[Server]:
    """Start the embedded PostgreSQL, or use the throw-away server with the connection string `given`.

    `directory` is for the files of the tests. At the end of the block, the server is stopped and removed; of
    a given server, the databases of this run. Raises ConfigError without the `testing` extra.
    """
    with ExitStack() as undo:
        dsn = given or undo.enter_context(_embedded())
        admin = undo.enter_context(psycopg.connect(dsn, autocommit=True))
        server = Server(dsn, admin, directory)
        undo.callback(server.close)
        yield server


@contextmanager
def _embedded() -> Iterator[str]:
    programs = bundled("testing")
    with ExitStack() as undo:
        directory = Path(tempfile.mkdtemp(prefix="omnicdc-"))
        undo.callback(shutil.rmtree, directory, ignore_errors=True)
        open_to_server(directory, "use another directory: TMPDIR=/tmp")
        server = EmbeddedServer(directory / "pg", _SERVER_SETTINGS, programs)
        undo.callback(server.delete)
        server.create()
        server.start()
        yield server.dsn()


def _sql(schema: str | Path | Sequence[str | Path]) -> Iterator[bytes]:
    """Yield the SQL of each text and of each file."""
    for part in [schema] if isinstance(schema, str | Path) else schema:
        yield _NOT_SQL.sub(b"", part.read_bytes() if isinstance(part, Path) else part.encode())


def _install(dsn: str, texts: Sequence[bytes], config: Config) -> None:
    """Create CMP's tables with these texts, let the writer use them, and install the capture."""
    for text in texts:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(text)
    with psycopg.connect(dsn, autocommit=True) as conn:
        for (schema,) in conn.execute(_SCHEMAS).fetchall():
            for rights in _RIGHTS:
                conn.execute(pgsql.SQL(rights).format(pgsql.Identifier(schema), pgsql.Identifier(cmp.WRITER)))
    with db.connect(dsn) as conn:
        install(conn, wanted(config, registries(config).values(), for_clients=True))
        conn.execute(cmp.GRANTS)


_SCHEMAS = r"""
select nspname from pg_catalog.pg_namespace
 where nspname not like 'pg\_%' and nspname not in ('information_schema', 'omnicdc')
"""
_RIGHTS = (
    "grant usage on schema {} to {}",
    "grant select, insert, update, delete on all tables in schema {} to {}",
    "grant usage, select on all sequences in schema {} to {}",
)
