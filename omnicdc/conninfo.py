"""How CMP's database is reached: one connection string out of what was configured.

`db` connects with it; here nothing is opened. psycopg is imported on use, for `config` must be cheap.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CMP = {"host": "CMP_DB_HOST", "port": "CMP_DB_PORT", "dbname": "CMP_DB_NAME", "user": "CMP_DB_USER"}
CMP_PASSWORD = "CMP_DB_PASSWORD"  # noqa: S105 - the name of the variable
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

ESCAPES = "in a URI, write / @ : % of a password as %2F %40 %3A %25"


def assemble(dsn: str | None, secret: str | None, environ: Mapping[str, str]) -> str:
    """Build the connection string from `dsn`, else from CMP_DB_*, else for libpq's own PG* and service.

    `secret` comes from a file: it wins over CMP_DB_PASSWORD, not over one in `dsn`. Raises
    ValueError, without any part of a password in its text.
    """
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict, make_conninfo  # noqa: PLC0415

    try:
        given = conninfo_to_dict(dsn) if dsn else _from_cmp(environ)
    except ProgrammingError as exc:
        raise ValueError(f"not a connection string: {_harmless(str(exc))} - {ESCAPES}") from None
    if not all(port.isdecimal() for port in str(given.get("port", "")).split(",") if port):
        raise ValueError(f"the port is not a number - {ESCAPES}")
    if secret and not (dsn and given.get("password")):
        given["password"] = secret
    return make_conninfo("", **(_robust(environ) | _the_primary(given, environ) | given))


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


def password(file: Path | None) -> str | None:
    """Read a password, without the newline that editors leave at a file's end. Raises ValueError."""
    if file is None:
        return None
    try:
        found = file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as exc:
        raise ValueError(f"{file}: {exc.strerror}") from exc
    except UnicodeDecodeError:
        found = ""
    if not found or "\0" in found:
        raise ValueError(f"{file}: a password in UTF-8 expected")
    return found


def _from_cmp(environ: Mapping[str, str]) -> dict[str, str | int | None]:
    variables = {**CMP, "password": CMP_PASSWORD}
    given = {key: environ[variable] for key, variable in variables.items() if environ.get(variable)}
    return {**CMP_DEFAULTS, **given} if given else {}


def _robust(environ: Mapping[str, str]) -> dict[str, str | int | None]:
    """Leave the time-out to libpq's own variable where there is one."""
    own = {"connect_timeout"} if environ.get("PGCONNECT_TIMEOUT") else set()
    return {key: value for key, value in ROBUST.items() if key not in own}


def _the_primary(given: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, str | int | None]:
    """Of several servers, look for the one that takes writes: the daemon acknowledges, and waiters must not lag."""
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
    defaults = {it.keyword.decode(): it.val.decode() for it in pq.Conninfo.get_defaults() if it.val}
    merged = defaults | given
    named = (
        f"{key}={merged[key]}" for key in ("service", "host", "port", "dbname", "user") if merged.get(key)
    )
    return " ".join(named)
