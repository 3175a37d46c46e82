"""Servers that belong to one test.

`initdb` takes most of a second of processor time, so it runs once, and its result is copied. All processes of
a run share that result. The copies have the same system identifier. A test of two clusters uses
EmbeddedServer.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.testing.embedded import EmbeddedServer, bundled
from support.memory import in_memory

if TYPE_CHECKING:
    import pytest

VARIABLE = "OMNICDC_TEST_CLUSTER"
"""The variable with the directory of the first data directory."""


def prepare_template(config: pytest.Config) -> None:
    """Make the directory of the first server before pytest-xdist starts; remove it at the end of the run."""
    if hasattr(config, "workerinput") or VARIABLE in os.environ:
        return
    directory = tempfile.mkdtemp(prefix="omnicdc-initdb-", dir=in_memory())
    os.environ[VARIABLE] = directory
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


class FreshServer(EmbeddedServer):
    """An EmbeddedServer whose data directory is a copy of the first one of this run."""

    def create(self) -> None:
        """Copy the data directory. For programs of another version, run initdb as EmbeddedServer does."""
        if self._programs != bundled():
            super().create()
            return
        first = EmbeddedServer(Path(os.environ[VARIABLE]) / "server")
        with (first.directory.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (made := first.directory.parent / "made").exists():
                first.directory.parent.chmod(0o711)
                first.create()
                made.touch()
        # If the server's user cannot read the programs, the first server has a copy of them.
        reachable = (it.parent for it in (first.directory / "programs").rglob("bin/postgres"))
        self._programs = next(reachable, self._programs)
        self.directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", f"{first.directory}/.", self.directory], check=True)
