"""The commands about the configuration: `config show`, `config check`, `check-config`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from omnicdc.cli import completion, options
from omnicdc.cli.command import NO, YES, Answering, Group
from omnicdc.cli.output import answer, say, table

if TYPE_CHECKING:
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config


_changed = click.option(
    "--changed", is_flag=True, help="Only the settings that are not left at their default."
)


@click.group(cls=Group, invoke_without_command=True)
@options.registries
@_changed
@options.output
@click.pass_context
def config(ctx: click.Context, /, **given: Any) -> None:
    """Show the settings and where each comes from, or check a configuration file.

    Without a subcommand: show, with these options.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show, **given)
        return
    early = [it for it in ctx.command.params if _is_given(ctx, it)]
    if early:
        option = max(early[0].opts, key=len)
        raise click.UsageError(f"{option} belongs behind `{ctx.command_path} {ctx.invoked_subcommand}`", ctx)


def _is_given(ctx: click.Context, option: click.Parameter) -> bool:
    return ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE


@config.command()
@options.registries
@_changed
@options.output
def show(*, changed: bool, output: Output, **given: Any) -> None:
    """Show each setting, its value, and where it was set: flag, variable, FILE:LINE or default.

    Passwords are shown as ***. This does not connect to CMP.
    """
    from omnicdc.answers import settings

    loaded = options.load(given)
    found = settings.as_dict(loaded, os.environ, changed=changed)
    rows = [it for it in settings.shown(loaded) if not (changed and it.is_default)]

    def text() -> None:
        none = f"none - {found['unread']}" if found["unread"] else "none"
        say(f"file: {loaded.file_note or found['file'] if found['file'] else none}")
        table(["setting", "value", "from"], [(it.name, it.text, it.origin) for it in rows])
        if found["registries"]:
            table(
                ["registry", "file", "from"],
                [(it["name"], it["path"], it["origin"]) for it in found["registries"]],
            )
        connection = found["connection"]
        if "fault" in connection:
            say(f"connection: {connection['fault']}", good=False)
        else:
            say(f"connection: {connection['database']} ({connection['sources']})")

    answer(found, output, text)


@config.command()
@click.argument("file", required=False, shell_complete=completion.files)
@options.registries
@click.option("--offline", is_flag=True, help="Do not connect to CMP: only read the configuration.")
@options.output
def check(*, file: str | None, offline: bool, output: Output, **given: Any) -> None:
    """Read a configuration, try each registry's query in CMP, and show what would be watched.

    FILE is the configuration to check, by default the one that is in use. Nothing is changed. Exit status 0
    if all is well, 1 if a registry would be held, 2 if the configuration has a fault.
    """
    if file is not None and given["config"] is not None:
        raise click.UsageError("FILE and --config exclude each other")
    config = options.load(given | {"config": file or given["config"]})
    if file is not None and not offline:
        config = _with_host_password(config)
    _check(config, output, offline=offline)


def _with_host_password(config: Config) -> Config:
    """Use the password of the configuration in use for a file that is to replace it."""
    from contextlib import suppress

    from omnicdc.config.settings import with_password_of
    from omnicdc.errors import OmnicdcError

    with suppress(OmnicdcError):  # the one in use may have a fault, which the file is to fix
        return with_password_of(options.load({}), config)
    return config


@click.command("check-config", cls=Answering)
@options.registries
@click.option("--offline", is_flag=True, help="Do not connect to CMP: only read the configuration.")
@options.output
def check_config(*, offline: bool, output: Output, **given: Any) -> None:
    """Check the configuration, as `omnicdc config check` does.

    Exit status 0 if all is well, 1 if a registry would be held, 2 if the configuration has a fault.
    """
    _check(options.load(given), output, offline=offline)


def _check(config: Config, output: Output, *, offline: bool) -> None:
    """Print the answer, and exit."""
    from omnicdc import db
    from omnicdc.answers.registry_queries import Trial, programless, try_queries, untabled
    from omnicdc.capture.watch_list import derive
    from omnicdc.registries.catalog import registries

    scanners = registries(config)
    watch = derive(scanners.values())
    trial, lacking = Trial(), untabled(config, scanners)
    if not offline:
        lacking = programless(config, scanners) | lacking
        with db.connect(config.target) as conn:
            trial = try_queries(conn, config, scanners)
    faults = {**lacking, **trial.faults}
    result = {
        "good": not faults,
        "faults": faults,
        "watched": {source: list(watch.fields_of(source)) for source in watch.sources},
        "registries": list(scanners),
    }

    def text() -> None:
        for name, scanner in scanners.items():
            reads = ", ".join(f"{it} ({', '.join(watch.fields_of(it))})" for it in scanner.sources)
            alone = scanner.targeted and name not in trial.full
            scan = "a change scans its row alone" if alone else "each change scans everything"
            fault = faults.get(name)
            say(f"{name}: {scanner.path} from {reads}; {scan}", good=fault is None)
            if fault:
                say(f"  {fault}")
        if "on_publish" in faults:
            say(faults["on_publish"], good=False)

    answer(result, output, text)
    sys.exit(NO if faults else YES)
