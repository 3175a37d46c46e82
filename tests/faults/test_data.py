"""Faults 4: CMP holds whatever PostgreSQL can hold, and more than it can give back."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from bisect import bisect_left
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from psycopg import errors as pg
from psycopg import sql as pgsql
from ruamel.yaml import YAML
from support.cmp import TABLE, Cmp, undo
from support.host import CANONICAL, COMMAND, INVENTORY, PROJECT, REGISTRIES, Host, until
from support.rebuild import assert_as_rebuilt
from support.terminal import on_a_terminal

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.clients import GenesisClient
from omnicdc.demo.embedded import EmbeddedServer
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from support.evidence import Evidence, Scale

NAMES = [path.rsplit("/", 1)[-1] for path in REGISTRIES]
WATCHED = derive(scanners().values()).fields
MEGABYTES = 10

# fmt: off
TRAPS = [
    "", " ", "  ", "~", "null", "Null", "NULL", "true", "False", "y", "Y", "n", "yes", "No", "on", "OFF", "=",
    "<<", "<<: *a", "&a", "*a", "!", "!!int 1", "!!python/object/apply:os.system [ls]",
    "!<tag:yaml.org,2002:binary> aGk=", "%YAML 1.1", "---", "...", "--- a", "- x", "? x", ": x", "a: b",
    "a : b", "a:", "a #c", "#c", "|", ">", "|-", "@x", "`x`", "[a, b]", "{a: b}", "[", "{", "]", "}", ",",
    "'", '"', "''", '""', '"a', "\\", "\\\\", '\\"', "\\u0000", "\\ud800", "\\n", "0", "-1", "+1", "012",
    "0o14", "0x1F", "0b1", "1_000", "1e3", "1E400", ".5", "5.", "1.0", "-0", ".inf", "-.Inf", ".nan", "NaN",
    "Infinity", "12:30", "190:20:30.15", "1:00", "2024-01-01", "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43.10 -5", "a\nb", "a\n\n b", "\n", "a\r\nb", "\r", "\ta", "a\t", "tab\there",
    "a\n- uuid: x\n", '",\n    "x": {', "\n    },\n    {\n", '"source": "cmp_db"', "  origin: cmp_db",
    "\u0085", "a\u0085b", "\u00a0", "\u2028", "a\u2029b", "\ufeff", "\ufeffa", "a\ufeff", "\u200b", "\u200d",
    "\u202e\u2066abc\u2069", "\u061c", "\u00ad", "\u3000", "\ufffd", "\ufffe", "\uffff", "\ud7ff", "\ue000",
    "\U0001fffe", "\U0010ffff", "😀", "👩\u200d💻", "e\u0301", "é", "\u212a", "İ", "\u0131", "ß", "\u017f",
    "ﬁ", "٣", "日本", "אב", "snapshot", "SNAPSHOT", "x" * 5000, "x " * 3000 + "x", "\x1b[2J\x1b]0;x\x07",
    "'; drop table projects; --", "$body$", "%s %(name)s {0}", "../../../etc/passwd", "--help", "-", "\\.",
    "\\N",
]
CONTROLS = [chr(code) for code in (*range(1, 0x20), *range(0x7f, 0xa1))]
TEXTS = [
    *TRAPS,
    *(
        before + one + after
        for one in CONTROLS
        for before, after in (("", ""), ("a", "b"), ("a ", ""), ("", " b"))
    ),
]

VALUES = [
    "7", "-0", "0.10", "1e400", "12345678901234567890.000", "true", "false", "null", "[]", "{}", '""', '" "',
    '"text"', '[1, {"a": null}]', '{"github_url": "https://github.com/acme/inner"}',
    '["https://github.com/acme/listed"]', r'"\u2028\u0085\ufeff"', r'"\ud83d\ude00"',
    '"https://github.com/acme/value"', r'"\\u0000"', '"null"', "[" * 500 + "]" * 500,
]
WHOLES = [
    "[]", '["github_url"]', "[[]]", '"github_url"', '""', "7", "true", "false", "null", "{}",
    '{"GITHUB_URL": "x", "github_url ": "y"}',
    '{"github_url": "https://github.com/acme/first", "github_url": "https://github.com/acme/last"}',
    '[{"github_url": "x"}]',
]

UNREADABLE = [
    r'{"github_url": "a\u0000b"}', r'{"domain": "\ud800"}', r'{"other": "\udc00\ud800"}', r'{"\u0000": 1}',
    r'{"deep": ["\ud800x"]}',
]
# fmt: on
"""A column of type json takes them all, and PostgreSQL cannot take them apart again. So with what `deepest`
returns."""

URLS = [
    "https://github.com/{0}",
    "http://www.github.com/{0}/",
    "git@github.com:{0}.git",
    "ssh://git@github.com/{0}",
    " https://GitHub.com/{0}.GIT/ ",
]
"""Ways to write one."""

READERS: dict[str, Callable[[bytes], Any]] = {
    "PyYAML in C": partial(yaml.load, Loader=yaml.CSafeLoader),
    "PyYAML": yaml.safe_load,
    "ruamel.yaml": lambda data: YAML(typ="safe", pure=True).load(data),
}
QUICK = ["PyYAML in C"]

Rows = dict[str, dict[str, str | None]]


def name_of(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def rows_of(cmp: Cmp, *, but: str | None = None) -> Rows:
    """Return what CMP holds, read in a way of its own: text as the driver gives it, json taken apart here."""
    found = cmp.conn.execute(
        """select id::text, name::text, type::text, key::text, status::text,
                  (metadata_ -> 'github_url')::text, (metadata_ -> 'domain')::text
             from projects where id is distinct from %s""",
        [but],
    )
    return {
        project: {
            "name": name, "type": kind, "key": key, "github_url": shown(url), "domain": shown(domain),
            "status": status,
        }
        for project, name, kind, key, status, url, domain in found
    }  # fmt: skip


def shown(value: str | None) -> str | None:
    """Return a json value as text: text as it is, null as nothing, all else as it is written."""
    if value is None or value == "null":
        return None
    return str(json.loads(value)) if value.startswith('"') else value


def in_the_project_registry(project: str, row: Mapping[str, str | None]) -> dict[str, Any]:
    name, kind, status = row["name"], row["type"], row["status"]
    return {
        "uuid": project, "name": name if row["key"] is None else row["key"], "display_name": name,
        "github_url": row["github_url"], "local_paths": [],
        "classification": "project" if kind is None else kind.lower(),
        "status": "active" if status is None else status, "origin": "cmp_db", "visibility": "private",
        "updated_at": None, "notes": None, "heart_connected": False, "heart_import_count": 0,
        "domain": row["domain"],
    }  # fmt: skip


def agree(host: Host, rows: Rows, readers: Iterable[str] = READERS) -> None:
    """Insist that every reader of the files finds exactly these rows, in order."""
    in_order = sorted(rows, key=lambda project: (rows[project]["name"] or "", project))
    canonical = json.loads(host.raw(CANONICAL))
    assert list(canonical["uuids"].items()) == [
        (project, rows[project] | {"source": "cmp_db"}) for project in in_order
    ]
    assert canonical["count"] == len(rows)
    named = [project for project in in_order if rows[project]["name"] is not None]
    wanted = [in_the_project_registry(project, rows[project]) for project in named]
    for reader in readers:
        read = READERS[reader](host.raw(PROJECT))
        assert read["projects"] == (wanted or []), reader
        assert read["stats"]["total"] == len(wanted)
        assert read["stats"]["virtual"] == sum(not rows[project]["github_url"] for project in named)


def verified(host: Host, *which: str) -> None:
    """Insist that the command finds all well with these projects, or with all."""
    for one in which or ("--all",):
        done = host.run("verify", one)
        assert done.returncode == 0, (one, done.stdout[:3000], done.stderr)


def sound(cmp: Cmp, host: Host, scale: Scale, projects: Iterable[str] = ()) -> None:
    """Insist on what takes the command's start.

    All is verified; in a campaign, these and the rebuild as well.
    """
    verified(host)
    if scale(0, 1):
        verified(host, *projects)
        assert_as_rebuilt(cmp, host)


def quarantined(host: Host) -> dict[str, dict[str, str]]:
    """Return what `omnicdc status` says is held back: registry to project to reason."""
    answer = host.ask("status")
    [consumer] = (one for one in answer["consumers"] if one["name"] == host.env["OMNICDC_CONSUMER"])
    assert not consumer["held"], consumer["held"]
    listed: dict[str, dict[str, str]] = consumer["quarantined"]
    told = [(project, name, why) for name, projects in listed.items() for project, why in projects.items()]
    for project, name, why in told:
        assert any(project in line and name in line and why in line for line in answer["faults"])
    found: dict[str, dict[str, str]] = {}
    with psycopg.connect(host.env["OMNICDC_DSN"]) as conn:
        for name, project, why in conn.execute(
            "select registry, project_id::text, reason from omnicdc.quarantine where consumer = %s",
            [consumer["name"]],
        ):
            found.setdefault(name, {})[project] = why
    assert {name: len(held) for name, held in found.items()} == consumer["quarantined_counts"]
    assert all(held.items() <= found[name].items() for name, held in listed.items())
    return found


def insert(
    conn: psycopg.Connection[Any],
    rows: Iterable[tuple[object, ...]],
    columns: str = "name, key, type, status, metadata_",
) -> None:
    """Copy rows in, which is the quickest way."""
    with conn.cursor().copy(f"copy projects ({columns}) from stdin".encode()) as copy:
        for row in rows:
            copy.write_row(row)


def metadata(url: str | None = None, domain: str | None = None) -> str:
    return json.dumps({"github_url": url, "domain": domain})


def test_every_kind_of_text_in_every_column(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2, P4: json, YAML 1.1 and YAML 1.2 give back what CMP holds, by changes and by a rebuild."""
    samples, texts = scale(2, 30), dice.sample(TEXTS, scale(40, len(TEXTS)))
    host.daemon()
    insert(cmp.conn, ((text, text, text, text, metadata(text, text)) for text in texts))
    insert(
        cmp.conn,
        (
            (f"url {at}", None, None, None, metadata(f"https://github.com/acme/{text}"))
            for at, text in enumerate(texts)
        ),
    )
    cmp.arrived()
    agree(host, rows := rows_of(cmp))
    turned = texts[1:] + texts[:1]
    for text, other in dice.sample([*zip(texts, turned, strict=True)], samples):
        with cmp.transaction() as (conn, token):
            conn.execute(
                "update projects set name = %s, status = %s, metadata_ = %s where name = %s",
                [other, text, metadata(other, text), text],
            )
        cmp.arrived(token)
    agree(host, rows := rows_of(cmp), QUICK)
    sound(cmp, host, scale, dice.sample([*rows], samples))

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
def test_every_character_there_is(cmp: Cmp, host: Host, dice: random.Random, evidence: Evidence) -> None:
    """P1, P2: the 1,112,063 that PostgreSQL can store.

    Each stands beside others of its block, and alone at a text's ends.
    """
    host.daemon()
    codes = [*range(1, 0xD800), *range(0xE000, 0x110000)]
    texts = ["".join(map(chr, codes[at : at + 128])) for at in range(0, len(codes), 128)]
    insert(cmp.conn, ((text, text[:1], text[-1:], text[1:2], None) for text in texts))
    cmp.arrived()
    agree(host, rows_of(cmp), QUICK)
    assert_as_rebuilt(cmp, host)
    verified(host)
    cmp.conn.execute("delete from projects where name <> all (%s)", [dice.sample(texts, 300)])
    assert host.run("accept").returncode == 0
    agree(host, rows := rows_of(cmp))

    assert len(rows) == 300
    evidence(
        "P1 P2",
        "every character that Unicode has, NUL and the surrogates aside, which PostgreSQL refuses",
        times=len(codes),
        found="read back exactly; a sample also by the slow readers",
    )


