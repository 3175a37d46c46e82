"""The commands of docs/tutorial.md, run in order in a new shell, do what the page describes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs/tutorial.md"
DEADLINE_S = 240.0
BIN = Path(sys.executable).parent


def blocks() -> list[tuple[str, str]]:
    """Return the blocks of the page to run, as pairs of language and text."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, text) for language, text in found]


def script() -> str:
    """Return the page as one script. It uses the virtual environment of this test instead of a new one."""
    lines = ["set -euo pipefail"]
    for language, text in blocks():
        if "pip install" in text:
            lines.append(f"export VIRTUAL_ENV={BIN.parent} PATH={BIN}:$PATH\n")
        elif language == "python":
            file = re.match(r"# (\w+\.py)\n", text)
            assert file, "a block of Python begins with the name of its file"
            lines.append(f"cat > {file[1]} <<'PYTHON'\n{text}PYTHON\n")
        else:
            lines.append(text)
    return "\n".join(lines)


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory that PostgreSQL's user may enter, with a name short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-t-"))
    directory.chmod(0o1777)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.timeout(300)
def test_the_commands_of_the_tutorial_do_what_the_page_describes(directory: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LANG": "C.UTF-8",
        **COUNTED,
    }
    shell = subprocess.Popen(
        ["bash", "-c", script()], cwd=directory, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = shell.communicate(timeout=DEADLINE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)

    assert shell.returncode == 0, errors + output
    assert "display_name: Apollo" in output
    assert "published ['canonical_projects_uuids.json', 'PROJECT_REGISTRY_V1.yaml']" in output
    assert '"event": "drift_found"' in output
    assert "exit status 1: a registry is held" in output
    assert "omnicdc accept" in output
    assert '"accepted": true' in output
    assert [*(directory / "state/drift").iterdir()] != []
    assert [*directory.glob("omnicdc-demo-*")] == []


def test_the_page_installs_what_it_uses() -> None:
    (first, *_) = blocks()

    assert "pip install 'omnicdc[embedded]'" in first[1]
