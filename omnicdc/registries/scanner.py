"""What a scanner is: a SELECT over CMP, and pure functions from its rows to the bytes of a registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from typing import LiteralString

    from omnicdc.formats.layout import Layout
    from omnicdc.model import Entry, Frame, Inputs

Row = tuple[str | None, ...]
"""A row of the scanner's SELECT, in its order; the first column is the project's id."""


class Scanner(ABC):
    """One registry: what it reads, and how it looks.

    An *entry key* identifies one entry: a project's id, or whatever `key` groups projects by. Every
    method is pure; `render` may raise for a row that it cannot show, which holds back that entry alone.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    """Of the registry's file, below the infrastructure root."""
    rank: ClassVar[int]
    """Registries are published in this order."""
    layout: ClassVar[Layout]
    """How its entries are found in the file, and read back."""
    query: ClassVar[LiteralString]
    """One SELECT over `{table}`, the project's `id` first. What it reads is what is captured."""
    grouped: ClassVar[bool] = False
    """Whether the projects that share a key share one entry."""

    @property
    def registry(self) -> str:
        """The registry's name in logs and answers: its file's."""
        return self.path.rsplit("/", 1)[-1]

    @abstractmethod
    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:
        """Return the entry of a key; None if it has none. `rows` has one row unless grouped."""

    @abstractmethod
    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:
        """Return what stands around the entries; `counters` is the sum of theirs."""

    def key(self, row: Row) -> str:  # noqa: ARG002 - the default for a registry that needs no inputs
        """Return what the inputs know this project by, its URL key; empty if nothing."""
        return ""

    def inputs_for(self, inputs: Inputs, key: str) -> Hashable:  # noqa: ARG002 - as above
        """Return all that `render` takes from the inputs for a key: where it differs, render again."""
        return None

    def static_keys(self, inputs: Inputs) -> Iterable[str]:  # noqa: ARG002 - as above
        """Return the entry keys that have an entry even if no project asks for one."""
        return ()
