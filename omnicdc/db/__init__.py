"""CMP's database: connections, the statements of queries.sql, and the driver's errors as ours.

The other rooms write `db.connect`, `db.one`, `db.translated`; what each does is in the modules.
"""

from omnicdc.db.connect import RETRY_S, connect, connect_within
from omnicdc.db.connection import Connection, Row
from omnicdc.db.errors import read_only, too_short, translated
from omnicdc.db.queries import Cursor, confined, maybe, one, one_snapshot, only, rows, run, start
from omnicdc.db.schema import check_row_security, check_schema

__all__ = [
    "RETRY_S",
    "Connection",
    "Cursor",
    "Row",
    "check_row_security",
    "check_schema",
    "confined",
    "connect",
    "connect_within",
    "maybe",
    "one",
    "one_snapshot",
    "only",
    "read_only",
    "rows",
    "run",
    "start",
    "too_short",
    "translated",
]
