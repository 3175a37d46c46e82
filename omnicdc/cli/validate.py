"""The command `validate`: whether CMP, the registries and the files of this host agree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.output import answer, confirm, say, table
from omnicdc.cli.progress import show_progress
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.clients.validation import Finding, ValidationAnswer, ValidationClient

MOST_SHOWN = 20
"""At most so many findings of a kind are shown on a terminal; the others are counted."""


@click.command(cls=Answering)
@options.registries
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Look only for findings of this kind.")
@click.option("--status", "statuses", multiple=True, help="A status that CMP may have.  [default: the usual]")
@click.option("--type", "types", multiple=True, help="A type that CMP may have.  [default: the usual]")
@click.option("--fix", is_flag=True, help="Repair what can be repaired, after asking.")
@options.yes
@options.timeout(60.0)
@options.as_json
def validate(*, kinds: tuple[str, ...], fix: bool, yes: bool, as_json: bool, **given: Any) -> None:
    """Check whether CMP, the registries and the files of this host agree, and name what does not.

    Exit status 0 if there is nothing worse than `info`, 1 if there is.
    """
    from omnicdc.clients.validation import ValidationClient
    from omnicdc.clients.validation.client import STATUSES, TYPES

    statuses, types = given.pop("statuses") or STATUSES, given.pop("types") or TYPES
    timeout_s = given.pop("timeout")
    with ValidationClient(config=options.load(given), statuses=statuses, types=types) as client:
        found = _checked(client, kinds)
        repairable = [it for it in found["findings"] if it["repairable"]]
        if fix and repairable:
            confirm(f"Repair {len(repairable)} findings?", yes=yes)
            _repair(client, repairable, timeout_s)
            found = _checked(client, kinds)
    answer(found, as_json=as_json, text=lambda: _show(found))
    sys.exit(YES if found["success"] else NO)


def _checked(client: ValidationClient, kinds: tuple[str, ...]) -> ValidationAnswer:
    with show_progress("checking") as progress:
        found = client.check(kinds or None, progress=progress)
    if found["error"]:
        raise ConfigError(found["detail"], hint=found["hint"])
    return found


def _repair(client: ValidationClient, findings: Sequence[Finding], timeout_s: float) -> None:
    """Repair each finding. One rebuild repairs all that differs between a registry and CMP."""
    rebuilds = [it for it in findings if it["kind"] != "bad_url"]
    for one in [it for it in findings if it["kind"] == "bad_url"] + rebuilds[:1]:
        done = client.repair(one, timeout=timeout_s)
        if not done["success"]:
            raise ConfigError(f"{one['detail']}: not repaired: {done['detail']}", hint=done["hint"])


def _show(found: ValidationAnswer) -> None:
    shown: dict[str, int] = {}
    rows = []
    for it in found["findings"]:
        shown[it["kind"]] = shown.get(it["kind"], 0) + 1
        if shown[it["kind"]] <= MOST_SHOWN:
            whom = it["name"] or it["project"] or ""
            rows.append((it["severity"], it["kind"], whom, it["where"], it["detail"], it["remedy"]))
    if rows:
        table(["severity", "kind", "project", "where", "what", "remedy"], rows)
    for kind, count in found["counts"].items():
        if count > MOST_SHOWN:
            say(f"and {count - MOST_SHOWN} more of {kind}")
    if found["not_checked"]:
        say(f"not checked here: {', '.join(found['not_checked'])}")
    if not found["findings"]:
        say(f"nothing found; checked: {', '.join(found['checked'])}", good=True)
