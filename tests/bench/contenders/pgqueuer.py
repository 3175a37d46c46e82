"""pgqueuer: a row trigger adds a job to its queue, its own trigger notifies, its own worker runs the job.

The setup is as its documentation advises: one direct asyncpg connection for the queue manager, uvloop (which
its own command uses if installed), and its autovacuum settings. Everything else is the default. Its SQL to
add a job also writes a row into pgqueuer_log for statistics. That is left out here, in favour of pgqueuer.
"""

from __future__ import annotations

import asyncpg
import uvloop
from pgqueuer import Job, PgQueuer, Queries
from psycopg.conninfo import conninfo_to_dict

from bench.contenders.recorder import Recorder

TRIGGER = """
create function bench_row() returns trigger language plpgsql as $$
begin
  insert into pgqueuer (priority, entrypoint, payload, status)
       values (0, 'project', convert_to(new.id::text, 'utf8'), 'queued');
  return null;
end $$;
create trigger bench_row after insert or update on projects for each row execute function bench_row();
"""


async def main() -> None:
    recorder = Recorder()
    where = conninfo_to_dict(recorder.dsn)
    conn = await asyncpg.connect(
        host=where["host"], port=where["port"], database=where["dbname"], user=where["user"]
    )
    queries = Queries.from_asyncpg_connection(conn)
    await queries.install()
    await queries.optimize_autovacuum()
    await conn.execute(TRIGGER)
    worker = PgQueuer.from_asyncpg_connection(conn)

    async def project(job: Job) -> None:
        recorder.arrived(job.payload.decode())

    worker.entrypoint("project")(project)
    await worker.run()


if __name__ == "__main__":
    uvloop.run(main())
