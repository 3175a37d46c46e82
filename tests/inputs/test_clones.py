"""Clones are found where git made them, in the documented order. Excluded directories are not searched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnicdc.inputs.clones import find_clones
from omnicdc.inputs.gitfiles import origin, origin_url
from omnicdc.inputs.heart import count_heart
from omnicdc.stop import Stop

HOST = "https://github.com/acme"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
}


def git(where: Path, *arguments: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(
        command, cwd=where, env=ENVIRONMENT, check=True, capture_output=True, text=True
    ).stdout


def clone(path: Path, url: str | None = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "-q")
    if url:
        git(path, "remote", "add", "origin", url)
    return path


def fake_clone(path: Path, name: str) -> Path:
    """Create only the files of a clone that omnicdc reads. This is faster than git."""
    (path / ".git").mkdir(parents=True)
    (path / ".git/config").write_text(f'[remote "origin"]\n\turl = git@github.com:Acme/{name}.git\n')
    return path


def found_clones(*roots: Path) -> dict[str, str]:
    """Return the paths of the clones that are found, by repository name."""
    return {key.removeprefix(f"{HOST}/"): path for key, path in find_clones(roots, Stop()).items()}


def test_clones_worktrees_and_submodules_of_real_git_are_found(tmp_path: Path) -> None:
    source = clone(tmp_path / "elsewhere/library")
    git(source, "commit", "-q", "--allow-empty", "-m", "first")
    rocket = clone(tmp_path / "ws/rocket", "git@github.com:Acme/rocket.git")
    git(rocket, "submodule", "--quiet", "add", str(source), "vendor/library")
    git(rocket / "vendor/library", "remote", "set-url", "origin", f"{HOST}/library.git")
    git(rocket, "commit", "-q", "-m", "second")
    git(rocket, "worktree", "add", "-q", str(tmp_path / "ws/a-worktree"))
    git(rocket, "config", "extensions.worktreeConfig", "true")
    bare = tmp_path / "ws/bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(source), str(bare))
    clone(tmp_path / "ws/without-origin")
    expected = {"rocket": str(tmp_path / "ws/a-worktree"), "library": str(rocket / "vendor/library")}

    assert found_clones(tmp_path / "ws") == expected
    assert origin(str(rocket)) == "git@github.com:Acme/rocket.git"


def test_the_first_root_wins_then_the_shallowest_then_the_sorted_order(tmp_path: Path) -> None:
    root, other = tmp_path / "z-root", tmp_path / "other"
    for path in (root / "b/one", root / "a-b/one", root / "a/x/one", root / "A/x/y/one", other / "one"):
        fake_clone(path, "one")
    fake_clone(other, "two")
    fake_clone(other / "a/two", "two")
    expected = {"one": str(root / "a-b/one"), "two": str(other)}

    assert found_clones(root, other) == expected


def test_a_deeper_copy_does_not_hide_the_clone(tmp_path: Path) -> None:
    """Omni's own scanner also found `Projects/x` and not `Projects/dup/x`."""
    fake_clone(tmp_path / "Projects/dup/x", "x")
    shallow = fake_clone(tmp_path / "Projects/x", "x")
    fake_clone(tmp_path / "Projects/x/vendor/x", "x")

    assert found_clones(tmp_path) == {"x": str(shallow)}


def test_a_root_inside_another_root_keeps_its_place_in_the_order(tmp_path: Path) -> None:
    inner = tmp_path / "ws/inner"
    fake_clone(inner / "one", "one")
    fake_clone(tmp_path / "ws/a/one", "one")
    fake_clone(tmp_path / "ws/two", "two")
    expected = {"one": str(inner / "one"), "two": str(tmp_path / "ws/two")}

    assert found_clones(inner, tmp_path / "ws", inner) == expected


def test_clones_inside_clones_and_in_hidden_directories_are_found(tmp_path: Path) -> None:
    outer = fake_clone(tmp_path / "outer", "outer")
    fake_clone(outer / ".cache/inner", "acme.github.io")
    expected = {"outer": str(outer), "acme.github.io": str(outer / ".cache/inner")}

    assert found_clones(tmp_path) == expected


