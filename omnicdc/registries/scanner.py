"""The base class of scanners. A scanner is a SELECT over CMP, and pure functions that render its rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from omnicdc.registries.origin import of_cmp

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence
    from typing import LiteralString

    from omnicdc.formats.layout import Layout
    from omnicdc.model import Entry, Frame, Inputs
    from omnicdc.registries.origin import Origin

OTHERS = ""
"""In `Scanner.origins`: every field that is not named."""

Row = tuple[str | None, ...]
"""A row of the scanner's SELECT. The first column is the key."""


class Scanner(ABC):
    """Defines one registry: which columns it reads, and how it renders them.

    An *entry key* identifies one entry: a project's id, or the result of `key` if the scanner is grouped.
    Every method is pure. `render` may raise an error for a row that it cannot show. This puts only that
    entry in quarantine.
    """

    name: str
    path: str
    """Path of the registry file, below the infrastructure root."""
    check: str
    """The key of this registry in the answer of `verify`."""
    genesis_name: str = ""
    """The key of this registry in `scanner_results` of a client's answers; empty for none."""
    rank: int
    """Registries are published in the order of their ranks."""
    layout: Layout
    """Finds the entries in the file and reads them."""
    format: str = "omnicdc's own"
    """The name of the file's format, for people."""
    query: LiteralString
    """One SELECT. Its first column is the key of the row of `source`. The watch list comes from it.

    A plug-in's query names tables by their sources. In omnicdc's own queries, and in a plug-in's once it is
    loaded, `{SOURCE}` stands in the place of each table."""
    source: str = "projects"
    """The main source: the row of which a change concerns one key. The setting `tables` names its table."""
    sources: tuple[str, ...] = ("projects",)
    """All sources that the query reads."""
    builtin: bool = True
    """True for omnicdc's own registries: without their tables the daemon does not start."""
    optional: bool = False
    """True if CMP may lack the tables. Then the registry is not published."""
    key_column: str | None = "id"
    """The uuid column of the main source that identifies a row; None for its primary key."""
    output: str = "id"
    """The name of the query's first column."""
    main_column: str = "id"
    """The column of the main source that is the query's first column."""
    columns: tuple[str, ...] = ()
    """If not empty: the columns of the query. After the key, `render` then gets the JSON of each."""
    mode: int | None = None
    """The mode of the file; None to keep the mode that it has."""
    validator: tuple[str, ...] = ()
    """A command that may refuse a new file before it replaces the old one; empty for none."""
    hook: tuple[str, ...] = ()
    """A command that is run after the file was replaced; empty for none."""
    functions: frozenset[str] = frozenset()
    """The functions that the query of a declared registry calls."""
    targeted: bool = True
    """True if the rows of some keys can be read alone. Otherwise each change causes a full scan."""
    multiple: bool = False
    """True if the query may return several rows of a key."""
    grouped: bool = False
    """True if projects with the same key share one entry."""
    named: bool = True
    """True if entries are sorted by the name of their project or agent."""

    @property
    def registry(self) -> str:
        """The registry's name in logs and answers: its file name."""
        return self.path.rsplit("/", 1)[-1]

    def place_in_query(self, names: Mapping[str, str] | None = None, character: int = 0) -> str:  # noqa: ARG002 - the default for a query of a program
        """Return the place of a character of the query, in which `names` have replaced the sources.

        FILE:LINE, with the column if it is known. Without `names`, the place of the whole query. Empty text
        for a query that is part of omnicdc or of a plug-in.
        """
        return ""

    @abstractmethod
    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:
        """Return the entry of a key; None if it has none. `rows` is one row, or more if grouped."""

    @abstractmethod
    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:
        """Return header and footer. `counters` are the sums of the entries' counters."""

    @property
    def uses_inputs(self) -> bool:
        """True if entries depend on the inputs, by the key of their project."""
        return type(self).key is not Scanner.key

    def key(self, row: Row) -> str:  # noqa: ARG002 - the default for a registry that needs no inputs
        """Return the project's URL key, by which the inputs know it; empty if it has none."""
        return ""

    def inputs_for(self, inputs: Inputs, key: str) -> Hashable:  # noqa: ARG002 - as above
        """Return the inputs that `render` uses for a key. If they differ, the entry is rendered again."""
        return None

    def static_keys(self, inputs: Inputs) -> Iterable[str]:  # noqa: ARG002 - as above
        """Return the entry keys that have an entry even without a project."""
        return ()

    def origins(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Mapping[str, Origin]:  # noqa: ARG002 - the default for a registry of CMP alone
        """Return field to where its value comes from. `OTHERS` stands for every other field."""
        return {OTHERS: of_cmp("a column of the query")}


def check_entry(entry: Entry, separator: bytes) -> None:
    """Raise an error for an entry that cannot be in a file: what a plug-in renders is not trusted."""
    name, key = entry.sort
    is_text = isinstance(name, str) and isinstance(key, str)
    if not is_text or not isinstance(entry.data, bytes) or entry.counters:
        raise TypeError(f"not an entry with two texts to sort by, bytes and no counters: {entry!r:.200}")
    if not entry.data.endswith(separator):
        raise ValueError(f"an entry must end with {separator!r}: {entry.data!r:.200}")


def rows_by_key(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return key to its rows."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row[0]), []).append(row)
    return found


def first(rows: Mapping[str, Sequence[Row]], key: str) -> Row | None:
    """Return the first row of a key; None if it has none."""
    found = rows.get(key)
    return found[0] if found else None
