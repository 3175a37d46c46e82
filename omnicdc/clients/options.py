"""The arguments that the constructors of all clients share. `Client` describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os

    from omnicdc.config.settings import Config


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `Client`, for the clients that pass them on."""

    root: str | os.PathLike[str] | None
    timeout: float
    all_hosts: bool
    config: Config | None
