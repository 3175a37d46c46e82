"""Shows each setting, its value, and where it was set. No password is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc.config.config import SETTINGS
from omnicdc.config.sources import CONFIG, PREFIX
from omnicdc.db.masking import masked
from omnicdc.errors import OmnicdcError
from omnicdc.log.scrub import HIDDEN, names_secret, scrubbed, shown_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.config.settings import Config

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as it is shown."""

    name: str
    value: object
    """A value for JSON."""
    origin: str
    """The flag, the variable, FILE:LINE, or `default`."""
    is_default: bool
    meaning: str

    @property
    def text(self) -> str:
        """The value for people, as it could be written into the file."""
        if self.value is None:
            return "-"
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, int | float):
            return _number(self.name, self.value)
        if isinstance(self.value, list):
            return ", ".join(map(str, self.value)) or "-"
        if isinstance(self.value, dict):
            return ", ".join(f"{key}: {value}" for key, value in self.value.items()) or "-"
        return str(self.value)


def shown(config: Config) -> list[Shown]:
    """Return each setting, in the order of the documentation."""
    return [
        Shown(
            name,
            _shown(name, getattr(config, name)),
            _origin(config, name),
            name not in config.origins,
            setting.meaning,
        )
        for name, setting in SETTINGS.items()
    ]


def as_dict(config: Config, environ: Mapping[str, str], *, changed: bool = False) -> dict[str, Any]:
    """Return the settings, the declared registries, and what decides about the connection.

    With `changed`, only the settings that are not left at their default.
    """
    return {
        "file": None if config.file.path is None else str(config.file.path),
        "unread": config.file.unread or None,
        "settings": {
            it.name: {"value": it.value, "origin": it.origin, "default": it.is_default}
            for it in shown(config)
            if not (changed and it.is_default)
        },
        "registries": [
            {"name": it.name, "path": it.path, "format": it.format, "origin": str(it.place)}
            for it in config.registries
        ],
        "connection": _connection(config),
        "variables": variables(environ),
    }


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that omnicdc and libpq read. Secrets and unknown variables are hidden."""
    return {
        name: _shown_variable(name, value)
        for name, value in sorted(environ.items())
        if name.startswith(("OMNICDC_", "CMP_DB_", "PG"))
        or name in {"CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"}
    }


def _shown_variable(name: str, value: str) -> str:
    setting = name.removeprefix(PREFIX).lower()
    if name.startswith(PREFIX) and setting not in {*SETTINGS, CONFIG}:
        return HIDDEN
    if setting == "on_publish":
        return " ".join(shown_command(value.split()))
    if name == "OMNICDC_DSN" and value:
        return masked(value)
    return HIDDEN if names_secret(name) else scrubbed(value)


def _connection(config: Config) -> dict[str, str]:
    """Return where the parts of the connection come from, and to which database it leads."""
    from omnicdc.db.conninfo import describe_dsn  # noqa: PLC0415 - a client imports this module without psycopg

    if not (config.target.unread or config.target.names_a_server()):
        return {"fault": "nothing names CMP's database - set `dsn`, OMNICDC_DSN, CMP_DB_* or PG*"}
    try:
        login = config.target.login()
    except OmnicdcError as exc:
        return {"fault": scrubbed(str(exc))}
    return {"database": describe_dsn(login.conninfo), "sources": login.sources}


def _origin(config: Config, name: str) -> str:
    if name in config.origins:
        return config.origins[name]
    derived = config.derived.get(name)
    return f"default ({derived})" if derived else "default"


def _shown(name: str, value: object) -> object:
    if name == "dsn" and value is not None:
        return masked(str(value))
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, timedelta):
        return _span(value)
    if name == "tables":
        pairs: Any = value
        return dict(pairs)
    if isinstance(value, tuple):
        return shown_command(value) if name == "on_publish" else [scrubbed(str(it)) for it in value]
    return scrubbed(value) if isinstance(value, str) else value


def _span(length: timedelta) -> str:
    """Return a duration in the largest unit that gives a whole number."""
    seconds = length.total_seconds()
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds and seconds % unit == 0:
            return f"{seconds / unit:.0f}{name}"
    return f"{seconds:g}s"


def _number(setting: str, value: float) -> str:
    """Return a number, a duration or a size, in the largest unit that gives a whole number."""
    if setting.endswith("_s"):
        return _span(timedelta(seconds=value))
    units = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")) if setting.endswith("_bytes") else ()
    for unit, name in units:
        if value and value % unit == 0:
            return f"{value // unit}{name}"
    return str(value)
