"""How CMP's database is reached.

One connection string, and the sources of its parts, out of what was configured.

`db` connects with it; here nothing is opened. psycopg is imported on use, for `config` must be cheap.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnicdc.db.password import PasswordFile

CMP = {"host": "CMP_DB_HOST", "port": "CMP_DB_PORT", "dbname": "CMP_DB_NAME", "user": "CMP_DB_USER"}
CMP_PASSWORD = "CMP_DB_PASSWORD"  # noqa: S105 - the name of the variable
CREDENTIALS = "CREDENTIALS_DIRECTORY"
CMP_DEFAULTS = {"port": "5433", "dbname": "cms_db"}

ROBUST = {
    "connect_timeout": "10",
    # A peer that vanished without a word is noticed within a minute, not after TCP's two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    # The plain application_name would override the user's PGAPPNAME.
    "fallback_application_name": "omnicdc",
}
"""Each only where the user said nothing."""

NO_USER = "\0"
"""Stands for the user of a DSN that cannot be read: no user can have this name."""

PATIENCE_S = 10.0
"""How long we wait for the password file by default: as long as for a server (`connect_timeout`)."""

ESCAPES = "in a URI, write / @ : % of a password as %2F %40 %3A %25"


Parameters = dict[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a server may say nothing, in seconds."""

    allowed_s: float = 5.0
    """How long it may owe an answer and say nothing before it is asked what it does."""
    probe_s: float = 3.0
    """How long connecting to ask that may take, and as long the answer."""


@dataclass(frozen=True, slots=True)
class Login:
    """What one connection is opened with, and where that was written.

    Its repr and `sources` show no password.
    """

    conninfo: str = field(repr=False)
    sources: str = ""
    silence: Silence = Silence()


@dataclass(frozen=True, slots=True)
class Target:
    """Where CMP's database is, and where the password comes from; read anew for each connection."""

    dsn: str | None = field(default=None, repr=False)
    source: str = field(default="", compare=False)
    """The flag, variable or line that `dsn` was written in."""
    password_file: PasswordFile | None = None
    password_source: str = field(default="", compare=False)
    """The flag, variable or line that `password_file` was written in."""
    beside: str | None = field(default=None, repr=False)
    """The DSN with the highest precedence of those that do not take precedence over `password_file`."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    silence: Silence = Silence()

    def login(self, budget_s: float = PATIENCE_S, going_on: Callable[[], bool] | None = None) -> Login:
        """Put the connection string together, with the password that the file holds now.

        Raises ConfigError; DatabaseUnavailable if the file cannot be read within `budget_s`; and Interrupted
        as soon as it need not go on.
        """
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
        """Build the connection string from `dsn`, else from CMP_DB_*, else for libpq's own PG* and service.

        `secret`, from the password file, takes precedence over CMP_DB_PASSWORD and PGPASSWORD, not over one
        in `dsn`; and it is sent for one user only: the one that is configured beside it. Raises ValueError,
        without any part of a password in its text.
        """
        from psycopg.conninfo import make_conninfo  # noqa: PLC0415

        given = _parsed(self.dsn) if self.dsn else _from_cmp(self.environ)
        if not given.get("port") and not _are_numbers(self.environ.get("PGPORT", "")):
            raise ValueError("no port is given here, and PGPORT is not a number")
        owner = self._owner()
        withheld = owner is not None and owner != self._user(given)
        in_dsn = bool(self.dsn and given.get("password"))
        if secret and not (in_dsn or withheld):
            given["password"] = secret
            found = f"password from password_file {self.password_file} ({self.password_source})"
        else:
            found = self._password_of(given)
            found = f"password from {found}" if found else "no password"
            if secret and withheld and not in_dsn:
                other = owner if owner and owner != NO_USER else "another user"
                found += f"; password_file {self.password_file} is for {other}"
        parameters = _robust(self.environ) | _the_primary(given, self.environ) | given
        sources = f"database from {self._named()}, {found}"
        return Login(make_conninfo("", **parameters), sources, self.silence)

    def _owner(self) -> str | None:
        """Return the user whose password the file holds; None if no user is configured beside it.

        Then it is anyone's.
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
        """Return the user that a connection is for; the one of the process is the empty text."""
        return str(given.get("user") or self.environ.get("PGUSER") or "")

    def _named(self) -> str:
        if self.dsn:
            return self.source or "the connection string"
        return "CMP_DB_*" if _from_cmp(self.environ) else "PG*"

    def _password_of(self, given: Parameters) -> str:
        """Return the name of what libpq takes the password from; empty if there is none."""
        if given.get("password"):
            return self._named() if self.dsn else CMP_PASSWORD
        if self.environ.get("PGPASSWORD"):
            return "PGPASSWORD"
        named = str(given.get("passfile") or self.environ.get("PGPASSFILE") or "")
        file = Path(named or Path(self.environ.get("HOME", "/nonexistent"), ".pgpass"))
        if not (named or file.exists()):
            return ""
        ignored = _ignored_by_libpq(file)
        return f"{named or '~/.pgpass'}{f' (which libpq ignores: {ignored})' if ignored else ''}"


