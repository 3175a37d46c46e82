"""What all commands have in common: their arguments are UTF-8, and their help is an answer like any other."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from omnicdc.cli.output import leave, written
from omnicdc.errors import ConfigError
from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


INTERRUPTED = 130
"""The exit status that a shell reports for a program that Ctrl-C ended."""


class Answering(click.Command):
    """A command whose help goes to stdout as its answer does: see `show.written`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments; `--help` and `--version` print here."""
        with explained(), written():
            return super().make_context(*args, **extra)
        raise Exit(0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; one that Ctrl-C ends says nothing, and not "no"."""
        try:
            with explained():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Exit(INTERRUPTED) from None


@contextmanager
def explained() -> Iterator[None]:
    """Have wrong usage be explained on stderr; the exit status is the same where that takes nothing."""
    try:
        yield
    except click.ClickException as exc:
        try:
            exc.show()
        except OSError:
            leave(sys.stderr)
        raise Exit(exc.exit_code) from None


class Group(Answering, click.Group):
    """A command that has commands."""

    command_class = Answering


def refuse_other_encodings(arguments: Iterable[str]) -> None:
    """Raise ConfigError for an argument that is not UTF-8, of which it says only the place.

    It may be a password.
    """
    for before, argument in pairwise(["", *arguments]):
        name, _, _ = argument.partition("=")
        if not is_unicode(argument):
            option = next(
                (it for it in (name, before) if it.startswith("-") and is_unicode(it)), "an argument"
            )
            raise ConfigError(f"{option}: not UTF-8", hint="write it in UTF-8, whatever the locale")
