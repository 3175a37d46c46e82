"""Finds the configuration file: the one that a flag or a variable names, else the host's own.

The host's file may be closed to the present user. That is no fault, as most users have the connection from
variables. But whoever then lacks a setting must learn why.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FILE = Path("/etc/omnicdc/omnicdc.yaml")
"""The configuration of a registry host. docs/install.md creates it."""

BESIDE = "cmp_password"
"""The file with the database password, beside the configuration of a registry host."""

VARIABLE = "OMNICDC_CONFIG"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The configuration file that is in use."""

    path: Path | None = None
    """None if there is none, or if this user cannot read it."""
    is_default: bool = False
    """Whether it is the host's own."""
    is_named: bool = False
    """Whether a flag or OMNICDC_CONFIG names it."""
    unread: str = ""
    """Why the host's own file cannot be read by this user; empty text if that is not so."""

    @property
    def sets_nothing(self) -> str:
        """What is in force if the file is empty, or has comments alone; empty text if there is no file."""
        return f"{self.path} sets nothing: flags, variables and defaults are in force" if self.path else ""


def find_file(flag: object, environ: Mapping[str, str], default: Path | None) -> ConfigFile:
    """Return the file to read: `flag`, else OMNICDC_CONFIG, else `default`, if it is there.

    With an empty OMNICDC_CONFIG no file is read.
    """
    if named := flag or environ.get(VARIABLE):
        return ConfigFile(Path(str(named)), is_default=Path(str(named)) == default, is_named=True)
    if default is None or VARIABLE in environ:
        return ConfigFile()
    is_there, unread = look_at(default)
    return ConfigFile(default if is_there else None, is_default=True, unread=unread)


def default_password(file: ConfigFile) -> tuple[Path | None, str]:
    """Return the password file of the host, and why this user cannot read it. None, if it is not to be used.

    It belongs to the host's own configuration, so it is not used with another one.
    """
    if not (file.is_default and file.path):
        return None, ""
    password = file.path.parent / BESIDE
    is_there, unread = look_at(password)
    return (password if is_there else None), unread


def look_at(file: Path) -> tuple[bool, str]:
    """Return whether to read a file that may be absent, and why this user cannot read it."""
    try:
        with file.open("rb"):
            return True, ""
    except PermissionError as exc:
        return False, f"user {_user_name()} cannot read {file} ({exc.strerror})"
    except (FileNotFoundError, NotADirectoryError):
        return False, ""
    except OSError:
        return True, ""  # reading it reports the fault


def _user_name() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # in a container, the user id may have no entry in passwd
        return str(uid)
