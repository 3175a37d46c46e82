"""Kept generations are shown, compared and restored by the installed command, without a database."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.agents import declare
from support.host import CANONICAL, COMMAND, PROJECT, REGISTRIES
from support.other_user import user_without_rights
from support.terminal import GREEN, RED, on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

MAP = "nginx/projects.map"

DECLARED = f"""
registries:
  - name: nginx_map
    path: {MAP}
    query: select id, name, status from projects
    format: lines
    header: "map $host $status {{"
    entry: "  {{{{ name | json }}}} {{{{ status }}}};"
    footer: "}}"
    mode: "0600"
"""

NO_DATABASE = {"OMNICDC_DSN": "host=127.0.0.1 port=1"}


class Kept:
    """A host without a database, with two generations: rocket is retired in the second, apollo is new."""

    def __init__(self, cmp: Cmp, host: Host) -> None:
        self.host, self.dsn = host, cmp.dsn
        host.env |= declare(host.root.parent, DECLARED)
        cmp.fill(600)
        self.rocket = cmp.upsert("rocket", github_url="https://github.com/acme/rocket")
        host.once()
        self.first = self.files()
        cmp.set(self.rocket, status="retired")
        self.apollo = cmp.upsert("apollo")
        host.once()
        self.second = self.files()
        host.env |= NO_DATABASE

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Return bytes, time and mode of each file."""
        return {path: state_of(self.host.root / path) for path in (*REGISTRIES, MAP)}

    def refusal(self, *arguments: str, **env: str) -> str:
        """Return the one line with which the command is refused."""
        done = self.host.run(*arguments, **env)
        [line] = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (2, ""), done
        return line


def state_of(path: Path) -> tuple[bytes, int, int]:
    found = path.stat()
    return path.read_bytes(), found.st_mtime_ns, found.st_mode & 0o777


@pytest.fixture
def kept(cmp: Cmp, host: Host) -> Kept:
    return Kept(cmp, host)


def check_terminal(host: Host) -> None:
    """A terminal gets the colours of a diff, and tables of 80 columns."""
    plain, coloured, shown, stat = (
        on_a_terminal([COMMAND, *arguments], host.env | env, columns=80)
        for arguments, env in (
            (("diff", "1", "2"), {"NO_COLOR": "1"}),
            (("diff", "1", "2"), {}),
            (("show",), {}),
            (("diff", "1", "2", "--stat"), {}),
        )
    )

    assert "\x1b" not in plain.raw
    assert f"{RED}-  status: active" in coloured.raw
    assert f"{GREEN}+  status: retired" in coloured.raw
    assert re.fullmatch(r".*T[\d:]{8}\.\d{3}Z", shown.line("generation 2, published "))
    assert shown.line("kept: ") == "kept: 2 generations, 1 to 2"
    for text in (shown.text, stat.text):
        lines = [line for line in text.splitlines() if " " in line.strip()]  # a long path stands alone
        assert max(map(len, lines)) <= 80, text


