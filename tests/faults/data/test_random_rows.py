"""Thousands of random rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from faults.data.commands import assert_verified_and_rebuilt
from faults.data.comparison import QUICK, READERS, assert_files_show, read_rows
from faults.data.rows import copy_rows
from faults.data.samples import DOCUMENTS, TEXTS, TRAPS, URLS, VALUES

if TYPE_CHECKING:
    import random

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.host import Host


@pytest.mark.campaign
@pytest.mark.timeout(400)
def test_thousands_of_random_rows(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P2, P8: after each batch, the files equal an independent reading and a full rebuild.

    `verify` finds no difference.
    """
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
            copy_rows(conn, (random_row(dice) for _ in range(size)))
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
        assert_files_show(host, rows := read_rows(cmp), READERS if batch % 12 == 0 else QUICK)
        assert_verified_and_rebuilt(cmp, host, scale, [dice.choice([*rows])])

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
    """Return the code of a character that PostgreSQL can store, often one that programs misread."""
    code = dice.choice(
        [dice.randrange(1, 0x100), dice.randrange(1, 0x3000), dice.randrange(0xE000, 0x110000)]
    )
    return code if not 0xD800 <= code < 0xE000 else 0x20


def random_metadata(dice: random.Random) -> str | None:
    if dice.random() < 0.1:
        return dice.choice([None, *DOCUMENTS])
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
