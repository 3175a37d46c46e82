"""The clients' types are right for users: a program with every client passes mypy and pyright, strict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("typed_program.py")
SERVICE = ROOT / "docs/example-service/app.py"
BIN = Path(sys.executable).parent


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.campaign
def test_the_program_passes_mypy(tmp_path: Path) -> None:
    """`make types` checks the example of a service."""
    copy = shutil.copy(PROGRAM, tmp_path)
    flags = ["--strict", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache/program'}"]

    done = run([sys.executable, "-m", "mypy", *flags, str(copy)], tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("program", [PROGRAM, SERVICE])
def test_the_programs_pass_pyright(tmp_path: Path, program: Path) -> None:
    if not (shutil.which("node") and (BIN / "pyright").exists()):
        pytest.skip("pyright needs node")
    if run([str(BIN / "pyright"), "--version"], tmp_path).returncode:
        pytest.skip("pyright is not in its cache, and npm's registry cannot be reached")
    copy = shutil.copy(program, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')

    done = run([str(BIN / "pyright"), "--outputjson", "--pythonpath", sys.executable, str(copy)], tmp_path)

    assert json.loads(done.stdout)["generalDiagnostics"] == []
    assert done.returncode == 0
