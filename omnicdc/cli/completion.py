"""Completion of the shell: the names that it offers, and the scripts that the wheel installs.

Nothing here connects to CMP: a shell that waits is worse than one that offers less.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from click import Command
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

if TYPE_CHECKING:
    import click

    from omnicdc.config.settings import Config

PROGRAM, VARIABLE = "omnicdc", "_OMNICDC_COMPLETE"

_PLACES = {
    BashComplete: "share/bash-completion/completions/omnicdc",
    ZshComplete: "share/zsh/site-functions/_omnicdc",
    FishComplete: "share/fish/vendor_completions.d/omnicdc.fish",
}
"""Where each shell looks for the script, below a prefix such as /usr/local."""


def scripts() -> dict[str, str]:
    """Return place to text of the script of each shell. A script asks the command itself what to offer."""
    command = Command(PROGRAM)
    found = {}
    for shell, place in _PLACES.items():
        asking = shell(command, {}, PROGRAM, VARIABLE)
        # Not `source()`: that of bash looks for the version of the bash at hand.
        found[place] = shell.source_template % asking.source_vars()
    return found


def files(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file."""
    return [CompletionItem(begun, type="file")]


def directories(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Let the shell complete the name of a directory."""
    return [CompletionItem(begun, type="dir")]


def consumers(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the name of this host's consumer."""
    config = _configured()
    return _matching([config.consumer] if config else [], begun)


def registries(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the file names of omnicdc's own registries, and of those that the configuration declares."""
    from omnicdc.registries.scanners import scanners

    config = _configured()
    declared = [it.path.rsplit("/", 1)[-1] for it in (config.registries if config else ())]
    return _matching([*(it.registry for it in scanners().values()), *declared], begun)


def registries_of_generation(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer GENERATION:REGISTRY once the colon is typed."""
    generation, colon, name = begun.partition(":")
    found = registries(ctx, param, name) if colon else []
    return [CompletionItem(f"{generation}:{it.value}") for it in found]


def _matching(names: list[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def _configured() -> Config | None:
    """Return the configuration; None if it has a fault, which a completion must not report."""
    from omnicdc.config import settings
    from omnicdc.errors import OmnicdcError

    with suppress(OmnicdcError):
        return settings.load({}, os.environ, uid=os.getuid(), default_file=settings.DEFAULT_FILE)
    return None
