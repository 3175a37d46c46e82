"""How long the commands take that people and scripts wait for: from the start of the process to its end."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from support.host import COMMAND

from bench import upserts
from bench.measure import Curve, Figure, Series, alternated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.host import Host

    from bench.effort import Run

FEW = 1_000
TIMES = 7
TIMES_ALL = 5
"""Of `verify --all`, which takes seconds."""

VERIFY_FEW_S = 0.28
VERIFY_MANY_S = 0.35
VERIFY_ALL_S = 3.0
HELP_S = 0.10

PSYCOPG = "import psycopg"


def measure(run: Run) -> None:
    """Run each against published registries; the daemon that published them has stopped."""
    many = run.effort.sizes[-1]
    found = {projects: _published(run, projects, everything=projects == many) for projects in (FEW, many)}
    run.results.figures += [
        Figure(f"`omnicdc verify UUID`, whole process, N = {FEW:,}", found[FEW]["verify UUID"], VERIFY_FEW_S),
        Figure(
            f"`omnicdc verify UUID`, whole process, N = {many:,}", found[many]["verify UUID"], VERIFY_MANY_S
        ),
        Figure("`omnicdc --help`, whole process", found[FEW]["--help"], HELP_S),
        Figure(
            f"`omnicdc verify --all`, whole process, N = {many:,}", found[many]["verify --all"], VERIFY_ALL_S
        ),
    ]
    run.results.curves += [
        Curve(
            "commands",
            name,
            "projects",
            {projects: them[name] for projects, them in found.items() if name in them},
        )
        for name in ("verify UUID", "verify --all", PSYCOPG)
    ]


def _published(run: Run, projects: int, *, everything: bool) -> dict[str, Series]:
    """Return the seconds of each command beside one set of files."""
    with run.ground.estate(f"commands_{projects}", projects) as estate:
        host = estate.host()
        with estate.daemon(host):
            pass  # it has published everything when it is entered
        commands = _commands(host, upserts.projects(estate.cmp))
        everyone = {"verify --all": partial(_times, host, lambda: [COMMAND, "verify", "--all"])}
        run.tell(f"commands: verify UUID, --help, N = {projects:,}, {TIMES} times")
        alternated(1, commands)  # from now on their files are in memory
        found = alternated(TIMES, commands)
        if everything:
            run.tell(f"commands: verify --all, N = {projects:,}, {TIMES_ALL} times")
            found |= alternated(TIMES_ALL, everyone)
    return {name: Series(tuple(times), "s") for name, times in found.items()}


def _commands(host: Host, ids: list[str]) -> dict[str, Callable[[], Iterator[float]]]:
    """Return what takes turns; every verification is of another project, here and there in the files."""
    chance = random.Random(upserts.SEED)
    lines: dict[str, Callable[[], list[str]]] = {
        "verify UUID": lambda: [COMMAND, "verify", chance.choice(ids)],
        "--help": lambda: [COMMAND, "--help"],
        PSYCOPG: lambda: [sys.executable, "-c", PSYCOPG],
    }
    return {name: partial(_times, host, line) for name, line in lines.items()}


def _times(host: Host, line: Callable[[], list[str]]) -> Iterator[float]:
    """Yield the seconds of one process; it must succeed."""
    arguments = line()
    began = time.perf_counter()
    done = subprocess.run(arguments, env=host.env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    assert done.returncode == 0, f"{arguments}: {done.stdout} {done.stderr}"
    yield took
