"""The scanners. Each defines one registry: what it reads from CMP, and how an entry is rendered.

A scanner is one module here with a `SCANNER` at its end. No other module names it. A scanner does no I/O:
`scan` runs its SELECT, and `projection` keeps its entries.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from omnicdc.registries.scanner import Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Row", "Scanner", "clash", "scanners"]


def clash(scanner: Scanner, others: Iterable[Scanner]) -> str:
    """Return why a scanner cannot be used beside the others; empty text if it can."""
    for other in others:
        for what, mine, theirs in (
            ("name", scanner.name, other.name),
            ("path", scanner.path, other.path),
            ("file name", scanner.registry, other.registry),
        ):
            if mine == theirs:
                return f"registry {other.name} has the same {what}, {theirs}"
        if f"{scanner.path}/".startswith(f"{other.path}/") or f"{other.path}/".startswith(f"{scanner.path}/"):
            return f"registry {other.name} has the path {other.path}: one of the two would be a directory"
    return ""


@cache
def scanners() -> Mapping[str, Scanner]:
    """Return all scanners by name, in the order in which their registries are published."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    known: list[Scanner] = [module.SCANNER for module in modules if hasattr(module, "SCANNER")]
    return {
        scanner.name: scanner for scanner in sorted(known, key=lambda scanner: (scanner.rank, scanner.name))
    }
