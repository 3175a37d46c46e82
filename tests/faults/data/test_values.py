"""CMP holds JSON of any shape, NULL, and nothing that PostgreSQL refuses."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.data.commands import assert_verified_and_rebuilt, quarantined_rows
from faults.data.comparison import QUICK, READERS, assert_files_show, read_rows
from faults.data.rows import copy_rows, metadata_json
from faults.data.samples import DOCUMENTS, UNREADABLE, VALUES
from psycopg import sql as pgsql
from support.host import PROJECT, Host

if TYPE_CHECKING:
    import random

    from support.cmp import Cmp
    from support.evidence import Evidence, Scale


@pytest.mark.parametrize("kind", ["jsonb", "json"])
def test_metadata_of_any_shape(cmp: Cmp, host: Host, kind: str, scale: Scale, evidence: Evidence) -> None:
    """P1, P4: numbers, booleans, null, lists and objects stand where a text is expected.

    They also stand in place of the whole object.
    """
    turns = scale(2, len(VALUES))
    cmp.conn.execute(pgsql.SQL("alter table projects alter metadata_ type {}").format(pgsql.SQL(kind)))
    host.daemon()
    pairs = [*product(VALUES, VALUES)][:: scale(10, 1)]
    objects = [f'{{"github_url": {url}, "domain": {domain}}}' for url, domain in pairs]
    shapes = [None, *DOCUMENTS, *objects]
    copy_rows(
        cmp.conn, ((f"shape {at}", at, shape) for at, shape in enumerate(shapes)), "name, key, metadata_"
    )
    cmp.arrived()
    assert_files_show(host, read_rows(cmp), QUICK if turns < len(VALUES) else READERS)
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
        assert_files_show(host, read_rows(cmp), QUICK)
    assert_verified_and_rebuilt(cmp, host, scale)

    assert quarantined_rows(host) == {}
    evidence(
        "P1 P4",
        f"`metadata_` as {kind}: {len(pairs)} pairs of values as URL and domain, {len(DOCUMENTS) + 1} other "
        f"things in place of the object; then "
        "each in the place of another",
        times=turns * len(shapes),
        found="every write succeeded; shown as `->>` says, and as an independent reading has it",
    )


def test_postgresql_refuses_the_same_values_as_without_omnicdc(
    bare: Cmp, cmp: Cmp, evidence: Evidence
) -> None:
    """P4: the error is the same, and the log holds no change."""
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

    def errors(cmp: Cmp) -> list[tuple[str | None, str]]:
        found = []
        cmp.conn.execute("insert into projects (name, key) values ('there', 'there')")
        for statement, value in statements:
            with pytest.raises(psycopg.Error) as refused:
                cmp.conn.execute(statement, [value])
            found.append((refused.value.sqlstate, str(refused.value).split("\n", 1)[0]))
        return found

    without_omnicdc = errors(bare)
    with_omnicdc = errors(cmp)

    assert with_omnicdc == without_omnicdc
    assert [op for _, op, _ in cmp.log()] == ["insert"]
    evidence(
        "P4",
        "`\\u0000`, lone surrogates and nesting without end in jsonb, bytes that are no UTF-8, NUL, NULL "
        "where none may be",
        times=len(statements),
        found="refused by PostgreSQL with the same error as without omnicdc; nothing was noted",
    )


@pytest.mark.campaign
def test_null_and_empty_text_in_every_column(
    cmp: Cmp, host: Host, scale: Scale, dice: random.Random, evidence: Evidence
) -> None:
    """P1, P6: NULL and '' stand in each column that allows them, in every combination.

    A project without a name is missing in the project registry only.
    """
    cmp.conn.execute("alter table projects alter name drop not null")
    host.daemon()
    choices = [(None, "", "text")] * 4 + [
        (
            None,
            "null",
            "{}",
            metadata_json(),
            metadata_json("", ""),
            metadata_json("https://github.com/acme/x", ""),
        )
    ]
    combinations = [*product(*choices)]
    combinations = dice.sample(combinations, scale(30, len(combinations)))
    copy_rows(cmp.conn, combinations)
    verdict = cmp.wait()
    assert_files_show(host, rows := read_rows(cmp))
    nameless = {project for project, row in rows.items() if row["name"] is None}
    held_back = quarantined_rows(host)
    some = min(nameless)
    refused = host.run("verify", some).returncode
    cmp.conn.execute("update projects set name = 'given' where name is null")
    cmp.arrived()
    assert_files_show(host, read_rows(cmp), QUICK)
    assert_verified_and_rebuilt(cmp, host, scale, [some])

    assert verdict.status == "quarantined"
    assert held_back == {Path(PROJECT).name: dict.fromkeys(nameless, "ValueError: its name is NULL")}
    assert refused == 1
    assert quarantined_rows(host) == {}
    evidence(
        "P1 P6",
        "NULL, '' and text in every combination of columns, names included",
        times=len(combinations),
        found=f"shown as they are; the {len(nameless)} without a name held back from the project registry "
        f"by id, and there once they had one",
    )
