"""Commands that change nothing: verify, wait, status."""

from __future__ import annotations

import sys
from typing import Any

import click

from omnicdc.cli import options
from omnicdc.cli.show import answer, say, table


@click.command()
@options.connection
@options.as_json
def status(*, as_json: bool, **given: Any) -> None:
    """Show the capture, every consumer, and what is held back.

    Exit status 0 if all is well, 1 if something needs a look.
    """
    from omnicdc import db
    from omnicdc.status import status as ask

    config = options.load(given)
    with db.connect(config.conninfo) as conn:
        db.check_schema(conn)
        found = ask(conn)

    def text() -> None:
        capture, log = found["capture"], found["log"]
        say(
            f"capture: {capture['fault'] or 'watching'} {capture['table']} ({', '.join(capture['watched'])})",
            good=not capture["fault"],
        )
        say(f"log: {log['changes']} changes, the oldest {log['oldest'] or '-'}")
        table(
            ["consumer", "alive", "generation", "behind", "published", "held", "quarantined", "last error"],
            [
                (
                    one["name"], "yes" if one["alive"] else "no", one["generation"], one["behind"], one["published_at"],
                    ", ".join(one["held"]) or "-", sum(map(len, one["quarantined"].values())) or "-", one["last_error"] or "-",
                )
                for one in found["consumers"]
            ],
        )  # fmt: skip
        for fault in found["faults"]:
            say(fault, good=False)

    answer(found, as_json=as_json, text=text)
    sys.exit(0 if found["healthy"] else 1)


@click.command()
@options.connection
@click.option("--token", help="A transaction: what pg_current_xact_id() gave inside it.")
@click.option("--project", metavar="NAME", help="The last change of the projects of this name (or key).")
@click.option(
    "--consumer", metavar="NAME", help="Wait for this registry host only.  [default: all that are alive]"
)
@click.option("--timeout", type=float, default=30.0, show_default=True, metavar="SECONDS")
@options.as_json
def wait(
    *,
    token: str | None,
    project: str | None,
    consumer: str | None,
    timeout: float,
    as_json: bool,
    **given: Any,
) -> None:
    """Wait until the registries hold a transaction.

    Without --token and --project: everything committed so far. The answer is a verdict: published,
    nothing_to_do, rolled_back, held, quarantined, no_consumer, capture_broken, timeout.

    Exit status 0 published or nothing to do, 1 rolled back, held, quarantined or capture broken, 3 not yet.
    """
    from omnicdc import db
    from omnicdc import wait as waits
    from omnicdc.cli.progress import waiting
    from omnicdc.stop import Stop

    if token and project:
        raise click.UsageError("--token and --project exclude each other")
    config = options.load(given)
    with waiting("waiting"), db.connect(config.conninfo) as conn:
        db.check_schema(conn)
        if project:
            ids = waits.projects_named(conn, config.table, [project])
            token = waits.last_change(conn, ids)
        verdict = waits.wait(conn, token, timeout_s=timeout, stop=Stop(), consumer=consumer)
    line = f"{verdict.status}: {verdict.detail}" + (f" - {verdict.hint}" if verdict.hint else "")
    answer(verdict.as_dict(), as_json=as_json, text=lambda: say(line, good=verdict.arrived))
    sys.exit(0 if verdict.arrived else 3 if verdict.status in ("timeout", "no_consumer") else 1)
