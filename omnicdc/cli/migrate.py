"""Commands that change many projects in CMP: plan, apply, undo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Group, exit_status
from omnicdc.cli.output import answer, confirm, say, say_error, table
from omnicdc.cli.progress import show_progress
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnicdc.cli.output import Output
    from omnicdc.clients.migration import ApplyAnswer, MigrationClient, PlanAnswer
    from omnicdc.clients.migration.changes import Change, ChangeDict

MOST_SHOWN = 20
"""At most so many projects, conflicts and losses are shown on a terminal; the others are counted."""

FILE = click.Path(dir_okay=False, path_type=Path)

batch_size = click.option(
    "--batch-size", type=click.IntRange(1), help="Write so many projects in one transaction."
)


@click.group(cls=Group)
def migrate() -> None:
    """Change many projects in CMP: plan, review, apply; or undo."""


@migrate.command()
@options.registries
@click.argument("changes", type=FILE, required=False)
@click.option("--set", "values", multiple=True, metavar="FIELD=VALUE", help="With --where: a field to set.")
@click.option("--where", metavar="SQL", help="The projects to change, as a condition of SQL on the table.")
@click.option(
    "--move-owner", nargs=2, metavar="OLD NEW", help="Move repositories to another owner on GitHub."
)
@click.option("--move-domain", nargs=2, metavar="OLD NEW", help="Move the projects of one domain to another.")
@click.option("--rename", nargs=2, metavar="PROJECT NAME", help="Give a project another name.")
@click.option("--out", type=FILE, help="Write the plan to a file, for `omnicdc migrate apply`.")
@options.output
def plan(*, out: Path | None, output: Output, **given: Any) -> None:
    """Show what changes would do: projects, registries, conflicts and losses. Nothing is written to CMP.

    The changes are read from CHANGES, a file in JSON, YAML or CSV, or made by the options.

    Exit status 0, or 1 if the plan has conflicts.
    """
    wanted = {
        name: given.pop(name)
        for name in ("changes", "values", "where", "move_owner", "move_domain", "rename")
    }
    with _client(given) as client, show_progress("planning") as progress:
        found = client.plan(_changes(client, wanted, given), progress=progress)
    if not found["success"]:
        raise ConfigError(found["detail"], hint=found["hint"])
    if out:
        from omnicdc.clients.migration.files import write_answer

        write_answer(out, found)

    answer(found, output, lambda: _show_plan(found, out))
    sys.exit(NO if found["conflicts"] else YES)


@migrate.command()
@options.registries
@click.argument("file", metavar="PLAN", type=FILE)
@options.yes
@click.option("--accept", multiple=True, metavar="KIND", help="Apply despite conflicts of this kind.")
@options.dry_run
@batch_size
@click.option("--journal", type=FILE, help="Where to note each transaction.  [default: PLAN.journal]")
@click.option("--report", type=FILE, help="Where to write the report.  [default: PLAN.report]")
@options.timeout(60.0)
@options.output
def apply(
    *, file: Path, yes: bool, journal: Path | None, report: Path | None, output: Output, **given: Any
) -> None:
    """Write a plan to CMP, wait until the registries show it, and verify each project.

    A repeat after a crash writes only what is not in CMP yet. Exit status as for `wait`.
    """
    from omnicdc.clients.migration.files import read_plan

    planned = read_plan(file)
    details = {name: given.pop(name) for name in ("accept", "batch_size", "timeout", "dry_run")}
    confirm(f"Change {len(planned['items'])} projects in CMP?", yes=yes or details["dry_run"])
    with _client(given) as client, show_progress("applying") as progress:
        found = client.apply(
            planned, journal=journal or file.with_name(f"{file.name}.journal"), progress=progress, **details
        )
    _conclude(found, report or file.with_name(f"{file.name}.report"), output=output)


@migrate.command()
@options.registries
@click.argument("file", metavar="REPORT", type=FILE)
@options.yes
@options.dry_run
@batch_size
@click.option("--report", type=FILE, help="Where to write the report of the undo.  [default: REPORT.undo]")
@options.timeout(60.0)
@options.output
def undo(*, file: Path, yes: bool, report: Path | None, output: Output, **given: Any) -> None:
    """Restore what an apply changed, by its report. A project that was changed since is refused."""
    from omnicdc.clients.migration.files import read_report

    applied = read_report(file)
    details = {name: given.pop(name) for name in ("batch_size", "timeout", "dry_run")}
    confirm(f"Restore {len(applied['items'])} projects in CMP?", yes=yes or details["dry_run"])
    with _client(given) as client, show_progress("restoring") as progress:
        found = client.undo(applied, progress=progress, **details)
    _conclude(found, report or file.with_name(f"{file.name}.undo"), output=output)


def _client(given: dict[str, Any]) -> MigrationClient:
    from omnicdc.clients.migration import MigrationClient

    return MigrationClient(config=options.load(given))


def _changes(
    client: MigrationClient, wanted: Mapping[str, Any], given: dict[str, Any]
) -> list[Change] | list[ChangeDict]:
    """Return the changes that the arguments ask for. Raises ConfigError unless they ask in one way."""
    makers: dict[str, Callable[[], Any]] = {
        "changes": lambda: _read(wanted["changes"]),
        "where": lambda: _selected(wanted["where"], wanted["values"], given),
        "move_owner": lambda: client.move_owner(*wanted["move_owner"]),
        "move_domain": lambda: client.move_domain(*wanted["move_domain"]),
        "rename": lambda: client.rename(*wanted["rename"]),
    }
    asked = [name for name in makers if wanted[name]]
    if len(asked) != 1 or bool(wanted["values"]) != (asked == ["where"]):
        raise ConfigError(
            "say what to change in one way",
            hint="a file; --where SQL --set FIELD=VALUE; --move-owner; --move-domain; or --rename",
        )
    found: list[Change] | list[ChangeDict] = makers[asked[0]]()
    return found


def _read(path: Path) -> list[Change]:
    from omnicdc.clients.migration.files import read_changes

    return read_changes(path)


def _selected(where: str, values: tuple[str, ...], given: dict[str, Any]) -> list[ChangeDict]:
    from omnicdc.cli.where import matching

    pairs = dict(_pair(value) for value in values)
    return [{"uuid": uuid, "set": pairs, "unset": []} for uuid in matching(options.load(given), where)]


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigError(f"--set {text!r:.100}: FIELD=VALUE expected", hint="--set status=archived")
    return name, value


def _conclude(found: ApplyAnswer, report: Path, *, output: Output) -> None:
    from omnicdc.clients.migration.files import write_answer

    # Without anything applied there is nothing to undo; and an earlier apply's report may be there, which is.
    if found["applied"] and not found["dry_run"]:
        write_answer(report, found)

    answer(found, output, lambda: _show_report(found, report))
    sys.exit(exit_status(found["verdict"], success=found["success"]))


def _show_plan(found: PlanAnswer, out: Path | None) -> None:
    if found["total"]:
        _show_items(found)
    elif same := len(found["unchanged"]):
        have = "project has" if same == 1 else "projects have"
        say(f"nothing would change: {same} {have} the values already")
    else:
        say("no project matches")
    for title, obstacles in (("conflict", found["conflicts"]), ("loss", found["losses"])):
        for it in obstacles[:MOST_SHOWN]:
            place = f"{it['where']}: " if it["where"] else ""
            say(f"{title} {it['kind']}: {place}{it['detail']} - {it['hint']}", good=False)
        _count(len(obstacles) - MOST_SHOWN, "of this kind" if obstacles else "")
    if found["total"] and found["not_checked"]:
        say(f"not checked here: {', '.join(found['not_checked'])}")
    if found["total"] and out:
        say(f"apply it: omnicdc migrate apply {out}")


def _show_items(found: PlanAnswer) -> None:
    rows = [
        (item["name"], name, _cell(item["before"], name), _cell(item["after"], name))
        for item in found["items"][:MOST_SHOWN]
        for name in sorted({*item["before"], *item["after"]})
    ]
    table(["project", "field", "before", "after"], rows)
    _count(found["total"] - MOST_SHOWN, "projects")
    rows = [(name, it["changed"], it["added"], it["removed"]) for name, it in found["registries"].items()]
    if rows:
        table(["registry", "changed", "added", "removed"], rows)
    elif not found["conflicts"]:  # with a conflict, the registries are not rendered
        say("no registry would change")


def _cell(values: Mapping[str, Any], name: str) -> object:
    """Return the value of a field for a table: `-` without one, and quotes for an empty text."""
    value = values.get(name, "-")
    return '""' if value == "" else value


def _count(more: int, what: str) -> None:
    if more > 0:
        say(f"and {more} more {what}")


def _show_report(found: ApplyAnswer, report: Path) -> None:
    counts = f"{found['applied']} applied, {found['skipped']} as they should be already"
    if found["dry_run"]:
        say(f"dry run: {counts}, of {found['total']} projects", good=found["success"])
        say(f"would change: {', '.join(found['registries_updated']) or 'no registry'}")
    else:
        say(f"{counts}, {found['verified']} verified, of {found['total']} projects", good=found["success"])
    obstacles = (*found["conflicts"], *found["errors"])
    for it in obstacles[:MOST_SHOWN]:
        say(f"{it['detail']} - {it['hint']}", good=False)
    _count(len(obstacles) - MOST_SHOWN, "of this kind")
    if found["error"] and not found["errors"]:
        say_error(found["error"], found["hint"])
    if found["applied"] and not found["dry_run"]:
        say(f"the report, for `omnicdc migrate undo`: {report}")
