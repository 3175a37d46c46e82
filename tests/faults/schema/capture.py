"""The parts of omnicdc's capture in CMP's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import LiteralString


TRIGGERS = ("omnicdc_log_row", "omnicdc_log_update", "omnicdc_log_truncate")

EDITED_FUNCTION: LiteralString = """create or replace function omnicdc.{}() returns trigger language plpgsql
          security definer set search_path = pg_catalog, pg_temp as 'begin return null; end'"""
"""Replaces one of omnicdc's trigger functions by one that logs nothing."""
