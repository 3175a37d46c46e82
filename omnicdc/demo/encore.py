"""What `--keep` leaves running, and what to try with it: commands to paste."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.demo import cast

if TYPE_CHECKING:
    from omnicdc.demo.daemon import Daemon
    from omnicdc.demo.house import House
    from omnicdc.demo.stage import Stage
    from omnicdc.stop import Stop

LOOK_S = 0.2

TRY = """\
omnicdc status
psql -c "update projects set status = 'frozen' where name = 'Atlas Gateway'" && omnicdc wait --project 'Atlas Gateway'
omnicdc verify {uuid}
rm "$OMNICDC_ROOT/{inventory}"    # it comes back within seconds
psql -c "delete from projects" && omnicdc wait    # the guard holds what would lose that much ...
omnicdc accept    # ... until somebody says that it is meant"""


def exports(home: House) -> dict[str, str]:
    """Return the environment of a shell in which `omnicdc` and `psql` find the house."""
    programs = f"{Path(sys.executable).parent}:{home.programs}:$PATH"
    return {
        **home.settings,
        "PGHOST": str(home.server.directory),
        "PGPORT": str(home.server.port),
        "PGDATABASE": cast.DATABASE,
        "PGUSER": cast.WRITER,
        "PATH": programs,
    }


def as_dict(home: House, daemon: Daemon) -> dict[str, object]:
    """Return what the command prints with --json."""
    return {
        "dsn": home.settings["OMNICDC_DSN"],
        "root": str(home.root),
        "log": str(home.log),
        "pid": daemon.pid,
        "env": {name: value for name, value in exports(home).items() if name != "PATH"},
    }


def invite(stage: Stage, home: House) -> None:
    """Say where everything is, and what to try."""
    atlas = cast.ORDINARY[0].id
    inventory = "governance/registry/git_repos/repo_inventory.json"
    stage.say()
    stage.say("Everything keeps running until Ctrl-C. In another terminal, as the same user:")
    stage.say()
    for name, value in exports(home).items():
        stage.say(f"export {name}={_quoted(value)}")
    stage.say()
    for line in TRY.format(uuid=atlas, inventory=inventory).splitlines():
        stage.say(line)
    stage.say(f"tail -f {shlex.quote(str(home.log))}")
    stage.say()


def hold(stage: Stage, daemon: Daemon, stop: Stop) -> None:
    """Keep everything running until a stop is asked for; tell once if somebody ended the daemon."""
    with stage.busy("running; Ctrl-C ends it"):
        while daemon.alive and not stop.requested:
            stop.wait(LOOK_S)
    if not stop.requested:
        stage.say("The daemon has ended; `omnicdc run` starts another. Ctrl-C ends the rest.")
    while not stop.requested:
        stop.wait(LOOK_S)


def _quoted(value: str) -> str:
    """Quote for a shell, but let it put in its own PATH."""
    head, path, _rest = value.partition(":$PATH")
    return f"{shlex.quote(head)}:$PATH" if path else shlex.quote(value)
