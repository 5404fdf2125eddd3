"""A cell's place at a model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dd_core.models.lane import Lane
from dd_core.models.limiter import Admission, Outcome
from dd_core.models.rates import Tokens

if TYPE_CHECKING:
    from dd_core.models.places import Places

_AFTER_AN_END = 1.0
"""Seconds after which the place of a cancelled request is free."""


class Seat:
    """With it, one request may be in flight."""

    __slots__ = ("_admission", "_left", "lane", "model", "was_sent")

    def __init__(self, model: Places) -> None:
        self.model = model
        self.lane: Lane | None = None
        """Where the next request goes; None while no place is held."""
        self.was_sent = False
        """Whether the request that the place is for is on its way."""
        self._admission: Admission | None = None
        self._left: Lane | None = None

    def hold(self, lane: Lane) -> None:
        """Take the place that the model has just found free."""
        self.lane = lane
        self.model.in_flight += 1
        self.model.permits -= 1
        lane.in_flight += 1
        self._admission = lane.limiter.start()
        self.model.spending.began()
        self.was_sent = False

    async def take(self) -> Lane:
        """Wait until a request may be sent; returns where to."""
        if self.lane is None:
            await self.model.wait_for(self)
        assert self.lane is not None
        return self.lane

    def give_back(
        self,
        outcome: Outcome = Outcome.OTHER,
        retry_after: float | None = None,
        used: Tokens | None = None,
    ) -> float:
        """Let the next request go ahead, soon; without effect when the place is not held.

        Returns the seconds to wait before this request is sent again.
        """
        lane, self.lane = self.lane, None
        if lane is None or self._admission is None:
            return 0.0
        self.model.in_flight -= 1
        lane.in_flight -= 1
        self.model.spending.ended(was_sent=self.was_sent)
        if lane.health is not None:
            if outcome is Outcome.FAILED:
                lane.health.failed()
            elif outcome is not Outcome.OTHER:
                lane.health.answered()
        wait = lane.limiter.finish(self._admission, outcome, retry_after, used)
        if outcome is Outcome.SUCCESS:
            self._left = lane  # its cell will be done in a moment, and may pass the place on
            lane.limiter.room_changes()
        elif _is_ending():
            # When everything is told to end, nothing is to be started in the place of what ends.
            asyncio.get_running_loop().call_later(_AFTER_AN_END, lane.limiter.room_changed)
        else:
            lane.limiter.room_changed()
        return wait

    def pass_on(self) -> None:
        """Let the next request go ahead now, if this place was given back a moment ago."""
        left, self._left = self._left, None
        if left is not None:
            left.limiter.room_changed()


def _is_ending() -> bool:
    """Whether the running task was cancelled; without one, it was before its first step."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
