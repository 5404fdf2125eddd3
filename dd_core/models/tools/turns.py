"""The turns of a conversation in which the model calls tools instead of answering."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Protocol

from dd_core.errors import ToolTurnLimitError
from dd_core.models.tools.result import ToolOutcome
from dd_core.models.tools.toolbox import Toolbox
from dd_core.models.usage import BudgetTracker, UsageCount
from dd_core.models.wire.answers import Reply, ToolCall
from dd_core.models.wire.reasoning import strip_reasoning
from dd_core.storage.journal import CellTurns
from dd_core.storage.json_codec import dump_json

Message = dict[str, Any]

_NOT_MADE = (
    "This call was not made: the limit of {} turns with tool calls is reached. Answer now, without "
    "calling tools."
)


class SendMessages(Protocol):
    """Sends messages and fields of the request body to the model of a cell."""

    async def __call__(self, messages: Sequence[Message], /, **fields: Any) -> Reply:
        """Return the model's answer. Raises a `ModelError`."""
        ...


class ToolTurns:
    """The turns of one cell, over all of its corrections and restarts.

    The calls of a turn are made concurrently. All that goes wrong with a call is told to the model.
    After the limit of turns, the model is asked to answer without tools. If it calls tools again,
    the calls are refused once; then the cell fails with `ToolTurnLimitError`.

    `saved` keeps the turns, so that another attempt at the cell continues after them.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        opening: Sequence[Message],
        send: SendMessages,
        usage: UsageCount,
        budget: BudgetTracker,
        saved: CellTurns | None,
    ) -> None:
        self._toolbox = toolbox
        self._send = send
        self._usage = usage
        self._budget = budget
        self._saved = saved
        self._opening = hashlib.sha256(dump_json([*opening])).hexdigest()[:16]
        self._attempt = token_hex(8)
        self._is_durable = True
        """Whether a later process may continue after these turns."""
        self._has_refused = False
        self._is_counted = False
        """Whether the budget knows that this conversation has not ended."""
        self.count = 0
        """Turns in which tools were called."""
        self.checkpoint: list[Message] = [*opening]
        """The messages up to the last turn. A new conversation begins with them."""
        for turn in saved.load() if saved is not None else ():
            # The inputs of the cell may have been generated again since.
            if turn.get("opening") == self._opening:
                self._attempt = turn["attempt"]
                self.checkpoint += turn["messages"]
                self.count += 1

    async def ask(self, messages: list[Message]) -> tuple[Reply, list[Message]]:
        """Send messages until the model answers without calling tools.

        Returns the answer, and the messages together with those of the turns.
        """
        await self._toolbox.open()
        most = self._toolbox.config.max_tool_call_turns
        while True:
            may_call = self.count < most
            fields = {} if may_call else {"tool_choice": "none"}
            reply = await self._send(messages, tools=self._toolbox.definitions, **fields)
            if not reply.tool_calls:
                return reply, messages
            if self._has_refused:
                raise self._make_error(reply)
            if may_call:
                results = await self._call(reply.tool_calls)
            else:
                self._has_refused = True
                results = [self._refuse(call, most) for call in reply.tool_calls]
            turn = [_write_calls(reply), *results]
            messages = [*messages, *turn]
            self.checkpoint = messages
            if may_call:
                self._save(turn)

    def close(self) -> None:
        """Tell the budget that the conversation has ended."""
        if self._is_counted:
            self._is_counted = False
            self._budget.close_conversation()

    async def _call(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Make the calls of one turn; returns the messages with their results, in order.

        Never returns if the budget does not allow the calls: the run is about to stop, which
        cancels the cell.
        """
        if not self._is_counted:
            self._is_counted = True
            self._budget.open_conversation()
        if not self._budget.spend_tool_calls(len(calls)):
            self.close()
            await asyncio.get_running_loop().create_future()
        clock = asyncio.get_running_loop().time
        began = clock()
        made = (self._toolbox.call(call) for call in calls)
        results = await asyncio.gather(*made)
        self._usage.tool_turns += 1
        self._usage.tool_seconds += clock() - began
        messages: list[Message] = []
        for call, result in zip(calls, results, strict=True):
            is_error = result.outcome is not ToolOutcome.DONE
            if result.was_sent:
                self._usage.count_tool_call(
                    result.tool, result.seconds, result.size, is_error=is_error
                )
                self._is_durable = self._is_durable and result.is_repeatable
            else:
                self._usage.count_refused_tool_call(result.tool)
                self._budget.return_tool_call()
            messages.append(_write_result(call, result.content, is_error=is_error))
        return messages

    def _refuse(self, call: ToolCall, most: int) -> Message:
        self._usage.count_refused_tool_call(self._toolbox.find_name(call.name))
        return _write_result(call, _NOT_MADE.format(most), is_error=True)

    def _save(self, messages: Sequence[Message]) -> None:
        if self._saved is not None:
            turn = {"attempt": self._attempt, "opening": self._opening, "messages": [*messages]}
            self._saved.save(self.count, turn, is_durable=self._is_durable)
        self.count += 1

    def _make_error(self, reply: Reply) -> ToolTurnLimitError:
        limit = self._toolbox.config.max_tool_call_turns
        error = ToolTurnLimitError(
            f"the model called {reply.tool_calls[0].name!r} although it had been told that the "
            f"limit of {limit} turns with tool calls was reached; raise max_tool_call_turns of "
            f"the tools {self._toolbox.alias!r}, or ask for fewer calls in the prompt"
        )
        error.answer, error.attempts = reply.text, 1
        return error


def write_answer(reply: Reply) -> Message:
    """Return an answer as a message, its reasoning apart from its text."""
    text, reasoning = strip_reasoning(reply.text)
    message: Message = {"role": "assistant", "content": text}
    if reply.reasoning or reasoning:
        message["reasoning_content"] = reply.reasoning or reasoning
    return message


def convert_message(message: Message) -> Message:
    """Return a message as it is sent.

    Reasoning stays in the conversation for the user. It is sent back only together with the tool
    calls that it led to, in the form in which the server wrote it.
    """
    sent = {name: message[name] for name in _SENT if name in message}
    return sent | message.get("thoughts", {})


_SENT = ("role", "content", "tool_calls", "tool_call_id", "is_error")


def _write_calls(reply: Reply) -> Message:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in reply.tool_calls
    ]
    return write_answer(reply) | {"tool_calls": calls, "thoughts": {**reply.thoughts}}


def _write_result(call: ToolCall, content: Any, *, is_error: bool) -> Message:
    message: Message = {"role": "tool", "tool_call_id": call.id, "content": content}
    return message | {"is_error": True} if is_error else message
