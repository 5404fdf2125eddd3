"""A model as columns use it: sends requests and retries them until there is an answer."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from dd_core.errors import (
    ImageGenerationError,
    ModelBadRequestError,
    ModelContentFilteredError,
    ModelError,
    ModelGenerationValidationFailureError,
    ModelNotFoundError,
    ModelRateLimitError,
)
from dd_core.models.admission.backend import Backend
from dd_core.models.admission.limiter import DEFAULT_MAX_RETRY_AFTER, Outcome
from dd_core.models.admission.long_waits import LONG_WAIT, LongWaits
from dd_core.models.admission.rate_limit import Tokens
from dd_core.models.admission.request_queue import CellLimit, RequestQueue
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.admission.stop_evidence import StopEvidence
from dd_core.models.config import ModelConfig, ModelProvider
from dd_core.models.usage import BudgetTracker, UsageCount
from dd_core.models.wire.answers import Images, Reply, Usage, Vectors
from dd_core.models.wire.client import Client
from dd_core.models.wire.judgement import Verdict, judge_images, judge_vectors
from dd_core.models.wire.media import Block
from dd_core.models.wire.telemetry import observe

_logger = logging.getLogger(__name__)

_BACKOFF_SECONDS = 1.0
_A = TypeVar("_A", Reply, Vectors, Images)
_MAX_BACKOFF = 30.0
_MAX_REFUSED_SCHEMAS = 3


class Model:
    """One model alias: its configuration, its request queue and its usage."""

    def __init__(
        self,
        config: ModelConfig,
        backends: Sequence[Backend],
        cell_limit: CellLimit,
        budget: BudgetTracker,
        max_retries: int = 3,
        max_retry_after: float = DEFAULT_MAX_RETRY_AFTER,
    ) -> None:
        parallel = config.inference_parameters.max_parallel_requests
        self.queue = RequestQueue(backends, parallel, cell_limit, budget)
        self.config = config
        self.provider: ModelProvider | None = None
        """The provider that the configuration names, or the default one."""
        self.ignored_fields: set[str] = set()
        """Fields of custom functions' requests that were left out, with a warning."""
        self.max_retries = max_retries
        """Maximum number of retries per answer after failures of the server or connection."""
        self.fallback: Model | None = None
        """The model that takes over when no server knows this one anymore."""
        self.usage: dict[str, UsageCount] = {}
        """Usage by column."""
        self.answered_at: float | None = None
        """Time of the last answer, in seconds since 1970; None before the first one."""
        self.refuses_response_format = False
        """Whether the server rejects JSON schemas."""
        self._schemas_refused: int | None = None
        """Schemas refused since the last one that was accepted; None if none ever was."""
        self._evidence = StopEvidence()
        self._waits = LongWaits(config.alias, max_retry_after)
        self.budget = budget
        self._parameters = config.inference_parameters
        self._rng = np.random.default_rng()

    @property
    def alias(self) -> str:
        return self.config.alias

    async def ask(
        self,
        slot: RequestSlot,
        messages: list[dict[str, Any]],
        column: str,
        *,
        max_retries: int | None = None,
        max_retry_after: float = math.inf,
        **fields: Any,
    ) -> Reply:
        """Request one answer, with retries. Raises a `ModelError`.

        A 429 does not count as a failure: the request is repeated until the server accepts it. If
        the server asks for a longer wait than `max_retry_after` seconds, its error is raised.
        """
        body = self._body({"messages": messages, **fields})
        return await self._request(
            slot,
            column,
            lambda client: client.chat(body),
            max_retries,
            max_retry_after=max_retry_after,
        )

    async def complete(
        self,
        slot: RequestSlot,
        column: str,
        asked: Mapping[str, Any],
        *,
        max_retries: int | None = None,
        max_retry_after: float = math.inf,
    ) -> Reply:
        """Like `ask`, for the continuation of a text or of the last message.

        `asked` contains `prompt` or `messages`, and further fields of the body.
        """
        body = self._body(asked)
        body.pop("n", None)
        return await self._request(
            slot,
            column,
            lambda client: client.complete(body),
            max_retries,
            "chat" if "messages" in asked else "text_completion",
            max_retry_after,
        )

    async def embed(
        self,
        slot: RequestSlot,
        inputs: list[str],
        column: str,
        *,
        max_retries: int | None = None,
        max_retry_after: float = math.inf,
    ) -> list[list[float]]:
        """Request embeddings; returns one vector for each input. Raises a `ModelError`.

        If the answer is not usable, raises `ModelGenerationValidationFailureError`.
        """
        body = self._body({"input": inputs})
        answer = await self._request(
            slot,
            column,
            lambda client: client.embed(body),
            max_retries,
            "embeddings",
            max_retry_after,
        )
        judgement = judge_vectors(answer, len(inputs))
        if judgement.verdict is not Verdict.USABLE:
            self.usage[column].count_rejected(judgement.verdict)
            raise ModelGenerationValidationFailureError(
                f"model {self.alias!r} {judgement.reason}; check that it is an embedding model"
            )
        return answer.vectors

    async def draw(
        self,
        slot: RequestSlot,
        prompt: str,
        media: list[Block],
        column: str,
        *,
        max_retries: int | None = None,
        max_retry_after: float = math.inf,
        fields: Mapping[str, Any] | None = None,
    ) -> list[bytes]:
        """Request images for a prompt. Raises a `ModelError`.

        If the answer is not usable, raises `ImageGenerationError`.
        A chat model receives the media and then the prompt; the images route only the prompt.
        """
        by_chat = self.config.draws_by_chat
        content = [*media, {"type": "text", "text": prompt}] if media else prompt
        message = {"role": "user", "content": content}
        asked = {"messages": [message]} if by_chat else {"prompt": prompt}
        body = self._body({**asked, **(fields or {})})

        async def send(client: Client) -> Images:
            answer = await client.draw(body, by_chat=by_chat)
            found = [
                each if isinstance(each, bytes) else await client.fetch(each)
                for each in answer.found
            ]
            return replace(answer, found=found)

        answer = await self._request(
            slot, column, send, max_retries, "generate_content", max_retry_after
        )
        judgement = judge_images(answer)
        if judgement.verdict is not Verdict.USABLE:
            self.usage[column].count_rejected(judgement.verdict)
            raise ImageGenerationError(
                f"model {self.alias!r} {judgement.reason}; check the prompt, and that the model "
                "generates images"
            )
        return [each for each in answer.found if isinstance(each, bytes)]

    async def _request(
        self,
        slot: RequestSlot,
        column: str,
        send: Callable[[Client], Awaitable[_A]],
        max_retries: int | None,
        operation: str = "chat",
        max_retry_after: float = math.inf,
    ) -> _A:
        """Send a request until it is answered; count its usage and report every outcome.

        A longer wait than `max_retry_after` seconds raises the error that asks for it.
        """
        usage = self.usage.setdefault(column, UsageCount())
        clock = asyncio.get_running_loop().time
        allowed = self.max_retries if max_retries is None else max_retries
        failures, ended = 0, clock()  # 429s are not failures
        while True:
            backend = await slot.acquire()
            began = clock()
            usage.waiting += began - ended
            usage.requests += 1
            slot.was_sent = True
            outcome, retry_after, used = Outcome.OTHER, None, None
            try:
                with observe(operation, backend.client.provider, self.config.model, column) as seen:
                    answer = await send(backend.client)
                    seen.record_usage(answer.usage)
                outcome = Outcome.SUCCESS
                used = Tokens(answer.usage.input_tokens, answer.usage.output_tokens)
                usage.count(answer.usage)
                self._count_answer(answer.usage)
                return answer
            except ModelError as raised:
                error = self._evidence.weigh(raised, slot.row)
                outcome, retry_after = self._note_failure(error, usage, backend)
                is_limited = outcome is Outcome.RATE_LIMITED
                failures += not is_limited
                if self._switch_to_fallback(error, backend):
                    continue
                is_too_long = (retry_after or 0.0) > max_retry_after
                if is_too_long or not error.retryable or failures > allowed:
                    error.attempts = max(1, failures)
                    raise error from raised.__cause__
                usage.retries += not is_limited
            finally:
                ended = clock()
                usage.seconds += ended - began
                wait = slot.release(outcome, retry_after, used)
            # With several backends, the next attempt may go to another one, so it need not wait.
            if outcome is Outcome.FAILED and not self._has_other_healthy_backend(backend):
                wait = _compute_backoff(failures)
            await asyncio.sleep(wait)

    def _count_answer(self, used: Usage) -> None:
        self.budget.count_answer(used, self.config.price)
        self._evidence.answered()
        self.answered_at = time.time()

    def _note_failure(
        self, error: ModelError, usage: UsageCount, backend: Backend
    ) -> tuple[Outcome, float | None]:
        """Count a failure; returns what the limiter learns from it."""
        if not self._has_other_backend_without_pause(backend):
            self._waits.check(error)
        if isinstance(error, ModelRateLimitError):
            usage.rate_limited += 1
            return Outcome.RATE_LIMITED, error.retry_after
        usage.failed_requests += 1
        return Outcome.FAILED if error.retryable else Outcome.OTHER, error.retry_after

    def _has_other_backend_without_pause(self, backend: Backend) -> bool:
        return any(
            other is not backend and other.limiter.pause < LONG_WAIT
            for other in self.queue.backends
        )

    @property
    def pause(self) -> float:
        """Seconds until any of its servers accepts requests again, after 429s."""
        return min(backend.limiter.pause for backend in self.queue.backends)

    def _has_other_healthy_backend(self, backend: Backend) -> bool:
        return any(
            other is not backend and other.health is not None and other.health.is_well
            for other in self.queue.backends
        )

    def _switch_to_fallback(self, reason: ModelError, backend: Backend) -> bool:
        """Send all further requests to the fallback model, if no server knows this one any more.

        False if there is no fallback, or if it is the fallback itself that `backend` does not know.
        """
        if not isinstance(reason, ModelNotFoundError):
            return False
        if self.fallback is None or backend in self.fallback.queue.backends:
            return False
        # Requests in flight during the switch end with a 404, too. They only have to be retried.
        if self._parameters is not self.fallback.config.inference_parameters:
            if not reason.fatal:
                return False
            _logger.warning(
                "model %r replaces model %r: %s", self.fallback.alias, self.alias, reason
            )
            self.queue.move_to(self.fallback.queue.backends)
            self._parameters = self.fallback.config.inference_parameters
        return True

    async def ask_in_schema(
        self,
        slot: RequestSlot,
        messages: list[dict[str, Any]],
        column: str,
        schema: Mapping[str, Any],
    ) -> Reply:
        """Like `ask`, with a JSON schema that the server enforces if it supports that.

        With `structured_output="auto"`, a server that rejects schemas is not sent one again: one
        that accepts the same request without the schema, or that names the schema as the reason.
        A server that has accepted schemas before has to reject several in a row.
        """
        if self.refuses_response_format or self.config.structured_output == "prompt":
            return await self.ask(slot, messages, column)
        json_schema = {"name": "response", "schema": schema}
        response_format = {"type": "json_schema", "json_schema": json_schema}
        try:
            answer = await self.ask(slot, messages, column, response_format=response_format)
            self._schemas_refused = 0
            return answer
        except ModelContentFilteredError:
            raise
        except ModelBadRequestError as error:
            if self.config.structured_output == "provider":
                raise
            refused = error
        if refused.names_schema:
            self._stop_sending_schemas(refused)
        answer = await self.ask(slot, messages, column)
        # The server accepts the request without the schema, so the row was not the reason. But one
        # that has accepted schemas may have made an exception.
        if self._schemas_refused is not None:
            self._schemas_refused += 1
        if self._schemas_refused in (None, _MAX_REFUSED_SCHEMAS):
            self._stop_sending_schemas(refused)
        return answer

    def _stop_sending_schemas(self, reason: ModelBadRequestError) -> None:
        if not self.refuses_response_format:
            self.refuses_response_format = True
            _logger.warning(
                "model %r does not accept JSON schemas, so they are only described in its prompts "
                "from now on. The server said: %s",
                self.alias,
                reason,
            )

    def _body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request: inference parameters, then `fields`, then `extra_body`."""
        parameters = self._parameters
        body = {**parameters.request_fields(self._rng), **fields}
        body.update(parameters.extra_body or {})
        if "messages" in body:
            body.pop("n", None)  # a cell uses only one answer
        return body


def _compute_backoff(failures: int) -> float:
    """Seconds before the next attempt: exponential backoff with full jitter."""
    return random.uniform(0.0, min(_MAX_BACKOFF, _BACKOFF_SECONDS * 2.0**failures))
