"""All inputs together: a cache keeps them across a restart, and a broken file changes none of them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.inputs_host import LISTING, ROCKET
from support.inputs_host import InputsHost as Host

from omnicdc.errors import ConfigError
from omnicdc.inputs import cache
from omnicdc.inputs.parts import InputSettings
from omnicdc.inputs.read_only import read_only
from omnicdc.inputs.store import InputStore
from omnicdc.model import Inputs, Override
from omnicdc.stop import Stop

USER_WITHOUT_NAME = 54321


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    host = Host(tmp_path)
    host.gh(f"echo '{json.dumps(LISTING)}'")
    return host


def test_a_bare_host_has_empty_inputs_and_is_not_primed(host: Host) -> None:
    store = host.store()

    assert store.current == Inputs()
    assert not store.primed
    assert store.faults == ()


def test_all_inputs_are_known_at_once_after_a_restart(host: Host) -> None:
    host.exclude("exclusions: [{repo: probe}]")
    host.override(f"overrides: [{{github_url: {ROCKET}, notes: n}}]")
    host.inventory({"name": "old", "url": "https://github.com/acme/old", "stars": 1})
    path = host.clone("rocket")
    heart = host.root / ".git"
    heart.mkdir()
    (host.root / "a.py").write_text("from federation_heart import x")
    expected = Inputs(
        overrides={ROCKET: Override(notes="n")},
        excluded=frozenset({"probe"}),
        clones={ROCKET: path},
        heart={str(host.root).lower(): 1},
        repositories={
            "https://github.com/acme/old": {"name": "old", "url": "https://github.com/acme/old", "stars": 1},
            ROCKET: LISTING[0],
        },
    )
    store = host.store()
    store.refresh(Stop())
    host.gh("exit 4")
    restarted = host.store()

    assert store.current == expected
    assert restarted.current == expected
    assert restarted.primed
    assert restarted.faults == ()
    assert read_only(host.settings) == expected


def test_a_refresh_returns_the_inputs_and_writes_only_if_they_changed(host: Host) -> None:
    store = host.store()
    first = store.refresh(Stop())
    before = modification_times(host.state)

    assert first == store.current
    assert store.refresh(Stop()) is None
    assert modification_times(host.state) == before

    path = host.clone("rocket")
    second = store.refresh(Stop())

    assert second is not None
    assert second.clones == {ROCKET: path}
    assert [name for name in before if modification_times(host.state)[name] != before[name]] == [
        "workspaces.json"
    ]


def test_owners_are_the_configured_and_the_requested_ones(host: Host) -> None:
    host.gh('echo "$3" >> "$0.owners"; echo "[]"')

    host.store().refresh(Stop(), ["Zeta", "Acme"])

    assert (host.base / "bin/gh.owners").read_text().split() == ["acme", "zeta"]


def test_a_failure_of_github_changes_nothing_and_is_reported_until_it_recovers(host: Host) -> None:
    store = host.store()
    store.refresh(Stop())

    host.gh("echo offline >&2; exit 1")
    assert store.refresh(Stop()) is None
    assert "offline" in store.faults[0]
    assert store.current.repositories == {ROCKET: LISTING[0]}

    host.gh(f"echo '{json.dumps(LISTING)}'")
    store.refresh(Stop())
    assert store.faults == ()


@pytest.mark.parametrize(("owners", "expected"), [((), 0), (("acme",), 1)])
def test_a_missing_gh_is_a_fault_only_if_owners_are_configured(
    host: Host, owners: tuple[str, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    settings = InputSettings(host.root, (), host.state, owners, gh=True)
    store = InputStore(settings)
    store.load()
    store.refresh(Stop(), ["zeta"])

    assert len(store.faults) == expected


def test_github_is_not_queried_if_it_is_switched_off(host: Host) -> None:
    host.gh('touch "$0.asked"')
    store = InputStore(InputSettings(host.root, (), host.state, ("acme",), gh=False))
    store.load()
    store.refresh(Stop())

    assert not (host.base / "bin/gh.asked").exists()


def test_a_refresh_that_a_stop_interrupts_is_discarded(host: Host) -> None:
    store = host.store()
    stop = Stop()
    stop()
    host.clone("rocket")

    assert store.refresh(stop) is None
    assert not store.primed


def test_other_workspaces_than_the_cached_ones_are_not_primed(host: Host) -> None:
    host.clone("rocket")
    host.store().walk(Stop())
    moved = InputSettings(host.root, (host.base / "elsewhere",), host.state, (), gh=False)
    store = InputStore(moved)
    store.load()

    assert not store.primed
    assert store.current.clones == {}

    store.walk(Stop())

    assert store.faults == (
        f"{host.base}/elsewhere: no directory that can be read; no clones are known there",
    )


@pytest.mark.parametrize("how", ["walk", "look"])
def test_a_workspace_whose_disk_is_not_mounted_is_a_fault(host: Host, how: str) -> None:
    """Without the disk, there is another directory, which is empty.

    After the last clone is removed, it is still the same directory, so this is no fault.
    """
    store = host.store()

    def faults() -> list[str]:
        if how == "walk":
            store.walk(Stop())
        else:
            store.search_root(1, Stop())
        return [*store.faults]

    clone = host.clone("rocket")
    assert faults() == []

    (workspace := host.base / "ws").rename(host.base / "disk")
    workspace.mkdir()

    assert len(faults()) == 1
    assert "not mounted" in faults()[0]
    assert store.current.clones == {}

    workspace.rmdir()
    (host.base / "disk").rename(workspace)
    assert faults() == []
    assert [*store.current.clones.values()] == [clone]

    shutil.rmtree(clone)
    assert faults() == []


def test_people_s_files_are_read_again_only_after_a_change(host: Host) -> None:
    host.exclude("exclusions: [{repo: one}]")
    store = host.store()

    assert store.reread_people() is None

    host.exclude("exclusions: [{repo: one}, {repo: two}]")
    again = store.reread_people()

    assert again is not None
    assert again.excluded == {"one", "two"}
    assert again is store.current
    assert store.reread_people() is None


def test_equal_entries_in_another_form_are_no_change(host: Host) -> None:
    host.exclude("exclusions: [{repo: one}]")
    store = host.store()
    host.exclude("exclusions:\n- repo: one\n")

    assert store.reread_people() is None


def test_a_removed_file_is_empty_and_its_last_valid_version_is_not_used_again(host: Host) -> None:
    host.exclude("exclusions: [{repo: one}]")
    store = host.store()
    (host.projects / "EXCLUSION_LIST_V1.yaml").unlink()
    again = store.reread_people()
    host.exclude("exclusions: [{")

    assert again is not None
    assert again.excluded == frozenset()
    assert host.store().current.excluded == frozenset()


def test_a_broken_file_keeps_the_last_valid_version_also_across_a_restart_until_it_is_fixed(
    host: Host,
) -> None:
    host.exclude("exclusions: [{repo: one}]")
    host.override(f"overrides: [{{github_url: {ROCKET}, notes: n}}]")
    store = host.store()
    host.exclude("exclusions: [{repo: one")
    changed = store.reread_people()
    restarted = host.store()

    assert changed is None
    for each in (store, restarted):
        assert each.current.excluded == {"one"}
        assert [*each.current.overrides] == [ROCKET]
        assert len(each.faults) == 1
        assert each.faults[0].startswith(f"{host.projects}/EXCLUSION_LIST_V1.yaml:1: not YAML")
    assert read_only(host.settings).excluded == {"one"}

    host.exclude("exclusions: [{repo: two}]")
    fixed = restarted.reread_people()

    assert fixed is not None
    assert fixed.excluded == {"two"}
    assert restarted.faults == ()


def test_a_bad_entry_is_reported_and_the_others_apply(host: Host) -> None:
    host.exclude("exclusions:\n- repo: one\n- nothing\n")
    store = host.store()

    assert store.current.excluded == {"one"}
    assert store.faults == (
        f"{host.projects}/EXCLUSION_LIST_V1.yaml:3: not an entry with fields; this entry is skipped",
    )


def test_people_s_files_and_background_looks_do_not_undo_each_other(host: Host) -> None:
    store = host.store()
    path = host.clone("rocket")
    store.walk(Stop())
    host.exclude("exclusions: [{repo: one}]")
    store.reread_people()
    store.fetch(Stop())

    assert store.current == Inputs(
        excluded=frozenset({"one"}), clones={ROCKET: path}, repositories={ROCKET: LISTING[0]}
    )


@pytest.mark.parametrize(
    "damage", ["", "[{", "{}", "[]", '{"roots": 1}', '{"roots": [], "clones": [], "heart": 3}']
)
def test_damaged_caches_are_treated_as_missing(host: Host, damage: str) -> None:
    path = host.clone("rocket")
    host.store().refresh(Stop())
    for name in ("workspaces.json", "github.json"):
        (host.state / name).write_text(damage)
    store = host.store()

    assert store.current == Inputs()
    assert not store.primed

    store.refresh(Stop())

    assert store.current.clones == {ROCKET: path}
    assert read_only(host.settings) == store.current


def test_concurrent_refreshes_run_one_after_the_other(host: Host) -> None:
    host.gh(f"""mkdir "$0.busy" || exit 9; sleep 0.05; rmdir "$0.busy"; echo '{json.dumps(LISTING)}'""")
    store = host.store()
    threads = [threading.Thread(target=store.refresh, args=(Stop(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert store.faults == ()
    assert store.current.repositories == {ROCKET: LISTING[0]}


def test_read_only_inputs_write_nothing_and_adopt_nothing(host: Host) -> None:
    host.exclude("exclusions: [{repo: one}]")
    host.inventory({"name": "old", "url": "https://github.com/acme/old"})

    inputs = read_only(host.settings)

    assert inputs == Inputs(excluded=frozenset({"one"}))
    assert not host.state.exists()


def test_a_state_directory_that_cannot_be_made_is_an_error_with_the_command(host: Host) -> None:
    (host.base / "var").write_text("a file")

    with pytest.raises(ConfigError) as caught:
        host.store()

    assert "install -d -o " in caught.value.hint
    assert f"{host.state}, or set OMNICDC_STATE_DIR" in caught.value.hint


@pytest.mark.usefixtures("permissions")
def test_a_state_directory_without_permission_is_an_error_with_the_command(host: Host) -> None:
    host.state.mkdir(parents=True)
    host.state.chmod(0o500)

    with pytest.raises(ConfigError, match="install -d"):
        host.store()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_user_without_a_name_is_shown_by_number(tmp_path: Path) -> None:
    """Containers run as such users."""
    os.seteuid(USER_WITHOUT_NAME)
    try:
        with pytest.raises(ConfigError) as caught:
            cache.write(tmp_path / "a", b"after")
    finally:
        os.seteuid(0)

    assert f"install -d -o {USER_WITHOUT_NAME} " in caught.value.hint


def test_inputs_that_cannot_be_cached_apply_and_are_reported(host: Host) -> None:
    store = host.store()
    host.state.rename(host.state.with_name("moved"))
    path = host.clone("rocket")
    host.exclude("exclusions: [{repo: one}]")

    inputs = store.refresh(Stop())
    again = store.reread_people()

    assert inputs is not None
    assert inputs.clones == {ROCKET: path}
    assert again is not None
    assert again.excluded == {"one"}
    assert len(store.faults) == 3
    assert all("cannot be written to (No such file or directory)" in fault for fault in store.faults)

    host.state.with_name("moved").rename(host.state)
    store.refresh(Stop())

    assert host.store().current.clones == {ROCKET: path}


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    cache.write(tmp_path / "a", b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, before[1]))

    try:
        with pytest.raises(ConfigError, match="File too large"):
            cache.write(tmp_path / "a", b"after")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (tmp_path / "a").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_symlink_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".a.omnicdc-tmp").symlink_to(tmp_path / "precious")

    cache.write(tmp_path / "a", b"after")

    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "a").read_bytes() == b"after"


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")

    assert cache.read(tmp_path / "a") is None


def test_a_directory_in_place_of_a_file_is_moved_beside_it_each_time(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / str(number)).touch()
        cache.write(tmp_path / "a", b"after")
        (tmp_path / "a").unlink()

    assert {path.name for path in tmp_path.glob("a.*.aside/*")} == {"0", "1", "2"}


def test_the_temporary_file_of_a_killed_write_is_removed_at_the_next_start(host: Host) -> None:
    host.store()
    (host.state / ".workspaces.json.omnicdc-tmp").write_bytes(b"half a file")
    (host.state / ".a-directory.omnicdc-tmp").mkdir()

    host.store()

    assert [path.name for path in host.state.glob(".*.omnicdc-tmp")] == [".a-directory.omnicdc-tmp"]


@pytest.mark.usefixtures("permissions")
def test_an_unreadable_people_s_file_is_reported_and_keeps_its_last_valid_version(host: Host) -> None:
    host.exclude("exclusions: [{repo: rocket}]")
    host.store()
    (host.projects / "EXCLUSION_LIST_V1.yaml").chmod(0)

    store = host.store()

    assert store.current.excluded == {"rocket"}
    assert "cannot be read (Permission denied); the last valid version stays in force" in store.faults[0]


def test_a_directory_in_place_of_the_temporary_file_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / ".a.omnicdc-tmp").mkdir()

    with pytest.raises(ConfigError) as caught:
        cache.write(tmp_path / "a", b"after")

    assert caught.value.hint.startswith("move the directory away that stands in a file's place: ls -la ")


def test_nothing_is_excluded_if_neither_the_file_nor_its_copy_is_valid(host: Host) -> None:
    host.exclude("exclusions: [{repo: rocket}]")
    good = host.store().current.excluded
    host.exclude("[")
    kept = host.store().current.excluded
    (host.state / "last_good_EXCLUSION_LIST_V1.yaml").write_text("[")

    store = host.store()

    assert good == kept == {"rocket"}
    assert store.current.excluded == frozenset()
    assert len(store.faults) == 1


def test_the_temporary_file_of_a_killed_write_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.omnicdc-tmp").write_bytes(b"half a file, and longer than what comes")

    cache.write(tmp_path / "a", b"after")

    assert (tmp_path / "a").read_bytes() == b"after"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_no_yaml_library_is_imported_without_people_s_files(host: Host) -> None:
    program = f"""
import sys
from pathlib import Path
from omnicdc.inputs.read_only import read_only
from omnicdc.inputs.parts import InputSettings
read_only(InputSettings(Path({str(host.root)!r}), (), Path({str(host.state)!r}), (), gh=True))
print([name for name in sys.modules if name.startswith(("yaml", "ruamel"))])
"""
    command = [sys.executable, "-c", program]
    answer = subprocess.run(
        command, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    )

    assert answer.stdout.strip() == "[]"


def modification_times(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
