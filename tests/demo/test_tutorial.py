"""docs/tutorial.md: its commands, typed in their order into a fresh shell, do what the page says."""

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
    """Return the page's blocks that are to be run: language and text."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, text) for language, text in found]


def script() -> str:
    """Return the page as one script: the environment that runs this test in place of a new one."""
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
def place() -> Iterator[Path]:
    """An empty directory that PostgreSQL's user may enter, with a name short enough for a socket."""
    place = Path(tempfile.mkdtemp(prefix="omnicdc-t-"))
    place.chmod(0o1777)
    yield place
    shutil.rmtree(place)


@pytest.mark.timeout(300)
def test_the_commands_of_the_tutorial_do_what_it_says(place: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": str(place), "LANG": "C.UTF-8", **COUNTED}
    shell = subprocess.Popen(
        ["bash", "-c", script()], cwd=place, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        said, complaints = shell.communicate(timeout=DEADLINE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)

    assert shell.returncode == 0, complaints + said
    assert "display_name: Apollo" in said
    assert "published ['canonical_projects_uuids.json', 'PROJECT_REGISTRY_V1.yaml']" in said
    assert '"event": "drift_found"' in said
    assert "exit status 1: a registry is held" in said
    assert "omnicdc accept" in said
    assert '"accepted": true' in said
    assert [*(place / "state/drift").iterdir()] != []
    assert [*place.glob("omnicdc-demo-*")] == []


def test_the_page_installs_what_it_uses() -> None:
    (first, *_) = blocks()

    assert "pip install 'omnicdc[embedded]'" in first[1]
