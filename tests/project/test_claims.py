"""Rules for all tests, so that no result depends on the speed of the machine.

The rules are checked in the source of the tests.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[[str], Iterator[int]]

TESTS = Path(__file__).parents[1]
SOURCES = {
    str(path.relative_to(TESTS)): path.read_text("utf-8")
    for path in sorted(TESTS.rglob("*.py"))
    if "bench" not in path.relative_to(TESTS).parts
}
COMPARES = "support/rebuild.py"
"""This module may compare files, as it waits for a barrier first."""

FILES = re.compile(r"\b(content|rebuilt)\(")
SECONDS = re.compile(
    r"\b(monotonic|perf_counter|process_time)\("
    r"|\b(took|slowest|longest|answered|seldom|quick)\b|\w_s\b|seconds"
)
PATIENT = re.compile(r"\ballows\(|\b(DEADLINE|NEVER|GRACE)_S\b|^deadline$")
ENOUGH_S = 20
"""Seconds of processor time. This limit, or three times as much by the clock, only detects a hang."""


@cache
def nodes(source: str) -> list[ast.AST]:
    """Return all nodes of a source; cached, as each rule needs them."""
    return [*ast.walk(ast.parse(source))]


def compared_at_once(source: str) -> Iterator[int]:
    """Yield the lines that compare files of two hosts, except for claims that `until` repeats."""
    if not FILES.search(source):
        return
    repeated = {
        inner
        for node in nodes(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "until"
        for inner in ast.walk(node)
    }
    for node in nodes(source):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq) and node not in repeated:
            sides = [node.left, *node.comparators]
            if all(FILES.search(ast.unparse(side)) for side in sides):
                yield node.lineno


def timed(source: str) -> Iterator[int]:
    """Yield the lines that assert a limit in seconds which a slow machine would exceed."""
    if "assert " not in source or not SECONDS.search(source):
        return
    for node in nodes(source):
        if not isinstance(node, ast.Assert) or not isinstance(node.test, ast.Compare):
            continue
        [*_, operator] = node.test.ops
        [*_, limit] = node.test.comparators
        left, right = ast.unparse(node.test.left), ast.unparse(limit)
        if not isinstance(operator, ast.Lt | ast.LtE) or not SECONDS.search(left) or PATIENT.search(right):
            continue
        enough = ENOUGH_S if "process_time" in left else 3 * ENOUGH_S
        if not (isinstance(limit, ast.Constant) and isinstance(limit.value, int) and limit.value >= enough):
            yield node.lineno


def slept(source: str) -> Iterator[int]:
    """Yield the lines that sleep.

    A sleep in a loop, and a sleep with a comment that explains it, are allowed.
    """
    if "time.sleep(" not in source:
        return
    lines = source.split("\n")
    polling = {inner for node in nodes(source) if isinstance(node, ast.While) for inner in ast.walk(node)}
    for node in [it for it in nodes(source) if isinstance(it, ast.Call)]:
        sleeps = ast.unparse(node.func) == "time.sleep"
        if sleeps and node not in polling and "  # " not in lines[node.lineno - 1]:
            yield node.lineno


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [
        (compared_at_once, "call support.rebuild.assert_as_rebuilt, which waits for a barrier first"),
        (timed, "let the fixture `pace` adapt the limit to this machine: pace.allows(seconds)"),
        (slept, "wait with support.host.until; if the moment itself is tested, explain it in a comment"),
    ],
)  # fmt: skip
def test_no_claim_depends_on_the_speed_of_the_machine(rule: Rule, remedy: str) -> None:
    found = [f"{path}:{line}" for path, source in SOURCES.items() for line in rule(source)]

    assert [it for it in found if not it.startswith(COMPARES)] == [], remedy


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (compared_at_once, "assert host.content() == fresh.content()"),
        (compared_at_once, "assert [one.content(), two.content()] == [rebuilt(cmp), rebuilt(cmp)]"),
        (timed, "assert max(took) < 1.0"),
        (timed, "assert time.monotonic() - began < 5"),
        (timed, "assert writers.slowest_s < LONGEST_WRITE_S"),
        (timed, "assert time.process_time() - began < 2"),
        (slept, "time.sleep(0.5)"),
    ],
)  # fmt: skip
def test_a_claim_that_depends_on_speed_is_found(rule: Rule, source: str) -> None:
    assert [*rule(source)] == [1]


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (compared_at_once, "until(lambda: host.content() == fresh.content(), 'the sweep')"),
        (compared_at_once, "assert host.content() == before"),
        (timed, "assert max(took) < pace.allows(1.0)"),
        (timed, "assert time.monotonic() - began < DEADLINE_S"),
        (slept, "while not ready():\n    time.sleep(0.01)"),
        (slept, "time.sleep(dice.random())  # the moment is the fault"),
    ],
)  # fmt: skip
def test_a_claim_that_does_not_depend_on_speed_is_accepted(rule: Rule, source: str) -> None:
    assert [*rule(source)] == []
