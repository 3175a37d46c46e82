"""The command `wait`: whether the registries hold a transaction yet."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import completion, options
from omnicdc.cli.command import Answering, exit_status, refuse_other_encodings
from omnicdc.cli.layout import milliseconds, seconds
from omnicdc.cli.output import answer, say, table

if TYPE_CHECKING:
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config
    from omnicdc.delivery.verdict import Verdict


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
def wait(*, output: Output, **given: Any) -> None:
    """Wait until the registries hold a transaction.

    Without --token and --project, it waits for everything committed so far. The answer is a verdict:
    published, nothing_to_do, rolled_back, held, quarantined, no_consumer, capture_broken, timeout. With it
    goes which generation of each host holds it. It does not wait for registered hosts whose daemon is down,
    but names them in left_out. With --all-hosts it waits for them.

    Exit status 0 published or nothing to do; 1 rolled back, held, quarantined or capture broken; 3 not yet.
    """
    from omnicdc.cli.progress import waiting

    goal = {
        name: given.pop(name) for name in ("token", "project", "consumer", "all_hosts", "inputs", "timeout")
    }
    if goal["token"] is not None and goal["project"] is not None:
        raise click.UsageError("--token and --project exclude each other")
    if goal["consumer"] is not None and goal["all_hosts"]:
        raise click.UsageError("--consumer and --all-hosts exclude each other")
    if goal["project"] is not None:
        # Names are UTF-8, whatever the locale, but Python has decoded the argument by the locale.
        goal["project"] = os.fsencode(goal["project"]).decode(errors="surrogateescape")
        refuse_other_encodings(["--project", goal["project"]])
    config = options.load(given)
    with waiting("waiting"):
        verdict = _waited(config, **goal)
    answer(verdict.as_dict(), output, lambda: _show(verdict))
    sys.exit(exit_status(verdict.status, success=verdict.arrived))


def _waited(
    config: Config,
    *,
    token: str | None,
    project: str | None,
    consumer: str | None,
    all_hosts: bool,
    inputs: bool,
    timeout: float,
) -> Verdict:
    """Wait as the options say, and return the verdict. Raises as `delivery.wait.wait` does."""
    from omnicdc import db
    from omnicdc.delivery import wait as waits
    from omnicdc.delivery.inputs_state import wait_for_inputs
    from omnicdc.stop import Stop

    with db.connect_within(config.target, timeout) as conn:
        db.check_schema(conn)
        ids = None if project is None else waits.projects_named(conn, config, [project])
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
        if not inputs:
            return verdict
        left_s = min(timeout - (time.monotonic() - began), conn.left_s)
        return wait_for_inputs(conn, verdict, timeout_s=left_s, stop=Stop(), consumer=consumer)


def _show(verdict: Verdict) -> None:
    say(f"{verdict.status}: {verdict.detail}", good=verdict.arrived)
    if verdict.hint:
        say(f"  {verdict.hint}")
    if verdict.hosts:
        columns = ("consumer", "generation", "after", "published", "files rewritten")
        rows = [
            (
                host.consumer,
                "-" if host.generation is None else host.generation,
                milliseconds(host.milliseconds),
                seconds(host.at),
                host.registries or "none",
            )
            for host in verdict.hosts
        ]
        table(columns, rows, firm=columns[1:4])
    if verdict.inputs == "looking":
        say("clones or GitHub are still looked at: `omnicdc wait --inputs` waits for them too")
    if verdict.left_out:
        say(f"not waited for, as no daemon is alive there: {', '.join(verdict.left_out)}", good=False)
