"""All registries of a configuration: omnicdc's own, those of plug-ins, and those that it declares."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from omnicdc.errors import ConfigError
from omnicdc.registries.plugins import plugins
from omnicdc.registries.scanners import clash, scanners

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.config.declared import Declared
    from omnicdc.config.settings import Config
    from omnicdc.registries.scanner import Scanner


def registries(config: Config) -> Mapping[str, Scanner]:
    """Return all scanners by name, in the order in which their registries are published.

    Raises ConfigError, with a line for each fault, for declared registries that cannot be, and for a source
    in `tables` that needs a table and has none, or whose name is almost that of one that is read: its table
    would be looked up by another name.
    """
    found = _all(config.registries)
    known = {source for scanner in found.values() for source in scanner.sources}
    place = config.origins.get("tables", "tables")
    faults = [
        f"{place}: no registry reads a source {source}, did you mean {near[0]}?"
        for source in unread_sources(config, found.values())
        if (near := get_close_matches(source, known, n=1, cutoff=0.7))
    ]
    needed = {source: it for it in found.values() if it.builtin and not it.optional for source in it.sources}
    faults += [
        f"{place}: {source} needs a table: {needed[source].registry} reads it"
        for source, table in config.tables
        if source in needed and not table
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def unread_sources(config: Config, scanners: Iterable[Scanner]) -> list[str]:
    """Return the sources in the setting `tables` that none of `scanners` reads."""
    known = {source for scanner in scanners for source in scanner.sources}
    return [source for source, _ in config.tables if source not in known]


@lru_cache(maxsize=4)
def _all(declared: tuple[Declared, ...]) -> Mapping[str, Scanner]:
    found: dict[str, Scanner] = dict(scanners()) | {it.name: it for it in plugins().scanners}
    if not declared:
        return found
    # Imported here: most installations declare none.
    from omnicdc.registries.declared import scanner_of  # noqa: PLC0415

    faults = []
    for number, each in enumerate(declared):
        try:
            scanner = scanner_of(each, number)
        except ConfigError as exc:
            faults.append(exc.message)
            continue
        if taken := clash(scanner, found.values()):
            faults.append(f"{each.place}: {taken}")
        found[scanner.name] = scanner
    if faults:
        raise ConfigError("\n".join(faults))
    return found
