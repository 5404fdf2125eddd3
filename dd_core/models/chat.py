"""The conversation behind one cell: ask, parse, ask for a correction, start over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dd_core.errors import ModelGenerationValidationFailureError, ResponseParseError
from dd_core.models.answers import Reply
from dd_core.models.model import Model
from dd_core.models.seat import Seat
from dd_core.response import AnswerFormat, strip_reasoning

Message = dict[str, Any]


@dataclass(frozen=True)
class Asking:
    """Who asks which model, and from which place."""

    model: Model
    seat: Seat
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
        return await asking.model.ask(asking.seat, wire, asking.column, **asking.fields)
    return await asking.model.ask_in_schema(asking.seat, wire, asking.column, wanted.schema)


def _message_of(reply: Reply) -> Message:
    text, thought = strip_reasoning(reply.text)
    message: Message = {"role": "assistant", "content": text}
    if reply.reasoning or thought:
        message["reasoning_content"] = reply.reasoning or thought
    return message
