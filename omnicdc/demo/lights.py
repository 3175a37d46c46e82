"""The stage for a terminal. rich knows its width, whether it has colours, and NO_COLOR."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from omnicdc.demo.report import Check, Table

_DIFF = {"+": "green", "-": "red", "@": "cyan dim"}
LABEL = 10


class Lights:
    """Everything is given to rich as text, never as markup: names may hold brackets."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)

    def title(self, text: str, subtitle: str) -> None:
        """In a frame."""
        self._print(Panel(Group(Text(text, "bold"), Text(subtitle, "dim")), box=box.ROUNDED, border_style="blue",
                          expand=False, padding=(0, 2)))  # fmt: skip

    def heading(self, number: int, text: str) -> None:
        """With a rule across the screen."""
        self._print(Text())
        self._print(
            Rule(Text.assemble((f" {number} ", "bold white on blue"), f" {text}"), align="left", style="blue")
        )

    def say(self, text: str = "") -> None:
        """Write it as it is, and let the terminal break long lines: they can be copied then."""
        self._console.print(Text(text), soft_wrap=True)

    def deed(self, text: str) -> None:
        """Set apart."""
        self._print(Text.assemble((" ▶ ", "blue"), (text, "bold")))

    def fact(self, label: str, text: str) -> None:
        """In two columns."""
        grid = RichTable.grid(padding=(0, 1))
        grid.add_column(min_width=LABEL, style="dim", no_wrap=True)
        grid.add_column()
        grid.add_row(Text(label), Text(text))
        self._print(Padding(grid, (0, 0, 0, 3)))

    def diff(self, name: str, lines: Sequence[str], left_out: int) -> None:
        """In a frame, in the usual colours."""
        body = Text(no_wrap=True, overflow="ellipsis")
        for line in lines:
            body.append(f"{line}\n", _DIFF.get(line[:1], "dim"))
        if left_out:
            body.append(f"… {left_out} more lines", "dim italic")
        body.rstrip()
        self._print(Padding(Panel(body, title=Text(name), title_align="left", box=box.ROUNDED, border_style="dim"),
                            (0, 0, 0, 3)))  # fmt: skip

    def check(self, check: Check) -> None:
        """With a sign, in green or red."""
        sign, style = ("✓", "green") if check.holds else ("✗", "bold red")
        grid = RichTable.grid(padding=(0, 1))
        grid.add_row(Text(sign, style), Text(check.claim, "" if check.holds else style))
        self._print(Padding(grid, (0, 0, 0, 3)))

    def table(self, table: Table) -> None:
        """As rich draws it."""
        drawn = RichTable(
            *(
                Column(Text(name), no_wrap=not any(" " in row[at] for row in table.rows))
                for at, name in enumerate(table.columns)
            ),
            box=box.SIMPLE_HEAD,
            header_style="bold",
            pad_edge=False,
        )
        for row in table.rows:
            drawn.add_row(*(Text(cell, overflow="fold") for cell in row))
        self._print(Padding(drawn, (0, 0, 0, 3)))

    def verdict(self, text: str, *, good: bool) -> None:
        """In a frame, in green or red."""
        style = "green" if good else "red"
        self._print(Text())
        self._print(
            Panel(Text(text, "bold"), box=box.ROUNDED, border_style=style, expand=False, padding=(0, 2))
        )

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show something that moves."""
        with self._console.status(Text(text, "dim"), spinner_style="blue"):
            yield

    def _print(self, what: RenderableType) -> None:
        self._console.print(what)
