"""P5: a transaction id is valid in its own cluster only.

A writer's connection to another database is refused.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from promises.test_p5_any_driver import DRIVERS, INSERT
from support.pooler import needs_pooler, pooler

from omnicdc.clients import GenesisClient
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.host import Host


@pytest.fixture
def other(bare: Cmp) -> Cmp:
    """Another database of the same server, with CMP's table."""
    return bare


@pytest.fixture
def genesis(cmp: Cmp, host: Host) -> Iterator[GenesisClient]:
    """A client of `cmp`."""
    del cmp
    host.once()
    with GenesisClient(config=host.config(), timeout=0.1) as genesis:
        yield genesis


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_connection_to_another_database_is_refused_before_the_block_runs(
    genesis: GenesisClient, other: Cmp, driver: str
) -> None:
    """Regression: the answer was `nothing_to_do`, which is a success.

    In the client's cluster, the transaction with this id had changed nothing.
    """
    conn, run = DRIVERS[driver](other)
    try:
        with pytest.raises(ConfigError, match="leads to another database"), genesis.propagation(conn):
            run(INSERT)
        if driver != "psycopg autocommit":
            with pytest.raises(ConfigError, match="leads to another database"):
                genesis.token(conn)
        conn.rollback()
    finally:
        conn.close()

    assert other.value("select count(*) from projects") == 0


def test_a_copy_of_the_cluster_is_another_database(genesis: GenesisClient, cmp: Cmp) -> None:
    """The check looks for the server process that holds the transaction open.

    A copy can have the same names, and even the same system identifier.
    """
    with psycopg.connect(cmp.dsn) as conn, psycopg.connect(cmp.dsn) as same_id:
        token = genesis.token(conn)

        assert genesis._check_same_database(conn, token) is None
        with pytest.raises(ConfigError, match="leads to another database"):
            genesis._check_same_database(same_id, token)


@needs_pooler
def test_a_database_behind_a_pooler_is_the_same_database(cmp: Cmp, host: Host) -> None:
    """The writer connects through the pooler, or the client does, or both do."""
    host.once()
    with ExitStack() as opened:
        pooled = opened.enter_context(pooler(cmp, "transaction"))
        for writer, client in ((pooled, cmp.dsn), (cmp.dsn, pooled), (pooled, pooled)):
            genesis = opened.enter_context(GenesisClient(config=host.config(OMNICDC_DSN=client), timeout=0.1))
            conn = opened.enter_context(psycopg.connect(writer, prepare_threshold=None))
            with genesis.propagation(conn) as found:
                conn.execute(INSERT)
            assert found.result["verdict"] == "no_consumer", found.result


def test_a_writer_needs_no_right_on_omnicdc(genesis: GenesisClient, cmp: Cmp) -> None:
    """The roles of CMP's own writers have no such right."""
    role = f"writer_{os.getpid()}"
    cmp.conn.execute(f"create role {role} login; grant insert on projects to {role}")
    try:
        dsn = psycopg.conninfo.make_conninfo(cmp.dsn, user=role)
        with psycopg.connect(dsn) as conn, genesis.propagation(conn) as found:
            conn.execute(INSERT)
        assert found.result["verdict"] == "no_consumer"
    finally:
        cmp.conn.execute(f"drop owned by {role}; drop role {role}")


def test_a_client_without_its_database_does_not_stop_the_block(cmp: Cmp, host: Host) -> None:
    """P4: the block writes. The result is no success, because the wait was not possible."""
    nowhere = "host=127.0.0.1 port=1"
    with (
        GenesisClient(config=host.config(OMNICDC_DSN=nowhere), timeout=0.1) as genesis,
        psycopg.connect(cmp.dsn) as conn,
    ):
        assert genesis.token(conn)
        with genesis.propagation(conn) as found:
            conn.execute(INSERT)

    assert (found.result["success"], found.result["verdict"]) == (False, "unavailable")
    assert cmp.value("select count(*) from projects") == 1
