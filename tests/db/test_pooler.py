"""A pooler in transaction mode works for everything but the daemon, and nothing is left in its sessions.

CMP's own writers use each session of the pool next. They would inherit a LISTEN, a parameter or a prepared
statement of omnicdc.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.host import Host
from support.pooler import needs_pooler, pooler
from support.session import opened
from support.sources import projects

from omnicdc import db
from omnicdc import verify as verification
from omnicdc.answers.status import status
from omnicdc.capture import install
from omnicdc.clients import GenesisClient
from omnicdc.db.pooler import check_session
from omnicdc.delivery import wait as waits
from omnicdc.errors import ConfigError
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp

pytestmark = needs_pooler


SESSION_STATE = """
select (select array_agg(c) from pg_listening_channels() c) as channels,
       (select array_agg(name) from pg_prepared_statements) as statements,
       (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory') as locks,
       (select array_agg(name || '=' || setting order by name) from pg_settings
         where name <> 'application_name' and source = 'session') as parameters,
       current_setting('omnicdc.mark', true) as mark
"""


@pytest.fixture
def pooled(cmp: Cmp) -> Iterator[str]:
    """CMP through a pool of one session, which all connections share."""
    with pooler(cmp, "transaction", 1) as dsn:
        yield dsn


def session_state(dsn: str) -> Any:  # noqa: ANN401 - compared with itself
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None, client_encoding="utf8") as conn:
        return conn.execute(SESSION_STATE).fetchone()


def test_waiting_through_a_pooler_leaves_nothing(cmp: Cmp, host: Host, pooled: str) -> None:
    """Regression: two concurrent waits failed with: prepared statement "_pg3_0" already exists."""
    before = session_state(pooled)

    def wait_for(token: str, timeout_s: float) -> str:
        with db.connect(pooled) as conn:
            assert conn.behind_pooler
            return waits.wait(conn, token, timeout_s=timeout_s, stop=Stop(), first_poll_s=0.02).status

    with opened(host) as one, ThreadPoolExecutor(2) as pool:
        one.publish()
        with cmp.transaction() as (writer, token):
            cmp.upsert("pooled", conn=writer)
            too_early = [*pool.map(wait_for, [token] * 2, [1.0] * 2)]
        one.publish()
        published = [*pool.map(wait_for, [token] * 2, [20.0] * 2)]

    assert (too_early, published) == (["timeout"] * 2, ["published"] * 2)
    assert session_state(pooled) == before


def test_every_command_works_through_a_pooler_and_leaves_nothing(bare: Cmp, tmp_path: Path) -> None:
    """The database's own parameters do not matter.

    `install` is one transaction, and each query of a wait sets omnicdc's parameters only for itself.
    """
    for parameter in ("DateStyle = 'German'", "default_transaction_isolation = 'serializable'"):
        bare.conn.execute(f"alter database {bare.conn.info.dbname} set {parameter}")
    host = Host(tmp_path / "host", bare.dsn)
    with pooler(bare, "transaction", 1) as pooled:
        before = session_state(pooled)
        with db.connect(pooled) as conn:
            assert install.install(conn, projects())
        config = host.config(OMNICDC_DSN=pooled)
        with opened(host) as one:
            one.publish()
            project = bare.upsert("pooled", github_url="https://github.com/acme/pooled")
            one.publish()
            with db.connect(pooled) as conn:
                db.check_schema(conn)
                assert status(conn)["healthy"]
                inputs = verification.known_inputs(config)
                assert verification.verify_project(conn, config, *inputs, project).verified
                assert verification.verify_all(conn, config, *inputs).verified
                assert db.fetch_one(conn, "request_accept")["token"]
            one.publish()
            client = GenesisClient(config=config)
            answers = [client.propagate_project("pooled"), client.propagate_batch(["pooled"]), client.wait()]
            assert [answer["success"] for answer in answers] == [True] * 3, answers
            assert client.verify_propagation(project)["verified"]
        with db.connect(pooled) as conn:
            install.uninstall(conn)
        assert session_state(pooled) == before


@pytest.mark.parametrize("size", [1, 3])
def test_the_check_for_a_pooler_leaves_nothing(cmp: Cmp, size: int) -> None:
    with pooler(cmp, "transaction", size) as pooled:
        before = session_state(pooled)
        with db.connect(pooled) as conn, pytest.raises(ConfigError, match="pooler in transaction mode"):
            check_session(conn, partial(db.connect, pooled))
        assert session_state(pooled) == before


def test_a_pool_in_session_mode_gives_the_daemon_its_own_parameters(cmp: Cmp, host: Host) -> None:
    cmp.conn.execute(
        f"alter database {cmp.conn.info.dbname} set default_transaction_isolation = 'serializable'"
    )
    with pooler(cmp, "session") as dsn, opened(host, OMNICDC_DSN=dsn) as one:
        one.publish()

        assert one.conn.behind_pooler
        isolation = one.conn.execute("show default_transaction_isolation").fetchone()
        assert isolation == {"default_transaction_isolation": "read committed"}


def test_a_pooler_in_statement_mode_is_refused(cmp: Cmp, tmp_path: Path) -> None:
    """It refuses transactions. This is not reported as an outage, because a retry cannot help."""
    with pooler(cmp, "statement", 1) as dsn:
        daemon = opened(Host(tmp_path / "host", dsn))
        with pytest.raises(ConfigError, match="refuses transactions") as to_client:
            db.connect(dsn)
        with pytest.raises(ConfigError, match="refuses transactions"):
            daemon.__enter__()

    assert "a pool in session mode" in to_client.value.hint
