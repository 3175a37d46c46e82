"""Commands that retire projects: archive, restore, retire, list."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Group, exit_status
from omnicdc.cli.layout import seconds
from omnicdc.cli.output import answer, confirm, say, say_error, table
from omnicdc.cli.progress import show_progress
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.cli.output import Output
    from omnicdc.clients.archive import ArchiveAnswer, ArchiveClient

status = click.option("--status", default="archived", show_default=True, help="The status that it gets.")
reason = click.option("--reason", help="Why; it is remembered with the status before.")


@click.group(cls=Group)
def archive() -> None:
    """Retire projects by their status, and restore them. No row is ever deleted."""


@archive.command()
@options.registries
@click.argument("project")
@status
@reason
@options.dry_run
@options.yes
@options.timeout(60.0)
@options.output
def add(*, project: str, status: str, reason: str | None, **given: Any) -> None:
    """Archive PROJECT, a name, CMP's key or a UUID. Its status before is remembered."""
    _run(given, f"Archive {project}?", lambda client, how: client.archive(project, status, reason, **how))


@archive.command()
@options.registries
@click.argument("project")
@options.dry_run
@options.yes
@options.timeout(60.0)
@options.output
def restore(*, project: str, **given: Any) -> None:
    """Give PROJECT the status that it had before it was archived."""
    _run(given, f"Restore {project}?", lambda client, how: client.restore(project, **how))


@archive.command()
@options.registries
@click.argument("project")
@status
@reason
@click.option(
    "--write-exclusion", is_flag=True, help="Also write the line into the exclusions file of this host."
)
@options.dry_run
@options.yes
@options.timeout(60.0)
@options.output
def retire(*, project: str, status: str, reason: str | None, write_exclusion: bool, **given: Any) -> None:
    """Archive PROJECT, and leave it out of the project registry by a line of the exclusions file."""
    _run(
        given,
        f"Retire {project}?",
        lambda client, how: client.retire(project, status, reason, write_exclusion=write_exclusion, **how),
    )


@archive.command("list")
@options.connection
@options.output
def list_(*, output: Output, **given: Any) -> None:
    """List the archived projects, and the status that each had before."""
    from omnicdc.clients.archive import ArchiveClient

    with ArchiveClient(config=options.load(given)) as client:
        found = client.list()

    def text() -> None:
        rows = [(it["name"], it["uuid"], it["status_before"], seconds(it["at"])) for it in found]
        if not rows:
            say("no project is archived")
            return
        table(["project", "uuid", "before", "since"], rows, firm=["uuid", "since"])

    def wide() -> None:
        rows = [
            (it["name"], it["uuid"], it["status"], it["status_before"], seconds(it["at"]), it["reason"])
            for it in found
        ]
        table(["project", "uuid", "status", "before", "since", "reason"], rows)

    answer({"projects": found}, output, wide if output == "wide" else text)


def _run(
    given: dict[str, Any], question: str, call: Callable[[ArchiveClient, dict[str, Any]], ArchiveAnswer]
) -> None:
    """Ask, make the call, print the answer, and exit."""
    from omnicdc.clients.archive import ArchiveClient

    how = {name: given.pop(name) for name in ("dry_run", "timeout")}
    output, yes = given.pop("output"), given.pop("yes")
    if not how["dry_run"]:
        confirm(question, yes=yes)
    with ArchiveClient(config=options.load(given)) as client, show_progress("working") as progress:
        found = call(client, how | {"progress": progress})
    if found["plan"] is None:
        raise ConfigError(str(found["error"]))  # it contains the hint
    answer(found, output, lambda: _show(found))
    report = found["report"]
    sys.exit(
        exit_status(report["verdict"], success=found["success"])
        if report
        else YES
        if found["success"]
        else NO
    )


def _show(found: ArchiveAnswer) -> None:
    plan = found["plan"]
    for item in plan["items"] if plan else ():
        before, after = item["before"].get("status"), item["after"].get("status")
        report = found["report"]
        verb = "is now" if report and report["applied"] else "would become"
        say(f"{item['name']} ({item['uuid']}) {verb} {after}; before: {before}", good=found["success"])
    for notice in found["notices"]:
        say(notice)
    if line := found["exclusion"]:
        state = "written to" if line["written"] else "already in" if line["there"] else "not yet in"
        say(f"{line['line']}: {state} {line['file']}")
    if found["error"]:
        say_error(found["error"], found["hint"])
