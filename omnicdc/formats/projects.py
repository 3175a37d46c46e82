"""Format of PROJECT_REGISTRY_V1.yaml, a list `projects` in block style. No I/O."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from omnicdc.formats.item import Item, mapping, sequence, without
from omnicdc.formats.layout import Layout
from omnicdc.formats.scalars import yaml_text
from omnicdc.formats.yaml_values import own_fields, yaml_value
from omnicdc.model import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STATS = (
    "github",
    "local_only",
    "linked",
    "cloud_only",
    "local_snapshot",
    "virtual",
    "heart_connected",
    "heart_disconnected",
)
"""The counters in the header, in their order."""

_word = lru_cache(maxsize=256)(yaml_text)
"""`yaml_text` with a cache, for fields that have few distinct values."""


def text(
    entry_key: str,
    *,
    name: str,
    key: str | None,
    github_url: str | None,
    local_paths: Sequence[str],
    classification: str,
    status: str,
    visibility: str,
    updated_at: str | None,
    notes: str | None,
    heart: int | None,
    domain: str | None,
) -> bytes:
    """Return a project's entry. `heart` is the number of files that import the heart; None: not connected."""
    display_name = yaml_text(name)
    return (
        f"- uuid: {entry_key}\n"  # PostgreSQL's text of a uuid needs no quotes
        f"  name: {display_name if key is None else yaml_text(key)}\n"
        f"  display_name: {display_name}\n"
        f"  github_url: {yaml_text(github_url)}\n"
        f"  local_paths:{_list(local_paths)}\n"
        f"  classification: {_word(classification)}\n"
        f"  status: {_word(status)}\n"
        "  origin: cmp_db\n"
        f"  visibility: {visibility}\n"
        f"  updated_at: {yaml_text(updated_at)}\n"
        f"  notes: {yaml_text(notes)}\n"
        f"  heart_connected: {'false' if heart is None else 'true'}\n"
        f"  heart_import_count: {heart or 0}\n"
        f"  domain: {yaml_text(domain)}\n"
    ).encode()


def frame(count: int, counters: Sequence[int], stamp: str) -> Frame:
    """Return the header with the statistics. An empty `counters` means zeros."""
    header = (
        f"version: 1.0.0\ngenerated_at: {yaml_text(stamp)}\n"
        f"namespace: c9c22e70-3882-4503-9db6-353d2629000b\nstats:\n  total: {count}\n"
    )
    counted = zip(STATS, counters or (0,) * len(STATS), strict=True)
    header += "".join(f"  {name}: {number}\n" for name, number in counted)
    return Frame(f"{header}projects:{'' if count else ' []'}\n".encode(), b"")


def _list(texts: Sequence[str]) -> str:
    return "".join(f"\n  - {yaml_text(it)}" for it in texts) if texts else " []"


class Items(Layout):
    """The layout: YAML, a list `projects` that is not indented. Each entry begins with its `uuid`."""

    opening = b"- "
    closing = b"\n"
    nothing = b" []\n"
    _OF_CMP = frozenset({"uuid", "name", "display_name", "github_url", "classification", "origin", "domain"})
    _ID = re.compile(rb"uuid: ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\n")

    def of_inputs(self, name: str) -> bool:
        """Return True for a field that depends on overrides, clones, heart or GitHub."""
        return name not in self._OF_CMP

    def entry_key(self, core: bytes) -> str:
        """Return the id in the first line. If the line is not as we write it, parse the entry."""
        match = self._ID.match(core)
        return match[1].decode() if match else self.item(core).entry_key

    def item(self, core: bytes) -> Item:
        """Parse one entry. Raises ValueError."""
        if (fields := own_fields(core)) is not None:
            return self._item(fields)
        parsed = sequence(yaml_value(self.entry(core)), "an entry")
        if len(parsed) != 1:
            raise ValueError("not one entry")
        return self._item(parsed[0])

    def parse(self, data: bytes) -> object:
        """Parse a whole file with the YAML library. Raises ValueError."""
        return yaml_value(data)

    def items(self, parsed: object) -> Iterator[Item]:
        """Return all entries of a parsed file; raises ValueError."""
        return map(self._item, sequence(mapping(parsed, "the file").get("projects"), "`projects`"))

    def header(self, parsed: object) -> Mapping[str, object]:
        """Return everything except the entries and the time.

        Raises ValueError if there is no `version`, because a file in another layout may be cut off before it.
        """
        if "version" not in mapping(parsed, "the file"):
            raise ValueError("it has no version")
        return without(mapping(parsed, "the file"), "projects")

    def _last_end(self, data: bytes, at: int) -> int:
        return max(at, len(data) - data.endswith(b"\n"))

    def _item(self, parsed: object) -> Item:
        fields = mapping(parsed, "an entry")
        entry_key = str(fields.get("uuid"))
        return Item(entry_key, (entry_key,), fields)
