"""One of the servers behind an alias, with its limit and its health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dd_core.models.client import Client
from dd_core.models.health import Health
from dd_core.models.limiter import Limiter


@dataclass
class Lane:
    """Where an alias's requests can go."""

    client: Client
    limiter: Limiter
    weight: float = 1.0
    """Share of the requests, relative to the other lanes."""
    health: Health | None = None
    """None for an only lane, which is asked whatever happens."""
    in_flight: int = 0
    """Requests of this alias."""

    def has_room(self) -> bool:
        """Whether one more request may be sent."""
        if self.health is not None and not self.health.may_ask(self.in_flight):
            return False
        return self.limiter.has_room()

    @property
    def load(self) -> float:
        """Requests in flight for its share."""
        return (self.in_flight + 1) / self.weight


def free_lane(lanes: Sequence[Lane]) -> Lane | None:
    """The lane for the next request: the least loaded of those with room."""
    if len(lanes) == 1:
        return lanes[0] if lanes[0].has_room() else None
    return min((lane for lane in lanes if lane.has_room()), key=lambda x: x.load, default=None)
