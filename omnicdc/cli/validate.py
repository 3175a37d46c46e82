"""The command `validate`: whether CMP, the registries and the files of this host agree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering, exit_status
from omnicdc.cli.output import answer, confirm, say
from omnicdc.cli.progress import show_progress
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.cli.output import Output
    from omnicdc.clients.answers import WaitAnswer
    from omnicdc.clients.validation import Finding, ValidationAnswer, ValidationClient

MOST_SHOWN = 20
"""At most so many findings of a kind are shown on a terminal; the others are counted."""


@click.command(cls=Answering)
@options.registries
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Look only for findings of this kind.")
@click.option("--status", "statuses", multiple=True, help="A status that CMP may have.  [default: the usual]")
@click.option("--type", "types", multiple=True, help="A type that CMP may have.  [default: the usual]")
@click.option("--fix", is_flag=True, help="Repair what can be repaired, after asking.")
@click.option("--dry-run", is_flag=True, help="With --fix: show what would be changed, and change nothing.")
@options.yes
@options.timeout(60.0)
@options.output
def validate(
    *, kinds: tuple[str, ...], fix: bool, dry_run: bool, yes: bool, output: Output, **given: Any
) -> None:
    """Check whether CMP, the registries and the files of this host agree, and name what does not.

    Exit status 0 if there is nothing worse than `info`, 1 if there is; with --fix, 3 if a repair has not
    arrived yet.
    """
    if dry_run and not fix:
        raise ConfigError("--dry-run: a check changes nothing", hint="add --fix")
    from omnicdc.clients.validation import ValidationClient
    from omnicdc.clients.validation.client import STATUSES, TYPES

    statuses, types = given.pop("statuses") or STATUSES, given.pop("types") or TYPES
    timeout_s = given.pop("timeout")
    with ValidationClient(config=options.load(given), statuses=statuses, types=types) as client:
        found = _checked(client, kinds)
        repairable = [it for it in found["findings"] if it["repairable"]]
        repairs: list[WaitAnswer] = []
        if fix and repairable:
            confirm(f"Repair {len(repairable)} findings?", yes=yes or dry_run)
            repairs = _repaired(client, repairable, timeout_s, dry_run=dry_run)
            if not dry_run:
                found = _checked(client, kinds)
    result = {**found, "repairs": repairs} if fix else found
    answer(result, output, lambda: _show(found, repairs))
    failed = next((it for it in repairs if not it["success"]), None)
    sys.exit(exit_status(failed["verdict"], success=False) if failed else YES if found["success"] else NO)


def _checked(client: ValidationClient, kinds: tuple[str, ...]) -> ValidationAnswer:
    with show_progress("checking") as progress:
        found = client.check(kinds or None, progress=progress)
    if found["error"]:
        raise ConfigError(found["detail"], hint=found["hint"])
    return found


def _repaired(
    client: ValidationClient, findings: Sequence[Finding], timeout_s: float, *, dry_run: bool
) -> list[WaitAnswer]:
    """Repair each finding. One rebuild repairs all that differs between a registry and CMP."""
    rebuilds = [it for it in findings if it["kind"] != "bad_url"]
    wanted = [it for it in findings if it["kind"] == "bad_url"] + rebuilds[:1]
    with show_progress("repairing") as progress:
        repairs = []
        for one in wanted:
            progress(one["detail"])
            repairs.append(client.repair(one, dry_run=dry_run, timeout=timeout_s))
    return repairs


def _show(found: ValidationAnswer, repairs: Sequence[WaitAnswer]) -> None:
    _show_findings(found["findings"])
    for done in repairs:
        if not done["success"]:
            say(f"not repaired: {done['detail']} - {done['hint']}", good=False)
        elif done["dry_run"]:
            say(f"a repair would change: {', '.join(done['registries_updated']) or 'no registry'}")
        else:
            say("repaired", good=True)
    for kind, count in found["counts"].items():
        if count > MOST_SHOWN:
            say(f"and {count - MOST_SHOWN} more of {kind}")
    if found["not_checked"]:
        say(f"not checked here: {', '.join(found['not_checked'])}")
    if not found["findings"]:
        say(f"nothing found; checked: {', '.join(found['checked'])}", good=True)


def _show_findings(findings: Sequence[Finding]) -> None:
    """Print each finding on lines of its own: a table of all this is unreadable on a narrow terminal."""
    shown: dict[str, int] = {}
    for it in findings:
        shown[it["kind"]] = shown.get(it["kind"], 0) + 1
        if shown[it["kind"]] > MOST_SHOWN:
            continue
        title = (it["severity"], it["kind"], it["name"] or it["project"])
        say(" ".join(filter(None, title)), good=None if it["severity"] == "info" else False)
        for line in filter(None, (it["detail"], it["where"] and f"in {it['where']}", it["remedy"])):
            say(f"  {line}")
