"""procrastinate: a row trigger defers a job, its own trigger notifies, its own worker runs the task.

The worker has the default settings: it listens for notifications and runs one job at a time. The task is a
coroutine, so it needs no thread. procrastinate_defer_jobs_v1 is the function that its own client calls.
"""

from __future__ import annotations

import asyncio

import psycopg
from procrastinate import App, PsycopgConnector

from bench.contenders.recorder import Recorder

TRIGGER = """
create function bench_row() returns trigger language plpgsql as $$
begin
  perform procrastinate_defer_jobs_v1(array[
    row('projects', 'project', 0, null, null, jsonb_build_object('project', new.id), null)
      ::procrastinate_job_to_defer_v1]);
  return null;
end $$;
create trigger bench_row after insert or update on projects for each row execute function bench_row();
"""


async def main() -> None:
    recorder = Recorder()
    app = App(connector=PsycopgConnector(conninfo=recorder.dsn))

    async def arrived(project: str) -> None:
        recorder.arrived(project)

    app.task(name="project", queue="projects")(arrived)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        async with await psycopg.AsyncConnection.connect(recorder.dsn) as conn:
            await conn.execute(TRIGGER)
        await app.run_worker_async(queues=["projects"])


if __name__ == "__main__":
    asyncio.run(main())
