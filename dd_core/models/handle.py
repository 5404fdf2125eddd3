"""A model as custom functions use it, from the event loop or from a thread."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dd_core.errors import (
    CustomColumnGenerationError,
    ModelTimeoutError,
    ResponseParseError,
    UnknownProviderError,
    describe_error,
)
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.config import GenerationType, ModelProvider
from dd_core.models.conversation import (
    AnswerFormat,
    ConversationLimits,
    Message,
    ModelRequest,
    converse,
)
from dd_core.models.model import Model
from dd_core.models.tools.toolbox import Toolbox
from dd_core.models.usage import UsageCount, UsageLedger
from dd_core.models.wire.answers import Usage
from dd_core.models.wire.media import Block

_T = TypeVar("_T")
_logger = logging.getLogger(__name__)
_SAMPLING = ("temperature", "top_p", "max_tokens", "stop", "seed")
_PENALTIES = ("frequency_penalty", "presence_penalty")
_REQUEST_FIELDS = {*_SAMPLING, *_PENALTIES, "response_format", "tool_choice"}
_WITHOUT_EFFECT = {"extra_body", "purpose", "skip_usage_tracking"}
_MIN_DEADLINE = 60.0
"""Shortest time in seconds that a thread waits for an answer."""


@dataclass(frozen=True)
class ChatMessage:
    """One message of a conversation."""

    role: str
    content: Any
    """Text, or a list of blocks."""
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tool_call_id: str | None = None

    @classmethod
    def of(cls, message: Message) -> ChatMessage:
        """Convert a message from its dictionary form."""
        return cls(
            message["role"],
            message["content"],
            message.get("reasoning_content"),
            message.get("tool_calls", []),
            message.get("tool_call_id"),
        )


@dataclass(frozen=True)
class ChatCompletion:
    """An answer as the server gave it."""

    message: ChatMessage
    usage: Usage
    finish_reason: str | None = None


class ModelHandle:
    """The model that a custom function gets from its `models` mapping, by alias.

    `agenerate` is for `async def` functions. `generate` is for plain functions, which run in
    threads.
    """

    def __init__(
        self,
        model: Model,
        column: str,
        loop: asyncio.AbstractEventLoop,
        toolboxes: Mapping[str, Toolbox] | None = None,
    ) -> None:
        self._model = model
        self._column = column
        self._loop = loop
        self._toolboxes = toolboxes or {}

    @property
    def model_alias(self) -> str:
        return self._model.alias

    @property
    def model_name(self) -> str:
        """The provider's id of the model."""
        return self._model.config.model

    @property
    def model_provider(self) -> ModelProvider:
        """The provider of the model."""
        if self._model.provider is None:
            raise UnknownProviderError(f"model {self.model_alias!r} has no provider; set one")
        return self._model.provider

    @property
    def model_provider_name(self) -> str:
        return self.model_provider.name

    @property
    def model_generation_type(self) -> GenerationType:
        return self._model.config.generation_type

    @property
    def max_parallel_requests(self) -> int:
        return self._model.config.inference_parameters.max_parallel_requests

    @property
    def request_timeout(self) -> float:
        """Deadline of a request in seconds."""
        return float(self._model.config.inference_parameters.timeout or _MIN_DEADLINE)

    @property
    def usage_stats(self) -> UsageCount:
        """What all columns have asked of the model in this run."""
        return UsageLedger.of({self.model_alias: self._model.usage}).total()

    def consolidate_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """Combine the model's parameters with those of a call and of the provider, in this order.

        This is for reading: `generate` and its siblings combine them by themselves.
        """
        provider = self.model_provider
        known = self._model.config.inference_parameters.generate_kwargs
        given = {name: each for name, each in kwargs.items() if name != "purpose"}
        found = {**known, **given}
        for name, last in (
            ("extra_body", provider.extra_body),
            ("extra_headers", provider.extra_headers),
        ):
            parts: dict[str, Any] = {
                **(known.get(name) or {}),
                **(given.get(name) or {}),
                **(last or {}),
            }
            if parts:
                found[name] = parts
        return found

    async def acompletion(
        self,
        messages: Sequence[ChatMessage | Message],
        skip_usage_tracking: bool = False,
        **request_fields: Any,
    ) -> ChatCompletion:
        """Send messages as they are; returns the answer unchecked. Raises a `ModelError`.

        `skip_usage_tracking` has no effect: what was spent counts for budgets.
        """
        sent = [each if isinstance(each, dict) else _to_message(each) for each in messages]
        slot = RequestSlot(self._model.queue)
        try:
            reply = await self._model.ask(
                slot, sent, self._column, **self._choose_fields(request_fields)
            )
        finally:
            slot.release()
        message = ChatMessage("assistant", reply.text, reply.reasoning)
        return ChatCompletion(message, reply.usage, reply.finish_reason)

    def completion(
        self, messages: Sequence[ChatMessage | Message], *args: Any, **options: Any
    ) -> ChatCompletion:
        """Like `acompletion`, for functions that are not `async`."""
        deadline = max(_MIN_DEADLINE, self.request_timeout * 1.5)
        return self._run_on_loop(self.acompletion(messages, *args, **options), deadline)

    async def agenerate_image(
        self,
        prompt: str,
        multi_modal_context: Sequence[Block] | None = None,
        skip_usage_tracking: bool = False,
        **request_fields: Any,
    ) -> list[str]:
        """Generate images; returns them as base64. Raises a `ModelError`.

        `request_fields` are sent as they are, because each image model has options of its own.
        """
        extra: dict[str, Any] = request_fields.pop("extra_body", None) or {}
        request_fields.pop("purpose", None)
        slot = RequestSlot(self._model.queue)
        try:
            media = [*(multi_modal_context or ())]
            images = await self._model.draw(
                slot, prompt, media, self._column, fields={**request_fields, **extra}
            )
        finally:
            slot.release()
        return [b64encode(image).decode() for image in images]

    def generate_image(self, prompt: str, *args: Any, **options: Any) -> list[str]:
        """Like `agenerate_image`, for functions that are not `async`."""
        deadline = max(_MIN_DEADLINE, self.request_timeout) * 1.5
        return self._run_on_loop(self.agenerate_image(prompt, *args, **options), deadline)

    def _choose_fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a request; others are left out, with one warning for each name."""
        extra: dict[str, Any] = given.get("extra_body") or {}
        others = {*given} - _REQUEST_FIELDS - _WITHOUT_EFFECT - self._model.ignored_fields
        if others:
            self._model.ignored_fields |= others
            _logger.warning(
                "model %r: %s left out of the requests of column %r; pass other parameters of "
                "the model in extra_body",
                self.model_alias,
                ", ".join(sorted(others)),
                self._column,
            )
        return {**{name: given[name] for name in given if name in _REQUEST_FIELDS}, **extra}

    async def agenerate(
        self,
        prompt: str,
        *,
        parser: Callable[[str], Any] | None = None,
        system_prompt: str | None = None,
        multi_modal_context: Sequence[Block] | None = None,
        max_correction_steps: int = 0,
        max_conversation_restarts: int = 0,
        tool_alias: str | None = None,
        purpose: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  (existing functions of users pass it)
        **request_fields: Any,
    ) -> tuple[Any, list[ChatMessage]]:
        """Send a prompt; returns the parsed answer and the conversation. Raises a `ModelError`.

        If `parser` raises an exception, its message is sent to the model as a correction request,
        at most `max_correction_steps` times per conversation. Then a new conversation starts, at
        most `max_conversation_restarts` times. `multi_modal_context` contains blocks that are sent
        before the prompt. With `tool_alias`, the model may call the tools with this alias.
        """
        opening: list[Message] = []
        if system_prompt:
            opening.append({"role": "system", "content": system_prompt})
        blocks = [*(multi_modal_context or ())]
        content: Any = [*blocks, {"type": "text", "text": prompt}] if blocks else prompt
        opening.append({"role": "user", "content": content})
        request = ModelRequest(
            self._model,
            RequestSlot(self._model.queue),
            self._column,
            self._choose_fields(request_fields),
            toolbox=self._find_toolbox(tool_alias),
        )
        limits = ConversationLimits(max_conversation_restarts, max_correction_steps)
        answer_format = AnswerFormat(_wrap_parser(parser))
        try:
            async with asyncio.timeout(timeout):
                conversation = await converse(request, opening, answer_format, limits)
        except TimeoutError:
            raise ModelTimeoutError(
                f"model {self.model_alias!r} did not answer within {timeout} s; raise `timeout`"
            ) from None
        finally:
            request.slot.release()
        messages = [ChatMessage.of(message) for message in conversation.messages]
        return conversation.value, messages

    def _find_toolbox(self, alias: str | None) -> Toolbox | None:
        if alias is None:
            return None
        if alias not in self._toolboxes:
            known = ", ".join(repr(name) for name in sorted(self._toolboxes)) or "none"
            raise CustomColumnGenerationError(
                f"no tool configuration has the alias {alias!r} (known: {known}); add it to the "
                "dataset's tool_configs"
            )
        return self._toolboxes[alias]

    async def agenerate_text_embeddings(
        self, input_texts: Sequence[str], skip_usage_tracking: bool = False
    ) -> list[list[float]]:
        """Embed strings; returns one vector for each."""
        slot = RequestSlot(self._model.queue)
        try:
            return await self._model.embed(slot, [*input_texts], self._column)
        finally:
            slot.release()

    def generate(
        self, prompt: str, *, timeout: float | None = None, **options: Any
    ) -> tuple[Any, list[ChatMessage]]:
        """Like `agenerate`, for functions that are not `async`."""
        answers = (1 + int(options.get("max_conversation_restarts", 0))) * (
            1 + int(options.get("max_correction_steps", 0))
        )
        parameters = self._model.config.inference_parameters
        seconds = timeout or float(parameters.timeout or _MIN_DEADLINE)
        deadline = max(_MIN_DEADLINE, answers * seconds * 1.5)
        return self._run_on_loop(self.agenerate(prompt, timeout=timeout, **options), deadline)

    def generate_text_embeddings(
        self, input_texts: Sequence[str], skip_usage_tracking: bool = False
    ) -> list[list[float]]:
        """Like `agenerate_text_embeddings`, for functions that are not `async`."""
        return self._run_on_loop(self.agenerate_text_embeddings(input_texts), _MIN_DEADLINE * 1.5)

    def _run_on_loop(self, work: Coroutine[Any, Any, _T], deadline: float) -> _T:
        """Run a coroutine on the event loop of the run, and wait for it in this thread."""
        try:
            is_on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_on_loop = False
        if is_on_loop:  # waiting here would block the loop, and with it the answer
            work.close()
            raise CustomColumnGenerationError(
                f"column {self._column!r} calls generate() of model {self.model_alias!r} from an "
                "async function; use `await models[...].agenerate(...)` instead"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(deadline)
        except FutureTimeoutError:
            future.cancel()
            raise ModelTimeoutError(
                f"model {self.model_alias!r} did not answer column {self._column!r} "
                f"within {deadline:g} s; raise `timeout`"
            ) from None


def _to_message(message: ChatMessage) -> Message:
    found = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found["tool_calls"] = message.tool_calls
    return found | ({"tool_call_id": message.tool_call_id} if message.tool_call_id else {})


def _wrap_parser(parser: Callable[[str], Any] | None) -> Callable[[str], Any]:
    """Convert all exceptions of a user's parser to `ResponseParseError`."""
    if parser is None:
        return str

    def parse(text: str) -> Any:
        try:
            return parser(text)
        except ResponseParseError:
            raise
        except Exception as error:
            raise ResponseParseError(describe_error(error)) from error

    return parse
