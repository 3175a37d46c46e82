"""`omnicdc status` and `wait` name the cause where the server takes no writes, so no daemon can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql as pgsql

from omnicdc import db
from omnicdc.delivery import wait as waits
from omnicdc.delivery.status import status
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People


@pytest.mark.parametrize("whose", [pgsql.SQL("database"), pgsql.SQL("role")], ids=["database", "role"])
def test_a_database_that_only_lets_read_is_the_cause_that_is_named(
    cmp: Cmp, host: Host, people: People, whose: pgsql.SQL
) -> None:
    """It said only that no daemon is serving, and to start it."""
    role = people.add("omnicdc_daemon")
    named = cmp.conn.info.dbname if whose == pgsql.SQL("database") else role
    host.once()
    cmp.conn.execute("update omnicdc.consumer set daemon = true")
    change = pgsql.SQL("alter {} {}").format(whose, pgsql.Identifier(named))
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
