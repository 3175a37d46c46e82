"""The command `doctor` (alias `check`): check everything, and show how to fix what is wrong."""

from __future__ import annotations

import locale
import os
import shutil
import sys
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.layout import UNLIMITED, folded
from omnicdc.cli.output import answer, on_terminal, say, wants_colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from omnicdc.answers.doctor.finding import Fix, Report, Result
    from omnicdc.answers.doctor.site import Site
    from omnicdc.cli.output import Output

GROUPS = ("configuration", "database", "capture", "log", "consumers", "files", "host", "service", "clocks")
"""As in answers/doctor/checks; written out, so that --help imports nothing."""

SIGNS = {"ok": ("✓", "ok  "), "warn": ("!", "warn"), "fail": ("✗", "FAIL"), "skipped": ("-", "-   ")}
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": None}

NAME_WIDTH = 15
NARROWEST, WIDEST = 60, 110


@click.command(cls=Answering)
@options.registries
@click.argument("groups", nargs=-1, type=click.Choice(GROUPS), metavar="[GROUP]...")
@click.option("-q", "--quiet", is_flag=True, help="Show only what is wrong.")
@click.option("--fix", is_flag=True, help="Carry out the remedies that are safe; ask before each.")
@options.yes
@options.output
def doctor(
    groups: tuple[str, ...], *, quiet: bool, fix: bool, yes: bool, output: Output, **given: Any
) -> None:
    """Check everything that omnicdc needs, and show the command or SQL that fixes what is wrong.

    The groups are configuration, database, capture, log, consumers, files, host, service and clocks; without
    one, all are checked. Nothing is changed without --fix. The command works with the daemon down, without a
    database, and as any user and role: what cannot be checked is named, with the reason.

    Exit status 0 if nothing failed (warnings do not count), 1 if something did.

    \b
    omnicdc doctor
    omnicdc doctor database files
    omnicdc doctor -q || mail -s omnicdc root
    """
    from omnicdc.answers.doctor.checks import examine
    from omnicdc.answers.doctor.site import Site
    from omnicdc.cli.progress import show_progress

    options.refuse_secret(given)
    chosen = groups or GROUPS
    site = Site(given, os.environ)
    with show_progress("checking") as observe:
        report = examine(site, chosen, observe)
    fixed: list[dict[str, Any]] = []
    if fix:
        fixed = _fixed(site, report, yes=yes)
        site.close()
        if fixed:
            site = Site(given, os.environ)
            report = examine(site, chosen)
    site.close()
    result = report.as_dict(problems_only=quiet) | ({"fixed": fixed} if fix else {})
    answer(result, output, lambda: _show(report, quiet=quiet, wide=output == "wide"))
    sys.exit(YES if report.healthy else NO)


check = doctor


def _fixed(site: Site, report: Report, *, yes: bool) -> list[dict[str, Any]]:
    """Offer each remedy that is safe, once. Return what was done."""
    from omnicdc.cli.fixes import carry_out, refusal

    offered: dict[str, Fix] = {
        it.finding.fix.command: it.finding.fix for it in report.results if it.finding.fix
    }
    done = []
    for command, fix in offered.items():
        click.echo(f"fix: {command}", err=True)
        if refused := refusal(fix, site):
            click.echo(f"not tried: {refused}", err=True)
            done.append({"command": command, "done": False, "error": refused})
            continue
        if not yes:
            if not (sys.stdin.isatty() and on_terminal()):
                raise click.UsageError("there is no terminal to ask on: add --yes")
            if not click.confirm("carry it out?", err=True):
                continue
        error = carry_out(fix, site)
        click.echo(f"failed: {error}" if error else "done", err=True)
        done.append({"command": command, "done": error is None, "error": error})
    return done


def _show(report: Report, *, quiet: bool, wide: bool) -> None:
    """Print the findings by group, and a line with their counts."""
    width = UNLIMITED if wide else min(WIDEST, max(NARROWEST, shutil.get_terminal_size((80, 24)).columns))
    symbols = _can_show_symbols()
    shown = [it for it in report.results if not quiet or it.finding.status in ("warn", "fail")]
    group = ""
    for result in merged(shown):
        if result.group != group:
            group = result.group
            click.echo(click.style(group, bold=True) if wants_colour() else group)
        for line in lines(result, width, symbols=symbols):
            click.echo(line)
    counts = report.counts
    warnings = "warning" if counts["warn"] == 1 else "warnings"
    asked = f"user {report.user}, {f'role {report.role}' if report.role else 'no connection'}"
    say(
        f"{counts['fail']} failed, {counts['warn']} {warnings}, {counts['ok']} ok, "
        f"{counts['skipped']} skipped ({asked})",
        good=report.healthy,
    )


def merged(results: Iterable[Result]) -> Iterator[Result]:
    """Yield the results; neighbours of a group that were skipped for the same reason become one."""
    for (_group, finding), same in groupby(results, lambda it: (it.group, it.finding)):
        found = list(same)
        if finding.status == "skipped" and len(found) > 1:
            names = ", ".join(it.check for it in found)
            found = [replace(found[0], check="", finding=replace(finding, seen=f"{names}: {finding.seen}"))]
        yield from found


def lines(result: Result, width: int, *, symbols: bool) -> Iterator[str]:
    """Yield the lines of a finding: sign, name and what was seen; then the remedy.

    A command between backticks is never broken: it can be copied, though its line may be longer.
    """
    found = result.finding
    sign = SIGNS[found.status][0 if symbols else 1]
    colour = COLOURS[found.status]
    shown_sign = click.style(sign, colour) if colour and wants_colour() else sign
    indent = " " * (2 + len(sign) + 1 + NAME_WIDTH + 1)
    text = found.seen
    if found.status == "skipped":
        text = f"skipped{':' if result.check else ''} {found.seen}"
    if not result.check:
        indent = " " * (2 + len(sign) + 1)
    first, *rest = folded(text, width - len(indent), hanging=0)
    yield (
        f"  {shown_sign} {result.check:<{NAME_WIDTH}} {first}" if result.check else f"  {shown_sign} {first}"
    )
    yield from (indent + line for line in rest)
    arrow = "→ " if symbols else "> "
    remedy = folded(found.remedy, width - len(indent) - len(arrow), hanging=0) if found.remedy else []
    for number, line in enumerate(remedy):
        yield indent + (arrow if not number else "  ") + line


def _can_show_symbols() -> bool:
    """Whether stdout and the locale have the signs. Python writes UTF-8 in the locale C, which lacks them."""
    try:
        "✓→".encode(sys.stdout.encoding or "ascii")
        "✓→".encode(locale.getencoding())
    except (UnicodeEncodeError, LookupError):
        return False
    return True
