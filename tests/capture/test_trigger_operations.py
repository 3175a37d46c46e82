"""P1: the log names the project and its changed columns, whichever command changes a row of CMP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.sources import WATCHED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import LiteralString

    from support.cmp import Cmp

A = "00000000-0000-0000-0000-00000000000a"
B = "00000000-0000-0000-0000-00000000000b"

Log = list[tuple[str | None, str, tuple[str, ...] | None]]


@pytest.fixture
def project(cmp: Cmp) -> str:
    """The id of a project whose insert was removed from the log."""
    project = cmp.upsert("apollo", key="AP", github_url="https://github.com/acme/apollo", domain="space")
    cmp.conn.execute("truncate omnicdc.change")
    return project


def logged_changes(cmp: Cmp, changes: Iterable[LiteralString]) -> dict[LiteralString, Log]:
    """Make each change alone, and roll it back. Return what was logged for each."""
    logs: dict[LiteralString, Log] = {}
    for change in changes:
        with cmp.conn.transaction(force_rollback=True):
            cmp.conn.execute(f"update projects set {change}")
            logs[change] = cmp.log()
    return logs


def test_an_insert_is_logged_as_a_whole_row(cmp: Cmp) -> None:
    project = cmp.upsert("apollo")

    assert cmp.log() == [(project, "insert", None)]


def test_a_delete_is_logged_as_a_whole_row(cmp: Cmp, project: str) -> None:
    cmp.conn.execute("delete from projects")

    assert cmp.log() == [(project, "delete", None)]


def test_a_truncate_means_every_project(cmp: Cmp, project: str) -> None:
    cmp.conn.execute("truncate projects")

    assert project
    assert cmp.log() == [(None, "truncate", None)]


CHANGES: dict[LiteralString, str] = {
    "name = 'artemis'": "name",
    "key = 'AR'": "key",
    "key = null": "key",
    "type = 'LIBRARY'": "type",
    "status = 'archived'": "status",
    "status = 'Active'": "status",
    "status = 'active '": "status",
    "status = ''": "status",
    'metadata_ = metadata_ || \'{"domain": "sea"}\'': "metadata_.domain",
    "metadata_ = metadata_ || '{\"github_url\": 7}'": "metadata_.github_url",
    'metadata_ = metadata_ || \'{"github_url": {"a": 1}}\'': "metadata_.github_url",
    "metadata_ = metadata_ || '{\"github_url\": null}'": "metadata_.github_url",
    'metadata_ = metadata_ || \'{"github_url": ""}\'': "metadata_.github_url",
    "metadata_ = metadata_ - 'github_url'": "metadata_.github_url",
}


def test_an_update_names_exactly_the_column_that_changed(cmp: Cmp, project: str) -> None:
    assert logged_changes(cmp, CHANGES) == {
        change: [(project, "update", (field,))] for change, field in CHANGES.items()
    }


def test_an_update_of_everything_names_the_whole_watch_list(cmp: Cmp, project: str) -> None:
    cmp.conn.execute("update projects set name = 'x', key = 'x', type = 'x', status = 'x', metadata_ = null")

    assert cmp.log() == [(project, "update", WATCHED)]


UNWATCHEDCHANGES: list[LiteralString] = [
    "updated_at = clock_timestamp()",
    "description = 'longer'",
    "name = name",
    "id = id",
    'metadata_ = \'{"domain" : "space",  "github_url":"https://github.com/acme/apollo"}\'',
    'metadata_ = metadata_ || \'{"owner": "nobody reads this"}\'',
]


def test_a_change_that_no_registry_shows_is_not_logged(cmp: Cmp, project: str) -> None:
    assert project
    assert logged_changes(cmp, UNWATCHEDCHANGES) == {change: [] for change in UNWATCHEDCHANGES}


def test_a_missing_key_and_a_json_null_are_the_same(cmp: Cmp) -> None:
    cmp.upsert("apollo", github_url=None)
    cmp.conn.execute("truncate omnicdc.change")

    cmp.conn.execute("update projects set metadata_ = '{}'")
    cmp.conn.execute("update projects set metadata_ = null")

    assert cmp.log() == []


def test_an_empty_text_and_null_differ(cmp: Cmp) -> None:
    project = cmp.upsert("apollo", github_url=None, status=None)
    cmp.conn.execute("truncate omnicdc.change")

    cmp.conn.execute("update projects set metadata_ = '{\"github_url\": \"\"}', status = ''")

    assert cmp.log() == [(project, "update", ("metadata_.github_url", "status"))]


def test_an_upsert_that_changes_nothing_is_not_logged(cmp: Cmp, project: str) -> None:
    cmp.upsert("apollo", id=project, key="AP", github_url="https://github.com/acme/apollo", domain="space")

    assert cmp.log() == []


def test_an_upsert_of_a_known_project_is_an_update(cmp: Cmp, project: str) -> None:
    cmp.upsert("artemis", id=project, key="AP", github_url="https://github.com/acme/apollo", domain="space")

    assert cmp.log() == [(project, "update", ("name",))]


def test_an_id_that_changes_is_logged_with_both_ids(cmp: Cmp, project: str) -> None:
    cmp.conn.execute("update projects set id = %s", [B])

    assert cmp.log() == [(B, "update", None), (project, "update", None)]


def test_an_update_that_a_before_trigger_undoes_is_not_logged(cmp: Cmp, project: str) -> None:
    cmp.conn.execute(
        """create function keep() returns trigger language plpgsql as
             'begin new.status := old.status; return new; end';
           create trigger keep before update on projects for each row execute function keep()"""
    )
    cmp.conn.execute("update projects set status = 'archived'")

    assert project
    assert cmp.log() == []


def test_copy_logs_every_row(cmp: Cmp) -> None:
    with cmp.conn.cursor().copy("copy projects (id, name) from stdin") as copy:
        copy.write_row((A, "one"))
        copy.write_row((B, "two"))

    assert cmp.log() == [(A, "insert", None), (B, "insert", None)]


def test_merge_logs_the_change_of_each_branch(cmp: Cmp, project: str) -> None:
    if cmp.conn.info.server_version < 150000:
        pytest.skip("MERGE came with PostgreSQL 15")
    gone = cmp.upsert("gone")
    cmp.conn.execute("truncate omnicdc.change")

    cmp.conn.execute(
        """merge into projects p
           using (values ('apollo', %s::uuid, 'archived'), ('gone', %s::uuid, null),
                         ('new', %s::uuid, 'active'))
                 as wanted (name, id, status) on p.id = wanted.id
           when matched and wanted.status is null then delete
           when matched then update set status = wanted.status
           when not matched then insert (id, name, status) values (wanted.id, wanted.name, wanted.status)""",
        [project, gone, A],
    )

    assert set(cmp.log()) == {(project, "update", ("status",)), (gone, "delete", None), (A, "insert", None)}


def test_all_statements_of_a_transaction_are_logged_with_the_same_id(cmp: Cmp, project: str) -> None:
    with cmp.conn.transaction():
        token = cmp.value("select pg_current_xact_id()::text")
        cmp.conn.execute("update projects set status = 'archived'")
        cmp.conn.execute("update projects set name = 'artemis'")

    assert cmp.log() == [(project, "update", ("status",)), (project, "update", ("name",))]
    assert cmp.value("select array_agg(distinct xid::text) from omnicdc.change") == [token]


def test_a_row_deleted_by_a_foreign_key_s_cascade_is_logged(cmp: Cmp) -> None:
    """PostgreSQL deletes that row with a separate query."""
    cmp.conn.execute("alter table projects add parent uuid references projects on delete cascade")
    parent, child = cmp.upsert("parent"), cmp.upsert("child")
    cmp.conn.execute("update projects set parent = %s where id = %s", [parent, child])
    cmp.conn.execute("truncate omnicdc.change")

    cmp.conn.execute("delete from projects where id = %s", [parent])

    assert set(cmp.log()) == {(parent, "delete", None), (child, "delete", None)}


def test_the_time_of_a_change_is_the_time_of_its_write(cmp: Cmp) -> None:
    with cmp.conn.transaction():
        begun: Any = cmp.value("select now()")
        cmp.value("select pg_sleep(0.01)")
        cmp.upsert("apollo")

    assert cmp.value("select at > %s + interval '9 ms' from omnicdc.change", begun)
