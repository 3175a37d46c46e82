"""Defines all settings, and reads them from flags, OMNICDC_* variables and one YAML file.

Each source gives text, so that one reader function per setting serves all three sources, and a fault can name
its flag, its variable or its line. No module below this package reads the environment.
"""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.config import sources
from omnicdc.config.readers import (
    line,
    one_of,
    path,
    positive,
    seconds,
    share,
    span,
    switch,
    table,
    text,
    whole,
)
from omnicdc.db import conninfo
from omnicdc.db.conninfo import CREDENTIALS, Target, describe_dsn
from omnicdc.db.password import PasswordFile
from omnicdc.errors import ConfigError, DatabaseUnavailable
from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.config.declared import Declared
    from omnicdc.config.sources import Given

__all__ = ["SETTINGS", "Config", "Setting", "describe_dsn", "load"]

PASSWORD_S = 0.5
"""How many seconds `load` waits for the password file, to report the file's faults together with the
others."""


def _about(read: Callable[[str], object], meaning: str, separator: str = "") -> dict[str, Any]:
    return {"read": read, "meaning": meaning, "separator": separator}


NAME_ROOT = "--root DIR or OMNICDC_ROOT; in a program: `GenesisClient(root=…)`"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, checked. `load` creates this object. Its repr never shows a password."""

    dsn: str | None = field(
        default=None, repr=False, metadata=_about(text, "connection string or URI of CMP's database")
    )
    password_file: Path | None = field(
        default=None, metadata=_about(path, "file that holds the database password")
    )
    root: Path | None = field(
        default=None, metadata=_about(path, "infrastructure root, which holds governance/registry")
    )
    workspaces: tuple[Path, ...] = field(
        default=(), metadata=_about(path, "further directories to look for clones in", os.pathsep)
    )
    state_dir: Path = field(
        default=Path("/var/lib/omnicdc"), metadata=_about(path, "where omnicdc keeps what is its own")
    )
    tables: tuple[tuple[str, str], ...] = field(
        default=(), metadata=_about(table, "the table of each source, NAME or SCHEMA.NAME", ",")
    )
    """Source and table. The table of a source that is not named here has the source's name."""
    consumer: str = field(
        default="localhost", metadata=_about(line, "this daemon's name in the database, else the host's")
    )
    wake: Literal["notify", "poll"] = field(
        default="notify",
        metadata=_about(one_of("notify", "poll"), "`poll` where a pooler breaks LISTEN"),
    )
    poll_s: float = field(
        default=5.0, metadata=_about(seconds, "the longest time between two looks at the log")
    )
    sweep_s: float = field(
        default=3600.0, metadata=_about(seconds, "time between two compares of everything with everything")
    )
    refresh_s: float = field(
        default=900.0, metadata=_about(seconds, "time between two looks at clones and GitHub")
    )
    retention: timedelta = field(
        default=timedelta(days=7), metadata=_about(span, "how long changes are kept")
    )
    consumer_expiry: timedelta = field(
        default=timedelta(days=1),
        metadata=_about(span, "a consumer silent for longer no longer holds the log back"),
    )
    max_lag_s: float = field(
        default=90.0, metadata=_about(seconds, "`status` reports a consumer that is behind for longer")
    )
    wait_connections: int = field(
        default=4, metadata=_about(positive, "the most connections with which all waits of one process look")
    )
    guard_share: float = field(
        default=0.5, metadata=_about(share, "hold a registry that would lose more than this share of entries")
    )
    guard_min: int = field(default=10, metadata=_about(whole, "... and at least this many"))
    on_drift: Literal["restore", "alert"] = field(
        default="restore",
        metadata=_about(
            one_of("restore", "alert"), "what to do with a registry that another process changed"
        ),
    )
    on_publish: tuple[str, ...] = field(
        default=(), metadata=_about(line, "a command to run after each publication, and its arguments", " ")
    )
    hook_interval_s: float = field(
        default=1.0,
        metadata=_about(seconds, "the shortest time between two runs of a command after publications"),
    )
    hook_timeout_s: float = field(
        default=60.0, metadata=_about(seconds, "the longest time that such a command may take")
    )
    gh: bool = field(default=True, metadata=_about(switch, "ask GitHub through `gh`, where there is one"))
    github_owners: tuple[str, ...] = field(
        default=(), metadata=_about(line, "GitHub owners to list beside those in CMP", ",")
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata=_about(one_of("debug", "info", "warning", "error"), "the least to log")
    )
    registries: tuple[Declared, ...] = ()
    """The registries that the configuration file declares."""
    target: Target = field(default_factory=Target)
    """How to connect to CMP's database, and where the credentials come from."""
    file_settings: int = field(default=0, compare=False)
    """How many settings the configuration file holds."""

    @property
    def conninfo(self) -> str:
        """The connection string for psycopg. The password file is read at each access.

        Raises ConfigError for an invalid part, and DatabaseUnavailable if the password file cannot be read in
        time.
        """
        return self.target.login().conninfo

    def table_of(self, source: str) -> str:
        """Return the name of a source's table, as it was written."""
        return dict(self.tables).get(source, source)

    def require_root(self) -> Path:
        """Return the infrastructure root. Raises ConfigError if none is configured."""
        if self.root is None:
            raise ConfigError("no infrastructure root is configured", hint=NAME_ROOT)
        return self.root

    def require_root_directory(self) -> Path:
        """Return the infrastructure root, for commands that only compare files.

        Raises ConfigError if none is configured, or if it is not a directory now.
        """
        root = self.require_root()
        if not os.path.isdir(root):  # noqa: PTH112 - never raises
            raise ConfigError(
                f"the infrastructure root {root} is not a directory",
                hint=f"is it mounted? else name another one: {NAME_ROOT}",
            )
        return root


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of one setting, for `load` and for the documentation."""

    name: str
    meaning: str
    default: object
    read: Callable[[str], object]
    separator: str
    """The separator of the items of a list in an environment variable; empty for a single value."""


SETTINGS: Mapping[str, Setting] = {
    it.name: Setting(it.name, default=it.default, **it.metadata) for it in fields(Config) if it.metadata
}
_SEPARATORS = {name: setting.separator for name, setting in SETTINGS.items()}


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    uid: int,
    flag_name: Callable[[str], str] = sources.command_flag,
    password_s: float = PASSWORD_S,
) -> Config:
    """Read the settings from every source.

    Flags take precedence over OMNICDC_* variables, variables over the file, and the file over the defaults. A
    flag that is None or an empty tuple is not set. `flag_name` returns the name of a flag for messages.
    `uid` is the user whose home directory is used if HOME is not set. `password_s` is how many seconds to
    wait for the password file.

    Raises ConfigError with one line for each fault. Faults in values that another source overrides are
    included.
    """
    faults: list[str] = []
    home = _home(environ, uid)
    values: dict[str, Any] = {"password_file": conninfo.credential(environ), "consumer": os.uname().nodename}
    places: dict[str, str] = {}
    dsns: list[Given] = []
    password_layer = sources.ENVIRONMENT
    file_settings = 0
    for given in sources.in_order(flags, environ, _SEPARATORS, faults, flag_name):
        if given.registries:
            values[given.name] = given.registries
            file_settings += 1
            continue
        with _collecting(faults, given.where):
            found = _value(given, home)
            # A flag that names one table leaves the others as the file has them.
            values[given.name] = _united(values, found) if given.name == "tables" else found
        places[given.name] = given.where
        file_settings += given.layer == sources.FILE
        if given.name == "dsn":
            dsns.append(given)
        elif given.name == "password_file":
            password_layer = given.layer
    if "state_dir" not in places:
        with _collecting(faults, "state_dir"):
            values["state_dir"] = _state_dir(environ, uid, home)
    beside = [given.words[0] for given in dsns if given.layer <= password_layer]
    values["target"] = target = Target(
        dsn=values.get("dsn"),
        source=places.get("dsn", ""),
        password_file=PasswordFile(file) if (file := values["password_file"]) else None,
        password_source=places.get("password_file", CREDENTIALS),
        beside=beside[-1] if beside else None,
        environ=conninfo.relevant(environ),
    )
    _check(target, password_s, faults)
    if faults:
        raise ConfigError("\n".join(fault.replace("\n", "\\n") for fault in faults))
    return Config(**values, file_settings=file_settings)


def _check(target: Target, password_s: float, faults: list[str]) -> None:
    """Add the faults of the connection string and of the password file."""
    # libpq accepts variables that are not UTF-8, but psycopg does not.
    not_utf8 = [name for name, value in target.environ.items() if not is_unicode(value)]
    faults += (f"{name}: text in UTF-8 expected" for name in not_utf8)
    # A slow password file is no fault here: each connection waits longer for it.
    with _collecting(faults, target.password_source), suppress(DatabaseUnavailable):
        if target.password_file:
            target.password_file.read(password_s)
    with _collecting(faults, target.source or "CMP_DB_*"):
        if not not_utf8:
            target.assembled(None)


@contextmanager
def _collecting(faults: list[str], where: str) -> Iterator[None]:
    """Add an error of the `with` block to `faults`, with its source `where`, instead of raising it."""
    try:
        yield
    except (ValueError, OSError) as exc:
        faults.append(f"{where}: {exc}")


def _value(given: Given, home: Path | None) -> object:
    setting = SETTINGS[given.name]
    if given.listed and not setting.separator:
        raise ValueError("one value expected, found a list")
    read = (setting.read(word) for word in given.words)
    values = tuple(given.absolute(value, home) if isinstance(value, Path) else value for value in read)
    return values if setting.separator else values[0]


def _united(values: Mapping[str, Any], found: object) -> tuple[tuple[str, str], ...]:
    """Return the tables of the sources; those that were found later take precedence."""
    pairs: Any = found
    return tuple({**dict(values.get("tables", ())), **dict(pairs)}.items())


def _home(environ: Mapping[str, str], uid: int) -> Path | None:
    if home := environ.get("HOME"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:  # in a container, the user id may have no entry in passwd
        return None


def _state_dir(environ: Mapping[str, str], uid: int, home: Path | None) -> Path:
    if given := environ.get("STATE_DIRECTORY"):  # set by systemd; several directories are separated by colons
        return path(given.split(":")[0])
    if uid == 0:
        return Path("/var/lib/omnicdc")
    if given := environ.get("XDG_STATE_HOME"):
        return path(given) / "omnicdc"
    if home is None:
        raise ValueError("no home directory is known to keep it in - --state-dir DIR or OMNICDC_STATE_DIR")
    return home / ".local/state/omnicdc"
