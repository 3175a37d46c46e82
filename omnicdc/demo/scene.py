"""What every act plays with, and what it must keep in mind from one act to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omnicdc.demo.report import Check

if TYPE_CHECKING:
    from omnicdc.clients import GenesisClient
    from omnicdc.demo.house import House
    from omnicdc.demo.witness import Seen, Witness


@dataclass(slots=True)
class Scene:
    """What every act plays with."""

    home: House
    witness: Witness
    client: GenesisClient
    generation: int
    """The last one published: the next act's must follow it, or something was published in between."""

    def follows(self, seen: Seen) -> bool:
        """Whether a publication is the very next one."""
        previous, self.generation = self.generation, seen.verdict.generation or 0
        return self.generation == previous + 1

    def verified(self, uuid: str) -> Check:
        """Ask omnicdc's own verification."""
        result = self.client.verify_propagation(uuid)
        places = [
            name.removeprefix("in_").replace("_", " ") for name, holds in result["checks"].items() if holds
        ]
        trouble = ", ".join(result["missing_from"]) or result["error"] or ""
        claim = f"verify_propagation() finds it in {', '.join(places)}" + (
            f"; but {trouble}" if trouble else ""
        )
        return Check(claim, bool(result["verified"]))

    def gone(self, uuid: str) -> Check:
        """Ask omnicdc's own verification of a project that was deleted."""
        result = self.client.verify_propagation(uuid)
        nowhere = result["in_cmp"] is False and len(result["not_expected"]) == len(result["checks"])
        return Check("verify_propagation() says that it is not in CMP, and in no registry", nowhere)
