"""Servers that differ from a plain PostgreSQL.

They have no md5(), or no control file (Aurora), or an event trigger that audits DDL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.host import Host
from support.session import opened
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.delivery import wait as waits
from omnicdc.errors import ConfigError
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp


LIKE_AURORA: LiteralString = """
alter function pg_catalog.pg_control_system() rename to pg_control_system_real;
alter function pg_catalog.pg_control_checkpoint() rename to pg_control_checkpoint_real;
alter function pg_catalog.pg_current_wal_lsn() rename to pg_current_wal_lsn_real
"""
RAISING: LiteralString = """
create function pg_catalog.pg_current_wal_lsn() returns pg_lsn language plpgsql as
  $$ begin raise exception 'wal_level must be set to ''logical''' using errcode = {state}; end $$;
create function pg_catalog.pg_control_checkpoint(out timeline_id integer) language plpgsql as
  $$ begin raise exception 'wal_level must be set to ''logical''' using errcode = {state}; end $$;
create function pg_catalog.pg_control_system(out system_identifier bigint) language plpgsql as
  $$ begin raise exception 'currently not supported for Aurora' using errcode = {state}; end $$
"""

AUDIT: LiteralString = """
create schema audit;
create table audit.ddl (at timestamptz default now(), tag text);
create function audit.intercept() returns event_trigger language plpgsql as
  $$ begin insert into audit.ddl (tag) values (tg_tag); end $$;
create event trigger audit_ddl on ddl_command_end execute function audit.intercept()
"""


def install_capture(cmp: Cmp) -> bool:
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, projects())


def publish_and_wait(cmp: Cmp, directory: Path) -> int:
    """Publish a write and wait for it. Return the system identifier in the consumer's row."""
    host = Host(directory, cmp.dsn)
    with opened(host) as one:
        one.publish()
        cmp.upsert("atlas")
        one.publish()
        with db.connect(cmp.dsn) as conn:
            verdict = waits.wait(conn, timeout_s=0.0, stop=Stop())
    host.close()

    assert verdict.status == "published", verdict
    return int(cmp.value("select system_identifier from omnicdc.consumer order by seen_at desc limit 1"))


def test_a_server_without_md5_is_served(bare: Cmp, tmp_path: Path) -> None:
    """In FIPS mode, md5() fails."""
    bare.conn.execute(
        "alter function pg_catalog.md5(text) rename to md5_text; alter function pg_catalog.md5(bytea) "
        "rename to md5_bytes"
    )
    changed = install_capture(bare)
    again = install_capture(bare)
    publish_and_wait(bare, tmp_path / "host")

    assert (changed, again) == (True, False)
    assert bare.value("select omnicdc.capture_fault()") is None


@pytest.mark.parametrize("state", ["missing", "0A000", "42501", "42883", "55000"])
def test_a_server_without_its_control_file_is_served(bare: Cmp, tmp_path: Path, state: str) -> None:
    """Aurora raises 55000 or 0A000, depending on its version. On other servers the right may be revoked."""
    bare.conn.execute(LIKE_AURORA)
    if state != "missing":
        bare.conn.execute(RAISING.replace("{state}", f"'{state}'").encode())
    install_capture(bare)
    first = publish_and_wait(bare, tmp_path / "first")
    second = publish_and_wait(bare, tmp_path / "second")
    with db.connect(bare.dsn) as conn:
        identity = db.fetch_one(conn, "identity")
        forgotten = db.fetch_one(conn, "forget_other_cluster")["forgotten"]

    assert first == second == identity["system_identifier"] < 0
    assert (identity["timeline"], forgotten) == (0, False)


def test_another_cluster_is_detected_without_its_control_file(bare: Cmp, tmp_path: Path) -> None:
    bare.conn.execute(LIKE_AURORA)
    install_capture(bare)
    before = publish_and_wait(bare, tmp_path / "host")
    with db.connect(bare.dsn) as conn:
        install.uninstall(conn)
    install_capture(bare)  # like a restored dump: the same names, other object ids
    with db.connect(bare.dsn) as conn:
        after = db.fetch_one(conn, "identity")["system_identifier"]

    assert after != before


def test_the_control_file_identifies_the_cluster_if_it_can_be_read(cmp: Cmp) -> None:
    with db.connect(cmp.dsn) as conn:
        found = db.fetch_one(conn, "identity")

    assert found["system_identifier"] == cmp.value("select system_identifier from pg_control_system()")
    assert found["timeline"] == cmp.value("select timeline_id from pg_control_checkpoint()")


def test_a_ddl_audit_that_refuses_omnicdc_s_owner_is_reported_with_its_remedy(bare: Cmp) -> None:
    """AWS DMS has such a trigger: it writes to a table with the rights of the role that runs the DDL."""
    bare.conn.execute(AUDIT)
    with pytest.raises(ConfigError) as refused:
        install_capture(bare)
    remedy = refused.value.hint.split("`")[1]
    bare.conn.execute(remedy.encode())
    changed = install_capture(bare)

    assert (
        "event trigger audit_ddl (function audit.intercept) refused it: permission denied"
        in refused.value.message
    )
    assert "\n" not in str(refused.value)
    assert changed


def test_a_ddl_audit_that_every_role_may_write_does_not_stop_an_install(bare: Cmp) -> None:
    bare.conn.execute(AUDIT)
    bare.conn.execute("grant usage on schema audit to public; grant insert on audit.ddl to public")

    assert install_capture(bare) is True
    assert bare.value("select count(*) > 0 from audit.ddl")
