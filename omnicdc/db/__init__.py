"""CMP's database: connections, the statements of queries.sql, and the driver's errors as ours.

The other rooms write `db.connect`, `db.fetch_one`, `db.translated`; what each does is in the modules.
"""

from omnicdc.db.connect import RETRY_S, connect, connect_within
from omnicdc.db.connection import Connection, Row
from omnicdc.db.errors import read_only, too_short, translated
from omnicdc.db.queries import (
    Cursor,
    confined,
    execute,
    fetch_all,
    fetch_one,
    fetch_optional,
    one_snapshot,
    single,
    start,
)
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
    "execute",
    "fetch_all",
    "fetch_one",
    "fetch_optional",
    "one_snapshot",
    "read_only",
    "single",
    "start",
    "too_short",
    "translated",
]