@pytest.mark.parametrize("kind", ["jsonb", "json"])
def test_metadata_of_any_shape(cmp: Cmp, host: Host, kind: str, scale: Scale, evidence: Evidence) -> None:
    """P1, P4: numbers, truth values, null, lists and objects where text is expected.

    They also stand in the place of the object.
    """
    turns = scale(2, len(VALUES))
    cmp.conn.execute(pgsql.SQL("alter table projects alter metadata_ type {}").format(pgsql.SQL(kind)))
    host.daemon()
    pairs = [*product(VALUES, VALUES)][:: scale(10, 1)]
    objects = [f'{{"github_url": {url}, "domain": {domain}}}' for url, domain in pairs]
    shapes = [None, *WHOLES, *objects]
    insert(cmp.conn, ((f"shape {at}", at, shape) for at, shape in enumerate(shapes)), "name, key, metadata_")
    cmp.arrived()
    agree(host, rows_of(cmp), QUICK if turns < len(VALUES) else READERS)
    for turn in range(1, turns):
        turned = shapes[7 * turn :] + shapes[: 7 * turn]
        with cmp.transaction() as (conn, token):
            conn.execute(
                pgsql.SQL(
                    "update projects p set metadata_ = s.shape::{} from unnest(%s::text[]) with ordinality "
                    "s (shape, at) "
                    "where p.key = (s.at - 1)::text"
                ).format(pgsql.SQL(kind)),
                [turned],
            )
        cmp.arrived(token)
        agree(host, rows_of(cmp), QUICK)
    sound(cmp, host, scale)

    assert quarantined(host) == {}
    evidence(
        "P1 P4",
        f"`metadata_` as {kind}: {len(pairs)} pairs of values as URL and domain, {len(WHOLES) + 1} other "
        f"things in place of the object; then "
        "each in the place of another",
        times=turns * len(shapes),
        found="every write succeeded; shown as `->>` says, and as an independent reading has it",
    )


