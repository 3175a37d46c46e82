"""The benchmark.

`make bench`, or `python -m bench` with tests/ on PYTHONPATH and the `bench` extra installed.
"""

from __future__ import annotations

import sys
import traceback
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psycopg

from bench import document, plots, table
from bench.effort import FULL, QUICK, Run
from bench.ground import Ground
from bench.machine import examine
from bench.measure import Results
from omnicdc.cli.progress import show_progress

if TYPE_CHECKING:
    from collections.abc import Callable


PARTS = (
    "latency", "batches", "starts", "sustained", "writers", "statements", "resources", "commands",
    "contenders", "growth",
)  # fmt: skip


@click.command()
@click.option(
    "--quick", is_flag=True, help="Under two minutes: checks that everything works, with rough figures."
)
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="A part; may be repeated.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("bench"),
    show_default=True,
    help="For JSON and plots.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, exists=True),
    help="A page with markers; the tables are written between them.",
)
def main(*, quick: bool, parts: tuple[str, ...], out: Path, page: Path | None) -> None:
    """Measure the targets of omnicdc on a new PostgreSQL; exit 1 if a target is missed."""
    effort = QUICK if quick else FULL
    out.mkdir(parents=True, exist_ok=True)
    results, machine = Results(), None
    ground = Ground()
    try:
        with psycopg.connect(ground.server.dsn()) as conn:
            machine = examine(conn, ground.directory)
        with show_progress("measuring") as observe:
            run = Run(ground, results, effort, _reporter(observe))
            for part in parts or PARTS:
                _measure(part, run)
    finally:
        ground.close()
    for draw, name in ((plots.latency, "latency.svg"), (plots.writers, "writers.svg")):
        draw(results, out / name)
    (out / "results.json").write_bytes(document.as_json(results, machine, effort, datetime.now(UTC)))
    if page:
        document.update(page, document.markdown(results, machine))
    table.show(results)
    sys.exit(not all(figure.met for figure in results.figures))


def _measure(part: str, run: Run) -> None:
    """Measure one part. If it fails, add a remark, so that the other parts are still measured."""
    try:
        import_module(f"bench.{part}").measure(run)
    except Exception as exc:  # noqa: BLE001 - as above
        traceback.print_exc()
        run.results.remarks.append(f"{part} could not be measured: {type(exc).__name__}: {exc}")


def _reporter(observe: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that prints each step on its own line, besides the progress bar of a terminal."""

    def report(step: str) -> None:
        sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {step}\n")
        observe(step)

    return report


main()