@pytest.mark.parametrize(
    "where",
    [
        "rocket/.git/hooks/one",
        "governance/registry/surfaces",
        "governance/registry/surfaces/a/one",
        "omni/governance/registry/surfaces/one",
        "omni/artifacts/one",
        "artifacts/a/omni/b/one",
    ],
)
def test_clones_in_excluded_directories_are_not_found(where: str, tmp_path: Path) -> None:
    fake_clone(tmp_path / where, "one")

    assert found_clones(tmp_path) == {}


@pytest.mark.parametrize(
    "where",
    [
        "governance/registry/surfaces-2/one",
        "surfaces/one",
        "omni/one",
        "artifacts/one",
        "omni/my-artifacts/one",
    ],
)
def test_directories_with_similar_names_are_searched(where: str, tmp_path: Path) -> None:
    fake_clone(tmp_path / where, "one")

    assert found_clones(tmp_path) == {"one": str(tmp_path / where)}


def test_links_are_not_followed_and_unreadable_clones_are_left_out(tmp_path: Path) -> None:
    one = fake_clone(tmp_path / "ws/z-one", "one")
    (tmp_path / "ws/a-link").symlink_to(one)
    (one / "loop").symlink_to(tmp_path)
    broken = tmp_path / "ws/broken"
    (broken / ".git").mkdir(parents=True)
    os.mkfifo(broken / ".git/config")
    dangling = tmp_path / "ws/dangling"
    dangling.mkdir()
    (dangling / ".git").write_text("gitdir: ../nowhere\n")
    undecodable = Path(os.fsdecode(os.fsencode(tmp_path / "ws") + b"/\xff"))
    fake_clone(undecodable, "two")

    assert found_clones(tmp_path / "ws", tmp_path / "no such root") == {"one": str(one)}


@pytest.mark.usefixtures("permissions")
def test_only_what_may_not_be_read_is_left_out(tmp_path: Path) -> None:
    """A directory, the configuration of a clone, and a Python file may not be read."""
    fake_clone(tmp_path / "a-closed/one", "one").parent.chmod(0)
    (fake_clone(tmp_path / "b-secret", "three") / ".git/config").chmod(0)
    found = fake_clone(tmp_path / "c-open", "two")
    for name in ("a.py", "b.py"):
        (found / name).write_text("from federation_heart import beat\n")
    (found / "a.py").chmod(0)

    assert found_clones(tmp_path) == {"two": str(found)}
    assert count_heart(tmp_path, Stop()) == {str(found).lower(): 1}

    (tmp_path / "a-closed").chmod(0o700)


def test_credentials_in_an_origin_are_not_in_the_key(tmp_path: Path) -> None:
    clone(tmp_path / "one", "https://x-access-token:S3cret@github.com/Acme/one.git")

    assert found_clones(tmp_path) == {"one": str(tmp_path / "one")}


def test_a_relative_root_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_clone(tmp_path / "ws/one", "one")
    monkeypatch.chdir(tmp_path)

    assert found_clones(Path("ws")) == {"one": str(tmp_path / "ws/one")}


def test_a_stop_ends_the_walk(tmp_path: Path) -> None:
    fake_clone(tmp_path / "one", "one")
    stop = Stop()
    stop()

    assert find_clones([tmp_path], stop) == {}
    assert count_heart(tmp_path, stop) == {}


LINES = st.sampled_from(
    [
        '[remote "origin"]\n',
        '[remote "other"]\n',
        '[Remote "origin"] ',
        "[remote.ORIGIN]\n",
        '[remote "or\\igin"]\n',
        "[core]\n",
        "\turl = https://one.example/x\n",
        "URL=two.example ; comment\n",
        'url = "quoted # ; \\"x\\" " tail  # comment\n',
        "url = a\\\n  b\n",
        "url = a\\tb\\\\\n",
        "url = a  b \t\n",
        "  fetch = +refs/heads/*:refs/remotes/origin/*\n",
        "bare\n",
        "pushurl = no\n",
        "# url = comment\\\n",
        '; [remote "other"]\n',
        "\r\n",
        "\n",
    ]
)


