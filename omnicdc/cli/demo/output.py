"""Prints the demo's result as text, and returns it for JSON.

The result is a list of acts. Each act has the effects that were observed, and claims that hold or not.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from omnicdc.cli.demo.observer import Transaction

_DIFFERENCE = {"+": "green", "-": "red", "@": "cyan"}


class Check(NamedTuple):
    """A claim, and whether it holds."""

    claim: str
    holds: bool


class Act(NamedTuple):
    """One step of the demo. `what` describes it in a sentence."""

    title: str
    what: str
    checks: tuple[Check, ...]
    transactions: tuple[Transaction, ...] = ()
    lines: tuple[str, ...] = ()
    """Further results, such as a difference. They are safe to print."""


@dataclass(frozen=True, slots=True)
class Output:
    """Prints lines. Only a terminal shows their styles."""

    print: Callable[[str, str], object]
    """Prints a line with a style of the library rich. An empty style is plain text."""
    busy: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Shows a text while its block runs."""

    def lines(self, *lines: str) -> None:
        """Print plain lines."""
        for line in lines:
            self.print(line, "")


def terminal() -> Output:
    """Return an output for a terminal. The library rich detects its colours, and obeys NO_COLOR."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    return Output(
        # The terminal itself breaks long lines, so that they can be copied.
        lambda line, style: console.print(Text(line, style), soft_wrap=True),
        lambda what: console.status(Text(what)),
    )


def show_act(output: Output, number: int, act: Act) -> None:
    """Print an act: its description, the observed effects, and its claims."""
    output.lines("")
    output.print(f"{number}. {act.title}", "bold blue")
    output.lines(f"   {act.what}")
    for transaction in act.transactions:
        output.print(f"   {transaction}", "dim")
    for line in act.lines:
        output.print(f"     {line}", _DIFFERENCE.get(line[:1], "dim"))
    for claim, holds in act.checks:
        output.print(f"   {'✓' if holds else '✗'} {claim}", "green" if holds else "bold red")


def summary(acts: Sequence[Act], **about: object) -> dict[str, Any]:
    """Return the whole result for JSON."""
    checks = [check for act in acts for check in act.checks]
    failed = [claim for claim, holds in checks if not holds]
    result = {"success": not failed, **about, "claims": len(checks), "failed": failed}
    return result | {
        "acts": [
            act._asdict()
            | {"checks": [check._asdict() for check in act.checks]}
            | {"transactions": [each.as_dict() for each in act.transactions]}
            for act in acts
        ]
    }
