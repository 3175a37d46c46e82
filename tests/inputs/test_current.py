"""A published project shows its present clone and metadata. A wait reports whether it does."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support import session
from support.gh import write_gh
from support.host import until
from support.hung_mount import hung_mount

from omnicdc import db, verify
from omnicdc.answers.status import status
from omnicdc.daemon import once
from omnicdc.daemon.timing import Timing
from omnicdc.delivery import inputs_state
from omnicdc.delivery import wait as waits
from omnicdc.inputs.watches import MOST
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host
    from support.session import Opened

    from omnicdc.delivery.verdict import Verdict

ATLAS = "https://github.com/acme/atlas"

Gh = Callable[[str], None]


def fake_clone(path: Path, url: str = ATLAS, files: int = 0) -> str:
    """Create only the files of a clone that omnicdc reads. The remote comes last, as with git."""
    (path / ".git").mkdir(parents=True)
    for number in range(files):
        (path / f"{number}.py").write_text("from federation_heart import beat\n")
    (path / ".git/config").write_text(f'[remote "origin"]\n\turl = {url}\n')
    return str(path)


LONG_WAITS = Timing(publication_wait_s=20.0, start_wait_s=20.0, first_start_wait_s=20.0)
"""Waits that are long enough for a slow machine. Some tests use shorter ones."""


def opened(
    host: Host, timing: Timing = LONG_WAITS, most: int | None = MOST, **env: str
) -> AbstractContextManager[Opened]:
    return session.opened(host, timing, most, **env)


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gh:
    """Return a function that installs a program named gh on the path."""

    def install(script: str) -> None:
        monkeypatch.setenv("PATH", f"{write_gh(tmp_path, script)}:{os.environ['PATH']}")

    return install


def listing(owner: str, name: str) -> str:
    return json.dumps(
        [
            {
                "name": name,
                "url": f"https://github.com/{owner}/{name}",
                "visibility": "PUBLIC",
                "updatedAt": "u",
            }
        ]
    )


def inputs_of(cmp: Cmp) -> str:
    return str(cmp.consumer("host")["inputs"]["state"])


def is_settled(one: Opened) -> bool:
    """Take over what is known, and publish it. Return whether no input is being looked at."""
    one.inputs.take(one.state)
    one.publish()
    return not one.state.looking


class TestClones:
    def test_a_new_project_is_published_with_its_clone_in_its_first_generation(
        self, cmp: Cmp, host: Host
    ) -> None:
        """Regression: `local_paths` stayed [] for a quarter of an hour. The heart was missing as well."""
        with opened(host, most=None) as one:
            one.publish()
            path = fake_clone(host.root / "clones/atlas", files=2)
            project = cmp.upsert("atlas", github_url=ATLAS)
            generation = one.publish()

        entry = host.projects()[project]
        assert entry["local_paths"] == [path]
        assert (entry["heart_connected"], entry["heart_import_count"]) == (True, 2)
        assert generation is not None
        assert inputs_of(cmp) == "current"

    def test_a_project_whose_url_changes_is_published_with_its_clone(self, cmp: Cmp, host: Host) -> None:
        project = cmp.upsert("atlas", github_url="https://github.com/acme/other")
        with opened(host) as one:
            one.publish()
            path = fake_clone(host.root / "atlas")
            cmp.upsert("atlas", id=project, github_url=ATLAS)
            one.publish()

        assert host.projects()[project]["local_paths"] == [path]

    def test_a_restart_finds_a_clone_that_was_made_before_it(self, cmp: Cmp, host: Host) -> None:
        project = cmp.upsert("atlas", github_url=ATLAS)
        with opened(host) as one:
            one.publish()
        path = fake_clone(host.root / "clones/atlas")
        with opened(host) as one:
            one.publish()

        assert host.projects()[project]["local_paths"] == [path]

    def test_a_later_clone_and_a_later_remote_are_published_automatically(self, cmp: Cmp, host: Host) -> None:
        """They wake the daemon: nothing is written to CMP, and the poll interval is an hour."""
        first = cmp.upsert("atlas", github_url=ATLAS)
        second = cmp.upsert("borea", github_url="https://github.com/acme/borea")
        host.daemon(OMNICDC_POLL_S="3600")
        where = host.root / "clones/work"

        def shown() -> tuple[list[str], list[str]]:
            projects = host.projects()
            return projects[first]["local_paths"], projects[second]["local_paths"]

        where.mkdir(parents=True)
        git(where, "init", "-q")
        git(where, "remote", "add", "origin", f"{ATLAS}.git")
        until(lambda: shown() == ([str(where)], []), "the clone made later")
        git(where, "remote", "set-url", "origin", "git@github.com:Acme/borea.git")
        until(lambda: shown() == ([], [str(where)]), "its other remote")

    def test_without_free_watches_clones_are_searched_periodically_and_a_fault_is_reported(
        self, cmp: Cmp, host: Host
    ) -> None:
        frequent_looks = replace(LONG_WAITS, unwatched_look_s=0.05)
        project = cmp.upsert("atlas", github_url=ATLAS)
        (host.root / "clones").mkdir()
        with opened(host, frequent_looks, most=1) as one:
            one.publish()
            path = fake_clone(host.root / "clones/atlas")
            until(lambda: ATLAS in one.inputs.current.clones, "the clone is found")
            until(lambda: is_settled(one), "the clone is published")

        assert host.projects()[project]["local_paths"] == [path]
        [fault] = cmp.consumer("host")["inputs"]["faults"]
        assert "sysctl fs.inotify.max_user_watches" in fault


class TestHung:
    """A workspace on a mount that hangs delays nothing but itself."""

    def test_the_first_start_serves_and_a_stop_ends_it(self, cmp: Cmp, host: Host, tmp_path: Path) -> None:
        """Regression: the daemon never served, and ignored SIGTERM."""
        project = cmp.upsert("atlas", github_url=ATLAS)
        path = fake_clone(host.root / "clones/atlas")
        with hung_mount(tmp_path / "mnt") as mount:
            daemon = host.daemon(OMNICDC_WORKSPACES=str(mount))
            cmp.arrived()
            report = cmp.consumer("host")["inputs"]

            assert host.projects()[project]["local_paths"] == [path]
            assert (report["state"], report["waiting_for"]) == ("looking", ["workspaces"])
            assert daemon.stop() == 0

    def test_a_publication_waits_briefly_and_the_mount_is_reported(
        self, cmp: Cmp, host: Host, tmp_path: Path
    ) -> None:
        short = Timing(publication_wait_s=0.1, first_start_wait_s=0.1, start_wait_s=0.1, hung_s=0.1)
        with (
            hung_mount(tmp_path / "mnt") as mount,
            opened(host, short, OMNICDC_WORKSPACES=str(mount)) as one,
            db.connect(cmp.dsn) as conn,
        ):
            one.publish()
            project = cmp.upsert("atlas", github_url=ATLAS)
            assert one.publish()
            until(lambda: not is_settled(one) and one.state.input_faults, "the report")
            verdict = inputs_state.wait_for_inputs(conn, arrived(conn), timeout_s=0.1, stop=Stop())
            faults = status(conn)["faults"]

            assert project in host.projects()
            assert (verdict.status, verdict.inputs) == ("timeout", "looking")
            assert "host still looks at workspaces" in verdict.detail
            assert any(f"{mount}: no answer" in fault for fault in faults)

    def test_run_once_continues_without_it(self, cmp: Cmp, host: Host, tmp_path: Path) -> None:
        short = Timing(publication_wait_s=0.1, first_start_wait_s=0.1, once_wait_s=0.1)
        project = cmp.upsert("atlas", github_url=ATLAS)
        with hung_mount(tmp_path / "mnt") as mount:
            config = host.config(OMNICDC_WORKSPACES=str(mount))
            _, state = once.run_to_the_end(config, Stop(), lambda _point: None, short)

            assert project in host.projects()
            assert state.inputs_report()["waiting_for"] == ["workspaces"]

    def test_verify_does_not_hang_and_reports_what_it_cannot_compare(
        self, cmp: Cmp, host: Host, tmp_path: Path
    ) -> None:
        project = cmp.upsert("atlas", github_url=ATLAS)
        with opened(host) as one:
            one.publish()
        with hung_mount(tmp_path / "mnt") as mount:
            config = host.config(OMNICDC_WORKSPACES=str(mount))
            with db.connect(cmp.dsn) as conn:
                report = verify.verify_project(conn, config, *verify.known_inputs(config), project)

        assert report.verified
        assert "local_paths" in report.checks[1].not_compared


class TestVerify:
    @pytest.mark.parametrize("known", [True, False])
    def test_it_compares_with_the_clones_that_exist(self, cmp: Cmp, host: Host, known: bool) -> None:
        """It does not rely on what the daemon knows. The daemon's cache may even be missing."""
        project = cmp.upsert("atlas", github_url=ATLAS)
        with opened(host) as one:
            one.publish()
        path = fake_clone(host.root / "clones/atlas")
        if not known:
            (host.state / "workspaces.json").unlink()
        config = host.config()
        with db.connect(cmp.dsn) as conn:
            report = verify.verify_project(conn, config, *verify.known_inputs(config), project)
            everything = verify.verify_all(conn, config, *verify.known_inputs(config))

        assert not report.verified
        assert report.checks[1].differences == {"local_paths": ([path], [])}
        assert not everything.verified

    def test_a_removed_clone_is_no_longer_expected(self, cmp: Cmp, host: Host) -> None:
        project = cmp.upsert("atlas", github_url=ATLAS)
        path = fake_clone(host.root / "clones/atlas")
        with opened(host) as one:
            one.publish()
        (host.root / "clones/atlas/.git/config").unlink()
        (host.root / "clones/atlas/.git").rmdir()
        config = host.config()
        with db.connect(cmp.dsn) as conn:
            report = verify.verify_project(conn, config, *verify.known_inputs(config), project)

        assert report.checks[1].differences == {"local_paths": ([], [path])}


