"""CMP's database: connections, the statements of queries.sql, and the translation of psycopg's errors.

Other packages call `db.connect`, `db.fetch_one`, `db.translated` and so on. The modules of this package
define and explain these functions.
"""

from omnicdc.db.connect import RETRY_S, connect, connect_within
from omnicdc.db.connection import Connection, Row, quoted_role, role_of
from omnicdc.db.errors import canceled_remedy, ended_idle, read_only_remedy, translated
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
from omnicdc.db.schema import check_row_security, check_schema, schema_revision

__all__ = [
    "RETRY_S",
    "Connection",
    "Cursor",
    "Row",
    "canceled_remedy",
    "check_row_security",
    "check_schema",
    "confined",
    "connect",
    "connect_within",
    "ended_idle",
    "execute",
    "fetch_all",
    "fetch_one",
    "fetch_optional",
    "one_snapshot",
    "quoted_role",
    "read_only_remedy",
    "role_of",
    "schema_revision",
    "single",
    "start",
    "translated",
]
