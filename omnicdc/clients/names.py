"""What callers give to the client, checked: names of projects, and a root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def texts(names: Sequence[object]) -> list[str]:
    """Return the names; raises ConfigError if one of them is no text."""
    found = [name for name in names if isinstance(name, str)]
    if len(found) < len(names):
        raise no_names(next(name for name in names if not isinstance(name, str)))
    return found


def no_names(given: object) -> ConfigError:
    """Return the error for what is neither a name nor a list of names."""
    return ConfigError(f"the name of a project, or a list of names, expected, and not {given!r:.100}")


def one_root(
    root: str | os.PathLike[str] | None, omni_root: str | os.PathLike[str] | None
) -> str | os.PathLike[str] | None:
    """Return the root that was given by one of its two names; raises ConfigError if both name another one."""
    if root is not None and omni_root is not None and os.fspath(root) != os.fspath(omni_root):
        raise ConfigError(f"two roots were given: {os.fspath(root)!r} and {os.fspath(omni_root)!r}")
    return omni_root if root is None else root