class TestGitHub:
    def test_it_is_queried_at_a_start_and_for_each_new_owner(
        self, cmp: Cmp, host: Host, gh: Gh, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "asked")
        acme, zeta = listing("acme", "atlas"), listing("zeta", "z")
        answers = f"""case "$3" in acme) echo '{acme}';; zeta) echo '{zeta}';; esac"""
        gh(f'echo "$3" > {tmp_path}/asked; {answers}')
        first = cmp.upsert("atlas", github_url=ATLAS)
        with opened(host, OMNICDC_GH="yes") as one:
            one.publish()
            before = cmp.consumer("host")["inputs"]
            owners = [(tmp_path / "asked").read_text()]
            until(lambda: is_settled(one), "GitHub's first answer")
            middle = inputs_of(cmp)
            second = cmp.upsert("zeta", github_url="https://github.com/zeta/z")
            one.publish()
            new_owner = inputs_of(cmp)
            owners.append((tmp_path / "asked").read_text())
            until(lambda: is_settled(one), "GitHub's second answer")

        projects = host.projects()
        assert owners == ["acme\n", "zeta\n"]
        assert (before["state"], before["waiting_for"]) == ("looking", ["GitHub"])
        assert (middle, new_owner, inputs_of(cmp)) == ("current", "looking", "current")
        assert [projects[one]["visibility"] for one in (first, second)] == ["PUBLIC", "PUBLIC"]

    def test_run_once_queries_the_owners_that_cmp_names(self, cmp: Cmp, host: Host, gh: Gh) -> None:
        gh(f"echo '{listing('acme', 'atlas')}'")
        project = cmp.upsert("atlas", github_url=ATLAS)

        generation, state = once.run_to_the_end(
            host.config(OMNICDC_GH="yes"), Stop(), lambda _point: None, LONG_WAITS
        )

        assert host.projects()[project]["visibility"] == "PUBLIC"
        assert generation is not None
        assert len(generation.registries) == 3
        assert not state.looking

    def test_run_once_does_not_wait_forever(self, cmp: Cmp, host: Host, gh: Gh) -> None:
        short = replace(LONG_WAITS, once_wait_s=0.2)
        gh("sleep 60")
        project = cmp.upsert("atlas", github_url=ATLAS)

        _, state = once.run_to_the_end(host.config(OMNICDC_GH="yes"), Stop(), lambda _point: None, short)

        assert host.projects()[project]["visibility"] == "private"
        assert state.looking == ("GitHub",)


