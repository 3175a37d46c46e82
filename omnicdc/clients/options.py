"""The arguments that the constructors of all clients share. `Client` describes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os

    from omnicdc.config.settings import Config

Progress = Callable[[str], None]
"""Is called with a line of text before each step of a call, such as `waiting for transaction 4711`."""


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `Client`, for the clients that pass them on."""

    root: str | os.PathLike[str] | None
    timeout: float
    all_hosts: bool
    config: Config | None
    progress: Progress
