"""canonical_projects_uuids.json: a faithful mirror of CMP, every row and every value as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.formats.scalars import json_lines
from omnicdc.model import Entry
from omnicdc.registries.scanner import Frame, Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.model import Inputs


class CmpProjects(Scanner):
    """Scanner `cmp_projects`; needs nothing but CMP."""

    name = "cmp_projects"
    path = "governance/registry/uuid/canonical_projects_uuids.json"
    rank = 10
    query = """
        select id, name::text, type::text, key::text, metadata_ ->> 'github_url' as github_url,
               metadata_ ->> 'domain' as domain, status::text
          from {table}
    """

    def render(self, unit: str, rows: Sequence[Row], inputs: Inputs) -> Entry:  # noqa: ARG002 - a mirror
        """Return the project's entry; NULL is null."""
        [(_id, name, kind, key, github_url, domain, status)] = rows
        lines = json_lines(
            {
                "name": name,
                "type": kind,
                "key": key,
                "github_url": github_url,
                "domain": domain,
                "status": status,
                "source": "cmp_db",
            }
        )
        # No line feed inside a JSON string is raw.
        text = b'    "%b": %b,\n' % (unit.encode(), lines.replace(b"\n", b"\n    "))
        return Entry((name or "", unit), text)

    def frame(self, count: int, tally: tuple[int, ...], stamp: str) -> Frame:  # noqa: ARG002 - counts entries only
        """Return the header with the count."""
        header = (
            '{\n  "version": "1.0.0",\n  "entity_type": "projects",\n'
            f'  "generated_at": "{stamp}",\n  "count": {count},\n  "uuids": {{'
        )
        if not count:
            return Frame(f"{header}}}\n}}".encode(), b"")
        return Frame(f"{header}\n".encode(), b"\n  }\n}", separator=b",\n")


SCANNER = CmpProjects()
