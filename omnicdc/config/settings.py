"""Reads all settings from flags, OMNICDC_* variables and one YAML file.

Each source gives text, so that one reader function per setting serves all three sources, and a fault can name
its flag, its variable or its line. No module below this package reads the environment.
"""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc.config import sources
from omnicdc.config.config import SETTINGS, Config, Setting
from omnicdc.config.readers import path
from omnicdc.db import conninfo
from omnicdc.db.conninfo import CREDENTIALS, Target, describe_dsn
from omnicdc.db.password import PasswordFile
from omnicdc.errors import ConfigError, DatabaseUnavailable
from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.config.sources import Given

__all__ = ["SETTINGS", "Config", "Setting", "describe_dsn", "load"]

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
    if values.get("otel", "auto") == "auto":
        values["otel"] = "auto" if any(environ.get(name) for name in COLLECTORS) else "off"
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
