"""Builds the connection string for CMP's database from the configuration, and names the sources of its parts.

This module opens no connection; `connect` does. psycopg is imported only where it is needed, so that
importing `config` is fast.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.db.masking import harmless
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnicdc.db.password import PasswordFile

CMP = {"host": "CMP_DB_HOST", "port": "CMP_DB_PORT", "dbname": "CMP_DB_NAME", "user": "CMP_DB_USER"}
CMP_PASSWORD = "CMP_DB_PASSWORD"  # noqa: S105 - the name of the variable
CREDENTIALS = "CREDENTIALS_DIRECTORY"
HIGHEST_PORT = 65535
NO_PORT = f"the port is not a number from 1 to {HIGHEST_PORT}"
NO_PASSWORD = "no password"  # noqa: S105 - the end of `Login.sources`
CMP_DEFAULTS = {"port": "5433", "dbname": "cms_db"}

ROBUST = {
    "connect_timeout": "10",
    # With these keepalives, a vanished peer is detected within a minute, not after TCP's two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    # A plain application_name would override the user's PGAPPNAME.
    "fallback_application_name": "omnicdc",
}
"""Our default values for libpq's parameters. What the user configures takes precedence."""

NO_USER = "\0"
"""The user of a DSN that cannot be parsed. No real user can have this name."""

PATIENCE_S = 10.0
"""How many seconds we wait for the password file by default: as long as for a server (`connect_timeout`)."""

NAME_THE_DATABASE = "name it with --dsn or OMNICDC_DSN, or run the command with sudo"

ESCAPES = "in a URI, write / @ : % of a password as %2F %40 %3A %25"

FORMS = "write postgresql://USER@HOST:5432/DATABASE, or host=HOST dbname=DATABASE user=USER"


