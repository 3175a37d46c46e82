"""The options that commands share, and the configuration that results from them."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from omnicdc.cli import completion
from omnicdc.cli.output import WIDE, Output, on_terminal
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from omnicdc.config.settings import Config

_JSON = "omnicdc.json"
"""The key of `click.Context.meta` that tells whether --json was given."""

Decorator = "Callable[[Callable[..., Any]], Callable[..., Any]]"

_CONNECTION = (
    click.option(
        "--config",
        metavar="FILE",
        shell_complete=completion.files,
        help="Configuration, YAML.  [env: OMNICDC_CONFIG; default: /etc/omnicdc/omnicdc.yaml]",
    ),
    click.option(
        "--dsn", help="Connection string or URI of CMP's database.  [env: OMNICDC_DSN, CMP_DB_*, PG*]"
    ),
)
_REGISTRIES = (
    click.option(
        "--root",
        metavar="DIR",
        shell_complete=completion.directories,
        help="Infrastructure root.  [env: OMNICDC_ROOT]",
    ),
    click.option(
        "--state-dir",
        metavar="DIR",
        shell_complete=completion.directories,
        help="What omnicdc keeps for itself.  [env: OMNICDC_STATE_DIR]",
    ),
    click.option(
        "--consumer",
        metavar="NAME",
        shell_complete=completion.consumers,
        help="The daemon's name in the database.  [default: host name]",
    ),
)


def _seconds(_ctx: click.Context, _param: click.Parameter, given: str | float) -> float:
    """Return `given` if it is a number of seconds, 0 or more, or a duration as in the settings.

    Raises click.BadParameter for other values, also for NaN and infinity; the exit status is then 2.
    """
    from omnicdc.config.readers import seconds

    with suppress(ValueError):
        if 0 <= (value := float(given)) < math.inf:
            return value
    with suppress(ValueError):
        return seconds(str(given))
    raise click.BadParameter(f"{given} is not a number of seconds, 0 or more, nor a duration such as 5m")


def timeout(default_s: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the option --timeout: seconds, or a duration such as 5m."""
    return click.option(
        "--timeout", type=str, callback=_seconds, default=default_s, show_default=True, metavar="SECONDS"
    )


def all_hosts(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --all-hosts: wait for every host."""
    return click.option(
        "--all-hosts",
        is_flag=True,
        help="Wait for hosts that are down as well, rather than name them in left_out.",
    )(command)


yes = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run = click.option("--dry-run", is_flag=True, help="Show what would be changed, and change nothing.")
as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, also on a terminal.")
"""For a command that writes text to a pipe as well; all others have `output`."""


def _form(ctx: click.Context, _param: click.Parameter, given: str | None) -> Output:
    """Return the form that was asked for; else text on a terminal, and JSON on a pipe.

    Raises click.UsageError if --json and another form are given.
    """
    if ctx.meta.pop(_JSON, False):
        if given not in {None, "json"}:
            raise click.UsageError(f"--json and --output {given} exclude each other")
        return "json"
    ctx.meta[WIDE] = given == "wide"
    return cast("Output", given) if given else default_output()


def default_output() -> Output:
    """Return the form of an answer if none was asked for."""
    return "text" if on_terminal() else "json"


def _note_json(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    ctx.meta[_JSON] = given


def _text_unless_told(ctx: click.Context, param: click.Parameter, given: str | None) -> Output:
    """As `_form`, but text on a pipe as well."""
    return _form(ctx, param, given or (None if ctx.meta.get(_JSON) else "text"))


def output(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --output and --json. The command gets the argument `output`, one of `Output`."""
    return _with_form(
        command,
        get_args(Output),
        _form,
        "The form of the answer.  [default: text on a terminal, json on a pipe]",
    )


def text_output(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `output`, for a command that writes text to a pipe as well, as git's diff does."""
    return _with_form(
        command,
        ("text", "json"),
        _text_unless_told,
        "The form of the answer, on a pipe as well.  [default: text]",
    )


def _with_form(
    command: Callable[..., Any], forms: Sequence[str], callback: Callable[..., Output], meaning: str
) -> Callable[..., Any]:
    for option in (
        click.option(
            "--json", is_flag=True, expose_value=False, is_eager=True, callback=_note_json, help="As -o json."
        ),
        click.option(
            "-o",
            "--output",
            type=click.Choice(forms),
            callback=callback,
            help=meaning,
        ),
    ):
        command = option(command)
    return command


def connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the connection to CMP."""
    return _with_options(command, _CONNECTION)


def registries(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the connection to CMP and for the registry files."""
    return _with_options(command, (*_CONNECTION, *_REGISTRIES))


def load(given: dict[str, Any], environ: Mapping[str, str] = os.environ) -> Config:
    """Build the configuration from the flags `given`, the environment and the file.

    Raises ConfigError for invalid settings, and for a password in a flag.
    """
    from omnicdc.config import settings as configuration

    refuse_secret(given)
    return configuration.load(given, environ, uid=os.getuid(), default_file=configuration.DEFAULT_FILE)


def refuse_secret(given: dict[str, Any]) -> None:
    """Raise ConfigError for a password in a flag: every user of this host can read flags."""
    from omnicdc.db import masking

    if masking.holds_secret(given.get("dsn")):
        raise ConfigError(
            "--dsn: a password on the command line is shown to every user of this host by `ps`",
            hint="give it by PGPASSWORD, ~/.pgpass, OMNICDC_PASSWORD_FILE or OMNICDC_DSN; and change it, if "
            "others were here",
        )


def _with_options(command: Callable[..., Any], options: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command
