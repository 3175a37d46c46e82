"""Loads the inputs (overrides, exclusions, clones, heart, repositories) for commands, without the daemon.

This writes nothing, and waits for a mount that hangs only a short time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from threading import Thread
from typing import TYPE_CHECKING

from omnicdc.inputs import inventory
from omnicdc.inputs.clones import earlier
from omnicdc.inputs.parts import InputSettings, Parts, heart_of, loaded, peoples_files
from omnicdc.inputs.shallow import ShallowSearch
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.model import Inputs

SEARCH_PATIENCE_S = 2.0
"""Longest time in which `verify` searches the workspaces for new clones."""


def read_only(settings: InputSettings) -> Inputs:
    """Return the inputs as the daemon would load them. Any user may call this.

    This writes nothing and adopts no inventory. Parts that cannot be read are empty.
    """
    overrides, exclusions = peoples_files(settings)
    adopted = inventory.adopted_before(settings.state_dir) or {}
    return loaded(settings, overrides.read(), exclusions.read(), adopted).assembled()


def read_now(settings: InputSettings, patience_s: float = SEARCH_PATIENCE_S) -> tuple[Inputs, bool]:
    """As `read_only`, and also search new clones in the usual directories.

    The second result is true if the search ended in all workspace roots. It ends after `patience_s` seconds
    at the latest, even if a mount hangs.
    """
    overrides, exclusions = peoples_files(settings)
    adopted = inventory.adopted_before(settings.state_dir) or {}
    parts = loaded(settings, overrides.read(), exclusions.read(), adopted)
    found: dict[int, _FoundClones] = {}
    threads = [
        Thread(
            target=lambda number=number: found.update({number: _search_root(settings, parts, number)}),
            daemon=True,
        )
        for number in range(len(settings.roots))
    ]
    end = time.monotonic() + patience_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    results = {**found}
    for number, result in results.items():
        parts = parts.with_root(number, searched=result.clones)
        parts = replace(parts, heart={**parts.heart, **result.heart})
    return parts.assembled(), len(results) == len(threads)


@dataclass(frozen=True, slots=True)
class _FoundClones:
    clones: Mapping[str, str]
    heart: Mapping[str, int]


def _search_root(settings: InputSettings, parts: Parts, number: int) -> _FoundClones:
    """Search the clones of one root, and count the heart imports of the new ones."""
    known = parts.roots[number].paths()
    clones = ShallowSearch(settings.roots[number], earlier(settings.roots)[number])(known)
    everything = {path for part in parts.roots for path in part.paths()}
    new = [path for path, key in clones.items() if key and path not in everything]
    return _FoundClones(clones, heart_of(new, settings.root, Stop()))
