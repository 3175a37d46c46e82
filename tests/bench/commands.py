"""The duration of commands that users and scripts wait for, from the start of the process to its end."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from support.host import COMMAND

from bench import plain, upserts
from bench.measure import Curve, Figure, Series, alternated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.host import Host

    from bench.effort import Run

FEW = 1_000
TIMES = 7
TIMES_ALL = 5
"""The repetitions of `verify --all`, which takes seconds."""

PSYCOPG = "import psycopg"
"""A process that only imports psycopg, as every command with a database connection must."""

VERIFY_FEW = 2.2
VERIFY_MANY = 2.7
HELP = 0.8
"""Limits as multiples of `import psycopg`."""

VERIFY_ALL = 1.6
"""Limit as a multiple of the plain process."""


def measure(run: Run) -> None:
    """Run each command on published registries, without a running daemon."""
    many = run.effort.sizes[-1]
    found = {projects: _published(run, projects, everything=projects == many) for projects in (FEW, many)}
    limits = (
        ("verify UUID", FEW, VERIFY_FEW, PSYCOPG),
        ("verify UUID", many, VERIFY_MANY, PSYCOPG),
        ("--help", FEW, HELP, PSYCOPG),
        ("verify --all", many, VERIFY_ALL, plain.PROCESS),
    )
    run.results.figures += [
        Figure(
            f"`omnicdc {name}`, whole process, N = {projects:,}",
            found[projects][name], limit, found[projects][yardstick], yardstick,
        )
        for name, projects, limit, yardstick in limits
    ]  # fmt: skip
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
    """Return the seconds of each command on one set of files."""
    with run.ground.estate(f"commands_{projects}", projects) as estate:
        host = estate.host()
        with estate.daemon(host):
            pass  # everything is published when the block begins
        commands = _commands(host, upserts.projects(estate.cmp))
        plainly = plain.processes(estate)
        everyone: dict[str, Callable[[], Iterator[float]]] = {
            "verify --all": partial(_times, host, lambda: [COMMAND, "verify", "--all"]),
            plain.PROCESS: lambda: islice(plainly, 1),
        }
        run.report(f"commands: verify UUID, --help, N = {projects:,}, {TIMES} times")
        alternated(1, commands)  # from now on the files are in the page cache
        found = alternated(TIMES, commands)
        if everything:
            run.report(f"commands: verify --all, N = {projects:,}, {TIMES_ALL} times")
            found |= alternated(TIMES_ALL, everyone)
    return {name: Series(tuple(times), "s") for name, times in found.items()}


def _commands(host: Host, ids: list[str]) -> dict[str, Callable[[], Iterator[float]]]:
    """Return the commands that alternate. Each verification is of a random project."""
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
