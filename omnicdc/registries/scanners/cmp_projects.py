"""canonical_projects_uuids.json: a mirror of CMP. It has every row, with unchanged values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.formats import canonical
from omnicdc.registries.origin import CONSTANT, of_cmp
from omnicdc.registries.scanner import Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.model import Entry, Frame, Inputs
    from omnicdc.registries.origin import Origin


class CmpProjects(Scanner):
    """Scanner `cmp_projects`. It needs CMP only, and no inputs."""

    name = "cmp_projects"
    path = "governance/registry/uuid/canonical_projects_uuids.json"
    check = "in_canonical_uuids"
    genesis_name = "cmp_scan"
    rank = 10
    layout = canonical.Members()
    query = """
        select id, name::text, type::text, key::text, metadata_ ->> 'github_url' as github_url,
               metadata_ ->> 'domain' as domain, status::text
          from {projects}
    """

    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry:  # noqa: ARG002 - a mirror
        """Return the project's entry. NULL becomes null."""
        [(_id, name, kind, key, github_url, domain, status)] = rows
        fields = {
            "name": name,
            "type": kind,
            "key": key,
            "github_url": github_url,
            "domain": domain,
            "status": status,
            "source": "cmp_db",
        }
        return canonical.entry(entry_key, name or "", fields)

    def origins(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Mapping[str, Origin]:  # noqa: ARG002 - a mirror
        """Return where each value comes from: all but `source` from CMP."""
        return _ORIGINS

    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:  # noqa: ARG002 - counts entries
        """Return the header with the count."""
        return canonical.frame("projects", count, stamp)


_ORIGINS = {
    **{name: of_cmp(name) for name in ("id", "name", "type", "key", "status")},
    **{name: of_cmp(f"metadata_.{name}") for name in ("github_url", "domain")},
    "source": CONSTANT,
}

SCANNER = CmpProjects()
