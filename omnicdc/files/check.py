"""Lets an operator's command check a new file before it replaces the old one, as `nginx -t` does."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from omnicdc.errors import Interrupted, RegistryError
from omnicdc.files.command import run_command
from omnicdc.filesystem.remedy import registry_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from omnicdc.stop import Stop

PLACE = "{}"
"""Stands in the command for the path of the new file. Without it, the path is the last argument."""

CHECK_S = 10.0
"""The longest time in seconds that a check may take. The daemon does nothing else meanwhile."""


def check_file(
    command: Sequence[str],
    name: str,
    parts: Sequence[bytes | memoryview],
    state_dir: Path,
    *,
    timeout_s: float = CHECK_S,
    stop: Stop | None = None,
) -> None:
    """Run the command on a copy of the new file, with the file's name. Raises RegistryError if it refuses.

    The copy is below the state directory, and is removed afterwards. If a stop is requested, the command is
    killed. Raises Interrupted then.
    """
    directory = state_dir / "check" / name
    copy = directory / name
    with registry_errors(f"check {name}", copy):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        copy.write_bytes(b"".join(parts))
        words = [word.replace(PLACE, str(copy)) for word in command]
        words += [] if any(PLACE in word for word in command) else [str(copy)]
        ended = run_command(words, timeout_s, stop=stop)
        shutil.rmtree(directory, ignore_errors=True)
    if stop and stop.requested:
        raise Interrupted(f"stopped while {name} was checked")
    if ended.fault:
        raise RegistryError(
            f"its check refused the new file: {ended.fault}" + (f": {ended.output}" if ended.output else ""),
            hint="fix the rows in CMP, the registry's declaration, or the check; the old file stays",
        )
