"""CMP holds any text that PostgreSQL can store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from faults.data.commands import assert_verified, assert_verified_and_rebuilt
from faults.data.comparison import QUICK, assert_files_show, read_rows
from faults.data.rows import copy_rows, metadata_json
from faults.data.samples import TEXTS
from support.host import COMMAND, Host
from support.rebuild import assert_as_rebuilt
from support.terminal import on_a_terminal

from omnicdc.clients import GenesisClient

if TYPE_CHECKING:
    import random

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale

MEGABYTES = 10


def test_every_kind_of_text_in_every_column(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2, P4: readers of JSON, YAML 1.1 and YAML 1.2 find exactly what CMP holds.

    This is so after changes and after a rebuild.
    """
    samples, texts = scale(2, 30), dice.sample(TEXTS, scale(40, len(TEXTS)))
    host.daemon()
    copy_rows(cmp.conn, ((text, text, text, text, metadata_json(text, text)) for text in texts))
    copy_rows(
        cmp.conn,
        (
            (f"url {at}", None, None, None, metadata_json(f"https://github.com/acme/{text}"))
            for at, text in enumerate(texts)
        ),
    )
    cmp.arrived()
    assert_files_show(host, rows := read_rows(cmp))
    turned = texts[1:] + texts[:1]
    for text, other in dice.sample([*zip(texts, turned, strict=True)], samples):
        with cmp.transaction() as (conn, token):
            conn.execute(
                "update projects set name = %s, status = %s, metadata_ = %s where name = %s",
                [other, text, metadata_json(other, text), text],
            )
        cmp.arrived(token)
    assert_files_show(host, rows := read_rows(cmp), QUICK)
    assert_verified_and_rebuilt(cmp, host, scale, dice.sample([*rows], samples))

    assert len(rows) == 2 * len(texts)
    evidence(
        "P1 P2 P4",
        "control characters, YAML's and JSON's traps, bidirectional and invisible characters, quotes, tags, "
        "anchors, dates, octals, in name, "
        "key, type, status, URL and domain",
        times=7 * len(texts) + 4 * samples,
        found="read back exactly by json, PyYAML (both) and ruamel.yaml; equal to a rebuild; `verify` agreed",
    )


@pytest.mark.campaign
@pytest.mark.timeout(400)
def test_every_character_of_unicode(cmp: Cmp, host: Host, dice: random.Random, evidence: Evidence) -> None:
    """P1, P2: the 1,112,063 characters that PostgreSQL can store are published.

    They stand together in blocks of 128, and the first and the last of each block stand alone.
    """
    host.daemon()
    codes = [*range(1, 0xD800), *range(0xE000, 0x110000)]
    texts = ["".join(map(chr, codes[at : at + 128])) for at in range(0, len(codes), 128)]
    copy_rows(cmp.conn, ((text, text[:1], text[-1:], text[1:2], None) for text in texts))
    cmp.arrived()
    assert_files_show(host, read_rows(cmp), QUICK)
    assert_as_rebuilt(cmp, host)
    assert_verified(host)
    cmp.conn.execute("delete from projects where name <> all (%s)", [dice.sample(texts, 300)])
    assert host.run("accept").returncode == 0
    assert_files_show(host, rows := read_rows(cmp))

    assert len(rows) == 300
    evidence(
        "P1 P2",
        "every character that Unicode has, NUL and the surrogates aside, which PostgreSQL refuses",
        times=len(codes),
        found="read back exactly; a sample also by the slow readers",
    )


@pytest.mark.campaign
@pytest.mark.timeout(400)
def test_texts_and_metadata_of_megabytes(cmp: Cmp, host: Host, scale: Scale, evidence: Evidence) -> None:
    """P1, P4, P5: each column can hold megabytes, and `verify` works.

    Regression: URLs of slashes took hours, and URLs of blanks ended `verify`.
    """
    size = scale(1, MEGABYTES) * 1_000_000
    daemon = host.daemon()
    repository = "https://github.com/acme/repository"
    every: dict[str, dict[str, Any]] = {
        "URL that ends in slashes": {"github_url": f"{repository}-3{'/' * size}"},
        "URL of blanks": {"github_url": f"{repository}-1{' x' * (size // 2)}"},
        "name": {"name": "x" * size},
        "name with line feeds": {"name": "a: b\n" * (size // 5)},
        "key": {"key": "🚀" * (size // 4)},
        "type": {"type": "#" * size},
        "status": {"status": "\u2028\x85" * (size // 5)},
        "metadata": {"other": ["y" * 1000] * (size // 1000), "github_url": f"{repository}-0"},
        "domain": {"domain": [{"z": "\\"}] * (size // 12)},
        "owner": {"github_url": f"https://github.com/{'k' * size}/é"},
        "URL of accents": {"github_url": f"{repository}-2{'éa' * (size // 3)}"},
        "URL that ends in .git": {"github_url": f"{repository}-4{'.git' * (size // 4)}"},
        "URL of no host": {"github_url": f"git@{'www.' * (size // 4)}"},
    }
    few = dict([*every.items()][: scale(2, len(every))])
    for what, columns in few.items():
        with cmp.transaction() as (conn, token):
            project = cmp.upsert(conn=conn, **({"name": what} | columns))
        verdict = cmp.wait(token, timeout_s=120)
        assert verdict.status == "published", (what, daemon.events[-3:])
        assert_files_show(host, read_rows(cmp), QUICK)
        assert_verified(host, project)
        if scale(0, 1):
            assert_verified(host)
        cmp.conn.execute("delete from projects")
        cmp.arrived()

    evidence(
        "P1 P4 P5",
        f"{size // 1_000_000} MB in one column or key: plain, with line breaks, emoji, in lists; URLs with "
        f"millions of slashes, blanks, `.git`",
        times=len(few),
        found="written, published and verified; each file read back exactly",
    )


@pytest.mark.campaign
def test_names_that_a_shell_or_a_terminal_would_interpret(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P5: `wait` finds each project by its name, and the terminal interprets no name.

    A name that is not a text is refused in one line.

    Regression: a name that is not UTF-8 ended `wait` with a traceback, and escape sequences reached the
    terminal.
    """
    names = [text for text in TEXTS if text and len(text) < 100]
    names = names[:: scale(len(names) // 2, 10)]
    host.daemon()
    host.cold = bool(scale(0, 1))
    client = GenesisClient(config=host.config())
    for name in names:
        cmp.upsert(name)
        done = host.run("wait", f"--project={name}")
        assert done.returncode == 0, (name, done.stderr)
    answers = [client.propagate_project(name) for name in TEXTS if name in names]
    no_text = host.run("wait", "--project", os.fsdecode(b"\xff\xfe"))
    no_project = [client.propagate_project(name) for name in ("\ud800", "a\0b")]
    project = cmp.upsert("\x1b]0;title\x07\x1b[2Jname\x9b31m")
    cmp.arrived()
    output = on_a_terminal([COMMAND, "verify", project], host.env).raw

    assert all(answer["success"] for answer in answers)
    assert (no_text.returncode, no_text.stderr.count("\n"), "Traceback" in no_text.stderr) == (2, 1, False)
    assert [answer["verdict"] for answer in no_project] == ["unavailable"] * 2
    assert "title" in output
    assert "\x1b]0;" not in output
    assert "\x1b[2J" not in output
    assert "\x9b" not in output
    evidence(
        "P5",
        "waited for by names of control characters, options, quotes, bytes that are no UTF-8; one shown on "
        "a terminal",
        times=2 * len(names) + 4,
        found="each found, or refused in one line; escape sequences are shown and not obeyed",
    )
