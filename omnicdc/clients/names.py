"""Names of projects as callers give them: checked, for a wrong type would otherwise be waited for in vain."""

from __future__ import annotations

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
