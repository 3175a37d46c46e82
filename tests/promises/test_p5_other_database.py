"""P5: a transaction id means something in its own cluster only.

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
def asking(cmp: Cmp, host: Host) -> Iterator[GenesisClient]:
    """A client of `cmp`."""
    del cmp
    host.once()
    with GenesisClient(config=host.config(), timeout=0.1) as asking:
        yield asking


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_connection_to_another_database_is_refused_before_the_block_runs(
    asking: GenesisClient, other: Cmp, driver: str
) -> None:
    """It was `nothing_to_do`, success: in the client's world a transaction of this id had changed nothing."""
    conn, run = DRIVERS[driver](other)
    try:
        with pytest.raises(ConfigError, match="leads to another database"), asking.propagation(conn):
            run(INSERT)
        if driver != "psycopg autocommit":
            with pytest.raises(ConfigError, match="leads to another database"):
                asking.token(conn)
        conn.rollback()
    finally:
        conn.close()

    assert other.value("select count(*) from projects") == 0


def test_a_copy_of_the_cluster_is_told_apart(asking: GenesisClient, cmp: Cmp) -> None:
    """By the server process that holds the transaction open.

    Names, and even the system identifier, may be those of a copy.
    """
    with psycopg.connect(cmp.dsn) as conn, psycopg.connect(cmp.dsn) as same_id:
        token = asking.token(conn)

        assert asking._check_same_database(conn, token) is None
        with pytest.raises(ConfigError, match="leads to another database"):
            asking._check_same_database(same_id, token)


@needs_pooler
def test_through_a_pooler_it_is_the_same_database(cmp: Cmp, host: Host) -> None:
    """Both sides: the writer's connection, and the client's."""
    host.once()
    with ExitStack() as opened:
        pooled = opened.enter_context(pooler(cmp, "transaction"))
        for writer, client in ((pooled, cmp.dsn), (cmp.dsn, pooled), (pooled, pooled)):
            asking = opened.enter_context(GenesisClient(config=host.config(OMNICDC_DSN=client), timeout=0.1))
            conn = opened.enter_context(psycopg.connect(writer, prepare_threshold=None))
            with asking.propagation(conn) as found:
                conn.execute(INSERT)
            assert found.result["verdict"] == "no_consumer", found.result


def test_a_role_without_any_right_on_omnicdc_writes(asking: GenesisClient, cmp: Cmp) -> None:
    """As CMP's own writers are, and connections whose session takes another role."""
    role = f"writer_{os.getpid()}"
    cmp.conn.execute(f"create role {role} login; grant insert on projects to {role}")
    try:
        dsn = psycopg.conninfo.make_conninfo(cmp.dsn, user=role)
        with psycopg.connect(dsn) as conn, asking.propagation(conn) as found:
            conn.execute(INSERT)
        assert found.result["verdict"] == "no_consumer"
    finally:
        cmp.conn.execute(f"drop owned by {role}; drop role {role}")


def test_a_client_without_its_database_does_not_keep_the_block_from_writing(cmp: Cmp, host: Host) -> None:
    """P4: and what could not be checked is no success."""
    nowhere = "host=127.0.0.1 port=1"
    with (
        GenesisClient(config=host.config(OMNICDC_DSN=nowhere), timeout=0.1) as asking,
        psycopg.connect(cmp.dsn) as conn,
    ):
        assert asking.token(conn)
        with asking.propagation(conn) as found:
            conn.execute(INSERT)

    assert (found.result["success"], found.result["verdict"]) == (False, "unavailable")
    assert cmp.value("select count(*) from projects") == 1
