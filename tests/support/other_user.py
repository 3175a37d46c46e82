"""Runs Python as a user without rights, where the tests run as root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import omnicdc

NOBODY_UID = 65534


def user_without_rights(*arguments: str) -> dict[str, Any]:
    """Return the keywords by which root starts Python as a user without rights; empty for other users."""
    python = _python_for_all() if os.geteuid() == 0 else None
    if not python:
        return {}
    packages = [path for path in sys.path if path.endswith("site-packages")]
    path = os.pathsep.join([str(Path(omnicdc.__file__).parents[1]), *packages])
    return {
        "args": [python, *arguments], "env": {"PYTHONPATH": path}, "cwd": "/",
        "user": NOBODY_UID, "group": NOBODY_UID, "extra_groups": [],
    }  # fmt: skip


def _python_for_all() -> str | None:
    """Return a Python of this version that a user without rights can run, if there is one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            subprocess.run(
                [python, "-V"], user=NOBODY_UID, group=NOBODY_UID, extra_groups=[], cwd="/", check=True
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None
