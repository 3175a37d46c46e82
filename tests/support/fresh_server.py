"""Servers of a test's own.

`initdb` takes most of a second of a processor, so it is run once, and its work copied.

All processes of a run share that one.
The copies have one system identifier; a test of two clusters makes one by EmbeddedServer itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.demo.embedded import EmbeddedServer, bundled
from support.memory import in_memory

if TYPE_CHECKING:
    import pytest

PLACE = "OMNICDC_TEST_CLUSTER"
"""Names the directory of the first one."""


def keep_one(config: pytest.Config) -> None:
    """Make the place for the first one, before there are other processes; it goes when the run ends."""
    if hasattr(config, "workerinput") or PLACE in os.environ:
        return
    place = tempfile.mkdtemp(prefix="omnicdc-initdb-", dir=in_memory())
    os.environ[PLACE] = place
    config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))


class FreshServer(EmbeddedServer):
    """An EmbeddedServer whose data directory is a copy of the one that this run made first."""

    def create(self) -> None:
        """Make the data directory; of other programs than the newest ones, as EmbeddedServer does."""
        if self._programs != bundled():
            super().create()
            return
        first = EmbeddedServer(Path(os.environ[PLACE]) / "server")
        with (first.directory.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (made := first.directory.parent / "made").exists():
                first.directory.parent.chmod(0o711)
                first.create()
                made.touch()
        # Where the server's user could not reach the programs, the first one has a copy of them.
        reachable = (it.parent for it in (first.directory / "programs").rglob("bin/postgres"))
        self._programs = next(reachable, self._programs)
        self.directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", f"{first.directory}/.", self.directory], check=True)
