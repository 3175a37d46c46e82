"""The simplest own solution: a row trigger that sends the row with pg_notify, and psycopg that listens.

psycopg is its C build, synchronous and blocking, so there is no layer between socket and consumer. Nothing is
stored: notifications are lost while the consumer is away, and a row of 8,000 bytes makes the statement of the
application fail.
"""

from __future__ import annotations

import json

import psycopg

from bench.contenders.recorder import Recorder

TRIGGER = """
create function bench_row() returns trigger language plpgsql
as $$ begin perform pg_notify('bench', row_to_json(new)::text); return null; end $$;
create trigger bench_row after insert or update on projects for each row execute function bench_row();
"""


def main() -> None:
    recorder = Recorder()
    with psycopg.connect(recorder.dsn, autocommit=True) as conn:
        conn.execute(TRIGGER)
        conn.execute("listen bench")
        for notification in conn.notifies():
            recorder.arrived(json.loads(notification.payload)["id"])


if __name__ == "__main__":
    main()
