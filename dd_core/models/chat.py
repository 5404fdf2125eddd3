"""The conversation behind one cell: ask, parse, ask for a correction, start over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dd_core.errors import ModelGenerationValidationFailureError, ResponseParseError
from dd_core.models.client import Reply
from dd_core.models.model import Model, Seat
from dd_core.response import strip_reasoning

Message = dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """How a conversation may go on after an answer that cannot be parsed."""

    parse: Callable[[str], Any]
    """Turns an answer into a value or raises `ResponseParseError`."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that the server is asked to enforce; an answer cut short then fails."""
    max_restarts: int = 5
    max_corrections: int = 0


@dataclass(frozen=True)
class Conversation:
    """A conversation that led to a value."""

    value: Any
    messages: list[Message]
    """The final conversation: what was sent and the last answer."""


async def converse(
    model: Model, seat: Seat, column: str, opening: list[Message], exchange: Exchange
) -> Conversation:
    """Ask until an answer parses.

    At most (1 + restarts) x (1 + corrections) answers; then
    `ModelGenerationValidationFailureError`. Errors of the server pass through.
    """
    complaint = ""
    answers = 0
    was_cut = False
    for _ in range(1 + exchange.max_restarts):
        messages = [*opening]
        for _ in range(1 + exchange.max_corrections):
            reply = await _answer(model, seat, column, messages, exchange)
            answers += 1
            text, thought = strip_reasoning(reply.text)
            message: Message = {"role": "assistant", "content": text}
            if reply.reasoning or thought:
                message["reasoning_content"] = reply.reasoning or thought
            was_cut = reply.finish_reason in ("length", "max_tokens")
            try:
                if was_cut and exchange.schema is not None:
                    raise ResponseParseError("the answer was cut off before its end")
                return Conversation(exchange.parse(text), [*messages, message])
            except ResponseParseError as error:
                complaint = str(error)
                messages = [*messages, message, {"role": "user", "content": complaint}]
    hint = (
        "the last answer was cut off, so raise the model's max_tokens or shorten the schema"
        if was_cut
        else "simplify the schema, improve the prompt, or allow more "
        "max_conversation_restarts or max_conversation_correction_steps"
    )
    raise ModelGenerationValidationFailureError(
        f"no answer of model {model.alias!r} could be parsed in {answers} tries "
        f"(last problem: {complaint}); {hint}"
    )


async def _answer(
    model: Model, seat: Seat, column: str, messages: list[Message], exchange: Exchange
) -> Reply:
    wire = [{"role": each["role"], "content": each["content"]} for each in messages]
    if exchange.schema is None:
        return await model.ask(seat, wire, column)
    return await model.ask_in_schema(seat, wire, column, exchange.schema)
