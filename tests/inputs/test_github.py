"""GitHub is queried through `gh`. It may be missing, logged out or slow, or print invalid output.

Then the known repositories do not change.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.gh import write_gh

from omnicdc.inputs.github import fetch, is_installed
from omnicdc.stop import Stop

Install = Callable[[str], Path]


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a program named gh. The path has only it and the system's own."""

    def install(script: str) -> Path:
        monkeypatch.setenv("PATH", f"{write_gh(tmp_path, script)}:/usr/bin:/bin")
        return tmp_path

    return install


def listing(*names: str) -> str:
    return json.dumps(
        [{"name": name, "url": f"https://github.com/Acme/{name}", "visibility": "PUBLIC"} for name in names]
    )


def test_all_repositories_of_each_owner_are_requested_once_without_a_terminal(gh: Install) -> None:
    directory = gh(
        f"""
        echo "$@" >> "$0.calls"
        [ "$GH_PROMPT_DISABLED" = 1 ] || exit 9
        [ -z "$GH_DEBUG" ] || exit 9
        read line && exit 9
        echo '{listing("Rocket", "probe")}'
        """
    )
    fields = "--json name,url,description,visibility,updatedAt,owner"
    expected = [f"repo list acme {fields} --limit 1000000", f"repo list zeta {fields} --limit 1000000"]

    listed = fetch(["Zeta", "acme", "ACME "], Stop())

    assert listed.faults == ()
    assert [*listed.elements] == ["https://github.com/acme/rocket", "https://github.com/acme/probe"]
    assert listed.elements["https://github.com/acme/rocket"]["visibility"] == "PUBLIC"
    assert (directory / "bin/gh.calls").read_text().splitlines() == expected


def test_debugging_switches_are_not_passed_on(gh: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_DEBUG", "api")
    gh('[ -z "$GH_DEBUG" ] && echo "[]" || exit 9')

    assert fetch(["acme"], Stop()).faults == ()


def test_an_owner_that_fails_does_not_affect_the_others(gh: Install) -> None:
    gh(f"""[ "$3" = nobody ] && {{ echo "no such owner" >&2; exit 1; }}; echo '{listing("rocket")}'""")

    listed = fetch(["nobody", "acme", "zeta"], Stop())

    assert [*listed.elements] == ["https://github.com/acme/rocket"]
    assert listed.owners == {"acme", "zeta"}
    assert listed.faults == (
        "gh repo list nobody: exit 1 (no such owner); what was known of its repositories stays",
    )


def test_many_owners_that_fail_are_reported_in_few_lines(gh: Install) -> None:
    gh("exit 1")

    faults = fetch([f"owner{number}" for number in range(9)], Stop()).faults

    assert len(faults) == 6
    assert faults[-1] == "gh repo list: 4 more like these"


def test_a_logged_out_gh_ends_the_queries_and_the_fault_names_the_command(gh: Install) -> None:
    directory = gh('echo x >> "$0.calls"; echo "To get started: gh auth login" >&2; exit 4')

    listed = fetch(["acme", "zeta"], Stop())

    assert listed.elements == {}
    assert len(listed.faults) == 1
    assert "run: gh auth login" in listed.faults[0]
    assert (directory / "bin/gh.calls").read_text() == "x\n"


def test_a_fault_shows_no_token(gh: Install) -> None:
    gh('echo "bad token ghp_abcDEF123 or github_pat_11AB_cd" >&2; exit 1')

    assert "exit 1 (bad token *** or ***)" in fetch(["acme"], Stop()).faults[0]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo '[{'", "gh printed no JSON"),
        ("echo '{}'", "gh printed no list"),
        ("true", "gh printed no JSON"),
        ("kill -9 $$", "exit -9 ()"),
    ],
)
def test_invalid_output_is_reported_and_ignored(gh: Install, script: str, expected: str) -> None:
    gh(script)

    listed = fetch(["acme"], Stop())

    assert listed.elements == {}
    assert listed.faults == (f"gh repo list acme: {expected}; what was known of its repositories stays",)


def test_elements_without_name_or_url_are_reported_and_skipped(gh: Install) -> None:
    gh("""echo '[{"name": "x"}, {"name": "y", "url": "https://github.com/acme/y"}]'""")

    listed = fetch(["acme"], Stop())

    assert [*listed.elements] == ["https://github.com/acme/y"]
    assert listed.faults == ("gh repo list acme: element 1 has no text url; it is skipped",)


def test_an_owner_is_never_passed_as_an_option(gh: Install) -> None:
    gh("echo '[]'")

    assert "not the name of an owner" in fetch(["--jq=."], Stop()).faults[0]


def test_without_gh_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert not is_installed()
    assert fetch(["acme", "zeta"], Stop()).faults == (
        "gh repo list acme: gh is not installed; what was known of its repositories stays",
    )


def test_a_gh_that_cannot_start_is_reported(gh: Install) -> None:
    directory = gh("")
    (directory / "bin/gh").write_text("#!/no/such/interpreter\n")

    assert "gh does not start" in fetch(["acme"], Stop()).faults[0]


def test_a_gh_that_does_not_answer_is_killed_with_its_children(gh: Install) -> None:
    directory = gh('sleep 60 & echo $! > "$0.child"; wait')

    listed = fetch(["acme", "zeta"], Stop(), timeout_s=0.5)

    assert "no answer within 0.5 s" in listed.faults[0]
    assert len(listed.faults) == 1
    assert has_ended(int((directory / "bin/gh.child").read_text()))


def test_a_stop_ends_the_query(gh: Install) -> None:
    directory = gh('mkfifo "$0.started"; echo > "$0.started"; sleep 60')
    stop = Stop()
    query = threading.Thread(target=fetch, args=(["acme"], stop))
    query.start()
    started = directory / "bin/gh.started"
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    started.read_text()

    stop()
    query.join(50)

    assert not query.is_alive()


def has_ended(pid: int) -> bool:
    """Return whether a process has ended. A zombie has ended."""
    deadline = time.monotonic() + 60
    stat = Path(f"/proc/{pid}/stat")
    while time.monotonic() < deadline:
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False
