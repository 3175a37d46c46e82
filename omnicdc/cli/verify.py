"""The command `verify`: whether the files on this host show what CMP holds."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.output import answer, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config
    from omnicdc.db import Connection
    from omnicdc.verify.report import AllReport, Report

_KINDS = ("missing", "stale", "unexpected")

LONGEST_VALUE = 100
"""At most so many characters of a value are shown; `verify UUID` shows all."""


@click.command(cls=Answering)
@options.registries
@click.argument("uuid", required=False)
@click.option("--all", "everything", is_flag=True, help="Compare every project in every registry.")
@options.output
def verify(*, uuid: str | None, everything: bool, output: Output, **given: Any) -> None:
    """Compare a project or an agent in CMP with every registry file; or another key of a declared registry.

    The command reads only CMP and the files on this host, and needs no daemon. Exit status 0 if all are
    equal, 1 if not.

    \b
    omnicdc verify 7d1a3c52-6f0e-4f55-9d37-2f1f4a1f0a11
    omnicdc verify --all
    """
    from omnicdc import db
    from omnicdc import verify as verification

    if bool(uuid) == everything:
        raise click.UsageError("give the UUID of a project or agent, or --all")
    config = options.load(given)
    config.require_output_directory()
    if uuid:
        inputs = verification.known_inputs(config)
        with db.connect(config.target) as conn:
            report = verification.verify_project(conn, config, *inputs, uuid)
        answer(report.as_dict(), output, lambda: _show_project(report))
        sys.exit(YES if report.verified else NO)
    audit = verified(config)
    answer(audit.as_dict(), output, lambda: _show_all(audit))
    sys.exit(YES if audit.verified else NO)


@contextmanager
def compared(config: Config) -> Iterator[tuple[Connection, Callable[[str], None]]]:
    """Connect to CMP, and show the progress of work that is reported registry by registry."""
    from omnicdc import db
    from omnicdc.cli.progress import show_progress
    from omnicdc.verify import registry_names

    with (
        db.connect(config.target) as conn,
        show_progress("comparing", list(registry_names(config))) as observe,
    ):
        yield conn, observe


def verified(config: Config) -> AllReport:
    """Compare every registry file with CMP. Raises ConfigError and DatabaseUnavailable."""
    from omnicdc.verify import known_inputs, verify_all

    inputs = known_inputs(config)
    with compared(config) as (conn, observe):
        return verify_all(conn, config, *inputs, observe)


def _show_project(report: Report) -> None:
    from omnicdc.verify.project import UNKNOWN_INPUTS

    say(
        f"{report.name or report.uuid}: {'verified' if report.verified else 'not verified'}",
        good=report.verified,
    )
    for check in report.checks:
        say(f"  {check.registry}: {check.status.replace('_', ' ')}", good=check.right)
        for field, (expected, found) in check.differences.items():
            say(f"    {field}: CMP has {expected!r}, the file {found!r}")
        if check.detail:
            say(f"    {check.detail}" + (f" - {check.hint}" if check.hint else ""))
        if check.not_compared:
            say(f"    not compared, because {UNKNOWN_INPUTS}: {', '.join(check.not_compared)}")


def _show_all(report: AllReport) -> None:
    from omnicdc.verify.project import UNKNOWN_INPUTS

    for registry in report.registries:
        found = registry.as_dict(names=True)
        counts = [f"{found[kind]['count']} {kind}" for kind in _KINDS if found.get(kind, {}).get("count")]
        counts += [f"{len(registry.held)} held back"] if registry.held else []
        summary = ", ".join(counts) or registry.detail or registry.status
        summary += f"; the registry is held: {registry.hold}" if counts and registry.hold else ""
        say(
            f"{registry.registry}: {summary}" + (f" - {registry.hint}" if registry.hint else ""),
            good=registry.good,
        )
        for line in _entries(found):
            say(f"  {line}")
    if not report.inputs_known:
        say(f"not compared, because {UNKNOWN_INPUTS}: what depends on clones, overrides, GitHub")


def _entries(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each entry that differs, of each kind the first; then the number of the others."""
    for kind in _KINDS:
        it = found.get(kind)
        if not it:
            continue
        entries = it["entries"] if kind == "stale" else {key: {} for key in it["units"]}
        for key, differences in entries.items():
            name = f" {it['names'][key]}" if key in it["names"] else ""
            yield f"{kind}: {key}{name}{_differing(differences)}"
        yield from _rest(it["count"] - len(entries), kind)
    reasons = found["held"]["reasons"]
    yield from (f"held back: {key}: {reason}" for key, reason in reasons.items())
    yield from _rest(found["held"]["count"] - len(reasons), "held back")


def _differing(differences: Mapping[str, Mapping[str, object]]) -> str:
    shown = "; ".join(
        f"{field}: CMP has {pair['expected']!r:.{LONGEST_VALUE}}, the file {pair['found']!r:.{LONGEST_VALUE}}"
        for field, pair in differences.items()
    )
    return f": {shown}" if shown else ""


def _rest(more: int, what: str) -> Iterator[str]:
    if more > 0:
        yield f"and {more} more {what}"
