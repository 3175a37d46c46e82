"""What all commands share: their exit statuses, and how they handle help, wrong usage and encodings."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit, NoArgsIsHelpError

from omnicdc.cli.output import complain, flushed_stdout
from omnicdc.errors import ConfigError
from omnicdc.formats.text import is_unicode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


YES, NO, NOT_YET = 0, 1, 3
"""Exit statuses of an answer. Status 2 means wrong usage or configuration."""

INTERRUPTED = 130
"""The exit status that a shell reports for a program that Ctrl-C ended."""


def exit_status(verdict: str | None, *, success: bool) -> int:
    """Return the exit status of a command that has waited, for the verdict of the wait."""
    if success:
        return YES
    return NOT_YET if verdict in ("timeout", "no_consumer") else NO


class Answering(click.Command):
    """A command whose help goes to stdout as its answer does: see `output.flushed_stdout`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments. With `--help` or `--version`, this prints the answer and exits."""
        with explained_usage(), flushed_stdout():
            return super().make_context(*args, **extra)
        raise Exit(YES)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. If Ctrl-C ends it, print nothing; the exit status is INTERRUPTED, not NO."""
        try:
            with explained_usage():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Exit(INTERRUPTED) from None


@contextmanager
def explained_usage() -> Iterator[None]:
    """Explain wrong usage on stderr, as every other error, and exit."""
    try:
        yield
    except NoArgsIsHelpError as exc:
        with suppress(OSError):
            click.echo(exc.format_message(), err=True)
        raise Exit(exc.exit_code) from None
    except click.ClickException as exc:
        context = exc.ctx if isinstance(exc, click.UsageError) else None
        remedy = f"see `{context.command_path} --help`" if context else ""
        complain(" - ".join(filter(None, (exc.format_message().rstrip("."), remedy))))
        raise Exit(exc.exit_code) from None


class Group(Answering, click.Group):
    """A command that has subcommands. For an unknown one it suggests the nearest name."""

    command_class = Answering

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand. Raises click.UsageError for an unknown one."""
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-")) and self.get_command(ctx, name) is None:
            near = get_close_matches(name, self.list_commands(ctx), n=1)
            guess = f", did you mean {near[0]}?" if near else "."
            raise click.UsageError(f"No such command {name!r}{guess}", ctx)
        return super().resolve_command(ctx, args)


def refuse_other_encodings(arguments: Iterable[str]) -> None:
    """Raise ConfigError for an argument that is not UTF-8.

    The message names the option, but does not show the argument, because it may be a password.
    """
    for before, argument in pairwise(["", *arguments]):
        name, _, _ = argument.partition("=")
        if not is_unicode(argument):
            option = next(
                (it for it in (name, before) if it.startswith("-") and is_unicode(it)), "an argument"
            )
            raise ConfigError(f"{option}: not UTF-8", hint="write it in UTF-8, whatever the locale")
