"""Finds the place of a value or of a reason: a column of CMP, a line of a people's file, a clone. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from omnicdc.formats.urls import is_excluded
from omnicdc.inputs.reading import place_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from omnicdc.inputs.reading import Named
    from omnicdc.model import Inputs
    from omnicdc.registries.origin import Origin
    from omnicdc.registries.scanner import Scanner
    from omnicdc.verify.expectation import Expectation

Source = Literal["CMP", "override", "clone", "GitHub", "inventory", "omnicdc"]


@dataclass(frozen=True, slots=True)
class Places:
    """What this host's files and settings say about places."""

    root: Path
    tables: Mapping[str, str]
    """Source to the full name of its table."""
    inputs: Inputs
    overrides: tuple[Named, ...]
    exclusions: tuple[Named, ...]
    listed: Collection[str]
    """The URL keys of the repositories that GitHub listed at the last refresh."""

    def path(self, scanner: Scanner) -> str:
        """Return the path of a registry file."""
        return str(self.root / scanner.path)

    def reason(self, expected: Expectation) -> tuple[str, str]:
        """Return why a registry should have the project or not, and the place of the rule, if it has one."""
        scanner = expected.scanner
        if expected.fault:
            return expected.fault.reason, ""
        if expected.items:
            return f"its URL names {expected.entry_key}" if scanner.grouped else "CMP has it", ""
        key = scanner.key(expected.rows[0]) if expected.rows else ""
        # The last entry counts, as for overrides; the others exclude it as well.
        found = [it for it in self.exclusions if key and is_excluded(key, it.names)]
        if scanner.builtin and found:
            return f"{expected.why}: exclusion {found[-1].names[0]}", found[-1].where
        return expected.why, ""

    def place(self, origin: Origin, expected: Expectation) -> tuple[Source, str]:
        """Return where a value comes from, and the place."""
        rows = expected.rows
        key = expected.entry_key if expected.scanner.grouped else expected.scanner.key(rows[0])
        if origin.kind == "CMP":
            table = self.tables.get(expected.scanner.source, "")
            return "CMP", f"{table}.{origin.what}" if expected.scanner.builtin else origin.what
        if origin.kind == "override":
            return "override", place_of(self.overrides, key)
        if origin.kind == "clone":
            return "clone", self.inputs.clones.get(key) or "no clone of it is known on this host"
        if origin.kind == "repository":
            return self._repository(key)
        return "omnicdc", origin.what

    def _repository(self, key: str) -> tuple[Source, str]:
        if key in self.listed:
            return "GitHub", f"gh repo list: {key}"
        if key in self.inputs.repositories:
            return "inventory", "adopted from repo_inventory.json; GitHub does not list it"
        return "GitHub", "GitHub's metadata of it is not known on this host"
