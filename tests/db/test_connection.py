"""A silence of the server is looked into.

One that works is waited for, one that does not is left; a stop ends either.
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


def test_a_query_that_takes_long_is_waited_for(conn: Connection) -> None:
    """Through several silences, each looked into."""
    assert conn.execute("select 1 as one from pg_sleep(0.7)").fetchone() == {"one": 1}


def test_an_answer_that_comes_while_the_silence_is_looked_into_counts(conn: Connection, server: str) -> None:
    """Then the server no longer works on the query, and that is no fault."""
    conn.conninfo = make_conninfo(server, options="-c post_auth_delay=1")

    assert conn.execute("select 1 as one from pg_sleep(0.7)").fetchone() == {"one": 1}


def test_who_may_not_look_takes_a_silence_for_the_end(conn: Connection) -> None:
    """As the canary's sender does: its session looks by itself."""
    conn.conninfo = None

    with pytest.raises(DatabaseUnavailable, match="owes an answer, has said nothing for 1 s"):
        conn.execute("select pg_sleep(20)")
    assert conn.closed


def test_a_server_that_lets_nobody_look_is_left(conn: Connection, server: str) -> None:
    conn.conninfo = f"{server} dbname=nowhere"

    with pytest.raises(DatabaseUnavailable, match="does not work on it"):
        conn.execute("select pg_sleep(20)")
    assert conn.closed


def test_a_stop_ends_the_waiting_for_an_answer(server: str) -> None:
    """CMP may keep its table locked for hours."""
    with db.connect(server) as conn:
        conn.stop = Stop()
        conn.stop()
        began = time.monotonic()

        with pytest.raises(Interrupted):
            conn.execute("select pg_sleep(120)")
        assert conn.closed
    assert time.monotonic() - began < 60


def test_a_connection_lost_in_the_middle_of_a_snapshot_is_told_as_that(conn: Connection) -> None:
    with pytest.raises(DatabaseUnavailable, match="terminating connection"), db.one_snapshot(conn):
        conn.execute("select pg_terminate_backend(pg_backend_pid())")
    assert conn.closed


def test_what_is_no_connection_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="the connection string does not parse"):
        db.connect("this is none")
