"""The commands and the Python programs of the pages about the clients run, in order, as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import COMMAND

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(command: list[str], host: Host, directory: Path) -> str:
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=directory, env=host.env | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture
def estate(cmp: Cmp, host: Host) -> Host:
    cmp.upsert(
        "apollo", status="active", type="tool", domain="labs", github_url="https://github.com/acme/apollo"
    )
    cmp.upsert("gemini", status="active", type="PROJECT", github_url="https://github.com/acme/gemini")
    host.daemon()
    return host


@pytest.mark.parametrize(
    ("page", "shown", "printed"),
    [
        ("migrate.md", '"applied": 1', "True 1 1\n"),
        ("archive.md", '"status_before": "active"', "[('apollo', 'active')]\n"),
        ("validate.md", '"findings": []', ""),
    ],
)
def test_the_page_runs(cmp: Cmp, estate: Host, tmp_path: Path, page: str, shown: str, printed: str) -> None:
    answers = [run(["bash", "-ec", script], estate, tmp_path) for script in blocks(page, "sh")]
    cmp.conn.execute(
        "update projects set metadata_ = metadata_ || '{\"domain\": \"research\"}' where name = 'apollo'"
    )
    output = "".join(
        run([sys.executable, "-c", program], estate, tmp_path) for program in blocks(page, "python")
    )

    assert shown in "".join(answers)
    assert output.endswith(printed)
    assert blocks(page, "python")
