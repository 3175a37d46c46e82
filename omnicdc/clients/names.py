"""Checks the arguments that callers give to the client: names of projects, and the root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def texts(names: Sequence[object]) -> list[str]:
    """Return the names. Raises ConfigError if one of them is not text."""
    found = [name for name in names if isinstance(name, str)]
    if len(found) < len(names):
        raise no_names(next(name for name in names if not isinstance(name, str)))
    return found


def names_of(given: object) -> list[object] | None:
    """Return the items of a list of names; None if it is no list.

    Text is none, because Python would read it as a sequence of one-letter names.
    """
    return list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else None


def no_names(given: object) -> ConfigError:
    """Return the error for a value that is neither a name nor a list of names."""
    return ConfigError(f"the name of a project, or a list of names, expected, and not {given!r:.100}")


def one_root(
    root: str | os.PathLike[str] | None, omni_root: str | os.PathLike[str] | None
) -> str | os.PathLike[str] | None:
    """Return the root, which has two argument names. Raises ConfigError if the two arguments differ."""
    if root is not None and omni_root is not None and os.fspath(root) != os.fspath(omni_root):
        raise ConfigError(f"two roots were given: {os.fspath(root)!r} and {os.fspath(omni_root)!r}")
    return omni_root if root is None else root
