"""Asks the server whether the functions of a declared registry's query are harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.model import Fault

if TYPE_CHECKING:
    from collections.abc import Collection

STABLE = frozenset({
    "array_agg", "array_to_json", "array_to_string", "array_to_tsvector", "concat", "concat_ws", "format",
    "json_agg", "json_build_array", "json_build_object", "json_object_agg", "json_populate_record",
    "json_populate_recordset", "json_to_record", "json_to_recordset", "jsonb_agg", "jsonb_build_array",
    "jsonb_build_object", "jsonb_object_agg", "jsonb_populate_record", "jsonb_populate_recordset",
    "jsonb_to_record", "jsonb_to_recordset", "row_to_json", "to_char", "to_date", "to_json", "to_jsonb",
    "to_number", "to_timestamp", "date_trunc", "date_part", "extract", "quote_literal", "quote_nullable",
    "jsonb_path_query_tz", "jsonb_path_exists_tz", "timezone", "string_to_array", "to_tsvector",
})  # fmt: skip
"""Functions that PostgreSQL calls STABLE because they use settings of the session, such as its time zone.

omnicdc pins these settings, so the functions return the same for the same row. Others depend on the clock, on
who asks, or on other tables."""


def function_fault(conn: db.Connection, functions: Collection[str]) -> Fault | None:
    """Return why a query calls a function that it must not call; None if all are harmless."""
    if not functions:
        return None
    found = db.fetch_all(conn, "functions", {"names": sorted(functions)})
    kinds = {row["name"]: row["volatility"] for row in found}
    for name in sorted(functions):
        if name not in kinds:
            return Fault(
                f"the query calls {name}, which is no function of PostgreSQL's own",
                "leave it out of the query",
            )
        if kinds[name] == "v" or (kinds[name] == "s" and name not in STABLE):
            return Fault(
                f"the query calls {name}, whose result may change while the row stays the same",
                "leave it out of the query",
            )
    return None
