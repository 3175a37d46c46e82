"""The previous release: its wheel, built from its commit, and a registry host that runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.host import Host

if TYPE_CHECKING:
    from collections.abc import Sequence

RELEASE = "0.1.0"
COMMIT = "84a7e06af92a5f4d528e66fc43f72bddb47f35d9"
"""The commit of that release, because a clone may come without tags."""
REPOSITORY = Path(__file__).parents[2]


def unpacked_wheel(directory: Path) -> Path:
    """Build the wheel of the previous release, and unpack it; skip the test without its commit."""
    git = ["git", "-C", str(REPOSITORY)]
    find = [*git, "rev-parse", "--verify", "--quiet", f"{COMMIT}^{{commit}}"]
    if subprocess.run(find, capture_output=True, check=False).returncode:
        pytest.skip(f"the commit of {RELEASE} is not in this repository: `git fetch --unshallow`")
    source, wheels, unpacked = directory / "source", directory / "wheels", directory / "unpacked"
    source.mkdir()
    archive = subprocess.run([*git, "archive", COMMIT], capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(source)], input=archive.stdout, check=True)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    env = os.environ | {"SETUPTOOLS_SCM_PRETEND_VERSION": RELEASE}
    subprocess.run(build, cwd=source, env=env, capture_output=True, check=True)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(unpacked)
    return unpacked


class PreviousHost(Host):
    """A registry host on which the previous release is installed."""

    def __init__(self, where: Path, dsn: str, unpacked: Path) -> None:
        super().__init__(where, dsn)
        self.env["PYTHONPATH"] = str(unpacked)
        # -P: not this checkout, in which tests run.
        self._python_command = (sys.executable, "-P")
        self.program = (*self._python_command, "-m", "omnicdc")

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the previous release's command to its end."""
        return self._python(["-m", "omnicdc", *arguments], **env)

    def client(self, expression: str) -> Any:  # noqa: ANN401 - any JSON
        """Return the value of an expression with `client`, a GenesisClient of the previous release."""
        program = (
            "import json\n"
            "from omnicdc.clients import GenesisClient\n"
            "client = GenesisClient(timeout=60)\n"
            f"print(json.dumps({expression}))"
        )
        done = self._python(["-c", program])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _python(self, arguments: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
        command = [*self._python_command, *arguments]
        return subprocess.run(command, env=self.env | env, capture_output=True, text=True, check=False)
