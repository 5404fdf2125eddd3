"""A model as columns see it: a queue of ready cells, places for requests, and answers.

Cells that are ready wait in the model's queue without a task of their own, so that a hundred
thousand of them cost what a hundred do. A cell is started when there is a place for its first
request; a conversation that needs further requests queues for a place ahead of new cells.
"""

from __future__ import annotations

import asyncio
import random
from bisect import insort
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from dd_core.errors import ModelBadRequestError, ModelError, ModelRateLimitError
from dd_core.models.client import ChatClient, Reply, Usage
from dd_core.models.config import ChatCompletionInferenceParams, ModelConfig
from dd_core.models.limiter import Limiter, Outcome

MAX_RETRIES = 3
"""Requests repeated after a failure of the server or the connection, per answer."""
_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF = 30.0


@dataclass
class UsageCount:
    """What one column asked of one model; every field is a running total."""

    requests: int = 0
    failed_requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0

    def count(self, usage: Usage) -> None:
        """Add the tokens of one answer."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.cached_tokens += usage.cached_tokens

    def add(self, other: Mapping[str, float]) -> None:
        """Add another count, given as a mapping of the same fields."""
        for name, value in asdict(self).items():
            setattr(self, name, value + other.get(name, 0))


class Cells(Protocol):
    """The cells of one column of one batch, as a model's queue sees them."""

    def wanted(self, row: int) -> bool:
        """Whether the cell is still to be generated."""
        ...

    def start(self, row: int, seat: Seat) -> None:
        """Start generating the cell; the seat holds a place for its first request."""
        ...


@dataclass
class OpenCells:
    """Cells at work over all models of a run, and how many there may be."""

    maximum: int
    count: int = 0


class Seat:
    """A cell's place at a model: with it, one request may be in flight."""

    __slots__ = ("_admitted", "_held", "model")

    def __init__(self, model: Model) -> None:
        self.model = model
        self._held = False
        self._admitted = 0

    def hold(self) -> None:
        """Take the place that the model has just found free."""
        self._held = True
        self.model.in_flight += 1
        self._admitted = self.model.limiter.start()

    async def take(self) -> None:
        """Wait until a request may be sent."""
        if not self._held:
            await self.model.wait_for(self)

    def give_back(self, outcome: Outcome = Outcome.OTHER, retry_after: float | None = None) -> None:
        """Let the next request go ahead; without effect when the place is not held."""
        if not self._held:
            return
        self._held = False
        self.model.in_flight -= 1
        self.model.limiter.finish(self._admitted, outcome, retry_after)
        self.model.limiter.room_changed()


class Model:
    """One alias: its configuration, its limits and the cells that wait for it."""

    def __init__(
        self, config: ModelConfig, client: ChatClient, limiter: Limiter, open_cells: OpenCells
    ) -> None:
        self.config = config
        self.limiter = limiter
        self.in_flight = 0
        self.usage: dict[str, UsageCount] = {}
        self.refuses_response_format = False
        self._client = client
        self._open = open_cells
        self._ready: dict[int, deque[tuple[Cells, int]]] = {}
        self._ranks: list[int] = []
        self._ready_count = 0
        self._expected = 0
        self._returning: deque[tuple[Seat, asyncio.Future[None]]] = deque()
        self._rng = np.random.default_rng()
        limiter.pumps.append(self.pump)

    @property
    def alias(self) -> str:
        return self.config.alias

    @property
    def max_parallel_requests(self) -> int:
        return self.config.inference_parameters.max_parallel_requests

    @property
    def waiting(self) -> int:
        """Cells that are ready but not started."""
        return self._ready_count

    def expect(self, cells: int) -> None:
        """Announce cells that will be asked for; negative when they no longer will."""
        self._expected += cells

    def enqueue(self, rank: int, cells: Cells, row: int) -> None:
        """Queue a ready cell. `rank` is the number of model cells from here to the row's end."""
        bucket = self._ready.get(rank)
        if bucket is None:
            bucket = self._ready[rank] = deque()
            insort(self._ranks, rank)
        bucket.append((cells, row))
        self._ready_count += 1

    def pump(self) -> None:
        """Start what there is room for."""
        while self._returning or (self._ready_count and self._open.count < self._open.maximum):
            if self.in_flight >= self.max_parallel_requests or not self.limiter.has_room():
                self.limiter.wake_after_pause()
                return
            if self._returning:
                seat, granted = self._returning.popleft()
                if not granted.done():
                    seat.hold()
                    granted.set_result(None)
                continue
            cells, row = self._next_cell()
            if cells.wanted(row):
                seat = Seat(self)
                seat.hold()
                cells.start(row, seat)

    def _next_cell(self) -> tuple[Cells, int]:
        """The cell to serve next: rows near their end first, so that rows are finished early.

        When no more is to come than fills the places to the end of the longest row, the order
        turns round: then the rows with most still ahead decide when the run is over.
        """
        longest = self._ranks[-1]
        ending = self._expected <= 2 * longest * self.max_parallel_requests
        for rank in reversed(self._ranks) if ending else self._ranks:
            bucket = self._ready[rank]
            if bucket:
                self._ready_count -= 1
                return bucket.popleft()
        raise AssertionError("the queue counted a cell that it does not hold")

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
        max_retries: int = MAX_RETRIES,
        **fields: Any,
    ) -> Reply:
        """One answer; repeats what a repetition can mend. Raises a `ModelError`.

        A 429 is never counted as a failure: the request waits until the server takes it.
        """
        body = self._body(messages, fields)
        usage = self.usage.setdefault(column, UsageCount())
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            await seat.take()
            began = clock()
            usage.requests += 1
            outcome, retry_after = Outcome.OTHER, None
            try:
                reply = await self._client.chat(body)
                outcome = Outcome.SUCCESS
                usage.count(reply.usage)
                return reply
            except ModelRateLimitError as error:
                outcome, retry_after = Outcome.RATE_LIMITED, error.retry_after
                usage.rate_limited += 1
                continue
            except ModelError as error:
                usage.failed_requests += 1
                failures += 1
                if not error.retryable or failures > max_retries:
                    raise
                usage.retries += 1
            finally:
                usage.seconds += clock() - began
                seat.give_back(outcome, retry_after)
            await asyncio.sleep(_backoff(failures))

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

    def _body(self, messages: list[dict[str, Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
        parameters = self.config.inference_parameters
        body: dict[str, Any] = {"model": self.config.model, "messages": messages}
        if isinstance(parameters, ChatCompletionInferenceParams):
            body.update(parameters.request_fields(self._rng))
        body.update(fields)
        body.update(parameters.extra_body or {})
        body.pop("n", None)  # one cell, one answer
        return body


def _backoff(failures: int) -> float:
    """Seconds before the next try: exponential with full jitter."""
    return random.uniform(0.0, min(_LONGEST_BACKOFF, _BACKOFF_SECONDS * 2.0**failures))
