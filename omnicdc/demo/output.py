"""What the demo found, as text and for JSON: acts, each with what was seen and with its claims.

A claim held or did not hold.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from omnicdc.demo.observer import Transaction

_DIFFERENCE = {"+": "green", "-": "red", "@": "cyan"}


class Check(NamedTuple):
    """A claim, and whether it held this time."""

    claim: str
    holds: bool


class Act(NamedTuple):
    """One thing that the demo shows; `what` says in a sentence what happens."""

    title: str
    what: str
    checks: tuple[Check, ...]
    transactions: tuple[Transaction, ...] = ()
    lines: tuple[str, ...] = ()
    """What else was seen, such as a difference; safe to print."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where lines go, each with a style that only a terminal shows."""

    print: Callable[[str, str], object]
    """Takes a line and its style, as rich names styles; an empty one is plain text."""
    busy: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Shows what is going on while its block runs."""

    def lines(self, *lines: str) -> None:
        """Print plain lines."""
        for line in lines:
            self.print(line, "")


def terminal() -> Output:
    """Print to a terminal; rich knows its colours, and NO_COLOR."""
    from rich.console import Console  # noqa: PLC0415 - needed on a terminal alone
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console(highlight=False, markup=False, emoji=False)
    return Output(
        # The terminal itself breaks long lines, so that they can be copied.
        lambda line, style: console.print(Text(line, style), soft_wrap=True),
        lambda what: console.status(Text(what)),
    )


def show_act(output: Output, number: int, act: Act) -> None:
    """Print an act: what happens, what was seen, which claims held."""
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
    """Return everything for JSON."""
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
