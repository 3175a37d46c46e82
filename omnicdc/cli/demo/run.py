"""Runs the whole demo: creates the sandbox, runs the acts, and removes everything."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnicdc import db
from omnicdc.cli.demo import fixtures
from omnicdc.cli.demo.observer import Observer, check
from omnicdc.cli.demo.output import show_act, summary
from omnicdc.cli.demo.sandbox import create_cmp, daemon, sandbox
from omnicdc.cli.demo.scenarios import ACTS
from omnicdc.registries.scanners import scanners
from omnicdc.testing import cmp
from omnicdc.testing.embedded import bundled
from omnicdc.testing.process import await_publication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from subprocess import Popen

    from omnicdc.cli.demo.output import Act, Output
    from omnicdc.cli.demo.sandbox import Sandbox
    from omnicdc.stop import Stop

    Afterwards = Callable[[Sandbox, Popen[bytes], dict[str, Any]], object]

TRY = """\
omnicdc status
psql -c "update projects set status = 'frozen' where name = 'Atlas Gateway'" && \
omnicdc wait --project 'Atlas Gateway'
omnicdc verify {uuid}
rm "$OMNICDC_ROOT/{inventory}"    # the daemon writes it again within a second
omnicdc rebuild"""


def run(output: Output, stop: Stop, environ: Mapping[str, str], afterwards: Afterwards) -> dict[str, Any]:
    """Run all acts, call `afterwards` while everything still runs, and return the summary.

    Everything is removed at the end, also after an error. `environ` is the environment of the daemon;
    `isolate` must have been applied to it. Raises ConfigError without the `embedded` extra, OmnicdcError if
    something does not start, and KeyboardInterrupt soon after a stop was requested.
    """
    started = time.monotonic()
    output.print("omnicdc demo", "bold")
    output.lines("Write to CMP; omnicdc updates every registry file.", "")
    with ExitStack() as undo:
        with output.busy("starting PostgreSQL, CMP and omnicdc"):
            box = undo.enter_context(sandbox())
            check(stop)
            box.server.start()
            check(stop)
            create_cmp(box)
            process = undo.enter_context(daemon(box, environ))
            users = (cmp.WRITER, cmp.DAEMON)
            writer, operator = (undo.enter_context(db.connect(box.dsn(user))) for user in users)
            observer = Observer(box, stop, writer, operator)
            await_publication(operator, process, box.log, stop)
        version = str(observer.writer.info.parameter_status("server_version")).split(" ", 1)[0]
        output.lines(*_introduction(observer, version, process.pid))
        acts = tuple(_run_acts(output, observer))
        seconds = round(time.monotonic() - started, 2)
        result = summary(acts, postgresql=version, projects=len(fixtures.PROJECTS), seconds=seconds)
        held, total = result["claims"] - len(result["failed"]), result["claims"]
        output.lines("", f"{held} of {total} claims held, in {seconds} s including PostgreSQL's start.")
        afterwards(box, process, result)
    return result


def _introduction(observer: Observer, version: str, pid: int) -> Iterator[str]:
    yield f"PostgreSQL {version} runs in {observer.box.directory}, which is removed at the end."
    yield (
        f"CMP: database {fixtures.DATABASE}, table projects, {len(fixtures.PROJECTS)} rows; "
        "`omnicdc install` put its triggers on it."
    )
    yield f"`omnicdc run` is process {pid}; it found no registry, and published three:"
    for name, (_signature, data) in observer.files().items():
        scanner = scanners()[name]
        yield f"   {scanner.path}: {len(scanner.layout.split(data).cores)} entries, {len(data)} bytes"


def _run_acts(output: Output, observer: Observer) -> Iterator[Act]:
    for number, act in enumerate(ACTS, 1):
        check(observer.stop)
        with db.translated(f"running act {number}"):
            shown = act(observer)
        show_act(output, number, shown)
        yield shown


def kept(box: Sandbox, daemon: Popen[bytes]) -> dict[str, Any]:
    """Return the paths, the DSN and the daemon's pid, for JSON.

    `env` has the environment variables for `omnicdc` and `psql`.
    """
    server, env = box.server, box.settings() | {"PGDATABASE": fixtures.DATABASE, "PGUSER": cmp.WRITER}
    env |= {"PGHOST": str(server.directory), "PGPORT": str(server.port)}
    dsn, root, log = box.dsn(cmp.DAEMON), str(box.root), str(box.log)
    return {"dsn": dsn, "root": root, "log": log, "pid": daemon.pid, "env": env}


def show_kept(output: Output, kept: dict[str, Any]) -> None:
    """Print what `kept` returned, as lines to paste into a shell, and commands to try."""
    programs = shlex.quote(f"{Path(sys.executable).parent}:{bundled()}")
    output.lines(
        "",
        "Everything keeps running until Ctrl-C. In another terminal, as the same user:",
        "",
        *(f"export {name}={shlex.quote(value)}" for name, value in kept["env"].items()),
        f"export PATH={programs}:$PATH",
        "",
        *TRY.format(uuid=fixtures.PROJECTS[0]["id"], inventory=scanners()["git"].path).splitlines(),
        f"tail -f {shlex.quote(kept['log'])}",
        "",
    )