def _ignored_by_libpq(file: Path) -> str:
    """Return why libpq takes no password from a password file; empty if it does."""
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
    """Return the variables that say how to connect."""
    return {
        name: value for name, value in environ.items() if name.startswith(("CMP_DB_", "PG")) or name == "HOME"
    }


def _parsed(dsn: str) -> Parameters:
    """Return the parameters of a DSN. Raises ValueError, without any part of a password in its text."""
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        given: Parameters = dict(conninfo_to_dict(dsn))
    except ProgrammingError as exc:
        raise ValueError(f"not a connection string: {_harmless(str(exc))} - {ESCAPES}") from None
    if not _are_numbers(str(given.get("port", ""))):
        raise ValueError(f"the port is not a number - {ESCAPES}")
    return given


def _are_numbers(ports: str) -> bool:
    return all(port.isdecimal() for port in ports.split(",") if port)


def holds_secret(dsn: str | None) -> bool:
    """Whether a connection string says what libpq itself would not show; one that does not parse may."""
    if not dsn:
        return False
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415
    from psycopg.pq import Conninfo  # noqa: PLC0415

    options = Conninfo.get_defaults()
    hidden = {
        it.keyword.decode() for it in options if it.dispchar == b"*" or it.keyword.startswith(b"scram_")
    }
    try:
        return any(conninfo_to_dict(dsn).get(option) for option in hidden)
    except ProgrammingError:
        return False  # `assemble` refuses it


def credential(environ: Mapping[str, str]) -> Path | None:
    """Find the password that systemd's `LoadCredential=cmp_password:FILE` hands to the service."""
    file = Path(environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), "cmp_password")
    return file if file.exists() else None


def _from_cmp(environ: Mapping[str, str]) -> Parameters:
    variables = {**CMP, "password": CMP_PASSWORD}
    given = {key: environ[variable] for key, variable in variables.items() if environ.get(variable)}
    if not given.get("port", "0").isdecimal():
        raise ValueError(f"the port is not a number - {ESCAPES}")
    return {**CMP_DEFAULTS, **given} if given else {}


def _robust(environ: Mapping[str, str]) -> Parameters:
    """Leave the time-out to libpq's own variable where there is one."""
    own = {"connect_timeout"} if environ.get("PGCONNECT_TIMEOUT") else set()
    return {key: value for key, value in ROBUST.items() if key not in own}


def _the_primary(given: Mapping[str, object], environ: Mapping[str, str]) -> Parameters:
    """Of several servers, look for the one that takes writes.

    The daemon acknowledges, and waiters must not lag.
    """
    several = any("," in str(given.get(key) or "") for key in ("host", "hostaddr"))
    own = "PGTARGETSESSIONATTRS" in environ
    return {"target_session_attrs": "read-write"} if several and not own else {}


def _harmless(complaint: str) -> str:
    """Cut libpq's quotation off, unless it nearly is an option: it may be a piece of a password."""
    from psycopg.pq import Conninfo  # noqa: PLC0415

    quoted = re.fullmatch(r'invalid (?:connection option|URI query parameter):? "(\w+)"\s*', complaint)
    options = [it.keyword.decode() for it in Conninfo.get_defaults()]
    if quoted and (near := difflib.get_close_matches(quoted[1], options, n=1)):
        return f"no such option as {quoted[1]}, did you mean {near[0]}?"
    return re.sub(r'(?<!"[=\]])"(?![=\]]").*', "…", complaint.strip(), flags=re.DOTALL)


def describe_dsn(conninfo: str) -> str:
    """Name the database for a message, as libpq would find it, without any password."""
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
