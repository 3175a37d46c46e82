"""canonical_agents_uuids.json: a mirror of CMP's table `agents`, every row and every value as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.formats import canonical
from omnicdc.registries.origin import CONSTANT, of_cmp
from omnicdc.registries.scanner import Row, Scanner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.model import Entry, Frame, Inputs
    from omnicdc.registries.origin import Origin


class CmpAgents(Scanner):
    """Scanner `cmp_agents`; needs nothing but CMP."""

    name = "cmp_agents"
    path = "governance/registry/uuid/canonical_agents_uuids.json"
    check = "in_canonical_agents_uuids"
    rank = 15
    layout = canonical.Members()
    source = "agents"
    sources = ("agents",)
    optional = True
    query = """
        select id, name::text, kind::text, role::text, metadata_ ->> 'clearance_tier' as clearance_tier,
               metadata_ ->> 'twin_bond' as twin_bond
          from {agents}
    """

    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry:  # noqa: ARG002 - a mirror
        """Return the agent's entry; NULL is null."""
        [(_id, name, kind, role, clearance_tier, twin_bond)] = rows
        fields = {
            "name": name,
            "type": "AGENT",
            "kind": kind,
            "role": role,
            "clearance_tier": clearance_tier,
            "twin_bond": twin_bond,
            "status": "active",
            "source": "cmp_db",
        }
        return canonical.entry(entry_key, name or "", fields)

    def origins(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Mapping[str, Origin]:  # noqa: ARG002 - a mirror
        """Return where each value comes from: all but the fixed ones from CMP."""
        return _ORIGINS

    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:  # noqa: ARG002 - counts entries
        """Return the header with the count."""
        return canonical.frame("agents", count, stamp)


_ORIGINS = {
    **{name: of_cmp(name) for name in ("id", "name", "kind", "role")},
    **{name: of_cmp(f"metadata_.{name}") for name in ("clearance_tier", "twin_bond")},
    **dict.fromkeys(("type", "status", "source"), CONSTANT),
}

SCANNER = CmpAgents()
