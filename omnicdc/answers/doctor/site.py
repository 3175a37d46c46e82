"""What the checks look at: the configuration, CMP's database, and this host. Each is read once, when needed.

What cannot be had raises Skipped in every check that needs it. One check reports the cause: `settings`,
`connection`, `schema` and `root`.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from psycopg import errors

from omnicdc import db
from omnicdc.answers.doctor.finding import CONFIG_FAULT, NO_CONNECTION, NO_SCHEMA, REGISTRY_FAULT, Skipped
from omnicdc.answers.doctor.reach import PATIENCE_S, answers_in_time
from omnicdc.answers.doctor.role import AskingRole
from omnicdc.answers.doctor.unit import NO_UNIT, Unit, as_service, read_unit
from omnicdc.answers.doctor.users import User, named_user, process_user, this_user
from omnicdc.answers.status import status
from omnicdc.config import settings
from omnicdc.errors import ConfigError, OmnicdcError
from omnicdc.files.lock import holder_of
from omnicdc.registries.catalog import registries
from omnicdc.registries.rows import limit
from omnicdc.registries.tables import find_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner
    from omnicdc.registries.tables import Tables

LOCK_WAIT = "5s"
"""The longest time that a check waits for a lock: see `capturing.check_locks`."""

NO_ROOT = "no root is configured here: ask on the registry host, or give --root DIR"


class Site:
    """A registry host, a client's host, or a DBA's: whatever can be read from here."""

    def __init__(
        self,
        flags: Mapping[str, Any],
        environ: Mapping[str, str],
        *,
        long_s: float = 600.0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.flags, self.environ = flags, environ
        self.patience_s = patience_s
        """How many seconds a file system may take to answer."""
        self.long_s = long_s
        """How many seconds a transaction may be open before it is a fault that it keeps dead rows."""
        self.lacks_rights = False
        """Whether `rights` found that some are lacking: then it reports every error of a missing right."""
        self.unreadable = ""
        """The check that found that CMP's tables cannot be read; else empty."""
        self._connected: db.Connection | OmnicdcError | None = None
        self._deadline = float("inf")

    def begin(self, limit_s: float) -> None:
        """Begin a check that may take so long: the connection waits no longer for an answer."""
        self._deadline = time.monotonic() + limit_s
        if isinstance(self._connected, db.Connection):
            self._connected.deadline = self._deadline

    def abandon(self) -> None:
        """Forget the connection: the thread of a check that did not end may still use it."""
        self._connected = None

    def close(self) -> None:
        """Close the connection. A repeat is harmless."""
        if isinstance(self._connected, db.Connection):
            self._connected.close()

    @cached_property
    def loaded(self) -> Config | ConfigError:
        """The configuration, or its faults."""
        try:
            environ = self.environ
            if self._host_unit and not self.flags.get("dsn"):
                environ = as_service(self._host_unit, environ)
            return settings.load(self.flags, environ, uid=os.getuid(), default_file=settings.DEFAULT_FILE)
        except ConfigError as exc:
            return exc

    @property
    def config(self) -> Config:
        """The configuration. Raises Skipped if it has a fault."""
        if isinstance(self.loaded, ConfigError):
            raise Skipped(CONFIG_FAULT)
        return self.loaded

    @cached_property
    def registries_or_fault(self) -> Mapping[str, Scanner] | ConfigError:
        """All registries of the configuration, or the faults of the declared ones."""
        try:
            return registries(self.config)
        except ConfigError as exc:
            return exc

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """All registries of the configuration. Raises Skipped if one cannot be."""
        if isinstance(self.registries_or_fault, ConfigError):
            raise Skipped(REGISTRY_FAULT)
        return self.registries_or_fault

    @property
    def root(self) -> Path:
        """The directory of the registries. Raises Skipped if there is none, or if its file system hangs."""
        root = self.output_root
        if not self.root_answers:
            raise Skipped(f"the root {root} does not answer")
        try:
            if stat.S_ISDIR(root.stat().st_mode):
                return root
        except PermissionError:
            raise Skipped(f"needs the right to read {root}: ask as root or as the service's user") from None
        except OSError:
            pass
        raise Skipped(f"the root {root} is no directory here")

    @property
    def output_root(self) -> Path:
        """The infrastructure root, or its shadow. Raises Skipped if none is configured."""
        if self.config.root is None:
            raise Skipped(NO_ROOT)
        return self.config.require_output_root()

    def require_files(self) -> None:
        """Raise Skipped if `root` does: the registries are not on this host, or cannot be read."""
        self.root  # noqa: B018 - the property raises it

    @cached_property
    def root_answers(self) -> bool:
        """Whether the file system of the registries answers. Raises Skipped without a root."""
        return answers_in_time(self.output_root, self.patience_s)

    def connect(self) -> db.Connection:
        """Return the connection; open it if necessary. Raises the error of the first attempt again."""
        if isinstance(self._connected, OmnicdcError):
            raise self._connected
        if self._connected is None or self._connected.closed:
            self._connected = self._opened()
            if isinstance(self._connected, OmnicdcError):
                raise self._connected
            self._connected.deadline = self._deadline
        return self._connected

    def another(self) -> db.Connection:
        """Open a second connection. Raises the errors of `db.connect`."""
        return db.connect(self.config.target, connect_s=self.config.target.silence.probe_s)

    def _opened(self) -> db.Connection | OmnicdcError:
        try:
            conn = db.connect(self.config.target, connect_s=10.0)
            if not conn.behind_pooler:
                with db.translated("connecting"):
                    limit(conn, local=False)
                    db.execute(conn, "limit_lock_wait", {"limit": LOCK_WAIT})
        except OmnicdcError as exc:
            return exc
        return conn

    @property
    def conn(self) -> db.Connection:
        """The connection. Raises Skipped if there is none."""
        try:
            return self.connect()
        except OmnicdcError:
            raise Skipped(NO_CONNECTION) from None

    @cached_property
    def role(self) -> AskingRole:
        """Who asks. Raises Skipped without a connection."""
        conn = self.conn
        with db.translated("asking for the role"), db.confined(conn):
            row = db.fetch_one(conn, "asking_role")
        return AskingRole(**row)

    @cached_property
    def schema_fault(self) -> OmnicdcError | None:
        """Why omnicdc's schema cannot be used; None if it can be."""
        try:
            db.check_schema(self.conn)
        except OmnicdcError as exc:
            return exc
        return None

    @property
    def closed(self) -> bool:
        """Whether the schema cannot be used because a right is missing."""
        return self.schema_fault is not None and isinstance(
            self.schema_fault.__cause__, errors.InsufficientPrivilege
        )

    @property
    def installed(self) -> db.Connection:
        """The connection, to a database whose schema can be used. Raises Skipped otherwise."""
        conn = self.conn
        if self.schema_fault:
            raise Skipped(NO_SCHEMA)
        return conn

    @cached_property
    def policy_faults(self) -> list[db.Row]:
        """What is wrong with the row-level security of omnicdc's tables, each with its remedy."""
        conn = self.installed
        with db.translated("looking for row-level security"), db.confined(conn):
            return db.fetch_all(conn, "row_security_fault")

    @property
    def has_schema(self) -> bool:
        """Whether `installed` can be had."""
        try:
            return bool(self.installed)
        except Skipped:
            return False

    def require_tables(self) -> None:
        """Raise Skipped if an earlier check found that CMP's tables cannot be read."""
        if self.unreadable:
            raise Skipped(f"CMP's tables cannot be read: see `{self.unreadable}`")

    @cached_property
    def reads(self) -> Mapping[str, bool]:
        """Whether the server is a standby, and whether daemons may only read. Raises Skipped."""
        if not self.role.groups:
            return {"standby": False, "only_reads": False}
        with db.translated("looking at the server"), db.confined(self.conn):
            return db.fetch_one(self.conn, "only_reads")

    @cached_property
    def status(self) -> Mapping[str, Any]:
        """The answer of `omnicdc status`. Raises Skipped without a schema, and DatabaseUnavailable."""
        return status(self.installed, max_lag_s=self.config.max_lag_s)

    @cached_property
    def tables(self) -> Tables:
        """Source to its table. Raises Skipped without a connection."""
        return find_tables(self.conn, self.config, self.scanners.values())

    @cached_property
    def _host_unit(self) -> Unit | None:
        return read_unit(self.environ)

    @cached_property
    def unit(self) -> Unit | None:
        """The unit omnicdc.service of this host; None if there is none, or if it serves another root."""
        found = self._host_unit
        if found is None or isinstance(self.loaded, ConfigError) or self.loaded.root is None:
            return found
        return found if self._unit_root in (None, self.loaded.root) else None

    @cached_property
    def _unit_root(self) -> Path | None:
        """The root that the unit's own settings name; None if that is not known."""
        if self._host_unit is None:
            return None
        asker = ("OMNICDC_", "CMP_DB_", "PG")
        ours = {name: value for name, value in self.environ.items() if not name.startswith(asker)}
        environ = as_service(self._host_unit, ours | dict(self._host_unit.environment))
        try:
            return settings.load({}, environ, uid=0, default_file=settings.DEFAULT_FILE).root
        except ConfigError:
            return None

    @property
    def no_unit(self) -> str:
        """Why there is no unit to look at."""
        if self._host_unit is None:
            return NO_UNIT
        return f"the unit omnicdc.service publishes below {self._unit_root}: another daemon serves this root"

    @cached_property
    def daemon_user(self) -> User:
        """The user of the daemon here: the unit's, else the running daemon's, else the one who asks.

        Raises Skipped if it is unknown.
        """
        if self.unit is None:
            holder = holder_of(self.output_root) if self.root_answers else None
            with suppress(OSError):  # the process has ended meanwhile
                return process_user(holder) if holder else this_user()
            return this_user()
        if not self.unit.user:
            return named_user("root")
        try:
            return named_user(self.unit.user, self.unit.group, self.unit.supplementary_groups)
        except LookupError:
            raise Skipped(f"the unit's user {self.unit.user} does not exist: see `user`") from None
