"""CMP as the demo and the tests create it: the login roles, the table of projects, and the rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import LiteralString

WRITER, DAEMON = "genesis", "omnicdc"
"""The login role that writes to CMP, and the one of the daemon."""

TABLE: LiteralString = """
create table projects (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  key text,
  type text,
  status text,
  metadata_ jsonb,
  description text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
)
"""

GRANTS: LiteralString = "grant omnicdc_client to genesis; grant omnicdc_daemon, omnicdc_client to omnicdc"
"""A writer needs no role of omnicdc, because the triggers log every write. It needs a role only to wait for
the publication."""