@given(st.lists(LINES, max_size=8))
def test_a_git_configuration_is_read_as_git_reads_it(lines: list[str]) -> None:
    config = "".join(lines)
    command = ["git", "config", "--file", "-", "--null", "--get-all", "remote.origin.url"]
    answer = subprocess.run(command, input=config.encode(), env=ENVIRONMENT, check=False, capture_output=True)
    urls = [url for url in answer.stdout.decode().split("\0") if url]

    if answer.returncode < 2:
        assert origin_url(config.replace("\r\n", "\n")) == (urls[0] if urls else None)


def test_a_configuration_that_git_refuses_has_no_origin(tmp_path: Path) -> None:
    one = clone(tmp_path / "one", f"{HOST}/one.git")
    config = one / ".git/config"
    config.write_text(f"@\n{config.read_text()}")

    with pytest.raises(subprocess.CalledProcessError):
        git(one, "config", "--get", "remote.origin.url")
    assert found_clones(tmp_path) == {}


def test_a_file_belongs_to_the_deepest_clone_around_it_with_or_without_origin(tmp_path: Path) -> None:
    root = fake_clone(tmp_path / "Root", "root")
    fake_clone(root / "apps/Rocket", "rocket")
    clone(root / "apps/Rocket/vendor/local")
    (root / "worktree").mkdir()
    (root / "worktree/.git").write_text("gitdir: ../.git/worktrees/w\n")
    for path in (
        "a.py",
        "lib/b.py",
        "apps/c.py",
        "apps/Rocket/d.py",
        "apps/Rocket/deep/e.py",
        "apps/Rocket/vendor/local/f.py",
        "worktree/g.py",
    ):
        write_file(root / path, "import os\nfrom federation_heart.core import beat\n")
    top = str(root).lower()
    expected = {
        top: 3,
        f"{top}/apps/rocket": 2,
        f"{top}/apps/rocket/vendor/local": 1,
        f"{top}/worktree": 1,
    }

    assert count_heart(root, Stop()) == expected


def test_these_files_do_not_count_for_the_heart(tmp_path: Path) -> None:
    root = fake_clone(tmp_path / "root", "root")
    for path in (
        "federation_heart/core.py",
        ".venv/lib/a.py",
        "sub/.hidden/b.py",
        ".git/hooks/c.py",
        "d.pyi",
        "e.txt",
        "f.PY",
        "directory.py/g.txt",
    ):
        write_file(root / path, "from federation_heart import x\n")
    write_file(root / "near.py", "import federation_heart\nfrom  federation_heart import x\n")
    os.mkfifo(root / "pipe.py")
    (root / "gone.py").symlink_to("nowhere")

    assert count_heart(root, Stop()) == {}


def test_these_files_count_for_the_heart(tmp_path: Path) -> None:
    root = fake_clone(tmp_path / "root", "root")
    write_file(root / "lib/federation_heart/a.py", "from federation_heart import x\n")
    write_file(root / "node_modules/b.py", "# from federation_heart_2\n")
    write_file(root / ".hidden.py", "from federation_heart import x\n")
    write_file(root / "ignored.py", "from federation_heart import x\n")
    write_file(root / ".gitignore", "ignored.py\n")
    (root / "binary.py").write_bytes(b"\xff\0from federation_heart")
    (root / "long.py").write_bytes(b"#" * ((1 << 20) - 7) + b"from federation_heart")

    assert count_heart(root, Stop()) == {str(root): 6}


def test_files_count_for_a_clone_around_the_root_or_for_none(tmp_path: Path) -> None:
    write_file(tmp_path / "outer/infra/a.py", "from federation_heart import x\n")
    fake_clone(tmp_path / "outer", "outer")
    write_file(tmp_path / "plain/a.py", "from federation_heart import x\n")

    assert count_heart(tmp_path / "outer/infra", Stop()) == {str(tmp_path / "outer"): 1}
    assert count_heart(tmp_path / "plain", Stop()) == {}


def write_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
