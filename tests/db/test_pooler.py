"""Through a pooler in transaction mode everything but the daemon works, and leaves nothing in its sessions.

Each session of the pool serves CMP's own writers next: a LISTEN, a parameter or a prepared statement of ours
would be theirs.
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

from omnicdc import db
from omnicdc import verify as verification
from omnicdc.capture import install
from omnicdc.capture.watch_list import derive
from omnicdc.clients import GenesisClient
from omnicdc.db.pooler import check_session
from omnicdc.delivery import wait as waits
from omnicdc.delivery.status import status
from omnicdc.errors import ConfigError
from omnicdc.registries.scanners import scanners
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp

pytestmark = needs_pooler

WATCHED = derive(scanners().values()).fields

LEFT = """
select (select array_agg(c) from pg_listening_channels() c) as channels,
       (select array_agg(name) from pg_prepared_statements) as statements,
       (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory') as locks,
       (select array_agg(name || '=' || setting order by name) from pg_settings
         where name <> 'application_name' and source = 'session') as parameters,
       current_setting('omnicdc.mark', true) as mark
"""


@pytest.fixture
def pooled(cmp: Cmp) -> Iterator[str]:
    """CMP through a pool of one session, so that all that comes is in the same."""
    with pooler(cmp, "transaction", 1) as dsn:
        yield dsn


def left(dsn: str) -> Any:  # noqa: ANN401 - compared with itself
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None, client_encoding="utf8") as conn:
        return conn.execute(LEFT).fetchone()


def test_waiting_through_a_pooler_leaves_nothing(cmp: Cmp, host: Host, pooled: str) -> None:
    """Two that wait at once failed after five looks: prepared statement "_pg3_0" already exists."""
    before = left(pooled)

    def waited(token: str, timeout_s: float) -> str:
        with db.connect(pooled) as conn:
            assert conn.behind_pooler
            return waits.wait(conn, token, timeout_s=timeout_s, stop=Stop(), first_poll_s=0.02).status

    with opened(host) as one, ThreadPoolExecutor(2) as pool:
        one.publish()
        with cmp.transaction() as (writer, token):
            cmp.upsert("pooled", conn=writer)
            too_early = [*pool.map(waited, [token] * 2, [1.0] * 2)]
        one.publish()
        published = [*pool.map(waited, [token] * 2, [20.0] * 2)]

    assert (too_early, published) == (["timeout"] * 2, ["published"] * 2)
    assert left(pooled) == before


def test_everything_that_is_asked_works_through_a_pooler_and_leaves_nothing(
    bare: Cmp, tmp_path: Path
) -> None:
    """Whatever its database sets.

    `install` is one transaction, and each look has our parameters for itself.
    """
    for parameter in ("DateStyle = 'German'", "default_transaction_isolation = 'serializable'"):
        bare.conn.execute(f"alter database {bare.conn.info.dbname} set {parameter}")
    host = Host(tmp_path / "host", bare.dsn)
    with pooler(bare, "transaction", 1) as pooled:
        before = left(pooled)
        with db.connect(pooled) as conn:
            assert install.install(conn, "projects", WATCHED)
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
        assert left(pooled) == before


@pytest.mark.parametrize("size", [1, 3])
def test_looking_for_a_pooler_leaves_nothing(cmp: Cmp, size: int) -> None:
    with pooler(cmp, "transaction", size) as pooled:
        before = left(pooled)
        with db.connect(pooled) as conn, pytest.raises(ConfigError, match="pooler in transaction mode"):
            check_session(conn, partial(db.connect, pooled))
        assert left(pooled) == before


def test_a_session_that_is_lent_whole_is_pinned_for_the_daemon(cmp: Cmp, host: Host) -> None:
    cmp.conn.execute(
        f"alter database {cmp.conn.info.dbname} set default_transaction_isolation = 'serializable'"
    )
    with pooler(cmp, "session") as dsn, opened(host, OMNICDC_DSN=dsn) as one:
        one.publish()

        assert one.conn.behind_pooler
        isolation = one.conn.execute("show default_transaction_isolation").fetchone()
        assert isolation == {"default_transaction_isolation": "read committed"}


def test_a_pooler_in_statement_mode_is_named(cmp: Cmp, tmp_path: Path) -> None:
    """It refuses transactions, which passes for no outage: trying again cannot help."""
    with pooler(cmp, "statement", 1) as dsn:
        daemon = opened(Host(tmp_path / "host", dsn))
        with pytest.raises(ConfigError, match="refuses transactions") as to_client:
            db.connect(dsn)
        with pytest.raises(ConfigError, match="refuses transactions"):
            daemon.__enter__()

    assert "a pool in session mode" in to_client.value.hint
