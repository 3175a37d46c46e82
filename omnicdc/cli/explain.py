"""The command `explain`: why a project is in a registry or not, and where each value comes from."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.layout import milliseconds, seconds
from omnicdc.cli.log_text import writer_text
from omnicdc.cli.output import answer, say, table
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.answers.explain.answers import Explanation, RegistryExplanation
    from omnicdc.answers.explain.changes import ChangeExplanation, Publication
    from omnicdc.cli.output import Output


@click.command(cls=Answering)
@options.registries
@click.argument("project", metavar="NAME|KEY|UUID")
@options.output
def explain(*, project: str, output: Output, **given: Any) -> None:
    """Explain one project: in which registries it is, by which rule, and where each value comes from.

    It also shows what is held back or on its way, and the last changes. A project that was
    deleted is given by its UUID.

    Exit status 0 if CMP has the project, 1 if not.
    """
    from omnicdc.clients import GenesisClient

    with GenesisClient(config=options.load(given)) as client:
        found = client.explain(project)
    if not found["success"]:
        raise ConfigError(str(found["error"]))
    answer(found, output, lambda: _show(found))
    sys.exit(NO if found["in_cmp"] is False else YES)


def _show(found: Explanation) -> None:
    known = {True: "in CMP", False: "not in CMP", None: "not checked in CMP"}[found["in_cmp"]]
    say(f"{found['name'] or 'project'} ({found['uuid']}): {known}", good=found["in_cmp"])
    for registry in found["registries"]:
        _show_registry(registry)
    for name in found["not_checked"]:
        say(f"{name}: not checked here: the registries are not on this host (no --root)")
    say("")
    say(
        "held back, or on its way:"
        if found["on_its_way"]
        else "nothing is held back or on its way: every consumer has read all changes"
    )
    for line in found["on_its_way"]:
        say(f"  {line}", good=False)
    if found["changes_searched_back_to"]:
        say(f"the log is longer: it was searched back to {seconds(found['changes_searched_back_to'])} only")
    if not found["changes"]:
        say("no change of it is in the log: see the setting retention")
        return
    say("")
    rows = [row for change in found["changes"] for row in _change_rows(change)]
    columns = ["written", "change", "transaction", "consumer", "published", "after"]
    table(columns, rows, firm=["written", "transaction", "after"])


def _show_registry(one: RegistryExplanation) -> None:
    from omnicdc.verify.report import RIGHT

    state = {True: "in it", False: "not in it", None: "not known"}[one["in_file"]]
    right = one["status"] in RIGHT
    judged = "as it should be" if right else one["status"]
    where = f" ({one['where']})" if one["where"] else ""
    hint = f" - {one['hint']}" if one["hint"] else ""
    say("")
    say(f"{one['registry']}: {state}, {judged}: {one['reason']}{where}{hint}", good=right)
    if one["held"]:
        why = f"{one['held']['reason']} - {one['held']['hint']}"
        say(f"  held, so the file keeps its last content: {why}", good=False)
    for name, field in one["fields"].items():
        # No table: a path that is cut is of no use.
        say(f"  {name}: {_shown(field['value'])}  [{field['origin']}: {field['where']}]")
        if field["differs"]:
            say(f"    in the file: {_shown(field['found'])}", good=False)


def _change_rows(change: ChangeExplanation) -> Iterator[tuple[object, ...]]:
    fields = "" if change["fields"] is None else f" of {', '.join(change['fields'])}"
    what = f"{change['op']}{fields}" + (" (every row)" if change["every_row"] else "")
    what += f", by {writer_text(change['writer'])}" if change["writer"] else ""
    head: tuple[object, ...] = (seconds(change["at"]), what, change["token"])
    for number, one in enumerate(change["published"] or [None]):
        yield (*(head if number == 0 else ("", "", "")), *_published(one))


def _published(one: Publication | None) -> tuple[object, ...]:
    if one is None:
        return "-", "no consumer", ""
    if not one["read"]:
        return one["consumer"], "not yet", ""
    if one["generation"] is None:
        return one["consumer"], "before the kept generations", ""
    held = [f"{name} held" for name in one["held"]] + [f"{name} later" for name in one["postponed"]]
    text = f"generation {one['generation']}" + (f" ({', '.join(held)})" if held else "")
    return one["consumer"], text, milliseconds(one["milliseconds"])


def _shown(value: object) -> str:
    return (
        value
        if isinstance(value, str) and value.strip()
        else json.dumps(value, ensure_ascii=False, default=str)
    )
