"""`omnicdc explain` on a terminal and on a pipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.host import COMMAND
from support.session import publish
from support.terminal import GREEN, RED, on_a_terminal

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

URL = "https://github.com/acme/atlas"


def test_it_answers_in_words_on_a_terminal_and_in_json_on_a_pipe(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas", github_url=URL, status="active")
    publish(host)

    shown = on_a_terminal([COMMAND, "explain", "atlas"], host.env, columns=80)
    plain = on_a_terminal([COMMAND, "explain", "atlas"], host.env | {"NO_COLOR": "1"}, columns=80)
    piped = host.run("explain", atlas)

    assert (shown.status, piped.returncode) == (0, 0)
    assert shown.line("atlas (") == f"atlas ({atlas}): in CMP"
    assert (
        f"repo_inventory.json: in it, as it should be: its URL names\n  {URL}\n"  # folded at 80 columns
        in shown.text
    )
    assert shown.text.count("  status: active  [CMP: public.projects.status]\n") == 2
    assert GREEN in shown.raw
    assert GREEN not in plain.raw
    assert json.loads(piped.stdout)["uuid"] == atlas
    assert [it["writer"] for it in json.loads(piped.stdout)["changes"]] == [None]


def test_a_project_that_is_not_in_cmp_ends_with_status_1_and_a_wrong_name_with_2(
    cmp: Cmp, host: Host
) -> None:
    atlas = cmp.upsert("atlas")
    publish(host)
    cmp.conn.execute("delete from projects")

    gone = on_a_terminal([COMMAND, "explain", atlas], host.env)
    wrong = host.run("explain", "atlas")

    assert gone.status == 1
    assert gone.line("project (") == f"project ({atlas}): not in CMP"
    assert (
        "canonical_projects_uuids.json: in it, unexpected: it is there, though the project is not in CMP"
        in gone.text
    )
    assert RED in gone.raw
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith(
        "omnicdc: no project in CMP is named 'atlas' - is its transaction committed?"
    )
    assert wrong.stderr.count("is its transaction committed?") == wrong.stderr.count("\n") == 1
    assert "a deleted project: `omnicdc explain UUID`" in wrong.stderr


def test_an_empty_text_is_shown_in_quotes(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("", status=" ")
    publish(host)

    shown = host.run("explain", atlas, "-o", "text").stdout

    assert '  name: ""  [CMP: public.projects.name]\n' in shown
    assert '  status: " "  [CMP: public.projects.status]\n' in shown
