"""When and by which generation each host got what a wait is for. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from omnicdc.delivery.observation import Consumer


@dataclass(frozen=True, slots=True)
class Arrival:
    """The first generation of one consumer that holds what the wait is for."""

    consumer: str
    generation: int | None = None
    """None if the generation is no longer known."""
    at: datetime | None = None
    milliseconds: float | None = None
    """From the write to the publication; None if the time of the write is not known."""
    registries: tuple[str, ...] = ()
    """The files that the generation rewrote."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "generation": self.generation,
            "milliseconds": self.milliseconds,
            "published_at": self.at,
            "registries": list(self.registries),
        }


def arrivals(consumers: Iterable[Consumer], since: datetime | None) -> Iterator[Arrival]:
    """Yield the arrival at each consumer of what was written at `since`."""
    for consumer in consumers:
        it = consumer.delivery
        if it is None:
            yield Arrival(consumer.name)
            continue
        # The difference may be negative if a clock was set back.
        lasted = max(0.0, (it.at - since).total_seconds() * 1000) if since else None
        yield Arrival(consumer.name, it.generation, it.at, lasted, it.registries)
