"""docs/cli.md documents exactly the events that omnicdc logs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import omnicdc

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(omnicdc.__file__).parent
PAGE = Path(__file__).parents[2] / "docs/cli.md"
OF_THE_LOG_PACKAGE = {"recovered", "log_lines_dropped", "library"}
"""Events of the package `log`: the end of a repeated failure, dropped lines, and messages of libraries."""

LEVELS = {"debug", "info", "warning", "error"}


def constants(node: ast.expr) -> Iterator[str]:
    """Yield every text constant in an expression."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def logged(source: str) -> Iterator[str]:
    """Yield the events that a module logs: the first argument of `log.LEVEL(…)` and of `Repeating(…)`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            called = node.func
            is_log = (
                isinstance(called, ast.Attribute)
                and called.attr in LEVELS
                and ast.unparse(called.value) == "log"
            )
            if is_log or (isinstance(called, ast.Name) and called.id == "Repeating"):
                yield from constants(node.args[0])


def test_every_event_is_documented_and_every_documented_event_is_logged() -> None:
    events = {event for path in PACKAGE.rglob("*.py") for event in logged(path.read_text("utf-8"))}
    table = PAGE.read_text("utf-8").partition("\n## Log events")[2].partition("\n## ")[0]
    documented = {
        event
        for row in table.splitlines()
        if row.startswith("| `")
        for event in re.findall(r"`([a-z_]+)`", row.split("|")[1])
    }

    assert events - documented == set()
    assert documented - events - OF_THE_LOG_PACKAGE == set()
