"""A probe finds out why the server is silent.

The daemon waits for a server that works on the query, and gives up one that does not. A stop ends a wait.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from omnicdc import db
from omnicdc.db.conninfo import Silence, Target
from omnicdc.errors import ConfigError, DatabaseUnavailable, Interrupted
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omnicdc.db import Connection


@pytest.fixture
def conn(server: str) -> Iterator[Connection]:
    """A connection that allows only a short silence."""
    with db.connect(Target(server, silence=Silence(allowed_s=0.2, probe_s=1.0))) as conn:
        yield conn


def test_a_long_query_is_waited_for(conn: Connection) -> None:
    """It takes several silences, each with a probe."""
    assert conn.execute("select 1 as one from pg_sleep(0.7)").fetchone() == {"one": 1}


def test_an_answer_that_arrives_during_a_probe_counts(conn: Connection, server: str) -> None:
    """The server then no longer works on the query, but this is no fault."""
    conn.conninfo = make_conninfo(server, options="-c post_auth_delay=1")

    assert conn.execute("select 1 as one from pg_sleep(0.7)").fetchone() == {"one": 1}


def test_a_connection_without_a_probe_is_closed_after_a_silence(conn: Connection) -> None:
    """The canary's connection has no probe: its session sends the probes."""
    conn.conninfo = None

    with pytest.raises(DatabaseUnavailable, match="owes an answer, has said nothing for 1 s"):
        conn.execute("select pg_sleep(20)")
    assert conn.closed


def test_a_server_that_refuses_the_probe_is_given_up(conn: Connection, server: str) -> None:
    conn.conninfo = f"{server} dbname=nowhere"

    with pytest.raises(DatabaseUnavailable, match="does not work on it"):
        conn.execute("select pg_sleep(20)")
    assert conn.closed


def test_a_stop_ends_the_wait_for_an_answer(server: str) -> None:
    """A session of CMP may lock the table for hours."""
    with db.connect(server) as conn:
        conn.stop = Stop()
        conn.stop()
        began = time.monotonic()

        with pytest.raises(Interrupted):
            conn.execute("select pg_sleep(120)")
        assert conn.closed
    assert time.monotonic() - began < 60


def test_a_connection_lost_within_a_snapshot_is_reported_as_lost(conn: Connection) -> None:
    with pytest.raises(DatabaseUnavailable, match="terminating connection"), db.one_snapshot(conn):
        conn.execute("select pg_terminate_backend(pg_backend_pid())")
    assert conn.closed


def test_an_invalid_connection_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="the connection string does not parse"):
        db.connect("this is none")
