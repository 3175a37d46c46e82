"""The command `omnicdc`. Answers go to stdout, everything else to stderr.

Exit status: 0 yes, 1 no, 2 usage or configuration, 3 not yet. Each command imports the modules that it needs,
so that `--help` does not wait for the import of psycopg.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from omnicdc.cli.command import Group, refuse_other_encodings
from omnicdc.cli.output import complain
from omnicdc.errors import OmnicdcError

COMMANDS = {
    "install": ("admin", "Put the capture into the database."),
    "uninstall": ("admin", "Take the capture out of the database."),
    "run": ("admin", "Keep the registries current (the daemon)."),
    "verify": ("verify", "Tell whether a project has arrived in every registry."),
    "doctor": ("doctor", "Check everything, and show how to fix what is wrong."),
    "check": ("doctor", "The same as doctor."),
    "plan": ("plan", "Show what a statement, or a rebuild, would change."),
    "explain": ("explain", "Tell why a project is in a registry or not."),
    "log": ("log", "Show what changed, by whom, and when it was published."),
    "wait": ("wait", "Wait until the registries hold a transaction."),
    "status": ("status.command", "Show every consumer, and what is held back."),
    "show": ("generations", "Show a kept generation, or a file as it was."),
    "diff": ("generations", "Compare two generations, or one with the files."),
    "restore": ("generations", "Write the files of a generation into a directory."),
    "registries": ("registries", "List the registries, and the state of each."),
    "config": ("configuration", "Show where each setting comes from, or check a file."),
    "check-config": ("configuration", "The older name of `config check`."),
    "source": ("registries", "List CMP's tables that are captured, or release one."),
    "consumer": ("consumers", "List the consumers, or forget one that is gone."),
    "reload": ("reload", "Have the daemon read its configuration again."),
    "rebuild": ("admin", "Have everything scanned and compared afresh."),
    "accept": ("admin", "Let through what the guard holds back."),
    "migrate": ("migrate", "Change many projects in CMP: plan, apply, undo."),
    "archive": ("archive", "Retire projects by their status, and restore them."),
    "validate": ("validate", "Check that CMP, the registries and this host's files agree."),
    "cutover": ("cutover.command", "Replace Omni's scanners: compare, switch, back out."),
    "ui": ("ui.command", "Serve a page that shows the estate."),
    "support-bundle": ("support", "Collect what a bug report needs, without passwords."),
    "demo": ("demo.command", "Watch a write propagate, on a PostgreSQL of its own."),
}


class Lazy(Group):
    """A group of commands that are listed without an import. Only the command that is called is imported."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which an operator needs them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import a command's module, and return the command; None if there is no such command."""
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"omnicdc.cli.{COMMANDS[name][0]}"), name.replace("-", "_"))
        assert isinstance(command, click.Command)  # noqa: S101 - COMMANDS names only commands
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands to a shell, without importing them."""
        offered = [CompletionItem(it, help=text) for it, (_module, text) in COMMANDS.items()]
        return [
            *(it for it in offered if it.value.startswith(incomplete)),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in COMMANDS.items()])


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `omnicdc demo`. Every command explains itself with --help.",
)
@click.version_option(package_name="omnicdc", prog_name="omnicdc")
def omnicdc() -> None:
    """Write to CMP; omnicdc updates every registry file.

    The connection is --dsn, else OMNICDC_DSN, else CMP_DB_HOST/PORT/NAME/USER/PASSWORD, else
    /etc/omnicdc/omnicdc.yaml, else libpq's PG* variables. The registries are below --root or OMNICDC_ROOT.
    `omnicdc config` shows what is in force.
    """


def main() -> None:
    """Run the command. An error that a user can fix is one line on stderr, and the exit status is 2."""
    _open_missing_streams()
    try:
        refuse_other_encodings(sys.argv[1:])
        omnicdc()
    except OmnicdcError as exc:
        complain(str(exc))
        sys.exit(2)


def _open_missing_streams() -> None:
    """Connect each standard stream that is closed to /dev/null.

    Otherwise the next file that is opened would get the number of the stream, and libraries would write
    their messages into this file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - open until the process ends