def test_what_postgresql_refuses_it_refuses_as_without_omnicdc(
    bare: Cmp, cmp: Cmp, evidence: Evidence
) -> None:
    """P4: the same error, and nothing noted."""
    statements = [
        *(("insert into projects (name, metadata_) values ('x', %s)", bad) for bad in UNREADABLE),
        ("insert into projects (name, metadata_) values ('x', %s)", "{"),
        ("insert into projects (name, metadata_) values ('x', %s)", "[" * 200_000),
        ("insert into projects (name) values (convert_from(%s::bytea, 'utf8'))", r"\xed\xa0\x80"),
        ("insert into projects (name) values (convert_from(%s::bytea, 'utf8'))", r"\x6100"),
        ("insert into projects (name) values (convert_from(%s::bytea, 'utf8'))", r"\xc328"),
        ("insert into projects (name, key) values (null, %s)", "no name"),
        ("insert into projects (id, name) values (null, %s)", "no id"),
        ("update projects set name = null where key = %s", "there"),
    ]

    def answers(to: Cmp) -> list[tuple[str | None, str]]:
        found = []
        to.conn.execute("insert into projects (name, key) values ('there', 'there')")
        for statement, value in statements:
            with pytest.raises(psycopg.Error) as refused:
                to.conn.execute(statement, [value])
            found.append((refused.value.sqlstate, str(refused.value).split("\n", 1)[0]))
        return found

    without = answers(bare)
    with_it = answers(cmp)

    assert with_it == without
    assert [op for _, op, _ in cmp.log()] == ["insert"]
    evidence(
        "P4",
        "`\\u0000`, lone surrogates and nesting without end in jsonb, bytes that are no UTF-8, NUL, NULL "
        "where none may be",
        times=len(statements),
        found="refused by PostgreSQL with the same error as without omnicdc; nothing was noted",
    )


