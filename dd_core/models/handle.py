"""A model as functions of the user's ask it, from the event loop or from a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dd_core.errors import (
    CustomColumnGenerationError,
    ModelTimeoutError,
    ResponseParseError,
)
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import AnswerFormat, Asking, ConversationLimits, Message, converse
from dd_core.models.model import Model
from dd_core.models.wire.media import Block

_T = TypeVar("_T")
_SAMPLING = ("temperature", "top_p", "max_tokens", "stop", "seed")
_REQUEST_FIELDS = {*_SAMPLING, "response_format", "frequency_penalty", "presence_penalty"}
_LEAST_DEADLINE = 60.0


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
        """The message as an object."""
        return cls(message["role"], message["content"], message.get("reasoning_content"))


class ModelHandle:
    """What a function finds under an alias of its `models`.

    `agenerate` is for `async def` functions, `generate` for plain ones, which run in threads.
    """

    def __init__(self, model: Model, column: str, loop: asyncio.AbstractEventLoop) -> None:
        self._model = model
        self._column = column
        self._loop = loop

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
        purpose: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  (a name that users bring along)
        **request_fields: Any,
    ) -> tuple[Any, list[ChatMessage]]:
        """What `parser` makes of an answer, and the conversation. Raises a `ModelError`.

        An exception of `parser` counts as an answer that cannot be parsed: its text is sent back
        as a correction, or the conversation is begun anew, as often as is allowed.
        `multi_modal_context` holds blocks that are sent before the prompt.
        """
        opening: list[Message] = []
        if system_prompt:
            opening.append({"role": "system", "content": system_prompt})
        blocks = [*(multi_modal_context or ())]
        content: Any = [*blocks, {"type": "text", "text": prompt}] if blocks else prompt
        opening.append({"role": "user", "content": content})
        extra: dict[str, Any] = request_fields.pop("extra_body", None) or {}
        fields = {name: request_fields[name] for name in request_fields if name in _REQUEST_FIELDS}
        asking = Asking(
            self._model, RequestSlot(self._model.queue), self._column, {**fields, **extra}
        )
        limits = ConversationLimits(max_conversation_restarts, max_correction_steps)
        wanted = AnswerFormat(_parsing(parser))
        try:
            async with asyncio.timeout(timeout):
                talk = await converse(asking, opening, wanted, limits)
        except TimeoutError:
            raise ModelTimeoutError(
                f"model {self.model_alias!r} did not answer in {timeout} s; raise `timeout`"
            ) from None
        finally:
            asking.slot.release()
        return talk.value, [ChatMessage.of(message) for message in talk.messages]

    async def agenerate_text_embeddings(self, input_texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text."""
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
        one = timeout or float(self._model.config.inference_parameters.timeout or _LEAST_DEADLINE)
        deadline = max(_LEAST_DEADLINE, answers * one * 1.5)
        return self._bridged(self.agenerate(prompt, timeout=timeout, **options), deadline)

    def generate_text_embeddings(self, input_texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text."""
        return self._bridged(self.agenerate_text_embeddings(input_texts), _LEAST_DEADLINE * 1.5)

    def _bridged(self, work: Coroutine[Any, Any, _T], deadline: float) -> _T:
        try:
            inside = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            inside = False
        if inside:
            work.close()
            raise CustomColumnGenerationError(
                f"column {self._column!r} asks {self.model_alias!r} with generate() from an async "
                "function; use `await models[...].agenerate(...)` there"
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(deadline)
        except FutureTimeoutError:
            future.cancel()
            raise ModelTimeoutError(
                f"model {self.model_alias!r} did not answer column {self._column!r} "
                f"within {deadline:g} s"
            ) from None


def _parsing(parser: Callable[[str], Any] | None) -> Callable[[str], Any]:
    if parser is None:
        return str

    def parse(text: str) -> Any:
        try:
            return parser(text)
        except ResponseParseError:
            raise
        except Exception as error:
            raise ResponseParseError(f"{type(error).__name__}: {error}") from error

    return parse
