"""P4 and P1: a write that is cancelled, at any moment, does not harm the next write."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from support.cmp import Cmp

ATTEMPTS = 40

ENDLESS_NOTIFICATIONS = """
do $$ begin
  loop
    begin
      perform omnicdc.notify_consumers();
      raise exception 'undo, so that it notifies again';
    exception when raise_exception then
    end;
  end loop;
end $$
"""


def test_a_cancelled_notification_keeps_no_lock(cmp: Cmp) -> None:
    """Regression: the sleeper lock S was taken and released in two statements.

    A cancel between the two left S with the session, and no consumer could park.
    """
    with cmp.connect() as writer:
        for attempt in range(ATTEMPTS):
            with suppress(psycopg.errors.QueryCanceled):  # the previous timeout may cancel this `set` as well
                writer.execute(f"set statement_timeout = '{attempt % 7 + 2} ms'")
                writer.execute(ENDLESS_NOTIFICATIONS)
            locks = cmp.value(
                "select count(*) from pg_locks where pid = %s and locktype = 'advisory'",
                writer.info.backend_pid,
            )

            assert locks == 0


def test_a_cancelled_statement_logs_nothing(cmp: Cmp) -> None:
    with cmp.connect() as writer:
        writer.execute("set statement_timeout = '200 ms'")
        with suppress(psycopg.errors.QueryCanceled):
            writer.execute("insert into projects (name) select 'x' from generate_series(1, 1000000)")
        writer.execute("set statement_timeout = 0")
        project = cmp.upsert("apollo", conn=writer)

    assert cmp.log() == [(project, "insert", None)]


def test_an_update_can_be_cancelled_during_the_comparison(cmp: Cmp) -> None:
    """The comparison catches errors, but it must not catch a cancel."""
    cmp.fill(20_000)
    with cmp.connect() as writer:
        writer.execute("set statement_timeout = '5 ms'")

        with pytest.raises(psycopg.errors.QueryCanceled):
            writer.execute("update projects set name = name || '!'")
