"""Every command that answers takes -o text, json or wide, and --json; its text fits 80 columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest

from omnicdc.cli import COMMANDS, Lazy, omnicdc

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.evidence import Scale
    from support.host import Host

OF_ITS_OWN = {"demo"}
"""Commands that write text to a pipe as well: they have only --json."""

SERVERS = {"run"}
"""Commands that serve until they are stopped. `run --once` answers."""

WITHOUT_ANSWER = {"ui"}
"""Commands that only serve."""

NAME = "a project with a name that is as long as people like their names to be, and then some more of it"

ASKED: dict[str, list[str]] = {
    "accept": [],
    "archive add": [NAME, "--dry-run"],
    "archive list": [],
    "archive restore": ["retired", "--dry-run"],
    "archive retire": [NAME, "--dry-run"],
    "check-config": [],
    "check": [],
    "config check": [],
    "config": [],
    "config show": [],
    "consumer list": [],
    "cutover compare": [],
    "cutover writers": [],
    "diff": ["@~1", "@"],
    "doctor": ["configuration", "database", "capture", "files"],
    "explain": [NAME],
    "install": [],
    "log": [NAME],
    "migrate plan": ["--where", "true", "--set", "status=frozen"],
    "plan": ["update projects set status = 'frozen', name = upper(name)"],
    "rebuild": ["--dry-run"],
    "registries": [],
    "reload": [],
    "show": ["@"],
    "source list": [],
    "status": [],
    "validate": [],
    "verify": ["--all"],
    "wait": [],
}
"""Commands that can be tried without harm, with the arguments that they need."""

TEXT_ON_A_PIPE = {"diff"}
"""Commands whose answer on a pipe is what other programs read, such as a diff."""

DIFFS = {"diff", "plan"}
"""Commands that show lines of the registries, whole."""

MORE_COLUMNS = {"archive list", "consumer list", "registries", "status"}
"""Commands that show more columns with -o wide. The others show the same columns, without folding."""


def commands(group: click.Group = omnicdc, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_command_that_answers_takes_each_form() -> None:
    assert isinstance(omnicdc, Lazy)
    answering = dict(commands())
    assert {name.split()[0] for name in answering} == set(COMMANDS)
    for name in WITHOUT_ANSWER:
        del answering[name]
    for name, command in answering.items():
        flags = {flag for parameter in command.params for flag in parameter.opts}
        wanted = {"--json"} if name in OF_ITS_OWN else {"--json", "-o", "--output"}
        assert wanted <= flags, name


def test_two_forms_at_once_are_refused(host: Host) -> None:
    both = host.run("status", "--json", "-o", "wide")

    assert (both.returncode, both.stdout) == (2, "")
    assert both.stderr == (
        "omnicdc: --json and --output wide exclude each other - see `omnicdc status --help`\n"
    )


@pytest.mark.timeout(300)
def test_a_pipe_gives_json_and_text_that_fits_80_columns(
    cmp: Cmp, host: Host, dice: random.Random, scale: Scale
) -> None:
    """One daemon serves all commands, and there is something to show for each."""
    cmp.upsert(NAME, github_url="https://github.com/acme/a-repository-with-a-name")
    cmp.upsert("retired", status="archived", archived={"status": "active", "at": "2026-11-27T08:04:02Z"})
    host.daemon()
    cmp.conn.execute("update projects set key = 'k' || left(name, 3)")
    host.run("wait")
    for name in dice.sample(sorted(ASKED), scale(6, len(ASKED))):
        command = [*name.split(), *ASKED[name]]

        piped, text = host.run(*command, "-o", "json"), host.run(*command, "-o", "text")
        if name not in TEXT_ON_A_PIPE:
            assert json.loads(host.run(*command).stdout).keys() == json.loads(piped.stdout).keys()

        assert isinstance(json.loads(piped.stdout), dict), name
        assert piped.returncode == text.returncode, (name, piped.stderr, text.stderr)
        assert text.stdout, name
        assert "\x1b" not in text.stdout, name
        if name not in DIFFS:
            assert [line for line in text.stdout.splitlines() if not fits(line)] == [], name
        assert "Traceback" not in text.stderr, name
        wide, narrow = (host.run(*command, "-o", "wide", COLUMNS=width).stdout for width in ("300", "30"))
        assert wide.count("\n") == narrow.count("\n"), (name, wide, narrow)
        if name in MORE_COLUMNS:
            assert max(map(len, wide.splitlines())) > 80, (name, wide)
            assert len(header(wide)) > len(header(text.stdout)), name


def fits(line: str) -> bool:
    """Whether a line fits 80 columns. A long path ends its line, and is not cut, so that it can be copied."""
    return len(line) <= 80 or len(line.rsplit(maxsplit=1)[-1]) > 60


def header(shown: str) -> list[str]:
    return next(
        line.split()
        for line in shown.splitlines()
        if line.startswith(("project  ", "consumer  ", "registry  "))
    )
