"""The base class of scanners. A scanner is a SELECT over CMP, and pure functions that render its rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from typing import LiteralString

    from omnicdc.formats.layout import Layout
    from omnicdc.model import Entry, Frame, Inputs

Row = tuple[str | None, ...]
"""A row of the scanner's SELECT. The first column is the project's id."""


class Scanner(ABC):
    """Defines one registry: which columns it reads, and how it renders them.

    An *entry key* identifies one entry: a project's id, or the result of `key` if the scanner is grouped.
    Every method is pure. `render` may raise an error for a row that it cannot show. This puts only that
    entry in quarantine.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    """Path of the registry file, below the infrastructure root."""
    check: ClassVar[str]
    """The key of this registry in the answer of `verify`."""
    rank: ClassVar[int]
    """Registries are published in the order of their ranks."""
    layout: ClassVar[Layout]
    """Finds the entries in the file and reads them."""
    source: ClassVar[str] = "projects"
    """The source that the query reads. The setting `tables` says which table it is."""
    optional: ClassVar[bool] = False
    """True if CMP may lack the table. Then the registry is not published."""
    key_column: ClassVar[str | None] = "id"
    """The uuid column of the table that identifies a row; None for its primary key."""
    query: ClassVar[LiteralString]
    """One SELECT over `{table}`; its first column is the row's `id`. The watch list comes from it."""
    grouped: ClassVar[bool] = False
    """True if projects with the same key share one entry."""

    @property
    def registry(self) -> str:
        """The registry's name in logs and answers: its file name."""
        return self.path.rsplit("/", 1)[-1]

    @abstractmethod
    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:
        """Return the entry of a key; None if it has none. `rows` is one row, or more if grouped."""

    @abstractmethod
    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:
        """Return header and footer. `counters` are the sums of the entries' counters."""

    def key(self, row: Row) -> str:  # noqa: ARG002 - the default for a registry that needs no inputs
        """Return the project's URL key, by which the inputs know it; empty if it has none."""
        return ""

    def inputs_for(self, inputs: Inputs, key: str) -> Hashable:  # noqa: ARG002 - as above
        """Return the inputs that `render` uses for a key. If they differ, the entry is rendered again."""
        return None

    def static_keys(self, inputs: Inputs) -> Iterable[str]:  # noqa: ARG002 - as above
        """Return the entry keys that have an entry even without a project."""
        return ()
