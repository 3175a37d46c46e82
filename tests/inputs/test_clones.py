"""Clones are found where git made them, in the promised order, and never where they do not count."""

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
PLAIN = {
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
    return subprocess.run(command, cwd=where, env=PLAIN, check=True, capture_output=True, text=True).stdout


def clone(path: Path, url: str | None = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "-q")
    if url:
        git(path, "remote", "add", "origin", url)
    return path


def fake_clone(path: Path, name: str) -> Path:
    """Lay out as much of a clone as counts here, without the milliseconds of git."""
    (path / ".git").mkdir(parents=True)
    (path / ".git/config").write_text(f'[remote "origin"]\n\turl = git@github.com:Acme/{name}.git\n')
    return path


def names(*roots: Path) -> dict[str, str]:
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

    assert names(tmp_path / "ws") == expected
    assert origin(str(rocket)) == "git@github.com:Acme/rocket.git"


def test_the_first_root_wins_then_the_shallowest_then_the_sorted_order(tmp_path: Path) -> None:
    root, other = tmp_path / "z-root", tmp_path / "other"
    for path in (root / "b/one", root / "a-b/one", root / "a/x/one", root / "A/x/y/one", other / "one"):
        fake_clone(path, "one")
    fake_clone(other, "two")
    fake_clone(other / "a/two", "two")
    expected = {"one": str(root / "a-b/one"), "two": str(other)}

    assert names(root, other) == expected


def test_a_copy_deeper_down_does_not_hide_the_clone(tmp_path: Path) -> None:
    """Omni's own scanner found `Projects/x` and not `Projects/dup/x`."""
    fake_clone(tmp_path / "Projects/dup/x", "x")
    shallow = fake_clone(tmp_path / "Projects/x", "x")
    fake_clone(tmp_path / "Projects/x/vendor/x", "x")

    assert names(tmp_path) == {"x": str(shallow)}


def test_a_root_inside_another_root_keeps_its_place_in_the_order(tmp_path: Path) -> None:
    inner = tmp_path / "ws/inner"
    fake_clone(inner / "one", "one")
    fake_clone(tmp_path / "ws/a/one", "one")
    fake_clone(tmp_path / "ws/two", "two")
    expected = {"one": str(inner / "one"), "two": str(tmp_path / "ws/two")}

    assert names(inner, tmp_path / "ws", inner) == expected


def test_clones_inside_clones_and_with_ordinary_names_are_found(tmp_path: Path) -> None:
    outer = fake_clone(tmp_path / "outer", "outer")
    fake_clone(outer / ".cache/inner", "acme.github.io")
    expected = {"outer": str(outer), "acme.github.io": str(outer / ".cache/inner")}

    assert names(tmp_path) == expected


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
def test_where_clones_do_not_count_they_are_not_found(where: str, tmp_path: Path) -> None:
    fake_clone(tmp_path / where, "one")

    assert names(tmp_path) == {}


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
def test_names_that_merely_resemble_those_are_ordinary(where: str, tmp_path: Path) -> None:
    fake_clone(tmp_path / where, "one")

    assert names(tmp_path) == {"one": str(tmp_path / where)}


def test_links_are_not_followed_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
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

    assert names(tmp_path / "ws", tmp_path / "no such root") == {"one": str(one)}


@pytest.mark.usefixtures("permissions")
def test_what_may_not_be_read_is_left_out_by_itself(tmp_path: Path) -> None:
    """A directory, a clone's configuration, a file of Python's."""
    fake_clone(tmp_path / "a-closed/one", "one").parent.chmod(0)
    (fake_clone(tmp_path / "b-secret", "three") / ".git/config").chmod(0)
    found = fake_clone(tmp_path / "c-open", "two")
    for name in ("a.py", "b.py"):
        (found / name).write_text("from federation_heart import beat\n")
    (found / "a.py").chmod(0)

    assert names(tmp_path) == {"two": str(found)}
    assert count_heart(tmp_path, Stop()) == {str(found).lower(): 1}

    (tmp_path / "a-closed").chmod(0o700)


def test_credentials_in_an_origin_are_no_part_of_the_key(tmp_path: Path) -> None:
    clone(tmp_path / "one", "https://x-access-token:S3cret@github.com/Acme/one.git")

    assert names(tmp_path) == {"one": str(tmp_path / "one")}


def test_a_relative_root_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_clone(tmp_path / "ws/one", "one")
    monkeypatch.chdir(tmp_path)

    assert names(Path("ws")) == {"one": str(tmp_path / "ws/one")}


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
def test_a_configuration_says_what_git_itself_reads_in_it(lines: list[str]) -> None:
    config = "".join(lines)
    command = ["git", "config", "--file", "-", "--null", "--get-all", "remote.origin.url"]
    asked = subprocess.run(command, input=config.encode(), env=PLAIN, check=False, capture_output=True)
    urls = [url for url in asked.stdout.decode().split("\0") if url]

    if asked.returncode < 2:
        assert origin_url(config.replace("\r\n", "\n")) == (urls[0] if urls else None)


def test_a_configuration_that_git_refuses_names_no_origin(tmp_path: Path) -> None:
    one = clone(tmp_path / "one", f"{HOST}/one.git")
    config = one / ".git/config"
    config.write_text(f"@\n{config.read_text()}")

    with pytest.raises(subprocess.CalledProcessError):
        git(one, "config", "--get", "remote.origin.url")
    assert names(tmp_path) == {}


def test_files_belong_to_the_deepest_clone_around_them_with_or_without_origin(tmp_path: Path) -> None:
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
        written(root / path, "import os\nfrom federation_heart.core import beat\n")
    here = str(root).lower()
    expected = {
        here: 3,
        f"{here}/apps/rocket": 2,
        f"{here}/apps/rocket/vendor/local": 1,
        f"{here}/worktree": 1,
    }

    assert count_heart(root, Stop()) == expected


def test_what_does_not_count_for_the_heart(tmp_path: Path) -> None:
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
        written(root / path, "from federation_heart import x\n")
    written(root / "near.py", "import federation_heart\nfrom  federation_heart import x\n")
    os.mkfifo(root / "pipe.py")
    (root / "gone.py").symlink_to("nowhere")

    assert count_heart(root, Stop()) == {}


def test_what_does_count_for_the_heart(tmp_path: Path) -> None:
    root = fake_clone(tmp_path / "root", "root")
    written(root / "lib/federation_heart/a.py", "from federation_heart import x\n")
    written(root / "node_modules/b.py", "# from federation_heart_2\n")
    written(root / ".hidden.py", "from federation_heart import x\n")
    written(root / "ignored.py", "from federation_heart import x\n")
    written(root / ".gitignore", "ignored.py\n")
    (root / "binary.py").write_bytes(b"\xff\0from federation_heart")
    (root / "long.py").write_bytes(b"#" * ((1 << 20) - 7) + b"from federation_heart")

    assert count_heart(root, Stop()) == {str(root): 6}


def test_a_clone_around_the_root_owns_its_files_and_no_clone_owns_none(tmp_path: Path) -> None:
    written(tmp_path / "outer/infra/a.py", "from federation_heart import x\n")
    fake_clone(tmp_path / "outer", "outer")
    written(tmp_path / "plain/a.py", "from federation_heart import x\n")

    assert count_heart(tmp_path / "outer/infra", Stop()) == {str(tmp_path / "outer"): 1}
    assert count_heart(tmp_path / "plain", Stop()) == {}


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
