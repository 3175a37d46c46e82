"""Loads the inputs (overrides, exclusions, clones, heart, repositories) for commands, without the daemon.

Nothing is written, and a hung mount is not waited for long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from threading import Thread
from typing import TYPE_CHECKING

from omnicdc.inputs import inventory
from omnicdc.inputs.clones import earlier
from omnicdc.inputs.parts import InputSettings, Parts, heart_of, loaded, peoples_files
from omnicdc.inputs.shallow import ShallowLook
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.model import Inputs

LOOK_PATIENCE_S = 2.0
"""How long `verify` waits for a look at the workspaces."""


def read_only(settings: InputSettings) -> Inputs:
    """Return the inputs as the daemon would load them, for any user.

    Nothing is written, and no inventory is adopted.

    Parts that cannot be read are empty.
    """
    overrides, exclusions = peoples_files(settings)
    adopted = inventory.adopted_before(settings.state_dir) or {}
    return loaded(settings, overrides.read(), exclusions.read(), adopted).assembled()


def read_now(settings: InputSettings, patience_s: float = LOOK_PATIENCE_S) -> tuple[Inputs, bool]:
    """As `read_only`, and look where clones usually lie; returns also whether every workspace root answered.

    Waits no longer than that for a mount that hangs.
    """
    overrides, exclusions = peoples_files(settings)
    adopted = inventory.adopted_before(settings.state_dir) or {}
    parts = loaded(settings, overrides.read(), exclusions.read(), adopted)
    found: dict[int, _Look] = {}
    threads = [
        Thread(
            target=lambda number=number: found.update({number: _look(settings, parts, number)}), daemon=True
        )
        for number in range(len(settings.roots))
    ]
    end = time.monotonic() + patience_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    looks = {**found}
    for number, look in looks.items():
        parts = parts.with_root(number, seen=look.seen)
        parts = replace(parts, heart={**parts.heart, **look.heart})
    return parts.assembled(), len(looks) == len(threads)


@dataclass(frozen=True, slots=True)
class _Look:
    seen: Mapping[str, str]
    heart: Mapping[str, int]


def _look(settings: InputSettings, parts: Parts, number: int) -> _Look:
    """Look at one root for the first time, and count the heart of what is new there."""
    known = parts.roots[number].paths()
    seen = ShallowLook(settings.roots[number], earlier(settings.roots)[number])(known)
    everything = {path for part in parts.roots for path in part.paths()}
    new = [path for path, key in seen.items() if key and path not in everything]
    return _Look(seen, heart_of(new, settings.root, Stop()))
