"""The conversation behind one cell: ask, parse, ask for a correction, start over."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dd_core.errors import ModelGenerationValidationFailureError, ResponseParseError
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.model import Model
from dd_core.models.wire.answers import Reply

_THOUGHT = re.compile(r"^\s*<(think|thinking|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL)


_END_OF_THOUGHT = re.compile(r"</(?:think|thinking|reasoning)>")


Message = dict[str, Any]


@dataclass(frozen=True)
class Asking:
    """Who asks which model, and from which place."""

    model: Model
    slot: RequestSlot
    column: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the request's body."""


@dataclass(frozen=True)
class ConversationLimits:
    """How often an answer that cannot be parsed is asked for again."""

    restarts: int = 5
    corrections: int = 0


@dataclass(frozen=True)
class Conversation:
    """A conversation that led to a value."""

    value: Any
    messages: list[Message]
    """The final conversation: what was sent and the last answer."""


async def converse(
    asking: Asking, opening: list[Message], wanted: AnswerFormat, limits: ConversationLimits
) -> Conversation:
    """Ask until an answer parses.

    At most (1 + restarts) x (1 + corrections) answers; then
    `ModelGenerationValidationFailureError`. Errors of the server pass through.
    """
    complaint, said, was_cut = "", "", False
    for _ in range(1 + limits.restarts):
        messages = [*opening]
        for _ in range(1 + limits.corrections):
            reply = await _answer(asking, messages, wanted)
            message = _message_of(reply)
            said = reply.text
            was_cut = reply.finish_reason in ("length", "max_tokens")
            try:
                if was_cut and wanted.schema is not None:
                    raise ResponseParseError("the answer was cut off before its end")
                return Conversation(wanted.parse(message["content"]), [*messages, message])
            except ResponseParseError as error:
                complaint = str(error)
                messages = [*messages, message, {"role": "user", "content": complaint}]
    answers = (1 + limits.restarts) * (1 + limits.corrections)
    hint = (
        "the last answer was cut off, so raise the model's max_tokens or shorten the schema"
        if was_cut
        else "simplify the schema, improve the prompt, or allow more "
        "max_conversation_restarts or max_conversation_correction_steps"
    )
    failure = ModelGenerationValidationFailureError(
        f"no answer of model {asking.model.alias!r} could be parsed in {answers} tries "
        f"(last problem: {complaint}); {hint}"
    )
    failure.answer, failure.attempts = said, answers
    raise failure


async def _answer(asking: Asking, messages: list[Message], wanted: AnswerFormat) -> Reply:
    wire = [{"role": each["role"], "content": each["content"]} for each in messages]
    if wanted.schema is None:
        return await asking.model.ask(asking.slot, wire, asking.column, **asking.fields)
    return await asking.model.ask_in_schema(asking.slot, wire, asking.column, wanted.schema)


def _message_of(reply: Reply) -> Message:
    text, thought = strip_reasoning(reply.text)
    message: Message = {"role": "assistant", "content": text}
    if reply.reasoning or thought:
        message["reasoning_content"] = reply.reasoning or thought
    return message


@dataclass(frozen=True)
class AnswerFormat:
    """How a column's answers become values."""

    parse: Callable[[str], Any]
    """Turns an answer into a value or raises `ResponseParseError`."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that the server is asked to enforce; an answer cut short then fails."""


def strip_reasoning(text: str) -> tuple[str, str | None]:
    """The answer without the reasoning that thinking models put before it, and that reasoning."""
    if "think" not in text and "reasoning>" not in text:
        return text, None
    if opened := _THOUGHT.match(text):
        return text[opened.end() :].strip(), opened[2].strip() or None
    if closed := _END_OF_THOUGHT.search(text):
        return text[closed.end() :].strip(), text[: closed.start()].strip() or None
    return text, None
