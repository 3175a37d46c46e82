"""Users cannot log in as an omnicdc role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.evidence import Evidence
    from support.host import Host


def test_an_omnicdc_role_cannot_log_in(cmp: Cmp) -> None:
    """The roles are `nologin`, without a password, and without rights on the cluster."""
    found = cmp.conn.execute(
        """select rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                  rolpassword is not null
             from pg_authid
            where starts_with(rolname, 'omnicdc_')
              and rolname in ('omnicdc_owner', 'omnicdc_daemon', 'omnicdc_client')"""
    ).fetchall()
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(make_conninfo(cmp.dsn, user="omnicdc_owner"))

    assert found == [(False,) * 7] * 3


def test_install_refuses_an_owner_that_can_log_in(cmp: Cmp, host: Host, evidence: Evidence) -> None:
    """`omnicdc install` refuses an `omnicdc_owner` that can log in.

    Else a user who may create roles could create it first, with a password, and would own the schema.
    """
    cmp.conn.execute("alter role omnicdc_owner login")
    try:
        refused = host.run("install")
    finally:
        cmp.conn.execute("alter role omnicdc_owner nologin")

    assert refused.returncode == 2
    assert "alter role omnicdc_owner nologin" in refused.stderr
    assert host.run("install").returncode == 0
    evidence(
        "",
        "an omnicdc_owner that can log in, there before the installation",
        times=1,
        found="refused, with the remedy",
    )
