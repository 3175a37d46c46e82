"""P4: the capture works in a database of any encoding and language."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.cmp import TABLE, Cmp
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import LiteralString


@contextmanager
def captured(server: str, options: LiteralString) -> Iterator[Cmp]:
    """Create a database with these options, with a captured CMP in it."""
    name = f"omnicdc_locale_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"create database {name} template template0 {options}".encode())
        try:
            with Cmp(psycopg.conninfo.make_conninfo(server, dbname=name)) as cmp:
                cmp.conn.execute(TABLE)
                with db.connect(cmp.dsn) as conn:
                    install.install(conn, projects())
                yield cmp
        finally:
            admin.execute(f"drop database {name} with (force)".encode())


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_database_of_another_encoding_is_captured(server: str, encoding: LiteralString) -> None:
    with captured(server, f"encoding '{encoding}' locale 'C'") as cmp:
        cmp.conn.execute("insert into projects (name) values ('apollo')")
        cmp.conn.execute("truncate projects")

        assert cmp.value("select count(*) from omnicdc.change") == 2


def test_a_database_in_turkish_is_captured(server: str) -> None:
    """In Turkish, the lower case of INSERT has a dotless i, which the log's constraint would refuse."""
    with psycopg.connect(server) as conn:
        if conn.info.server_version < 150000:
            pytest.skip("a database's own ICU locale came with PostgreSQL 15")
    try:
        with captured(server, "locale_provider icu icu_locale 'tr' locale 'C.UTF-8' encoding 'UTF8'") as cmp:
            project = cmp.upsert("apollo")
            cmp.upsert("artemis", id=project)
            cmp.conn.execute("delete from projects")

            assert [op for _, op, _ in cmp.log()] == ["insert", "update", "delete"]
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL comes without ICU")
