"""The conversation behind one cell: request, judge, parse, request corrections, restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from dd_core.errors import (
    ImageGenerationError,
    ModelGenerationValidationFailureError,
    ResponseParseError,
)
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.model import Model
from dd_core.models.tools.toolbox import Toolbox
from dd_core.models.tools.turns import Message, ToolTurns, convert_message, write_answer
from dd_core.models.usage import UsageCount
from dd_core.models.wire.answers import Reply, Usage
from dd_core.models.wire.judgement import Judgement, Verdict, judge_reply
from dd_core.storage.journal import CellTurns

_T = TypeVar("_T")

TruncationPolicy: TypeAlias = Literal["retry", "keep", "fail"]
"""What happens to an answer that a limit of tokens cut off."""


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
    toolbox: Toolbox | None = None
    """Tools that the model may call before it answers."""
    saved_turns: CellTurns | None = None
    """Keeps the turns with tool calls, for another attempt at the cell."""
    complete: Callable[[], Awaitable[Reply]] | None = None
    """Requests an answer in another way than as the next message; it is taken exactly as it is."""


@dataclass(frozen=True)
class AnswerFormat:
    """How the answers of a column become values."""

    parse: Callable[[str], Any]
    """Converts an answer to a value, or raises `ResponseParseError`."""
    schema: Mapping[str, Any] | None = None
    """JSON schema for the server to enforce. With a schema, no truncated answer is kept."""
    on_truncated: TruncationPolicy = "retry"
    """`retry` requests another answer and keeps the truncated one, if `parse` accepts it, when the
    other is truncated, too; `keep` keeps it at once, `fail` fails the cell."""


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
    reply: Reply
    """The answer as the server returned it."""
    spent: list[Usage]
    """What each request took, including those whose answers were rejected."""


class _RejectedError(ResponseParseError):
    """The answer did not pass its judgement, so there is nothing to correct."""


async def converse(
    request: ModelRequest,
    opening: list[Message],
    answer_format: AnswerFormat,
    limits: ConversationLimits,
) -> Conversation:
    """Send requests until an answer is usable and can be parsed.

    An answer that cannot be parsed is followed by a correction request in the same conversation,
    then by a new conversation. An answer that is not usable is requested again as it was. After
    (1 + restarts) x (1 + corrections) answers, raises `ModelGenerationValidationFailureError`.
    Errors of the server are passed on.

    Tools may be called before each answer. A new conversation begins after the last turn with tool
    calls, so that no call is repeated.
    """
    spent: list[Usage] = []
    turns = _open_turns(request, opening, spent)
    try:
        return await _converse(request, opening, answer_format, limits, turns, spent)
    finally:
        if turns is not None:
            turns.close()


async def _converse(
    request: ModelRequest,
    opening: list[Message],
    answer_format: AnswerFormat,
    limits: ConversationLimits,
    turns: ToolTurns | None,
    spent: list[Usage],
) -> Conversation:
    outcome = _Outcome(request, answer_format, spent)
    for _ in range(1 + limits.restarts):
        messages = [*opening] if turns is None else turns.checkpoint
        for _ in range(1 + limits.corrections):
            if turns is None:
                reply = await _send(request, messages, answer_format)
                spent.append(reply.usage)
            else:
                reply, messages = await turns.ask(messages)
            message = _write(request, reply)
            try:
                conversation = outcome.read(reply, message, messages)
            except ResponseParseError as error:
                if not isinstance(error, _RejectedError):
                    messages = [*messages, message, {"role": "user", "content": str(error)}]
                conversation = None
            if conversation is not None:
                return conversation
            if outcome.is_settled:
                return outcome.settle()
    return outcome.settle()


class _Outcome:
    """What the answers of a cell have come to so far."""

    def __init__(
        self, request: ModelRequest, answer_format: AnswerFormat, spent: list[Usage]
    ) -> None:
        self._request = request
        self._spent = spent
        self._format = answer_format
        self._answers = 0
        self._truncated: Conversation | None = None
        """A truncated answer that is kept if the next ones are no better."""
        self._is_limit_certain = False
        """Whether a second answer was truncated, so that the limit is too low for this cell."""
        self._last = Judgement(Verdict.USABLE)
        self._problem = ""
        self._text = ""

    def read(self, reply: Reply, message: Message, messages: list[Message]) -> Conversation | None:
        """Judge and parse an answer; None if it was truncated and another one is requested.

        Raises `ResponseParseError`.
        """
        self._answers += 1
        text: str = message["content"]
        is_exact = self._request.complete is not None
        self._last = judgement = judge_reply(reply, text, exact=is_exact)
        self._text = reply.text or reply.refusal or ""
        try:
            if judgement.verdict is Verdict.USABLE:
                value = self._parse(text)
                return Conversation(value, [*messages, message], reply, self._spent)
            self._request.model.usage[self._request.column].count_rejected(judgement.verdict)
            if judgement.verdict is Verdict.TRUNCATED and self._truncated is not None:
                self._is_limit_certain = True
            if judgement.verdict is not Verdict.TRUNCATED or not self._keeps(judgement):
                raise _RejectedError(judgement.reason)
            try:
                value = self._parse(text)
            except ResponseParseError as error:
                raise _RejectedError(f"{judgement.reason} ({error})") from error
            self._truncated = Conversation(value, [*messages, message], reply, self._spent)
            return None
        except ResponseParseError as error:
            self._problem = str(error)
            raise

    def _parse(self, text: str) -> Any:
        try:
            return self._format.parse(text)
        except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
            reason = f"the answer cannot be read ({type(error).__name__}: {error})"
            raise ResponseParseError(reason) from error

    def _keeps(self, judgement: Judgement) -> bool:
        # Parsers repair JSON, so a truncated answer could pass as a smaller complete one.
        is_allowed = self._format.schema is None and self._format.on_truncated != "fail"
        return is_allowed and judgement.has_text

    @property
    def is_settled(self) -> bool:
        """Whether no further answer is requested."""
        if self._truncated is not None:
            return self._format.on_truncated == "keep" or self._is_limit_certain
        return self._last.verdict is Verdict.TRUNCATED and self._format.on_truncated == "fail"

    def settle(self) -> Conversation:
        """Return the truncated answer if it is kept; raise the failure of the cell otherwise."""
        if self._truncated is not None:
            self._request.model.usage[self._request.column].truncated_values += 1
            return self._truncated
        is_answer = self._last.verdict is Verdict.USABLE
        hint = self._last.hint or (
            "simplify the schema, improve the prompt, or allow more "
            "max_conversation_restarts or max_conversation_correction_steps"
        )
        failure = ModelGenerationValidationFailureError(
            f"no answer of model {self._request.model.alias!r} "
            f"{'could be parsed' if is_answer else 'was usable'} in {self._answers} "
            f"attempt{'s' if self._answers > 1 else ''} (last problem: {self._problem}); {hint}"
        )
        failure.answer, failure.attempts = self._text, self._answers
        raise failure


async def retry_rejected(ask: Callable[[], Awaitable[_T]], limits: ConversationLimits) -> _T:
    """Request embeddings or images until an answer is usable, at most (1 + restarts) times."""
    for attempt in range(1, 2 + limits.restarts):
        try:
            return await ask()
        except (ImageGenerationError, ModelGenerationValidationFailureError) as error:
            error.attempts = attempt
            if attempt > limits.restarts:
                raise
    raise AssertionError  # the last attempt returns or raises


def _write(request: ModelRequest, reply: Reply) -> Message:
    if request.complete is None:
        return write_answer(reply)
    return {"role": "assistant", "content": reply.text}


async def _send(
    request: ModelRequest, messages: list[Message], answer_format: AnswerFormat
) -> Reply:
    if request.complete is not None:
        return await request.complete()
    sent = [convert_message(message) for message in messages]
    model, slot, column = request.model, request.slot, request.column
    if answer_format.schema is None:
        return await model.ask(slot, sent, column, **request.fields)
    return await model.ask_in_schema(slot, sent, column, answer_format.schema)


def _open_turns(
    request: ModelRequest, opening: list[Message], spent: list[Usage]
) -> ToolTurns | None:
    if request.toolbox is None:
        return None
    model = request.model
    usage = model.usage.setdefault(request.column, UsageCount())

    async def send(messages: Sequence[Message], /, **fields: Any) -> Reply:
        # Servers that enforce a schema let the model write nothing else, tool calls included. With
        # tools, the schema is therefore only described in the prompt.
        sent = [convert_message(message) for message in messages]
        chosen = {**request.fields}
        if any(message["role"] == "tool" for message in messages):
            chosen.pop("tool_choice", None)  # a call that is demanded each time never ends
        reply = await model.ask(request.slot, sent, request.column, **{**chosen, **fields})
        spent.append(reply.usage)
        return reply

    return ToolTurns(request.toolbox, opening, send, usage, model.budget, request.saved_turns)
