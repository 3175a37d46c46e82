"""Reads all settings from flags, OMNICDC_* variables and one YAML file.

Each source gives text, so that one reader function per setting serves all three sources, and a fault can name
its flag, its variable or its line. No module below this package reads the environment.
"""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc.config import sources
from omnicdc.config.config import SETTINGS, Config, Setting
from omnicdc.config.default_file import DEFAULT_FILE, ConfigFile, default_password, find_file
from omnicdc.config.readers import A_LIST, path
from omnicdc.db import conninfo
from omnicdc.db.conninfo import CREDENTIALS, NO_PASSWORD, Target, describe_dsn
from omnicdc.db.password import PasswordFile
from omnicdc.errors import ConfigError, DatabaseUnavailable
from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.config.sources import Given

__all__ = ["DEFAULT_FILE", "SETTINGS", "Config", "Setting", "describe_dsn", "load", "with_password_of"]

PASSWORD_S = 0.5
"""How many seconds `load` waits for the password file, to report the file's faults together with the
others."""


COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""The variables that name a collector to OpenTelemetry."""

_SEPARATORS = {name: setting.separator for name, setting in SETTINGS.items()}


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    uid: int,
    flag_name: Callable[[str], str] = sources.command_flag,
    password_s: float = PASSWORD_S,
    default_file: Path | None = None,
) -> Config:
    """Read the settings from every source.

    Flags take precedence over OMNICDC_* variables, variables over the file, and the file over the defaults. A
    flag that is None or an empty tuple is not set. `flag_name` returns the name of a flag for messages.
    `uid` is the user whose home directory is used if HOME is not set. `password_s` is how many seconds to
    wait for the password file. `default_file` is read if no flag and no variable names a file: the command
    and the clients pass DEFAULT_FILE.

    Raises ConfigError with one line for each fault. Faults in values that another source overrides are
    included.
    """
    faults: list[str] = []
    file = find_file(flags.get(sources.CONFIG), environ, default_file)
    found = _Found(file, _home(environ, uid))
    for given in sources.in_order(flags, environ, _SEPARATORS, faults, file=file.path, flag_name=flag_name):
        with _collecting(faults, given.where):
            found.add(given, environ)
    with _collecting(faults, "state_dir"):
        found.add_state_dir(environ, uid)
    found.resolve_otel(environ)
    unread_password = found.add_password_file(environ)
    target = Target(
        dsn=found.values.get("dsn"),
        source=found.origins.get("dsn", ""),
        password_file=PasswordFile(secret) if (secret := found.values.get("password_file")) else None,
        password_source=(found.derived | found.origins).get("password_file", ""),
        beside=found.dsn_beside_password,
        environ=conninfo.relevant(environ),
        unread=file.unread,
        unread_password=unread_password,
        empty_file="" if found.file_settings else file.sets_nothing,
    )
    _check(target, password_s, faults)
    if faults:
        raise ConfigError("\n".join(fault.replace("\n", "\\n") for fault in faults))
    return Config(
        **found.values,
        target=target,
        file=file,
        file_settings=found.file_settings,
        origins=found.origins,
        derived=found.derived,
    )


def with_password_of(host: Config, config: Config) -> Config:
    """Return `config` with the password file of `host`, if it has no password and connects to the same place.

    That is the same server and database, as the same user. Raises ConfigError if a connection string is
    invalid.
    """
    file, target = host.target.password_file, config.target
    if file is None or target.password_file or not target.login().sources.endswith(NO_PASSWORD):
        return config
    if _destination(host) != _destination(config):
        return config
    found = replace(
        target, password_file=file, password_source=host.target.password_source, beside=target.dsn
    )
    return replace(config, target=found)


def _destination(config: Config) -> list[object]:
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    sent = conninfo_to_dict(config.conninfo)
    return [sent.get(name) for name in ("service", "host", "hostaddr", "port", "dbname", "user")]


@dataclass(slots=True)
class _Found:
    """The settings that were found so far, and where."""

    file: ConfigFile
    home: Path | None
    values: dict[str, Any] = field(default_factory=lambda: {"consumer": os.uname().nodename})
    origins: dict[str, str] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=lambda: {"consumer": "the host's name"})
    """What the default of a setting depends on."""
    dsns: list[Given] = field(default_factory=list)
    password_layer: int = sources.ENVIRONMENT
    file_settings: int = 0

    def add(self, given: Given, environ: Mapping[str, str]) -> None:
        """Add a setting that takes precedence over what was added before. Raises ValueError and OSError."""
        self.file_settings += given.layer == sources.FILE
        if given.registries:
            self.values[given.name] = given.registries
            self.origins[given.name] = given.where
            return
        value = _value(given, self.home)
        if given.name == "tables":
            # A flag that names one table leaves the others as the file has them.
            value = _united(self.values, value)
        if given.name == "dsn":
            # Variables that name CMP win over a file that nobody named.
            if given.layer == sources.FILE and not self.file.is_named and conninfo.has_cmp(environ):
                return
            self.dsns.append(given)
        elif given.name == "password_file":
            self.password_layer = given.layer
        self.values[given.name] = value
        self.origins[given.name] = given.where

    def add_state_dir(self, environ: Mapping[str, str], uid: int) -> None:
        """Add the default of `state_dir`. Raises ValueError if there is none."""
        if "state_dir" not in self.origins:
            self.values["state_dir"], self.derived["state_dir"] = _state_dir(environ, uid, self.home)

    def resolve_otel(self, environ: Mapping[str, str]) -> None:
        """Switch OpenTelemetry on or off if it depends on whether a collector is named."""
        if self.values.get("otel", "auto") == "auto":
            self.values["otel"] = "auto" if any(environ.get(name) for name in COLLECTORS) else "off"

    def add_password_file(self, environ: Mapping[str, str]) -> str:
        """Add the default of `password_file`. Return why this user cannot read it, if that is so.

        The file beside the host's configuration is the password of the DSN in there, so it needs one.
        """
        if "password_file" in self.origins:
            return ""
        if (given := conninfo.credential(environ)) is not None:
            self.values["password_file"], self.derived["password_file"] = given, CREDENTIALS
            return ""
        if not any(given.layer == sources.FILE for given in self.dsns):
            return ""
        self.password_layer = sources.FILE
        given, unread = default_password(self.file)
        if given is not None:
            self.values["password_file"] = given
            self.derived["password_file"] = f"beside {self.file.path}"
        return unread

    @property
    def dsn_beside_password(self) -> str | None:
        """The DSN that belongs to the password file: see `Target.beside`."""
        beside = [given.words[0] for given in self.dsns if given.layer <= self.password_layer]
        return beside[-1] if beside else None


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
    if (
        given.layer == sources.FILE
        and not given.listed
        and setting.separator == " "
        and " " in given.words[0]
    ):
        raise ValueError(A_LIST)
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


def _state_dir(environ: Mapping[str, str], uid: int, home: Path | None) -> tuple[Path, str]:
    """Return the default of `state_dir`, and what it depends on; empty text for the fixed default."""
    if given := environ.get("STATE_DIRECTORY"):  # set by systemd; several directories are separated by colons
        return path(given.split(":")[0]), "STATE_DIRECTORY"
    if uid == 0:
        return Path("/var/lib/omnicdc"), ""
    if given := environ.get("XDG_STATE_HOME"):
        return path(given) / "omnicdc", "XDG_STATE_HOME"
    if home is None:
        raise ValueError("no home directory is known to keep it in - --state-dir DIR or OMNICDC_STATE_DIR")
    return home / ".local/state/omnicdc", "HOME"
