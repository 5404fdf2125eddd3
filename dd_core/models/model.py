"""A model as columns see it: a queue of ready cells, places for requests, and answers.

Cells that are ready wait in the model's queue without a task of their own, so that a hundred
thousand of them cost what a hundred do. A cell is started when there is a place for its first
request; a conversation that needs further requests queues for a place ahead of new cells.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from dd_core.errors import (
    ImageGenerationError,
    ModelBadRequestError,
    ModelError,
    ModelNotFoundError,
    ModelRateLimitError,
)
from dd_core.media import Block
from dd_core.models.answers import Images, Reply, Vectors
from dd_core.models.client import Client
from dd_core.models.config import ModelConfig
from dd_core.models.lane import Lane, free_lane
from dd_core.models.limiter import Outcome
from dd_core.models.queue import Cells, ReadyCells
from dd_core.models.rates import Tokens
from dd_core.models.seat import Seat
from dd_core.models.spending import Spending
from dd_core.models.usage import UsageCount

_logger = logging.getLogger(__name__)

_BACKOFF_SECONDS = 1.0
_A = TypeVar("_A", Reply, Vectors, Images)
_LONGEST_BACKOFF = 30.0


@dataclass
class OpenCells:
    """Cells at work over all models of a run, and how many there may be."""

    maximum: int
    count: int = 0


class Model:
    """One alias: its configuration, its servers and the cells that wait for it."""

    def __init__(
        self,
        config: ModelConfig,
        lanes: Sequence[Lane],
        open_cells: OpenCells,
        spending: Spending,
        max_retries: int = 3,
    ) -> None:
        self.config = config
        self.spending = spending
        self.max_retries = max_retries
        """Requests repeated after a failure of the server or the connection, per answer."""
        self.lanes = [*lanes]
        self.fallback: Model | None = None
        """What answers in this model's place when no server knows it any more."""
        self.in_flight = 0
        self.usage: dict[str, UsageCount] = {}
        self.refuses_response_format = False
        self._open = open_cells
        self._parameters = config.inference_parameters
        self._ready = ReadyCells(config.inference_parameters.max_parallel_requests)
        self._returning: deque[tuple[Seat, asyncio.Future[None]]] = deque()
        self._rng = np.random.default_rng()
        self._wake_up: asyncio.TimerHandle | None = None
        for lane in lanes:
            lane.limiter.pumps.append(self.pump)

    @property
    def alias(self) -> str:
        return self.config.alias

    @property
    def max_parallel_requests(self) -> int:
        return self.config.inference_parameters.max_parallel_requests

    @property
    def waiting(self) -> int:
        """Cells that are ready but not started."""
        return self._ready.count

    def expect(self, cells: int) -> None:
        """Announce cells that will be asked for; negative when they no longer will."""
        self._ready.expected += cells

    def enqueue(self, rank: int, cells: Cells, row: int) -> None:
        """Queue a ready cell. `rank` is the number of model cells from here to the row's end."""
        self._ready.add(rank, cells, row)

    def pump(self) -> None:
        """Start what there is room for."""
        while self._returning or (self._ready.count and self._open.count < self._open.maximum):
            if not self.spending.allows_request():
                return
            lane = free_lane(self.lanes) if self.in_flight < self.max_parallel_requests else None
            if lane is None:
                self._wake_when_time_allows()
                return
            if self._returning:
                seat, granted = self._returning.popleft()
                if not granted.done():
                    seat.hold(lane)
                    granted.set_result(None)
                continue
            cells, row = self._ready.next()
            if cells.wanted(row):
                seat = Seat(self)
                seat.hold(lane)
                cells.start(row, seat)

    def _wake_when_time_allows(self) -> None:
        for lane in self.lanes:
            lane.limiter.wake_when_time_allows()
        rests = [lane.health.wait for lane in self.lanes if lane.health and lane.health.wait > 0.0]
        if rests and self._wake_up is None:
            loop = asyncio.get_running_loop()
            self._wake_up = loop.call_later(min(rests), self._rested)

    def _rested(self) -> None:
        self._wake_up = None
        self.pump()

    async def wait_for(self, seat: Seat) -> None:
        """Wait for a place for a conversation that is already at work."""
        granted = asyncio.get_running_loop().create_future()
        self._returning.append((seat, granted))
        self.pump()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                seat.give_back(Outcome.OTHER)
            raise

    async def ask(
        self,
        seat: Seat,
        messages: list[dict[str, Any]],
        column: str,
        *,
        max_retries: int | None = None,
        **fields: Any,
    ) -> Reply:
        """One answer; repeats what a repetition can mend. Raises a `ModelError`.

        A 429 is never counted as a failure: the request waits until the server takes it.
        """
        body = self._body({"messages": messages, **fields})
        return await self._asked(seat, column, lambda client: client.chat(body), max_retries)

    async def embed(
        self, seat: Seat, texts: list[str], column: str, *, max_retries: int | None = None
    ) -> list[list[float]]:
        """One vector for each text. Raises a `ModelError`."""
        body = self._body({"input": texts})
        answer = await self._asked(seat, column, lambda client: client.embed(body), max_retries)
        if len(answer.vectors) != len(texts) or not all(answer.vectors):
            raise ModelBadRequestError(
                f"model {self.alias!r} was sent {len(texts)} texts and answered with "
                f"{sum(map(bool, answer.vectors))} vectors; check that it is an embedding model"
            )
        return answer.vectors

    async def draw(
        self,
        seat: Seat,
        prompt: str,
        media: list[Block],
        column: str,
        *,
        max_retries: int | None = None,
    ) -> list[bytes]:
        """Images for a prompt; models that draw in a chat are shown the media first."""
        by_chat = self.config.draws_by_chat
        content = [*media, {"type": "text", "text": prompt}] if media else prompt
        message = {"role": "user", "content": content}
        asked = {"messages": [message]} if by_chat else {"prompt": prompt}
        body = self._body(asked)

        async def drawn(client: Client) -> Images:
            answer = await client.draw(body, by_chat=by_chat)
            found = [
                each if isinstance(each, bytes) else await client.fetch(each)
                for each in answer.found
            ]
            return Images([*found], answer.usage)

        answer = await self._asked(seat, column, drawn, max_retries)
        if not answer.found:
            raise ImageGenerationError(
                f"model {self.alias!r} answered without an image; check that it generates images"
            )
        return [each for each in answer.found if isinstance(each, bytes)]

    async def _asked(
        self,
        seat: Seat,
        column: str,
        send: Callable[[Client], Awaitable[_A]],
        max_retries: int | None,
    ) -> _A:
        usage = self.usage.setdefault(column, UsageCount())
        clock = asyncio.get_running_loop().time
        allowed = self.max_retries if max_retries is None else max_retries
        failures = 0
        while True:
            lane = await seat.take()
            began = clock()
            usage.requests += 1
            seat.was_sent = True
            outcome, retry_after, used = Outcome.OTHER, None, None
            try:
                answer = await send(lane.client)
                outcome = Outcome.SUCCESS
                used = Tokens(answer.usage.input_tokens, answer.usage.output_tokens)
                usage.count(answer.usage)
                self.spending.answered(answer.usage, self.config.price)
                return answer
            except ModelRateLimitError as error:
                outcome, retry_after = Outcome.RATE_LIMITED, error.retry_after
                usage.rate_limited += 1
            except ModelError as error:
                usage.failed_requests += 1
                failures += 1
                if isinstance(error, ModelNotFoundError) and self._retire(error):
                    continue
                outcome = Outcome.FAILED if error.retryable else Outcome.OTHER
                if not error.retryable or failures > allowed:
                    error.attempts = failures
                    raise
                usage.retries += 1
            finally:
                usage.seconds += clock() - began
                wait = seat.give_back(outcome, retry_after, used)
            if outcome is Outcome.FAILED and not self._another_is_well(lane):
                wait = _backoff(failures)
            await asyncio.sleep(wait)

    def _another_is_well(self, lane: Lane) -> bool:
        return any(
            other is not lane and other.health is not None and other.health.is_well
            for other in self.lanes
        )

    def _retire(self, reason: ModelNotFoundError) -> bool:
        """Let the fallback answer from now on; False if there is none."""
        if self.fallback is None:
            return False
        if self.lanes is not self.fallback.lanes:
            _logger.warning(
                "model %r is asked in place of %r: %s", self.fallback.alias, self.alias, reason
            )
            self.lanes = self.fallback.lanes
            self._parameters = self.fallback.config.inference_parameters
            for lane in self.lanes:
                lane.limiter.pumps.append(self.pump)
        return True

    async def ask_in_schema(
        self, seat: Seat, messages: list[dict[str, Any]], column: str, schema: Mapping[str, Any]
    ) -> Reply:
        """Like `ask`, and lets the server enforce the schema if it can; remembers when not."""
        if self.refuses_response_format or self.config.structured_output == "prompt":
            return await self.ask(seat, messages, column)
        wanted = {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
        try:
            return await self.ask(seat, messages, column, response_format=wanted)
        except ModelBadRequestError:
            if self.config.structured_output == "provider":
                raise
            self.refuses_response_format = True
            return await self.ask(seat, messages, column)

    def _body(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        parameters = self._parameters
        body = {**parameters.request_fields(self._rng), **asked}
        body.update(parameters.extra_body or {})
        if "messages" in body:
            body.pop("n", None)  # one cell, one answer
        return body


def _backoff(failures: int) -> float:
    """Seconds before the next try: exponential with full jitter."""
    return random.uniform(0.0, min(_LONGEST_BACKOFF, _BACKOFF_SECONDS * 2.0**failures))