@pytest.mark.campaign
def test_null_and_nothing_everywhere(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P6: in each column that allows it, in every combination.

    Without a name, the project registry alone lacks it.
    """
    cmp.conn.execute("alter table projects alter name drop not null")
    host.daemon()
    choices = [(None, "", "text")] * 4 + [
        (None, "null", "{}", metadata(), metadata("", ""), metadata("https://github.com/acme/x", ""))
    ]
    combinations = [*product(*choices)]
    combinations = dice.sample(combinations, scale(30, len(combinations)))
    insert(cmp.conn, combinations)
    verdict = cmp.wait()
    agree(host, rows := rows_of(cmp))
    nameless = {project for project, row in rows.items() if row["name"] is None}
    held_back = quarantined(host)
    some = min(nameless)
    refused = host.run("verify", some).returncode
    cmp.conn.execute("update projects set name = 'given' where name is null")
    cmp.arrived()
    agree(host, rows_of(cmp), QUICK)
    sound(cmp, host, scale, [some])

    assert verdict.status == "quarantined"
    assert held_back == {name_of(PROJECT): dict.fromkeys(nameless, "ValueError: its name is NULL")}
    assert refused == 1
    assert quarantined(host) == {}
    evidence(
        "P1 P6",
        "NULL, '' and text in every combination of columns, names included",
        times=len(combinations),
        found=f"shown as they are; the {len(nameless)} without a name held back from the project registry "
        f"by id, and there once they had one",
    )


@pytest.mark.campaign
def test_names_keys_and_urls_that_many_share(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2: each project by itself where it counts, and one element for each repository.

    The element names all who use the repository, in their order.
    """
    rounds, most = scale(3, 40), scale(45, 1200)
    repositories = [f"acme/r{number}" for number in range(8)]
    host.daemon()
    used: dict[str, tuple[str, str | None]] = {}
    for _ in range(rounds):
        with cmp.transaction() as (conn, token):
            for project in dice.sample([*used], len(used) // 4):
                conn.execute("delete from projects where id = %s", [project])
                del used[project]
            for _ in range(most // rounds + 1):
                project = dice.choice([*used, str(uuid.UUID(int=dice.getrandbits(128), version=4))])
                repository, name = (
                    dice.choice([*repositories, None]),
                    dice.choice(["same", "Same", "", "other"]),
                )
                url = repository and dice.choice(URLS).format(dice.choice([repository, repository.upper()]))
                cmp.upsert(name, id=project, key=dice.choice([None, "", "same"]), conn=conn, github_url=url)
                used[project] = name, repository
        cmp.arrived(token)
        agree(host, rows_of(cmp), QUICK)
        elements = {
            element["url"].lower().removeprefix("https://github.com/"): element.get(
                "uuids", [element["uuid"]]
            )
            for element in host.inventory()
        }
        sharing = {
            repository: sorted((name, project) for project, (name, its) in used.items() if its == repository)
            for repository in {its for _, its in used.values() if its}
        }
        assert elements == {its: [project for _, project in users] for its, users in sharing.items()}
        assert all(
            element["uuid"] in elements[element["url"].lower()[19:]][:1] for element in host.inventory()
        )
    sound(cmp, host, scale, dice.sample([*used], min(len(used), 20)))

    evidence(
        "P1 P2",
        f"hundreds of projects with the same few names, keys and repositories, whose URLs are written in "
        f"{2 * len(URLS)} ways, coming and going",
        times=most + rounds,
        found="one element a repository with all its projects in order, compared with what was written",
    )


@pytest.mark.campaign
def test_ids_that_change_places(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1: swapped between two rows, in cycles, to new ones and to deleted ones, in one transaction."""
    rounds = scale(5, 120)
    cmp.fill(30)
    host.daemon()
    moved = 0
    gone: list[str] = []
    for _ in range(rounds):
        rows = [*rows_of(cmp)]
        old = dice.sample(rows, dice.choice([2, 2, 3, 5, 30]))
        new = dice.choice(
            [old[1:] + old[:1], [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in old]]
        )
        new = new if not gone or new[0] in rows else [gone.pop(), *new[1:]]
        with cmp.transaction() as (conn, token):
            for project in old:
                conn.execute(
                    "update projects set id = overlay(id::text placing 'ffff' from 15)::uuid where id = %s",
                    [project],
                )
            for project, its in zip(old, new, strict=True):
                conn.execute(
                    "update projects set id = %s where id = overlay(%s placing 'ffff' from 15)::uuid",
                    [its, project],
                )
        cmp.arrived(token)
        agree(host, now := rows_of(cmp), QUICK)
        moved += len(old)
        gone += [project for project in old if project not in now]
        assert {element["uuid"] for element in host.inventory()} == {*now}
    sound(cmp, host, scale, dice.sample([*now], 5))

    evidence(
        "P1",
        "ids swapped, turned in cycles, given anew and taken up again, two to thirty rows in one transaction",
        times=moved,
        found=f"after each of {rounds} transactions every registry had each row under its id, and none twice",
    )


@pytest.mark.campaign
@pytest.mark.timeout(400)
def test_texts_and_metadata_of_megabytes(cmp: Cmp, host: Host, scale: Scale, evidence: Evidence) -> None:
    """P1, P4, P5: in each column; `verify` finds them.

    URLs of slashes took hours, URLs of blanks ended `verify`.
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
        agree(host, rows_of(cmp), QUICK)
        verified(host, project)
        if scale(0, 1):
            verified(host)
        cmp.conn.execute("delete from projects")
        cmp.arrived()

    evidence(
        "P1 P4 P5",
        f"{size // 1_000_000} MB in one column or key: plain, with line breaks, emoji, in lists; URLs with "
        f"millions of slashes, blanks, `.git`",
        times=len(few),
        found="written, published and verified; each file read back exactly",
    )


def test_a_row_that_postgresql_cannot_give_back_holds_back_itself_alone(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P5, P6: by its id and with its reason, also across a start; mended, it is there without help.

    One such row held all registries, and one nested too deeply ended every session.
    """
    rounds = scale(2, 30)
    cmp.conn.execute("alter table projects alter metadata_ type json")
    cmp.fill(40)
    every = [*UNREADABLE, deepest(cmp)]
    daemon = host.daemon()
    for turn in range(rounds):
        good, bad = dice.choice([*rows_of(cmp)]), every[-1 - turn % len(every)]
        with cmp.transaction() as (conn, spoilt):
            if turn % 2:
                victim = dice.choice([project for project in rows_of(cmp) if project != good])
                conn.execute("update projects set metadata_ = %s where id = %s", [bad, victim])
            else:
                row = conn.execute(
                    "insert into projects (name, metadata_) values ('bad', %s) returning id::text", [bad]
                ).fetchone()
                victim = str(row and row[0])
        verdict = cmp.wait(spoilt)
        if bad == every[-1] and verdict.arrived:
            cmp.conn.execute("delete from projects where id = %s", [victim])
            continue  # this server's stack gives back all that it takes in
        assert (verdict.status, victim in verdict.detail) == ("quarantined", True)
        if turn % 3 == 2:
            daemon.kill()
            daemon = host.daemon()
        with cmp.transaction() as (conn, token):
            conn.execute("update projects set status = %s where id = %s", [f"after {turn}", good])
            later = cmp.upsert(f"later {turn}", conn=conn)
        cmp.arrived(token)
        agree(host, rows_of(cmp, but=victim), QUICK)
        assert host.canonical()[good]["status"] == f"after {turn}"
        assert later in host.projects()
        assert victim not in host.raw(INVENTORY).decode()
        if turn < scale(1, 10):
            held_back = quarantined(host)
            assert {name: [*projects] for name, projects in held_back.items()} == {
                name: [victim] for name in NAMES
            }
            answers = {which: host.run("verify", which) for which in (victim, good, "--all")}
            waited = host.run("wait")
            assert [answers[which].returncode for which in (victim, good, "--all")] == [1, 0, 1]
            for told in (answers[victim], answers["--all"], waited):
                assert held_back[NAMES[0]][victim] in told.stdout, told
            assert (waited.returncode, victim in waited.stdout) == (1, True)
        mend = (
            "delete from projects where id = %s"
            if turn % 4 == 3
            else "update projects set metadata_ = '{}' where id = %s"
        )
        cmp.conn.execute(mend, [victim])
        cmp.arrived()
        assert (victim in host.canonical()) == (turn % 4 != 3)
        agree(host, rows_of(cmp), QUICK)
    sound(cmp, host, scale)

    assert quarantined(host) == {}
    evidence(
        "P5 P6",
        "in a column of type json: `\\u0000`, lone surrogates, thousands of levels; new rows and old ones, "
        "the daemon killed meanwhile",
        times=rounds,
        found="every write succeeded; that row was held back by id, told by `status`, `wait` and `verify`; "
        "all others went on; there once it was fixed",
    )


def deepest(cmp: Cmp) -> str:
    """Return json nested as deeply as the server's stack takes it in, which is too deep to be taken apart."""

    def nested(levels: int) -> str:
        return f'{{"domain": {"[" * levels}{"]" * levels}}}'

    def taken(levels: int) -> bool:
        with cmp.conn.transaction():
            try:
                cmp.conn.execute(
                    "insert into projects (name, metadata_) values ('deep', %s)", [nested(levels)]
                )
            except pg.StatementTooComplex:
                return False
            undo()
        return True

    return nested(bisect_left(range(200_000), True, key=lambda levels: not taken(levels)) - 1)


@contextmanager
def database(server: str, *options: str) -> Iterator[Cmp]:
    """Make a CMP of its own kind, with the capture."""
    name = f"omnicdc_data_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} template template0 {' '.join(options)}".encode())
        try:
            with Cmp(psycopg.conninfo.make_conninfo(server, dbname=name, client_encoding="utf8")) as cmp:
                cmp.conn.execute(TABLE)
                with db.connect(cmp.dsn) as conn:
                    install.install(conn, "projects", WATCHED)
                yield cmp
        finally:
            admin.execute(f"drop database {name} with (force)".encode())


@pytest.mark.campaign
def test_bytes_that_are_no_text(server: str, tmp_path: Path, evidence: Evidence) -> None:
    """P6: in a database whose encoding is SQL_ASCII, which takes any.

    Too many of them hold the registry, and say so.
    """
    few, many = 64, 110
    with database(server, "encoding 'SQL_ASCII'", "locale 'C'") as cmp:
        host = Host(tmp_path / "host", cmp.dsn)
        host.env |= {"OMNICDC_POLL_S": "0.1", "OMNICDC_GUARD_SHARE": "1"}
        try:
            cmp.fill(200)
            host.daemon()
            cmp.conn.execute(
                "update projects set name = %s || convert_from('\\xe9', 'SQL_ASCII') where key in (select "
                "'key-' || i from generate_series(1, %s) i)",
                ["caf", few],
            )
            assert cmp.wait().status == "quarantined"
            found = quarantined(host)
            shown = {*host.canonical()}, {*host.projects()}
            cmp.upsert("meanwhile")
            cmp.wait()
            good = host.content()
            cmp.conn.execute(
                "update projects set name = %s || convert_from('\\xff', 'SQL_ASCII') where key in (select "
                "'key-' || i from generate_series(1, %s) i)",
                ["bad", many],
            )
            until(lambda: cmp.wait().status == "held", "held")
            verdict, kept = cmp.wait(), host.content()
            cmp.conn.execute("update projects set name = 'mended ' || key where key <> ''")
            until(lambda: cmp.wait().status == "published", "mended")
            agree(host, rows_of(cmp), QUICK)
            verified(host)
        finally:
            host.close()

    assert {name: len(projects) for name, projects in found.items()} == dict.fromkeys(NAMES, few)
    assert all("0xe9" in why for projects in found.values() for why in projects.values())
    assert [len(projects) for projects in shown] == [200 - few] * 2
    assert b"meanwhile" in good[CANONICAL]
    assert kept == good
    assert "more than 100" in verdict.detail
    evidence(
        "P6",
        f"Latin-1 bytes in a database of encoding SQL_ASCII: {few} rows, then {many} of 200",
        times=few + many,
        found="the few held back by id; of more than 100 the registries were held with the last good files, "
        "and said it; all healed when fixed",
    )


@pytest.mark.campaign
def test_a_row_on_a_lost_block(tmp_path: Path, evidence: Evidence) -> None:
    """P4, P6: the disk under the server has lost a block.

    What lay on it is held back, and everything else goes on.

    The UPDATE trigger put whole rows together, and failed the writes that PostgreSQL let pass.
    """
    server = EmbeddedServer(Path(tempfile.mkdtemp(prefix="omnicdc-test-")), {"autovacuum": "off"})
    host = Host(tmp_path / "host", server.dsn())
    try:
        server.create()
        server.start()
        with Cmp(server.dsn()) as cmp:
            cmp.conn.execute(TABLE)
            cmp.conn.execute("alter table projects alter name set storage external")
            assert host.run("install").returncode == 0
            cmp.fill(50)
            lost = cmp.upsert("apart " + "x" * 100_000)
            file = cmp.value(
                "select pg_relation_filepath(reltoastrelid) from pg_class where oid = 'projects'::regclass"
            )
            cmp.conn.execute("checkpoint")
        host.daemon()
        server.stop()
        place = server.directory / "data" / file
        place.write_bytes(bytes(place.stat().st_size))
        server.start()
        with Cmp(server.dsn()) as cmp:
            # With the damaged value in the row, whatever the triggers look at.
            cmp.conn.execute("update projects set status = 'goes on'")
            until(lambda: cmp.wait().status == "quarantined", "held back")
            found = quarantined(host)
            others = {entry["status"] for entry in host.canonical().values()}
            cmp.conn.execute("update projects set name = 'written anew' where id = %s", [lost])
            until(lambda: cmp.wait().status == "published", "mended")
            agree(host, rows_of(cmp))
            verified(host, lost)
    finally:
        host.close()
        server.delete()

    assert {name: [*projects] for name, projects in found.items()} == {name: [lost] for name in NAMES}
    assert "missing chunk" in found[NAMES[0]][lost]
    assert others == {"goes on"}
    evidence(
        "P4 P6",
        "a block of CMP's table zeroed on the disk, with a name of 100 kB on it; then that row updated, and "
        "the others",
        times=1,
        found="every write succeeded; the row was held back by id with PostgreSQL's reason, the others went "
        "on; there once its name was written anew",
    )


@pytest.mark.campaign
def test_names_that_a_shell_or_a_terminal_would_obey(
    cmp: Cmp, host: Host, scale: Scale, evidence: Evidence
) -> None:
    """P5: waited for by name; shown without being obeyed; what is no text is no project, in one line.

    A name that is not UTF-8 ended `wait` with a traceback, and escape sequences reached the terminal.
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
    seen = on_a_terminal([COMMAND, "verify", project], host.env).raw

    assert all(answer["success"] for answer in answers)
    assert (no_text.returncode, no_text.stderr.count("\n"), "Traceback" in no_text.stderr) == (2, 1, False)
    assert [answer["verdict"] for answer in no_project] == ["unavailable"] * 2
    assert "title" in seen
    assert "\x1b]0;" not in seen
    assert "\x1b[2J" not in seen
    assert "\x9b" not in seen
    evidence(
        "P5",
        "waited for by names of control characters, options, quotes, bytes that are no UTF-8; one shown on "
        "a terminal",
        times=2 * len(names) + 4,
        found="each found, or refused in one line; escape sequences are shown and not obeyed",
    )


@pytest.mark.campaign
@pytest.mark.timeout(400)
def test_random_rows_by_the_thousand(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2, P8: files equal an independent reading and a full rebuild after each batch; `verify` agrees."""
    batches, size = scale(1, 24), scale(100, 1500)
    host.env["OMNICDC_GUARD_SHARE"] = "1"
    host.daemon()
    done = 0
    for batch in range(batches):
        with cmp.transaction() as (conn, token):
            conn.execute(
                "delete from projects where id in (select id from projects order by random() offset %s)",
                [size // 2],
            )
            insert(conn, (random_row(dice) for _ in range(size)))
            conn.execute(
                "update projects set status = %s, metadata_ = %s where id in (select id from projects order "
                "by id limit %s)",
                [random_text(dice), random_metadata(dice), size // 10],
            )
            conn.execute(
                "update projects set id = gen_random_uuid() where id in (select id from projects order by "
                "id desc limit %s)",
                [size // 20],
            )
        cmp.arrived(token)
        done += 2 * size + size // 10 + size // 20
        agree(host, rows := rows_of(cmp), READERS if batch % 12 == 0 else QUICK)
        sound(cmp, host, scale, [dice.choice([*rows])])

    evidence(
        "P1 P2 P4 P8",
        "rows of random text and json, thousands at a time: inserted, updated, deleted, ids changed, in one "
        "transaction",
        times=done,
        found=f"after each of {batches} batches the files equalled an independent reading and a rebuild, "
        f"and `verify` agreed",
    )


def random_text(dice: random.Random) -> str | None:
    kind = dice.random()
    if kind < 0.1:
        return None
    if kind < 0.5:
        return dice.choice(TEXTS)
    if kind < 0.7:
        return "".join(dice.choice(TRAPS)[:20] for _ in range(dice.randrange(6)))
    return "".join(map(chr, (random_code(dice) for _ in range(dice.randrange(30)))))


def random_code(dice: random.Random) -> int:
    """Return a character that PostgreSQL can store; half of them from where it is dangerous."""
    code = dice.choice(
        [dice.randrange(1, 0x100), dice.randrange(1, 0x3000), dice.randrange(0xE000, 0x110000)]
    )
    return code if not 0xD800 <= code < 0xE000 else 0x20


def random_metadata(dice: random.Random) -> str | None:
    if dice.random() < 0.1:
        return dice.choice([None, *WHOLES])
    found = {}
    for key in ("github_url", "domain", "other"):
        if dice.random() < 0.8:
            found[key] = random_value(dice, key)
    return "{" + ", ".join(f'"{key}": {value}' for key, value in found.items()) + "}"


def random_value(dice: random.Random, key: str) -> str:
    if key == "github_url" and dice.random() < 0.6:
        return json.dumps(
            dice.choice(URLS).format(
                f"Acme/r{dice.randrange(60)}{dice.choice(['', '.', random_text(dice) or ''])}"
            )
        )
    return dice.choice(
        [*VALUES, json.dumps(random_text(dice)), json.dumps(random_text(dice), ensure_ascii=False)]
    )


def random_row(dice: random.Random) -> tuple[str | None, ...]:
    return (
        random_text(dice) or "",
        random_text(dice),
        random_text(dice),
        random_text(dice),
        random_metadata(dice),
    )
