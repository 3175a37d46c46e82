"""Many projects are verified with one reading of CMP and of each file.

The answers are the same as one by one.
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
def test_the_answers_are_those_for_one_by_one(files: Files, rocket: str, *, known: bool) -> None:
    """Current, stale, missing, held back, gone, twice in a file, in another's element.

    A file is also missing or broken.
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


def test_cmp_is_asked_a_handful_of_times_however_many_there_are(files: Files) -> None:
    """A dry run of a batch of 5,000 took 105 s.

    Three looks at each file and a dozen statements for each project.
    """
    files.cmp.fill(200)
    files.publish()
    ids = [row[0] for row in files.cmp.conn.execute("select id::text from projects").fetchall()]
    sent: list[object] = []

    class Counted(db.Connection):
        def execute(  # type: ignore[no-untyped-def]  # noqa: ANN202
            self,
            query,  # noqa: ANN001
            *args,  # noqa: ANN002
            **options,  # noqa: ANN003
        ):
            sent.append(query)
            return super().execute(query, *args, **options)

    with Counted.open(files.cmp.dsn) as conn:
        reports = verify.verify_projects(conn, files.config, files.inputs, True, ids)

    assert all(report.verified for report in reports)
    assert len(reports) == 200
    assert len(sent) < 40
