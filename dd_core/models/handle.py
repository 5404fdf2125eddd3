"""A model as custom functions use it, from the event loop or from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dd_core.errors import (
    CustomColumnGenerationError,
    ModelTimeoutError,
    ResponseParseError,
    describe_error,
)
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import (
    AnswerFormat,
    ConversationLimits,
    Message,
    ModelRequest,
    converse,
)
from dd_core.models.model import Model
from dd_core.models.tools.toolbox import Toolbox
from dd_core.models.wire.media import Block

_T = TypeVar("_T")
_SAMPLING = ("temperature", "top_p", "max_tokens", "stop", "seed")
_PENALTIES = ("frequency_penalty", "presence_penalty")
_REQUEST_FIELDS = {*_SAMPLING, *_PENALTIES, "response_format", "tool_choice"}
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
        extra: dict[str, Any] = request_fields.pop("extra_body", None) or {}
        fields = {name: request_fields[name] for name in request_fields if name in _REQUEST_FIELDS}
        request = ModelRequest(
            self._model,
            RequestSlot(self._model.queue),
            self._column,
            {**fields, **extra},
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

    async def agenerate_text_embeddings(self, input_texts: Sequence[str]) -> list[list[float]]:
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

    def generate_text_embeddings(self, input_texts: Sequence[str]) -> list[list[float]]:
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
