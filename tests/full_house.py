"""A model that detects idle request slots by counting requests instead of measuring time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from benchmarks.schema_values import structured_text
from tests.scripted import Body, ScriptedModel, prompt_of

_PATIENCE = 30.0  # seconds; the client has nothing to do but to send its next request


class FullHouse(ScriptedModel):
    """Answers a request only while every slot that can be used is used.

    `places` is the number of slots of each model, and `work` returns the number of cells of each
    model that could be in flight if it had enough slots. A client that leaves a slot empty gets no
    answer until a timeout. Then `idled` becomes true and all requests are answered immediately.
    """

    def __init__(self, places: int, work: Callable[[], Mapping[str, int]]) -> None:
        super().__init__(lambda body: structured_text(body, 0) or "text")
        self._places = places
        self._work = work
        self._waiting: list[tuple[Body, asyncio.Event]] = []
        self.answered: Counter[str] = Counter()
        """Number of answers by model, and by the prompt's text before its first colon."""
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
