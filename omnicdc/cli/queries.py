"""Commands that change nothing: verify, wait, status."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import completion, options
from omnicdc.cli.command import NO, YES, Answering, exit_status, refuse_other_encodings
from omnicdc.cli.output import answer, say, table

if TYPE_CHECKING:
    from omnicdc.cli.output import Output
    from omnicdc.verify.report import AllReport, Report


@click.command(cls=Answering)
@options.connection
@options.output
def status(*, output: Output, **given: Any) -> None:
    """Show the capture, every consumer, held registries and quarantined projects.

    Exit status 0 if there is no fault, 1 if there is one.
    """
    from omnicdc import db
    from omnicdc.answers.status import status as read_status

    config = options.load(given)
    with db.connect(config.target) as conn:
        db.check_schema(conn)
        found = read_status(conn, max_lag_s=config.max_lag_s)

    def text() -> None:
        capture, log = found["capture"], found["log"]
        say(f"capture: {capture['fault'] or 'watching'}", good=not capture["fault"])
        for name, source in capture["sources"].items():
            say(f"  {name}: {source['table']} ({', '.join(source['watched'])})")
        about = "about " if log["estimated"] else ""
        say(f"log: {about}{log['changes']} changes, the oldest {log['oldest'] or '-'}")
        table(
            ["consumer", "alive", "generation", "behind", "published", "held", "quarantined", "last error"],
            [
                (
                    one["name"],
                    "yes" if one["alive"] else "no",
                    one["generation"],
                    one["behind"],
                    one["published_at"] and f"{one['published_at']:%Y-%m-%d %H:%M:%S}",
                    ", ".join(one["held"]) or "-",
                    sum(one["quarantined_counts"].values()) or "-",
                    one["last_error"] or "-",
                )
                for one in found["consumers"]
            ],
        )
        for one in found["consumers"]:
            for registry, why in one["unused"].items():
                say(f"{one['name']}: {registry} is not published: {why['reason']} - {why['hint']}")
        for fault in found["faults"]:
            say(fault, good=False)

    answer(found, output, text)
    sys.exit(YES if found["healthy"] else NO)


@click.command(cls=Answering)
@options.connection
@click.option("--token", help="A transaction: what pg_current_xact_id() gave inside it.")
@click.option(
    "--project",
    metavar="NAME",
    help="Everything committed so far, as far as projects of this name (or key) go.",
)
@click.option(
    "--consumer",
    metavar="NAME",
    shell_complete=completion.consumers,
    help="Wait for this registry host only.  [default: all that are alive]",
)
@options.all_hosts
@click.option(
    "--inputs",
    is_flag=True,
    help="Have clones and GitHub looked at, and wait until the registries show them.",
)
@options.timeout(30.0)
@options.output
def wait(
    *,
    token: str | None,
    project: str | None,
    consumer: str | None,
    all_hosts: bool,
    inputs: bool,
    timeout: float,
    output: Output,
    **given: Any,
) -> None:
    """Wait until the registries hold a transaction.

    Without --token and --project, it waits for everything committed so far. The answer is a verdict:
    published, nothing_to_do, rolled_back, held, quarantined, no_consumer, capture_broken, timeout. It does
    not wait for registered hosts whose daemon is down, but names them in left_out. With --all-hosts it waits
    for them.

    Exit status 0 published or nothing to do; 1 rolled back, held, quarantined or capture broken; 3 not yet.
    """
    from omnicdc import db
    from omnicdc.cli.progress import waiting
    from omnicdc.delivery import wait as waits
    from omnicdc.delivery.inputs_state import wait_for_inputs
    from omnicdc.stop import Stop

    if token is not None and project is not None:
        raise click.UsageError("--token and --project exclude each other")
    if consumer is not None and all_hosts:
        raise click.UsageError("--consumer and --all-hosts exclude each other")
    if project is not None:
        # Names are UTF-8, whatever the locale, but Python has decoded the argument by the locale.
        project = os.fsencode(project).decode(errors="surrogateescape")
        refuse_other_encodings(["--project", project])
    config = options.load(given)
    ids = None
    with waiting("waiting"), db.connect_within(config.target, timeout) as conn:
        db.check_schema(conn)
        if project is not None:
            ids = waits.projects_named(conn, config, [project])
        began = time.monotonic()
        verdict = waits.wait(
            conn,
            token,
            timeout_s=max(0.0, min(timeout, conn.left_s)),
            stop=Stop(),
            projects=ids,
            consumer=consumer,
            all_hosts=all_hosts,
        )
        if inputs:
            left = min(timeout - (time.monotonic() - began), conn.left_s)
            verdict = wait_for_inputs(conn, verdict, timeout_s=left, stop=Stop(), consumer=consumer)

    def text() -> None:
        say(
            f"{verdict.status}: {verdict.detail}" + (f" - {verdict.hint}" if verdict.hint else ""),
            good=verdict.arrived,
        )
        if verdict.left_out:
            say(f"not waited for, as no daemon is alive there: {', '.join(verdict.left_out)}")

    answer(verdict.as_dict(), output, text)
    sys.exit(exit_status(verdict.status, success=verdict.arrived))


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
    from omnicdc.cli.progress import show_progress

    if bool(uuid) == everything:
        raise click.UsageError("give the UUID of a project or agent, or --all")
    config = options.load(given)
    config.require_root()
    inputs = verification.known_inputs(config)
    with db.connect(config.target) as conn:
        if uuid:
            report = verification.verify_project(conn, config, *inputs, uuid)
            answer(report.as_dict(), output, lambda: _show_project(report))
            sys.exit(YES if report.verified else NO)
        with show_progress("comparing", list(verification.registry_names(config))) as observe:
            audit = verification.verify_all(conn, config, *inputs, observe)
    answer(audit.as_dict(), output, lambda: _show_all(audit))
    sys.exit(YES if audit.verified else NO)


def _show_project(report: Report) -> None:
    say(
        f"{report.name or report.uuid}: {'verified' if report.verified else 'not verified'}",
        good=report.verified,
    )
    for check in report.checks:
        say(
            f"  {check.registry}: {check.status.replace('_', ' ')}",
            good=check.status in ("current", "not_expected"),
        )
        for field, (expected, found) in check.differences.items():
            say(f"    {field}: CMP has {expected!r}, the file {found!r}")
        if check.detail:
            say(f"    {check.detail}" + (f" - {check.hint}" if check.hint else ""))
        if check.not_compared:
            say(f"    not compared, as the state directory cannot be read: {', '.join(check.not_compared)}")


def _show_all(report: AllReport) -> None:
    for registry in report.registries:
        result = registry.as_dict()
        counts = [
            f"{result[kind]['count']} {kind}"
            for kind in ("missing", "stale", "unexpected")
            if result.get(kind, {}).get("count")
        ]
        counts += [f"{len(registry.held)} held back"] if registry.held else []
        summary = ", ".join(counts) or registry.detail or registry.status
        say(
            f"{registry.registry}: {summary}" + (f" - {registry.hint}" if registry.hint else ""),
            good=registry.good,
        )
