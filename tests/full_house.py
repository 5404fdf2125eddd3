"""A model that shows whether places idle, by counting requests rather than seconds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from benchmarks.schema_values import structured_text
from tests.scripted import Body, ScriptedModel, prompt_of

_PATIENCE = 30.0  # seconds, in which a client has nothing to do but to send its next request


class FullHouse(ScriptedModel):
    """Answers a request only while every place that can be taken is taken.

    `places` is how many requests each model takes at once, and `work` says how many cells of each
    model could be in flight if it had places for all. A client that leaves a place empty gets no
    answer for a while; then `idled` tells of it, and everything is answered at once.
    """

    def __init__(self, places: int, work: Callable[[], Mapping[str, int]]) -> None:
        super().__init__(lambda body: structured_text(body, 0) or "text")
        self._places = places
        self._work = work
        self._waiting: list[tuple[Body, asyncio.Event]] = []
        self.answered: Counter[str] = Counter()
        """Answers so far by model, and by what a prompt says before its first colon."""
        self.idled = False

    async def pause(self, body: Body) -> None:
        turn = asyncio.Event()
        self._waiting.append((body, turn))
        self._answer_while_full()
        try:
            await asyncio.wait_for(turn.wait(), _PATIENCE)
        except TimeoutError:
            self.idled = True
            self._answer_while_full()

    def _answer_while_full(self) -> None:
        while self._waiting and (self.idled or self._is_full()):
            body, turn = self._waiting.pop(0)
            self.answered.update((body["model"], prompt_of(body).partition(":")[0]))
            turn.set()

    def _is_full(self) -> bool:
        taken = Counter(body["model"] for body, _ in self._waiting)
        return all(taken[model] >= min(self._places, n) for model, n in self._work().items())