def check_another_user(host: Host) -> None:
    """Another user is told whom to become."""
    started = user_without_rights("-m", "omnicdc", "show", "--state-dir", str(host.state))
    if not started:
        return  # only root can become another user
    started["env"]["HOME"] = "/"
    for directory in (*host.state.parents[:3], host.state):
        if directory.stat().st_uid == os.geteuid() and str(directory) != "/":
            directory.chmod(directory.stat().st_mode | 0o005)
    done = subprocess.run(**started, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("omnicdc: only root may read the kept generations in ")
    assert done.stderr.strip().endswith("`sudo -u root omnicdc …`")


def check_history(kept: Kept) -> None:
    """What is not kept any more is found in the history, if there is a database."""
    [record] = (kept.host.state / "generations/records").glob("*-1.json")
    moved = record.rename(kept.host.state / "moved")
    found = kept.host.ask("show", "1", OMNICDC_DSN=kept.dsn)
    text = kept.host.run("show", "1", "-o", "text", OMNICDC_DSN=kept.dsn).stdout
    moved.rename(record)

    assert (found["generation"], found["kept"], found["registries"]) == (1, None, [])
    assert set(found["rewritten"]) == {path.rsplit("/", 1)[-1] for path in kept.first}
    assert {"scan", "publish"} <= found["stages_ms"].keys()
    assert "its files are not kept here" in text


def test_generations_are_shown_compared_and_restored(kept: Kept, tmp_path: Path) -> None:
    host = kept.host
    shown = host.ask("show", "@")
    assert (shown["generation"], shown["changes"], shown["kept"]) == (
        2, 2, {"generations": 2, "oldest": 1, "newest": 2},
    )  # fmt: skip
    assert {it["path"]: it["size"] for it in shown["registries"]} == {
        path: len(data) for path, (data, _, _) in kept.second.items()
    }
    assert {it["name"]: it["count"] for it in shown["registries"] if it["rewritten"]} == {
        "canonical_projects_uuids.json": 602, "PROJECT_REGISTRY_V1.yaml": 602, "projects.map": 602,
    }  # fmt: skip
    assert {"scan", "publish", "acknowledge"} <= shown["stages_ms"].keys()
    for registry in ("PROJECT_REGISTRY_V1.yaml", "project", PROJECT):
        assert host.run("show", f"1:{registry}").stdout.encode() == kept.first[PROJECT][0]

    listed = host.ask("diff", "1", "2")
    assert not listed["equal"]
    found = {
        it["registry"]: {e["key"]: (e["kind"], e["fields"]) for e in it["entries"]}
        for it in listed["registries"]
    }
    assert found.keys() == {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "projects.map"}
    for registry in ("canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"):
        assert found[registry].keys() == {kept.rocket, kept.apollo}
        assert found[registry][kept.rocket] == (
            "changed",
            {"status": {"before": "active", "after": "retired"}},
        )
        assert found[registry][kept.apollo][0] == "added"

    as_text = host.run("diff", "@~1", "@", "project")
    assert as_text.returncode == 1
    assert as_text.stdout.startswith("--- PROJECT_REGISTRY_V1.yaml, generation 1\n+++ ")
    assert (
        f"@@ {kept.rocket} rocket @@\n   classification: service\n-  status: active\n+  status: retired\n"
        in (as_text.stdout)
    )
    assert host.run("diff", "1", "2", "--name-only").stdout.split() == [*found]
    assert "projects.map" in host.run("diff", "1", "2", "--stat").stdout

    assert host.run("diff", "2").returncode == host.run("diff", "2", "2").returncode == 0
    edited = kept.second[CANONICAL][0].replace(b'"retired"', b'"by hand"')
    (host.root / CANONICAL).write_bytes(edited)
    by_hand = host.run("diff", "@", "files")
    assert (by_hand.returncode, by_hand.stdout.count("@@ ")) == (1, 1)
    assert '+      "status": "by hand"' in by_hand.stdout

    check_terminal(host)
    check_history(kept)

    before = tmp_path / "before"
    for arguments in (["map.json"], ["nginx_map"], []):
        done = host.run("restore", "1", "--to", str(before), *arguments)
        assert done.returncode == (2 if arguments == ["map.json"] else 0), done.stderr
    assert {path: state_of(before / path) for path in kept.first} == kept.first


def test_what_is_refused_is_refused_with_the_reason_and_the_remedy(kept: Kept, tmp_path: Path) -> None:
    host, root = kept.host, kept.host.root
    (tmp_path / "link").symlink_to(root)
    for to in (root, root / "governance/registry", tmp_path / "link"):
        line = kept.refusal("restore", "1", "--to", str(to))
        assert f"is in {root}" in line
        assert "omnicdc rebuild" in line
    assert kept.files() == kept.second
    # Another daemon's root is recognised by its manifest.
    other = kept.refusal("restore", "1", "--to", str(root), OMNICDC_ROOT=str(tmp_path / "elsewhere"))
    assert "where a daemon writes its registries" in other

    assert "generation 3 is not kept; 2 are kept, from 1 to 2" in kept.refusal("show", "3")
    assert "it has PROJECT_REGISTRY_V1.yaml, canonical_projects_uuids.json" in kept.refusal(
        "show", "1:no.json"
    )
    nowhere = kept.refusal("diff", "1", "2", OMNICDC_STATE_DIR=str(tmp_path / "no"))
    assert f"no generations are kept in {tmp_path / 'no'}" in nowhere
    assert "--state-dir" in nowhere
    assert "`keep_generations` is 0" in kept.refusal(
        "show", OMNICDC_STATE_DIR=str(tmp_path / "no"), OMNICDC_KEEP_GENERATIONS="0"
    )
    [largest, *_] = sorted((host.state / "generations/blocks").iterdir(), key=lambda it: -it.stat().st_size)
    largest.write_bytes(b"")
    damaged = kept.refusal("restore", "2", "--to", str(tmp_path / "damaged"))
    assert f"block {largest} is damaged - `systemctl reload omnicdc`" in damaged
    assert not (tmp_path / "damaged").exists()
    check_another_user(host)
