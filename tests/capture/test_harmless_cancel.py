"""P4 and P1: a write that is cancelled, at whatever instant, leaves nothing behind that harms the next."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from support.cmp import Cmp

ATTEMPTS = 40

RINGING_ALL_THE_TIME = """
do $$ begin
  loop
    begin
      perform omnicdc.notify_consumers();
      raise exception 'undo, so that it rings again';
    exception when raise_exception then
    end;
  end loop;
end $$
"""


def test_a_cancelled_ring_keeps_no_lock(cmp: Cmp) -> None:
    """With S taken and released in two statements, one of them left S with the session: nobody could park."""
    with cmp.connect() as writer:
        for attempt in range(ATTEMPTS):
            with suppress(psycopg.errors.QueryCanceled):  # the former timeout may end even this setting
                writer.execute(f"set statement_timeout = '{attempt % 7 + 2} ms'")
                writer.execute(RINGING_ALL_THE_TIME)
            kept = cmp.value(
                "select count(*) from pg_locks where pid = %s and locktype = 'advisory'",
                writer.info.backend_pid,
            )

            assert kept == 0


def test_a_cancelled_statement_logs_nothing(cmp: Cmp) -> None:
    with cmp.connect() as writer:
        writer.execute("set statement_timeout = '200 ms'")
        with suppress(psycopg.errors.QueryCanceled):
            writer.execute("insert into projects (name) select 'x' from generate_series(1, 1000000)")
        writer.execute("set statement_timeout = 0")
        project = cmp.upsert("apollo", conn=writer)

    assert cmp.log() == [(project, "insert", None)]


def test_the_comparison_does_not_swallow_a_cancel(cmp: Cmp) -> None:
    """Catching everything must not mean that a statement can no longer be ended."""
    cmp.fill(20_000)
    with cmp.connect() as writer:
        writer.execute("set statement_timeout = '5 ms'")

        with pytest.raises(psycopg.errors.QueryCanceled):
            writer.execute("update projects set name = name || '!'")
