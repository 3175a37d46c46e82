"""If the server accepts no writes, no daemon can serve: `omnicdc status` and `wait` report that cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.delivery import wait as waits
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People


@pytest.mark.parametrize("read_only", [pgsql.SQL("database"), pgsql.SQL("role")], ids=["database", "role"])
def test_a_read_only_database_or_role_is_reported_as_the_cause(
    cmp: Cmp, host: Host, people: People, read_only: pgsql.SQL
) -> None:
    """Regression: the only report was that no daemon is serving, and to start one."""
    role = people.add("omnicdc_daemon")
    name = cmp.conn.info.dbname if read_only == pgsql.SQL("database") else role
    host.once()
    cmp.conn.execute("update omnicdc.consumer set daemon = true")
    change = pgsql.SQL("alter {} {}").format(read_only, pgsql.Identifier(name))
    cmp.conn.execute(change + pgsql.SQL(" set default_transaction_read_only = true"))
    try:
        with db.connect(people.dsn(people.add("omnicdc_client"))) as conn:
            found = status(conn)
            verdict = waits.wait(conn, timeout_s=1, stop=Stop(), grace_s=0)
    finally:
        cmp.conn.execute(change + pgsql.SQL(" reset default_transaction_read_only"))

    assert "has default_transaction_read_only on" in found["faults"][0]
    assert "no daemon is serving" in found["faults"][1]
    assert not found["healthy"]
    assert verdict.status == "no_consumer"
    assert "default_transaction_read_only" in verdict.detail
    assert "systemctl start" not in verdict.hint
