"""The conversation behind one cell: request, parse, request corrections, restart."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dd_core.errors import ModelGenerationValidationFailureError, ResponseParseError
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.model import Model
from dd_core.models.wire.answers import Reply

_REASONING = re.compile(r"^\s*<(think|thinking|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_END_OF_REASONING = re.compile(r"</(?:think|thinking|reasoning)>")

Message = dict[str, Any]


@dataclass(frozen=True)
class ModelRequest:
    """The target of a conversation: a model, and the column and slot that use it."""

    model: Model
    slot: RequestSlot
    """Capacity for the requests of the conversation, one at a time."""
    column: str
    """Name of the column, for usage statistics."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Additional fields of the request body."""


@dataclass(frozen=True)
class AnswerFormat:
    """How the answers of a column become values."""

    parse: Callable[[str], Any]
    """Converts an answer to a value, or raises `ResponseParseError`."""
    schema: Mapping[str, Any] | None = None
    """JSON schema for the server to enforce. With a schema, a truncated answer is a failure."""


@dataclass(frozen=True)
class ConversationLimits:
    """How often a request is repeated if its answer cannot be parsed."""

    restarts: int = 5
    """Maximum number of new conversations after the first one."""
    corrections: int = 0
    """Maximum number of correction requests per conversation."""


@dataclass(frozen=True)
class Conversation:
    """A conversation that produced a value."""

    value: Any
    messages: list[Message]
    """All messages of the last conversation, including the answer that was parsed."""


async def converse(
    request: ModelRequest,
    opening: list[Message],
    answer_format: AnswerFormat,
    limits: ConversationLimits,
) -> Conversation:
    """Send requests until an answer can be parsed.

    An answer that cannot be parsed is followed by a correction request in the same conversation,
    then by a new conversation. After (1 + restarts) x (1 + corrections) answers, raises
    `ModelGenerationValidationFailureError`. Errors of the server are passed on.
    """
    problem, answer, was_cut = "", "", False
    for _ in range(1 + limits.restarts):
        messages = [*opening]
        for _ in range(1 + limits.corrections):
            reply = await _send(request, messages, answer_format)
            message = _to_message(reply)
            answer = reply.text
            was_cut = reply.finish_reason in ("length", "max_tokens")
            try:
                # Parsers repair JSON, so a truncated answer could pass as a smaller complete one.
                if was_cut and answer_format.schema is not None:
                    raise ResponseParseError("the answer was cut off before its end")
                return Conversation(answer_format.parse(message["content"]), [*messages, message])
            except ResponseParseError as error:
                problem = str(error)
                messages = [*messages, message, {"role": "user", "content": problem}]
    attempts = (1 + limits.restarts) * (1 + limits.corrections)
    hint = (
        "the last response was cut off, so raise the model's max_tokens or shorten the schema"
        if was_cut
        else "simplify the schema, improve the prompt, or raise max_conversation_restarts or "
        "max_conversation_correction_steps"
    )
    failure = ModelGenerationValidationFailureError(
        f"no response of model {request.model.alias!r} could be parsed in {attempts} attempts "
        f"(last problem: {problem}); {hint}"
    )
    failure.answer, failure.attempts = answer, attempts
    raise failure


async def _send(
    request: ModelRequest, messages: list[Message], answer_format: AnswerFormat
) -> Reply:
    # Reasoning stays in the conversation for the user, but is not sent back to the server.
    sent = [{"role": message["role"], "content": message["content"]} for message in messages]
    model, slot, column = request.model, request.slot, request.column
    if answer_format.schema is None:
        return await model.ask(slot, sent, column, **request.fields)
    return await model.ask_in_schema(slot, sent, column, answer_format.schema)


def _to_message(reply: Reply) -> Message:
    text, reasoning = strip_reasoning(reply.text)
    message: Message = {"role": "assistant", "content": text}
    if reply.reasoning or reasoning:
        message["reasoning_content"] = reply.reasoning or reasoning
    return message


def strip_reasoning(text: str) -> tuple[str, str | None]:
    """Split an answer from the reasoning that some models put before it: (answer, reasoning)."""
    if "think" not in text and "reasoning>" not in text:
        return text, None
    if block := _REASONING.match(text):
        return text[block.end() :].strip(), block[2].strip() or None
    # Some chat templates put the opening tag into the prompt, so that only the closing tag remains.
    if closing := _END_OF_REASONING.search(text):
        return text[closing.end() :].strip(), text[: closing.start()].strip() or None
    return text, None
