"""Commands that change something: install, uninstall, run, rebuild, accept."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from omnicdc.cli import options
from omnicdc.cli.command import NO, YES, Answering, exit_status
from omnicdc.cli.output import answer, flushed_stdout, say, say_error, show_diff
from omnicdc.errors import ConfigError, OmnicdcError

if TYPE_CHECKING:
    from omnicdc.cli.output import Output
    from omnicdc.config.settings import Config


@click.command(cls=Answering)
@options.connection
@click.option("--print", "only_print", is_flag=True, help="Print the SQL for a DBA, and touch nothing.")
@click.option(
    "--print-tables", is_flag=True, help="Print the SQL of the tables alone, for a subscriber's database."
)
@click.option(
    "--allow-publication",
    "allowed",
    multiple=True,
    metavar="NAME",
    help="Let this publication carry omnicdc's tables.",
)
@click.option(
    "--grant-clients",
    is_flag=True,
    help="Let omnicdc_client read what declared registries show, so that clients can verify them.",
)
@click.option(
    "--record-writers/--no-record-writers",
    default=None,
    help="Log each change with its writer's role and application.  [default: as before; at first, not]",
)
@options.output
def install(
    *,
    only_print: bool,
    print_tables: bool,
    allowed: tuple[str, ...],
    grant_clients: bool,
    record_writers: bool | None,
    output: Output,
    **given: Any,
) -> None:
    """Put the capture into the database: schema, log, triggers, roles.

    Run it as the owner of CMP's tables (or a superuser), with the settings of the registry hosts: `tables`
    says which tables. A repeat is harmless, and upgrades an older installation. CMP's writers wait for an
    instant at most.

    \b
    omnicdc install --dsn postgresql://dba@cmp.example/cms_db
    omnicdc install --print | psql --single-transaction -v ON_ERROR_STOP=1 cms_db
    """
    from omnicdc import db
    from omnicdc.answers.registry_queries import naming_registries
    from omnicdc.capture import install as installation
    from omnicdc.capture.fingerprint import installed_sources
    from omnicdc.capture.script import script, tables_script
    from omnicdc.capture.writers import writers_recorded
    from omnicdc.registries.catalog import registries

    config = options.load(given)
    scanners = registries(config)
    wanted = installation.wanted(config, scanners.values(), for_clients=grant_clients)
    if only_print or print_tables:
        with flushed_stdout():
            whole = script(wanted, allowed=allowed, record_writers=record_writers)
            click.echo(tables_script() if print_tables else whole)
        return
    with db.connect(config.target) as conn:
        with naming_registries(conn, config, scanners):
            changed = installation.install(conn, wanted, allowed=allowed, record_writers=record_writers)
        sources = installed_sources(conn)
        writers = writers_recorded(conn).recorded
    result = {
        "installed": True,
        "changed": changed,
        "sources": {
            name: {"table": row["target"], "watched": row["watched"]} for name, row in sources.items()
        },
        "lacking": [one.source for one in wanted if one.source not in sources],
        "writers_recorded": writers,
    }
    lacking = [one.table for one in wanted if one.source not in sources]
    answer(result, output, lambda: _show_installed(result, lacking))


def _show_installed(result: dict[str, Any], lacking: list[str]) -> None:
    how = "installed on" if result["changed"] else "already installed on"
    for source in result["sources"].values():
        say(f"{how} {source['table']}; watched: {', '.join(source['watched'])}", good=True)
    for table in lacking:
        say(f"no table {table}: its registries are not published")
    if result["writers_recorded"]:
        say("writers are recorded with each change")
    else:
        say("who writes is not recorded; to have it in `omnicdc log`: `omnicdc install --record-writers`")


@click.command(cls=Answering)
@options.connection
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.output
def uninstall(*, yes: bool, output: Output, **given: Any) -> None:
    """Take the capture out of the database: triggers, log, schema. CMP's table stays as it is.

    The roles stay, because they belong to the whole cluster. The registry files stay too.
    """
    from omnicdc import db
    from omnicdc.capture import install as installation

    if not yes and not sys.stdin.isatty():
        raise ConfigError(
            "uninstall removes the capture and its log, and there is no terminal to ask on", hint="--yes"
        )
    config = options.load(given)
    with db.connect(config.target) as conn:
        if not yes:
            click.confirm(f"Remove the capture and its log from {conn.info.dbname}?", abort=True, err=True)
        installation.uninstall(conn)
    answer({"installed": False}, output, lambda: say("uninstalled", good=True))


@click.command(cls=Answering)
@options.registries
@click.option("--once", is_flag=True, help="Bring every registry up to date once, and end (for cron).")
@click.option("--standby", is_flag=True, help="Wait while another daemon serves this root or this name.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
@options.output
def run(*, once: bool, standby: bool, output: Output, **given: Any) -> None:
    """Keep the registries current until SIGTERM. SIGHUP reads the configuration again.

    At its start the daemon scans everything once and publishes every registry that differs. After that it
    publishes each change of CMP within milliseconds. Logs go to stderr.

    With --once, exit status 1: at least one registry is held.
    """
    from omnicdc.log import events

    config = _load(given)
    config.require_root()
    events.configure(config.log_level)
    if once:
        sys.exit(_publish_once(config, output=output))
    from omnicdc.daemon import supervisor
    from omnicdc.daemon.signals import SignalFlags
    from omnicdc.daemon.systemd import Notifier

    signals = SignalFlags()
    signals.listen()
    supervisor.run(lambda: _load(given), signals, Notifier(os.environ), lambda _point: None, standby=standby)


def _load(given: dict[str, Any]) -> Config:
    """Load the configuration, with its registries. Raises ConfigError."""
    from omnicdc.registries.catalog import registries

    config = options.load(given)
    registries(config)
    return config


def _publish_once(config: Config, *, output: Output) -> int:
    """Bring every registry up to date once, print the answer, and return the exit status."""
    from omnicdc.cli.progress import show_progress
    from omnicdc.daemon.once import run_to_the_end
    from omnicdc.daemon.signals import SignalFlags
    from omnicdc.registries.catalog import registries

    points = [f"{step} {name}" for step in ("scanned", "published") for name in registries(config)]
    signals = SignalFlags()
    signals.listen()
    with show_progress("publishing", points) as observe:
        generation, state = run_to_the_end(config, signals.stop, observe)
    held = {
        projection.name: {"reason": fault.reason, "hint": fault.hint}
        for projection in state.held()
        if (fault := projection.hold.fault)
    }
    quarantined = dict(generation.quarantined) if generation else {}
    registries_written = list(generation.registries) if generation else []
    result = {
        "generation": state.generation,
        "registries": registries_written,
        "held": held,
        "quarantined": quarantined,
    }
    result["inputs"] = state.inputs_report()["state"]

    def text() -> None:
        say(
            f"generation {state.generation}: {', '.join(registries_written) or 'nothing to write'}",
            good=not held,
        )
        for name, fault in held.items():
            say(f"held: {name}: {fault['reason']} - {fault['hint']}", good=False)

    answer(result, output, text)
    return NO if held else YES


@click.command(cls=Answering)
@options.registries
@click.option("--dry-run", is_flag=True, help="Show what would change in the files, and change nothing.")
@options.timeout(300.0)
@options.output
def rebuild(*, dry_run: bool, timeout: float, output: Output, **given: Any) -> None:
    """Make every daemon scan everything and publish every registry that differs, and wait for it.

    Registries that are already correct are not rewritten. With --dry-run this command itself compares CMP
    with the files on this host, and shows the differences; exit status 1 if there is one.
    """
    from omnicdc.cli.progress import waiting
    from omnicdc.clients import GenesisClient

    config = options.load(given)
    if dry_run:
        sys.exit(_show_difference(config, output=output))
    with waiting("rebuilding"):
        result = GenesisClient(config=config, timeout=timeout).rebuild_all_registries()
    if result["verdict"] == "unavailable":
        raise OmnicdcError(result["detail"], hint=result["hint"])
    line = f"{result['verdict']}: {', '.join(result['registries_updated']) or result['detail']}"
    line += f" - {result['hint']}" if result["hint"] and not result["success"] else ""
    answer(result, output, lambda: say(line, good=result["success"]))
    sys.exit(exit_status(result["verdict"], success=result["success"]))


@click.command(cls=Answering)
@options.connection
@options.timeout(30.0)
@options.output
def accept(*, timeout: float, output: Output, **given: Any) -> None:
    """Release, once, the registries that the guard holds now, and wait until they are published.

    The guard holds a registry that would lose more than half of its entries at once (and at least
    ten). Check CMP first: if CMP's table was truncated by mistake, this publishes empty registries.
    """
    from omnicdc import db
    from omnicdc.delivery import wait as waits
    from omnicdc.stop import Stop

    config = options.load(given)
    with db.connect_within(config.target, timeout) as conn:
        db.check_schema(conn)
        with db.translated("accepting", role="omnicdc_daemon"):
            token = db.fetch_one(conn, "request_accept")["token"]
        verdict = waits.wait(conn, token, timeout_s=max(0.0, min(timeout, conn.left_s)), stop=Stop())
    # `quarantined` counts as accepted: the guard no longer holds anything. `status` reports the quarantine.
    accepted = verdict.arrived or verdict.status == "quarantined"
    result = {
        "accepted": accepted,
        "verdict": verdict.status,
        "detail": verdict.detail,
        "registries": list(verdict.registries),
        "left_out": list(verdict.left_out),
    }
    done = f"accepted; rewritten: {', '.join(verdict.registries) or 'nothing, for nothing was held'}"
    answer(
        result,
        output,
        lambda: say(done, good=True) if accepted else say_error(verdict.detail, verdict.hint),
    )
    sys.exit(exit_status(verdict.status, success=accepted))


def _show_difference(config: Config, *, output: Output) -> int:
    """Print the differences between CMP and the files, and return the exit status."""
    from omnicdc.cli.verify import verified
    from omnicdc.verify.difference import unified

    config.require_output_directory()
    report = verified(config)
    result = {"success": True, "dry_run": True, **report.as_dry_run()}
    same = all(it.difference is not None and not it.difference.rewritten for it in report.registries)

    def text() -> None:
        for registry in report.registries:
            if registry.difference is None:
                say(f"{registry.registry}: {registry.detail} - {registry.hint}", good=False)
                continue
            show_diff(unified(registry.difference))
        if same:
            say("nothing would change", good=True)

    answer(result, output, text)
    return YES if same else NO
