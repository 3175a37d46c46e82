"""For tests of programs that use the clients: a pytest plug-in with fixtures, described in docs/testing.md.

`plugin` has the fixtures. `served` is a CMP with its daemon, on a `server`, which is usually `embedded`.
`recorded` are clients without a database. Each name here is imported when it is used first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omnicdc.testing.plays import Call, NothingToPlay
    from omnicdc.testing.recorded import RecordedAsyncGenesisClient, RecordedGenesisClient
    from omnicdc.testing.served import Served
    from omnicdc.testing.server import Server

_WHERE = {
    "Call": "plays",
    "NothingToPlay": "plays",
    "RecordedAsyncGenesisClient": "recorded",
    "RecordedGenesisClient": "recorded",
    "Served": "served",
    "Server": "server",
}
"""Public name to its module."""

__all__ = [
    "Call",
    "NothingToPlay",
    "RecordedAsyncGenesisClient",
    "RecordedGenesisClient",
    "Served",
    "Server",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is used first, because pytest imports this package in every run."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
