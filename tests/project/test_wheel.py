"""What the wheel installs beside the command: man pages, and the completion of three shells."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from support.host import COMMAND

from omnicdc.cli import COMMANDS

CHECKOUT = Path(__file__).parents[2]

ONLY_CLICK = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {"click", "omnicdc", "typing_extensions"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from datetime import date
from omnicdc.cli import completion, manual, omnicdc
print(len(manual.pages(omnicdc, "1", date(2026, 1, 1)) | completion.scripts()))
"""


DECLARED = """
registries:
  - {name: active_services, path: services/active.csv, format: csv, query: 'select id, name from projects'}
"""


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's directory `share`, as pip would install it."""
    directory = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(CHECKOUT)).build(directory=str(directory), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    (found,) = directory.glob("omnicdc-*.data/data/share")
    return found


def run(*command: str, cwd: Path) -> str:
    """Run a program; return all that it prints."""
    done = subprocess.run(
        command, cwd=cwd, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={"PATH": f"{Path(COMMAND).parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(cwd),
             "OMNICDC_CONFIG": "", "OMNICDC_CONSUMER": "host-seven"},
    )  # fmt: skip
    return done.stdout


def test_each_command_has_a_man_page_with_its_options(share: Path) -> None:
    found = {it.name for it in (share / "man/man1").iterdir()}
    status = (share / "man/man1/omnicdc-status.1").read_text()

    assert found == {"omnicdc.1", *(f"omnicdc-{name}.1" for name in COMMANDS)}
    assert r"\fB\-o, \-\-output [text|json|wide]\fR" in status


@pytest.mark.parametrize(
    "program", [["groff", "-ww", "-man", "-Tutf8", "-z"], ["mandoc", "-Tlint", "-Wwarning"]]
)
def test_a_man_page_is_rendered_without_a_warning(share: Path, program: list[str]) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"there is no {program[0]} here")
    pages = sorted(it.name for it in (share / "man/man1").iterdir())

    assert run(*program, *pages, cwd=share / "man/man1") == ""


def test_bash_completes_commands_options_and_names(share: Path) -> None:
    (share / "omnicdc.yaml").write_text(DECLARED)
    asked = [
        "sta", "consumer fo", "status --js", "consumer forget h", "log --consumer h", "log PRO", "log act",
        "diff @~1 @ canonical_p", "restore @ repo", "show 41:PRO",
    ]  # fmt: skip
    script = f"""
        export OMNICDC_CONFIG=omnicdc.yaml
        source bash-completion/completions/omnicdc
        while read -r line; do
            COMPREPLY=() COMP_WORDS=(omnicdc $line) COMP_CWORD=$(wc -w <<< "$line")
            _omnicdc_completion omnicdc
            echo "${{COMPREPLY[*]}}"
        done <<< "{chr(10).join(asked)}"
    """

    assert run("bash", "--norc", "-c", script, cwd=share).splitlines() == [
        "status", "forget", "--json", "host-seven", "host-seven", "PROJECT_REGISTRY_V1.yaml", "active.csv",
        "canonical_projects_uuids.json", "repo_inventory.json", "41:PROJECT_REGISTRY_V1.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shell", "script", "expected"),
    [
        ("zsh", "fpath=($PWD/zsh/site-functions); autoload +X _omnicdc; print ok", "ok\n"),
        (
            "fish",
            "source fish/vendor_completions.d/omnicdc.fish; complete -C 'omnicdc consumer fo'",
            "forget\t",
        ),
    ],
)
def test_other_shells_load_their_script(share: Path, shell: str, script: str, expected: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")

    assert run(shell, "-c", script, cwd=share).startswith(expected)


def test_listing_the_commands_needs_click_alone() -> None:
    """The wheel is built without what omnicdc needs later, and completion must not wait for its import."""
    done = subprocess.run(
        [sys.executable, "-c", ONLY_CLICK], cwd=CHECKOUT, check=False, text=True, capture_output=True
    )

    assert (done.stderr, int(done.stdout)) == ("", len(COMMANDS) + 1 + 3)