Parameters = dict[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a server may be silent, in seconds."""

    allowed_s: float = 5.0
    """How long a query may go without an answer before we probe: ask, over a second connection, whether the
    server works on it."""
    probe_s: float = 3.0
    """How long connecting for the probe may take, and how long its answer may take."""


@dataclass(frozen=True, slots=True)
class Login:
    """The connection string of one connection, and the sources of its parts.

    The repr and `sources` show no password.
    """

    conninfo: str = field(repr=False)
    sources: str = ""
    silence: Silence = Silence()


@dataclass(frozen=True, slots=True)
class Target:
    """Where CMP's database is, and where the password comes from.

    The password is read again for each connection.
    """

    dsn: str | None = field(default=None, repr=False)
    source: str = field(default="", compare=False)
    """The flag, the variable, or the line of the configuration file that sets `dsn`."""
    password_file: PasswordFile | None = None
    password_source: str = field(default="", compare=False)
    """The flag, the variable, or the line of the configuration file that sets `password_file`."""
    beside: str | None = field(default=None, repr=False)
    """The DSN that belongs to `password_file`: among the DSNs from sources that do not take precedence over
    the password file's source, the one with the highest precedence."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    silence: Silence = Silence()
    unread: str = field(default="", compare=False)
    """Why the default configuration file cannot be read by this user; empty text if that is not so."""
    unread_password: str = field(default="", compare=False)
    """The same of the password file beside it."""
    empty_file: str = field(default="", compare=False)
    """That the configuration file sets nothing, and what is in force then; empty text if that is not so."""

    def login(self, budget_s: float = PATIENCE_S, going_on: Callable[[], bool] | None = None) -> Login:
        """Build the connection string, with the password that the file holds now.

        Raises ConfigError if a part is invalid, or if nothing says where CMP is, because this user cannot
        read the default configuration file; DatabaseUnavailable if the password file cannot be read within
        `budget_s` seconds; and Interrupted as soon as `going_on()` returns false.
        """
        if self.unread and not self.names_a_server():
            raise ConfigError(f"the connection to CMP is not known: {self.unread}", hint=NAME_THE_DATABASE)
        secret = None
        if self.password_file:
            try:
                secret = self.password_file.read(budget_s, going_on)
            except ValueError as exc:
                raise ConfigError(f"{self.password_source}: {exc}") from None
        try:
            return self.assembled(secret)
        except ValueError as exc:
            raise ConfigError(f"{self.source or 'CMP_DB_*'}: {exc}") from None

    def assembled(self, secret: str | None) -> Login:
        """Build the connection string from `dsn`, else from CMP_DB_*; else libpq uses PG* and its service.

        `secret` is the password from the password file. It takes precedence over CMP_DB_PASSWORD and
        PGPASSWORD, but not over a password in `dsn`. It is sent only for the user that is configured together
        with the password file. Raises ValueError, whose text contains no part of a password.
        """
        from psycopg.conninfo import make_conninfo  # noqa: PLC0415

        given = _parsed(self.dsn) if self.dsn else _from_cmp(self.environ)
        if not given.get("port") and not _are_ports(self.environ.get("PGPORT", "")):
            raise ValueError(f"no port is given here, and PGPORT is not a number from 1 to {HIGHEST_PORT}")
        owner = self._owner()
        withheld = owner is not None and owner != self._user(given)
        in_dsn = bool(self.dsn and given.get("password"))
        if secret and not (in_dsn or withheld):
            given["password"] = secret
            found = f"password from password_file {self.password_file} ({self.password_source})"
        else:
            found = self._password_of(given)
            lacking = f"as {self.unread_password}" if self.unread_password and not withheld else ""
            found = f"password from {found}" if found else " ".join(filter(None, [NO_PASSWORD, lacking]))
            if secret and withheld and not in_dsn:
                other = owner if owner and owner != NO_USER else "another user"
                found += f"; password_file {self.password_file} is for {other}"
        parameters = _robust(self.environ) | _the_primary(given, self.environ) | given
        sources = f"database from {self._named()}, {found}"
        return Login(make_conninfo("", **parameters), sources, self.silence)

    def names_a_server(self) -> bool:
        """Whether a DSN, CMP_DB_* or PG* says where CMP is. If not, libpq uses its own defaults."""
        named = (*CMP.values(), "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE")
        return bool(self.dsn) or any(self.environ.get(variable) for variable in named)

    def _owner(self) -> str | None:
        """Return the user whose password the password file holds.

        Returns None if no user is configured together with the file. Then the password is sent for any user.
        """
        if self.beside is not None:
            try:
                return self._user(_parsed(self.beside))
            except ValueError:
                return NO_USER
        if beside := _from_cmp(self.environ):
            return self._user(beside)
        return self.environ.get("PGUSER")

    def _user(self, given: Parameters) -> str:
        """Return the user of the connection. Empty text stands for the user that runs the process."""
        return str(given.get("user") or self.environ.get("PGUSER") or "")

    def _named(self) -> str:
        if self.dsn:
            return self.source or "the connection string"
        if _from_cmp(self.environ):
            return "CMP_DB_*"
        why = self.unread or self.empty_file
        named = "PG*" if self.names_a_server() else "libpq's defaults (no DSN, CMP_DB_* or PG* is set)"
        return f"{named} ({why})" if why else named

    def _password_of(self, given: Parameters) -> str:
        """Return the name of the source from which libpq takes the password; empty text if there is none."""
        if given.get("password"):
            return self._named() if self.dsn else CMP_PASSWORD
        if self.environ.get("PGPASSWORD"):
            return "PGPASSWORD"
        named = str(given.get("passfile") or self.environ.get("PGPASSFILE") or "")
        file = Path(named or Path(self.environ.get("HOME", "/nonexistent"), ".pgpass"))
        if not (named or os.path.exists(file)):  # noqa: PTH110 - never raises; libpq ignores a closed home, too
            return ""
        ignored = _ignored_by_libpq(file)
        return f"{named or '~/.pgpass'}{f' (which libpq ignores: {ignored})' if ignored else ''}"


def _ignored_by_libpq(file: Path) -> str:
    """Return why libpq ignores a password file (.pgpass); empty text if libpq uses the file."""
    try:
        mode = file.stat().st_mode
    except OSError as exc:
        return str(exc.strerror)
    if not stat.S_ISREG(mode):
        return "it is no regular file"
    if mode & 0o077:
        return f"its mode is {stat.S_IMODE(mode):04o}, `chmod 600 {file}`"
    return "" if os.access(file, os.R_OK) else "it cannot be read"


def relevant(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment variables that affect how to connect."""
    return {
        name: value for name, value in environ.items() if name.startswith(("CMP_DB_", "PG")) or name == "HOME"
    }


def _parsed(dsn: str) -> Parameters:
    """Return the parameters of a DSN. Raises ValueError, whose text contains no part of a password."""
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    remedy = ESCAPES if "://" in dsn else FORMS
    try:
        given: Parameters = dict(conninfo_to_dict(dsn))
    except ProgrammingError as exc:
        raise ValueError(f"not a connection string: {harmless(str(exc))} - {remedy}") from None
    if not _are_ports(str(given.get("port", ""))):
        raise ValueError(f"{NO_PORT} - {remedy}")
    return given


def _are_ports(ports: str) -> bool:
    return all(port.isdecimal() and 0 < int(port) <= HIGHEST_PORT for port in ports.split(",") if port)


def credential(environ: Mapping[str, str]) -> Path | None:
    """Return the password file that systemd's `LoadCredential=cmp_password:FILE` gives to the service.

    Reading it says why, if this process may not read the directory.
    """
    if not (directory := environ.get(CREDENTIALS)):
        return None
    file = Path(directory, "cmp_password")
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass
    return file


def _from_cmp(environ: Mapping[str, str]) -> Parameters:
    variables = {**CMP, "password": CMP_PASSWORD}
    given = {key: environ[variable] for key, variable in variables.items() if environ.get(variable)}
    if not _are_ports(given.get("port", "")):
        raise ValueError(f"{NO_PORT} - for example CMP_DB_PORT=5432")
    return {**CMP_DEFAULTS, **given} if given else {}


def has_cmp(environ: Mapping[str, str]) -> bool:
    """Whether the variables CMP_DB_* say where CMP is."""
    return any(environ.get(variable) for variable in CMP.values())


def _robust(environ: Mapping[str, str]) -> Parameters:
    """Return our default parameters, without connect_timeout if PGCONNECT_TIMEOUT is set."""
    own = {"connect_timeout"} if environ.get("PGCONNECT_TIMEOUT") else set()
    return {key: value for key, value in ROBUST.items() if key not in own}


def _the_primary(given: Mapping[str, object], environ: Mapping[str, str]) -> Parameters:
    """If several servers are given, return the parameter that makes libpq choose the one that takes writes.

    The daemon needs it to write acknowledgements. A wait needs it because a standby may lag.
    """
    several = any("," in str(given.get(key) or "") for key in ("host", "hostaddr"))
    own = "PGTARGETSESSIONATTRS" in environ
    return {"target_session_attrs": "read-write"} if several and not own else {}


def describe_dsn(conninfo: str) -> str:
    """Return text for a message that names the database as libpq would find it, without any password."""
    from psycopg import ProgrammingError, pq  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        given = conninfo_to_dict(conninfo)
    except ProgrammingError:
        return "an unreadable connection string"
    defaults = {
        it.keyword.decode(): it.val.decode(errors="replace") for it in pq.Conninfo.get_defaults() if it.val
    }
    merged = defaults | given
    named = (
        f"{key}={merged[key]}" for key in ("service", "host", "port", "dbname", "user") if merged.get(key)
    )
    return " ".join(named)
