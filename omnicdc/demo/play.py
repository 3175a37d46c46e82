"""The performance from curtain to curtain: set the house up, play the acts, and leave nothing behind."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.clients import GenesisClient
from omnicdc.demo import cast, readers
from omnicdc.demo.acts import ACTS
from omnicdc.demo.house import await_daemon, house, make_cmp, make_root, put_capture
from omnicdc.demo.report import Report, Table
from omnicdc.demo.scene import Scene
from omnicdc.demo.stage import show
from omnicdc.demo.witness import witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from omnicdc.demo.daemon import Daemon
    from omnicdc.demo.house import House
    from omnicdc.demo.report import Act
    from omnicdc.demo.stage import Stage
    from omnicdc.demo.witness import Witness
    from omnicdc.stop import Stop

    Encore = Callable[[House, Daemon, Report], None]
    """What is done after the acts, while everything still runs."""


def play(stage: Stage, stop: Stop, environ: Mapping[str, str], encore: Encore) -> Report:
    """Play all acts, then the encore; afterwards nothing of it is left, however it ended.

    `environ` is for the daemon, and secluded. Raises ConfigError without the `embedded` extra, OmnicdcError
    if something does not start, KeyboardInterrupt soon after a stop was asked for.
    """
    started = time.monotonic()
    checkpoint = _checkpoint(stop)
    stage.title("omnicdc demo", "A write to CMP alone brings every project registry up to date.")
    with ExitStack() as undo:
        with stage.busy("starting PostgreSQL, CMP and omnicdc"):
            home = undo.enter_context(house())
            checkpoint()
            home.server.start()
            checkpoint()
            version = make_cmp(home, checkpoint)
            watched = put_capture(home)
            make_root(home)
            daemon = home.run_daemon(environ)
            undo.callback(daemon.end)
            first = await_daemon(daemon, stop)
            seen = undo.enter_context(witness(home, daemon, stop))
        _introduce(stage, version, watched, daemon, seen)
        scene = Scene(home, seen, GenesisClient(config=home.config()), first["generation"])
        acts = tuple(_perform(stage, scene, checkpoint))
        report = Report(version, len(cast.CAST), time.monotonic() - started, acts)
        _close(stage, report)
        encore(home, daemon, report)
    return report


def _checkpoint(stop: Stop) -> Callable[[], None]:
    """Return what is called between two steps: a signal handler only sets a flag."""

    def checkpoint() -> None:
        if stop.requested:
            raise KeyboardInterrupt

    return checkpoint


def _introduce(stage: Stage, version: str, watched: tuple[str, ...], daemon: Daemon, seen: Witness) -> None:
    stage.say(f"PostgreSQL {version} runs in a temporary directory, and nothing of it will be left.")
    stage.say(
        f"CMP: database {cast.DATABASE}, table projects, {len(cast.CAST)} rows. Genesis writes to it as {cast.WRITER}."
    )
    stage.say("`omnicdc install` put triggers on it, which note in a log whatever changes of")
    stage.say(f"{', '.join(watched)}.")
    stage.say(f"`omnicdc run` is process {daemon.pid}; it found no registry, and published all three:")
    stage.table(
        Table(
            ("registry", "projects", "bytes", "worth a look"),
            tuple(
                (name, str(len(entries)), str(seen.paths[name].stat().st_size), remark)
                for name, entries, remark in _first_look(seen)
            ),
        )
    )


def _first_look(seen: Witness) -> Iterator[tuple[str, readers.Entries, str]]:
    read = next(iter(readers.yaml_readers().values()))
    names = list(seen.paths)
    yield names[0], readers.canonical(seen.paths), "every row of CMP, as it is"
    yield (
        names[1],
        readers.projects(seen.paths, read),
        "people left one out, and overrode two",
    )
    yield names[2], readers.inventory(seen.paths), "those on GitHub; two share a repository"


def _perform(stage: Stage, scene: Scene, checkpoint: Callable[[], None]) -> Iterator[Act]:
    for number, act in enumerate(ACTS, 1):
        checkpoint()
        with db.translated(f"playing {act.__name__}"):
            played = act(scene)
        show(stage, number, played)
        yield played


def _close(stage: Stage, report: Report) -> None:
    held = report.claims - len(report.failed)
    stage.verdict(
        f"{held} of {report.claims} claims held, in {report.seconds:.1f} s with PostgreSQL's start.",
        good=not report.failed,
    )
