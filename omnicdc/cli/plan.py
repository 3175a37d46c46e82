"""The command `plan`: what SQL statements, or a rebuild, would change in the registries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering
from omnicdc.cli.output import answer, say, show_diff
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.answers.plan.answers import Plan, RegistryPlan, Row
    from omnicdc.answers.plan.statement import Statement
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config

SHOWN, LISTED = 20, 1000
"""How many rows, and entries of each registry, are in an answer as text and as JSON by default."""


@click.command(cls=Answering)
@options.registries
@click.argument("statements", required=False)
@click.option(
    "--file", type=click.Path(dir_okay=False, path_type=Path), help="Read the statements from a file."
)
@click.option("--project", metavar="NAME|KEY|UUID", help="What a publication of this project would change.")
@click.option("--static", is_flag=True, help="Judge the statements by their text; connect nothing.")
@click.option(
    "--limit", type=click.IntRange(0), help=f"Show so many entries.  [default: {SHOWN}; JSON: {LISTED}]"
)
@click.option("--exit-code", is_flag=True, help="Exit status 1 if something would change.")
@options.timeout(30.0)
@options.output
def plan(
    *,
    statements: str | None,
    file: Path | None,
    project: str | None,
    static: bool,
    limit: int | None,
    exit_code: bool,
    timeout: float,
    output: Output,
    **given: Any,
) -> None:
    """Show what SQL statements would change in CMP and in the registries, without a change.

    STATEMENTS are INSERT, UPDATE, DELETE, MERGE or TRUNCATE, one or several; `-` reads them from stdin. They
    run in a transaction that is rolled back, with the rights of the connection's role. CMP's own triggers
    run, too. The rows that they write are locked meanwhile, for as long as each statement and the reading of
    these rows take. The server may take --timeout seconds for all of it, its waiting for locks included.

    Without STATEMENTS, it compares CMP with the files on this host: it shows what a rebuild would change.

    Exit status 0; with --exit-code, 1 if something would change, or a registry cannot be rendered.

    \b
    omnicdc plan "UPDATE projects SET status = 'archived' WHERE name = 'atlas'"
    omnicdc plan --file changes.sql --exit-code
    omnicdc plan --project atlas
    """
    if not timeout:
        raise click.UsageError("--timeout: a plan takes some time; give more than 0 seconds")
    sql = _sql(statements, file)
    if static and sql is None:
        raise click.UsageError("--static needs statements")
    if project is not None and sql is not None:
        raise click.UsageError("--project and statements exclude each other")
    most = limit if limit is not None else LISTED if output == "json" else SHOWN
    found = _plan(options.load(given), sql, static=static, project=project, most=most, timeout_s=timeout)

    answer(found.as_dict(), output, lambda: _show(found, wide=output == "wide"))
    sys.exit(NO if exit_code and not found.changes_nothing else YES)


def _sql(statements: str | None, file: Path | None) -> str | None:
    """Return the text of the statements, None without any. Raises ConfigError if it cannot be read."""
    if file is not None and statements is not None:
        raise click.UsageError("give the statements, or --file")
    if file is None and statements != "-":
        return statements
    try:
        data = file.read_bytes() if file else sys.stdin.buffer.read()
    except OSError as exc:
        raise ConfigError(f"{file} cannot be read: {exc.strerror}", hint=f"`ls -l {file}`") from exc
    try:
        return data.decode()
    except ValueError as exc:
        raise ConfigError(
            f"{file or 'stdin'}: not UTF-8: {exc}", hint="write the statements in UTF-8"
        ) from exc


def _plan(
    config: Config, sql: str | None, *, static: bool, project: str | None, most: int, timeout_s: float
) -> Plan:
    from omnicdc import db
    from omnicdc.answers.plan import reading
    from omnicdc.answers.plan.statement import statements_of
    from omnicdc.answers.plan.time_limit import limited
    from omnicdc.cli.progress import show_progress

    parsed: Sequence[Statement] = () if sql is None else statements_of(sql)
    if static:
        return reading.plan_static(config, parsed)
    with (
        show_progress("planning") as progress,
        db.connect(config.target, timeout_s=timeout_s) as conn,
        limited(conn, config, timeout_s),
    ):
        db.check_schema(conn)
        if parsed:
            return reading.plan_statements(
                conn, config, parsed, timeout_s=timeout_s, most=most, progress=progress
            )
        return reading.plan_rebuild(conn, config, project=project, most=most, progress=progress)


def _show(found: Plan, *, wide: bool) -> None:
    if found.project:
        say(f"{found.project['name'] or 'project'} ({found.project['uuid']})")
    for each in found.statements:
        _show_statement(each)
    _show_rows(found)
    for it in found.registries:
        if found.static:
            _show_reached(it)
        elif it.changes or it.fault or it.held or wide or (it.holds and not found.statements):
            _show_registry(it, compared=not found.statements)
    _show_guard(found)
    for text in found.warnings:
        say(f"warning: {text}", good=False)
    if found.not_checked and not found.static:
        say(f"not known here: {', '.join(found.not_checked)}")
    if found.changes_nothing:
        say(_nothing(found), good=True)


def _show_statement(it: dict[str, Any]) -> None:
    rows = "" if it["rows"] is None else f": {it['rows']} row{'' if it['rows'] == 1 else 's'}"
    say(f"{it['command']} ({it['place']}){rows}")
    for write in it["writes"]:
        text = f"  {write['operation']} {write['table']}"
        if write["source"] is None:
            say(f"{text}: no registry reads this table")
            continue
        parts = ["watched: all columns" if write["watched"] is None else ""]
        parts += [f"watched: {', '.join(write['watched'])}" if write["watched"] else ""]
        parts += [f"not watched: {', '.join(write['unwatched'])}" if write["unwatched"] else ""]
        say(f"{text}: {'; '.join(filter(None, parts)) or 'every column keeps its value'}")


def _show_rows(found: Plan) -> None:
    if found.total_rows:
        say(f"watched rows that would change: {found.total_rows}")
    for row in found.rows:
        say(f"  {_row(row)}")
    _show_more(found.total_rows - sum(row.rows for row in found.rows), "rows")


def _row(row: Row) -> str:
    fields = "" if row.fields is None else f" {', '.join(row.fields)}"
    if row.key is None:
        every = "all " if "truncate" in row.operations else ""
        return (
            f"{row.source}: {every}{row.rows} row{'' if row.rows == 1 else 's'}: {', '.join(row.operations)}"
        )
    return f"{row.name or row.source} ({row.key}): {', '.join(row.operations)}{fields}"


def _show_reached(it: RegistryPlan) -> None:
    if it.changes:
        say(f"{it.registry}: may change: {it.why}")


def _show_registry(it: RegistryPlan, *, compared: bool) -> None:
    """Show one registry. `compared` says that its file was compared with CMP, and no statement was run."""
    from omnicdc.verify.difference import unified

    counts = {"added": it.added, "changed": it.changed, "removed": it.removed}
    what = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    same = "as CMP has it" if compared else "nothing would change"
    what = what or ("rewritten" if it.difference.rewritten else same)
    say(f"{it.registry}: {what}" + (f" ({it.why})" if it.why and not compared else ""))
    _show_holds(it)
    # A rebuild would be held for the reason that is shown already.
    guard = None if compared and any(hold.guard for hold in it.holds) else it.guard
    for fault in filter(None, (it.fault, guard)):
        say(f"  {fault.reason} - {fault.hint}", good=False)
    if not (compared or it.fault or it.holds or it.file in {None, "current"}):
        say(f"  its file is not as CMP is now ({it.file}): more would change, see `omnicdc plan`", good=False)
    titles = ("the file", "as CMP has it") if compared else ("now", "then")
    if it.difference.entries or it.difference.header or not any(counts.values()):  # --limit 0 shows no entry
        show_diff(unified(it.difference, None, titles))
    _show_more(sum(counts.values()) - len(it.difference.entries), "entries")
    for project, reason in {**it.quarantined, **it.held}.items():
        say(f"{it.registry}: {project} would be held back: {reason}", good=False)
    for project in it.released:
        say(f"{it.registry}: {project} would no longer be held back", good=True)


def _show_guard(found: Plan) -> None:
    """Name the registries again that the guard would hold: the diffs above may be long."""
    names = [it.registry for it in found.would_change if it.guard and not it.holds]
    if len(names) > 1:
        say(f"would be held: {', '.join(names)}: see above", good=False)


def _show_holds(it: RegistryPlan) -> None:
    """Show why nothing is written now. Consumers with one reason are shown together."""
    found: dict[tuple[str, str], list[str]] = {}
    for hold in it.holds:
        found.setdefault((hold.reason, hold.hint), []).append(hold.consumer)
    for (reason, hint), consumers in found.items():
        until = "nothing is written there until this is resolved"
        say(
            f"  held now on {', '.join(consumers)}: {reason}; {until}" + (f" - {hint}" if hint else ""),
            good=False,
        )


def _show_more(count: int, what: str) -> None:
    if count > 0:
        say(f"and {count} more {what}; --limit shows more")


def _nothing(found: Plan) -> str:
    unwatched = dict.fromkeys(
        name for each in found.statements for write in each["writes"] for name in write["unwatched"]
    )
    if not found.statements or found.total_rows:
        return "nothing would change"
    if unwatched:
        return (
            f"nothing to publish: {', '.join(unwatched)} {'is' if len(unwatched) == 1 else 'are'} not watched"
        )
    return "nothing to publish: no watched column of any row would change"
