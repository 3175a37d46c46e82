"""Uninstall removes what install created, and leaves CMP's table as it was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sessions import dump, psql
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.capture.attempts import USUAL, Attempts
from omnicdc.db import sql
from omnicdc.errors import LockBusy

if TYPE_CHECKING:
    from typing import LiteralString

    from support.cmp import Cmp

OWN_TRIGGERS: LiteralString = """
create function touch() returns trigger language plpgsql as 'begin return new; end';
create trigger touch before update on projects for each row execute function touch();
alter table projects disable trigger touch;
grant select on projects to public;
comment on table projects is 'CMP''s own'
"""


def install_in(cmp: Cmp) -> bool:
    """Install the capture. Return whether it was changed."""
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, projects())


def uninstall_from(cmp: Cmp, attempts: Attempts = USUAL) -> None:
    """Uninstall the capture."""
    with db.connect(cmp.dsn) as conn:
        install.uninstall(conn, attempts=attempts)


def test_uninstall_restores_the_definitions_of_the_database(bare: Cmp) -> None:
    bare.conn.execute(OWN_TRIGGERS)
    before = dump(bare)
    install_in(bare)
    assert dump(bare) != before

    uninstall_from(bare)

    assert dump(bare) == before


def test_the_psql_script_does_the_same(bare: Cmp) -> None:
    before = dump(bare)
    install_in(bare)

    result = psql(bare.dsn, sql.uninstall().text)

    assert result.returncode == 0, result.stderr
    assert dump(bare) == before


def test_a_repeated_uninstall_is_harmless(bare: Cmp) -> None:
    before = dump(bare)
    uninstall_from(bare)
    install_in(bare)
    uninstall_from(bare)
    uninstall_from(bare)

    assert dump(bare) == before


MANUAL_CHANGES: list[LiteralString] = [
    "drop table projects",
    "alter table projects rename to ventures",
    "alter table projects drop name",
    "drop table omnicdc.change cascade",
    "truncate omnicdc.source",
    "drop trigger omnicdc_log_row on projects",
    "drop schema omnicdc cascade",
]


def test_uninstall_succeeds_if_objects_are_missing(cmp: Cmp) -> None:
    for statement in MANUAL_CHANGES:
        with db.connect(cmp.dsn) as conn, conn.transaction(force_rollback=True):
            conn.execute(statement)
            install.uninstall(conn)
            left = conn.execute(
                """select to_regnamespace('omnicdc') as schema,
                          (select count(*) from pg_trigger where starts_with(tgname, 'omnicdc'))
                            as triggers"""
            ).fetchone()

            assert left == {"schema": None, "triggers": 0}, statement


def test_install_after_uninstall_starts_with_an_empty_log(cmp: Cmp) -> None:
    cmp.upsert("apollo")
    uninstall_from(cmp)
    cmp.upsert("artemis")
    again = install_in(cmp)

    assert again
    assert cmp.log() == []


def test_uninstall_keeps_the_roles(cmp: Cmp) -> None:
    uninstall_from(cmp)

    assert cmp.value("select count(*) from pg_roles where starts_with(rolname, 'omnicdc_')") == 3


def test_a_table_that_stays_locked_is_reported_and_stays_captured(cmp: Cmp) -> None:
    with cmp.connect() as writer, writer.transaction():
        cmp.upsert("apollo", conn=writer)
        with pytest.raises(LockBusy):
            uninstall_from(cmp, Attempts(2, "50ms"))

    assert [op for _, op, _ in cmp.log()] == ["insert"]