class TestWaiting:
    def test_a_wait_for_inputs_requests_a_full_look(self, cmp: Cmp, host: Host) -> None:
        """`wait --inputs` waits until every input was looked at.

        This includes a clone that is too deep for a quick look.
        """
        project = cmp.upsert("atlas", github_url=ATLAS)
        ended = threading.Event()

        def serve(one: Opened) -> None:
            while not ended.wait(0.01):
                is_settled(one)

        with opened(host) as one, db.connect(cmp.dsn) as conn:
            one.publish()
            path = fake_clone(host.root / "a/b/c/d/atlas")
            before = host.projects()[project]["local_paths"]
            serving = threading.Thread(target=serve, args=(one,))
            serving.start()
            try:
                verdict = inputs_state.wait_for_inputs(conn, arrived(conn), timeout_s=60, stop=Stop())
            finally:
                ended.set()
                serving.join()

        assert before == []
        assert (verdict.status, verdict.inputs) == ("published", "current")
        assert host.projects()[project]["local_paths"] == [path]

    def test_the_command_and_a_rebuild_wait_for_inputs_and_report_it(self, cmp: Cmp, host: Host) -> None:
        project = cmp.upsert("atlas", github_url=ATLAS)
        host.daemon()
        paths, answers = [], []
        for number, command in enumerate((("wait", "--inputs"), ("rebuild",))):
            paths.append(fake_clone(host.root / f"{'z/' * (5 - number)}atlas"))
            answers.append(host.ask(*command, "--timeout", "60"))
            assert host.projects()[project]["local_paths"] == [paths[-1]]

        assert [(answer["verdict"], answer["inputs"]) for answer in answers] == [("published", "current")] * 2


def git(where: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True)


def arrived(conn: db.Connection) -> Verdict:
    """Return the verdict on everything so far. A session in this process has published it."""
    verdict = waits.wait(conn, timeout_s=60, stop=Stop())
    assert verdict.arrived, verdict
    return verdict
