"""Switches the setting `shadow` off and on in the configuration file, and leaves the rest of it as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError
from omnicdc.filesystem import regular
from omnicdc.filesystem.atomic import replace

if TYPE_CHECKING:
    from pathlib import Path

    from omnicdc.config.settings import Config

_ON = re.compile(r"^shadow\s*:.*$", re.MULTILINE)
_OFF = re.compile(r"^# (shadow\s*:.*?)  # switched off by `omnicdc cutover switch`$", re.MULTILINE)


def switched_off(text: str) -> str:
    """Return the text of a configuration with `shadow` as a comment. Raises ConfigError without the line."""
    if not _ON.search(text):
        raise ConfigError(
            "the configuration file has no line `shadow: DIR`", hint="see docs/cutover.md, step 2"
        )
    return _ON.sub(lambda it: f"# {it[0].rstrip()}  # switched off by `omnicdc cutover switch`", text)


def is_on(text: str) -> bool:
    """Whether the text of a configuration sets `shadow`."""
    return bool(_ON.search(text))


def switched_on(text: str) -> str:
    """Undo `switched_off`; a repeat does nothing. Raises ConfigError if the text lacks its comment."""
    if is_on(text):
        return text
    if not _OFF.search(text):
        raise ConfigError(
            "the configuration file has no line that `omnicdc cutover switch` has switched off",
            hint="add the line `shadow: DIR`, then `systemctl reload omnicdc`",
        )
    return _OFF.sub(lambda it: it[1], text)


def file_of(config: Config, command: str) -> Path:
    """Return the configuration file. Raises ConfigError if there is none, or if this user cannot read it."""
    if config.file.unread:
        raise ConfigError(config.file.unread, hint=f"`sudo {command}`")
    if config.file.path is None:
        raise ConfigError("the setting `shadow` must be in a configuration file", hint="--config FILE")
    return config.file.path


def load(file: Path) -> str:
    """Return the text of the configuration file. Raises ConfigError."""
    try:
        return regular.read(file).decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file} cannot be read: {exc}", hint="run it as root") from exc


def write(file: Path, text: str) -> None:
    """Replace the configuration file; owner, group and mode stay. Raises RegistryError."""
    replace(file.parent, file.name, [text.encode()])
