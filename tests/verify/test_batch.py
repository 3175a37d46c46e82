"""Many projects are verified with one read of CMP and of each file.

The answers are the same as for single projects.
"""

from __future__ import annotations

import pytest
from support.files import ROCKET, Files
from support.host import CANONICAL, INVENTORY, PROJECT

from omnicdc import db, verify


def both(files: Files, ids: list[str], *, known: bool = True) -> list[list[dict[str, object]]]:
    return [
        [
            it.as_dict()
            for it in verify.verify_projects(files.conn, files.config, files.inputs, known, ids, few=few)
        ]
        for few in (1000, 0)
    ]


@pytest.mark.parametrize("known", [True, False])
def test_the_answers_are_the_same_as_for_single_projects(files: Files, rocket: str, *, known: bool) -> None:
    """The projects are current, stale, missing, held back, deleted, or share a repository.

    The second part is with one missing and one broken file.
    """
    files.cmp.conn.execute("alter table projects alter name drop not null")
    [nameless] = files.cmp.conn.execute(
        "insert into projects (key) values ('nameless') returning id::text"
    ).fetchone() or [""]
    late = files.cmp.upsert("Late", github_url="https://github.com/acme/late")
    shares = files.cmp.upsert("Shares", github_url=ROCKET)
    gone = files.cmp.value("select id::text from projects where name = 'project-3'")
    files.cmp.conn.execute("delete from projects where name = 'project-3'")
    files.cmp.conn.execute("update projects set status = 'paused' where name = 'project-2'")
    files.edit(PROJECT, "name: key-4", "name: edited")
    ids = [row[0] for row in files.cmp.conn.execute("select id::text from projects").fetchall()]
    ids += [gone]

    one_by_one, together = both(files, ids, known=known)
    for a, b in zip(one_by_one, together, strict=True):
        assert b == a
    assert {nameless, late, shares, rocket, gone} <= set(ids)
    (files.root / INVENTORY).unlink()
    (files.root / CANONICAL).write_text("{")
    one_by_one, together = both(files, ids, known=known)
    assert together == one_by_one


def test_the_number_of_statements_does_not_grow_with_the_projects(files: Files) -> None:
    """Regression: verify sent a dozen statements and read each file three times for each project.

    5,000 projects took 105 s.
    """
    files.cmp.fill(200)
    files.publish()
    ids = [row[0] for row in files.cmp.conn.execute("select id::text from projects").fetchall()]
    statements: list[object] = []

    class Counted(db.Connection):
        def execute(  # type: ignore[no-untyped-def]  # noqa: ANN202
            self,
            query,  # noqa: ANN001
            *args,  # noqa: ANN002
            **options,  # noqa: ANN003
        ):
            statements.append(query)
            return super().execute(query, *args, **options)

    with Counted.open(files.cmp.dsn) as conn:
        reports = verify.verify_projects(conn, files.config, files.inputs, True, ids)

    assert all(report.verified for report in reports)
    assert len(reports) == 200
    assert len(statements) < 40
