"""The registry domains.json: the projects that have a domain, with the first part of the domain's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.formats.json_records import JsonObject
from omnicdc.formats.records import Shape
from omnicdc.model import Entry
from omnicdc.registries.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnicdc.model import Frame, Inputs
    from omnicdc.registries.scanner import Row


class Domains(Scanner):
    """One scanner is one registry. All its methods are pure: they get rows and return bytes."""

    name = "domains"
    path = "governance/registry/domains.json"
    check = "in_domains"
    layout = JsonObject(
        Shape(("id", "name", "area"), ("name", "area"), {"count": "{count}"}, entries="domains")
    )
    query = """
        select p.id, p.name::text, p.metadata_ ->> 'domain' as domain
          from projects p
         where p.metadata_ ->> 'domain' is not null
    """

    def render(self, entry_key: str, rows: Sequence[Row], inputs: Inputs) -> Entry | None:
        """Return the entry of a project. An error here holds back this entry alone."""
        [(_id, name, domain)] = rows
        area = str(domain).partition(".")[0]
        return Entry((name or "", entry_key), self.layout.rendered(entry_key, [{"name": name, "area": area}]))

    def frame(self, count: int, counters: tuple[int, ...], stamp: str) -> Frame:
        """Return what stands before and after the entries."""
        return self.layout.surround(count, stamp)
