"""The turns of a conversation in which the model calls tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

import dd_core.config as dd
from dd_core.errors import (
    ResponseParseError,
    ToolTurnLimitError,
)
from dd_core.models.admission.request_queue import CellLimit
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import (
    AnswerFormat,
    Conversation,
    ConversationLimits,
    ModelRequest,
    converse,
)
from dd_core.models.pool import ModelPool
from dd_core.models.providers import Providers
from dd_core.models.tools.result import ToolOutcome, ToolResult
from dd_core.models.usage import UsageCount, UsageLedger
from dd_core.models.wire.answers import ToolCall
from dd_core.storage.batch import Batch
from dd_core.storage.journal import Journal, TurnJournal, read_cells
from tests.scripted import ScriptedModel, chat_response, model, refusal

Reply = httpx.Response


def calling(*calls: tuple[str, Any], text: str | None = None, **fields: Any) -> Reply:
    """An answer that calls tools, given by name and arguments."""
    listed = [
        {
            "id": f"c{number}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for number, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": text, "tool_calls": listed, **fields}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return httpx.Response(200, json={"choices": [choice], "usage": {}})


REFUSED = (ToolOutcome.UNKNOWN, ToolOutcome.NOT_ALLOWED, ToolOutcome.BAD_ARGUMENTS)


class Toolbox:
    """Tools without a server."""

    alias = "search"
    definitions = [{"type": "function", "function": {"name": "find", "parameters": {}}}]

    def __init__(self, turns: int = 5, result: Callable[[ToolCall], Any] | None = None) -> None:
        self.config = dd.ToolConfig(tool_alias="search", providers=["p"], max_tool_call_turns=turns)
        self.calls: list[ToolCall] = []
        self._result = result or (lambda call: f"found {call.arguments}")

    async def open(self) -> None:
        pass

    def find_name(self, name: str) -> str:
        return name

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls.append(call)
        await asyncio.sleep(0)
        result = self._result(call)
        if isinstance(result, ToolResult):
            return result
        return ToolResult(
            result, ToolOutcome.DONE, 0.5, is_repeatable=call.name == "find", tool=call.name
        )


def talk(
    script: ScriptedModel,
    toolbox: Toolbox,
    *,
    limits: ConversationLimits | None = None,
    parse: Callable[[str], Any] = str,
    provider: str = "openai",
    turns: Any = None,
) -> tuple[Conversation, UsageCount]:
    """Hold one conversation; returns it and what it used."""

    async def hold() -> tuple[Conversation, UsageCount]:
        configs = [model(provider=provider)]
        endpoint = "http://model.test/v1"
        named = dd.ModelProvider(name=provider, endpoint=endpoint, provider_type=provider)
        providers = Providers([named])
        async with ModelPool(configs, providers, CellLimit(8), transport=script) as pool:
            slot = RequestSlot(pool["m"].queue)
            given = {} if turns is None else {"saved_turns": turns}
            request = ModelRequest(pool["m"], slot, "text", toolbox=toolbox, **given)
            try:
                opening = [{"role": "user", "content": "Question"}]
                conversation = await converse(
                    request, opening, AnswerFormat(parse), limits or ConversationLimits()
                )
            finally:
                slot.release()
            return conversation, pool["m"].usage["text"]

    return asyncio.run(hold())


def roles(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [message["role"] for message in messages]


def test_the_results_of_a_turn_go_back_to_the_model_in_the_order_of_the_calls() -> None:
    script = ScriptedModel(
        [calling(("find", {"q": 1}), ("find", {"q": 2}), text="Let me look."), "42"]
    )
    conversation, usage = talk(script, toolbox := Toolbox())
    assert conversation.value == "42"
    assert [json.loads(call.arguments)["q"] for call in toolbox.calls] == [1, 2]
    assert roles(conversation.messages) == ["user", "assistant", "tool", "tool", "assistant"]
    first, second = script.requests
    assert first["tools"] == second["tools"] == toolbox.definitions
    assert "tool_choice" not in first
    called, *results = second["messages"][1:]
    assert called["content"] == "Let me look."
    assert [call["id"] for call in called["tool_calls"]] == ["c0", "c1"]
    assert results == [
        {"role": "tool", "tool_call_id": "c0", "content": 'found {"q": 1}'},
        {"role": "tool", "tool_call_id": "c1", "content": 'found {"q": 2}'},
    ]
    assert (usage.tool_turns, usage.tool_calls, usage.tool_errors) == (1, 2, 0)
    assert UsageLedger.of({"m": {"text": usage}}).by_tool() == {
        "text": {
            "find": {"calls": 2, "errors": 0, "refused": 0, "seconds": 1.0, "result_bytes": 28}
        }
    }


def test_after_the_last_turn_the_model_is_asked_to_answer_without_tools() -> None:
    script = ScriptedModel([calling(("find", {})), calling(("find", {})), "done"])
    conversation, _ = talk(script, toolbox := Toolbox(turns=2))
    assert conversation.value == "done" and len(toolbox.calls) == 2
    assert [body.get("tool_choice") for body in script.requests] == [None, None, "none"]


def test_calls_beyond_the_limit_are_refused_once_and_then_the_cell_fails() -> None:
    script = ScriptedModel(calling(("find", {})))
    limits = ConversationLimits(restarts=5, corrections=3)
    toolbox = Toolbox(turns=2)
    with pytest.raises(ToolTurnLimitError, match="raise max_tool_call_turns of the tools 'search'"):
        talk(script, toolbox, limits=limits)
    assert len(toolbox.calls) == 2
    assert len(script.requests) == 4  # two turns, one request without tools, one refusal
    last = script.requests[-1]["messages"][-1]
    assert last["role"] == "tool" and "limit of 2 turns" in last["content"]


def test_a_model_that_answers_after_the_refusal_is_heard() -> None:
    script = ScriptedModel([calling(("find", {})), calling(("find", {})), "fine"])
    conversation, usage = talk(script, toolbox := Toolbox(turns=1))
    assert conversation.value == "fine" and len(toolbox.calls) == 1
    assert usage.tools["find"].refused == 1


def test_a_restart_goes_on_after_the_last_turn_so_that_no_call_is_repeated() -> None:
    def parse(text: str) -> str:
        if text == "bad":
            raise ResponseParseError("not good")
        return text

    script = ScriptedModel([calling(("find", {})), "bad", "bad", "good"])
    limits = ConversationLimits(restarts=1, corrections=1)
    conversation, _ = talk(script, toolbox := Toolbox(), limits=limits, parse=parse)
    assert conversation.value == "good" and len(toolbox.calls) == 1
    _, after_turn, corrected, restarted = script.requests
    assert roles(after_turn["messages"]) == ["user", "assistant", "tool"]
    assert roles(corrected["messages"]) == ["user", "assistant", "tool", "assistant", "user"]
    assert restarted["messages"] == after_turn["messages"]


def test_corrections_may_lead_to_further_turns() -> None:
    def parse(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise ResponseParseError("write a number") from None

    script = ScriptedModel(["many", calling(("find", {"q": "number"})), "7"])
    limits = ConversationLimits(corrections=1)
    conversation, _ = talk(script, Toolbox(), limits=limits, parse=parse)
    assert conversation.value == 7
    assert roles(script.requests[-1]["messages"]) == [
        "user", "assistant", "user", "assistant", "tool",
    ]  # fmt: skip


@pytest.mark.parametrize("outcome", [each for each in ToolOutcome if each is not ToolOutcome.DONE])
def test_the_model_is_told_what_went_wrong(outcome: ToolOutcome) -> None:
    toolbox = Toolbox(result=lambda call: ToolResult("It did not work.", outcome, 0.0))
    script = ScriptedModel([calling(("find", {})), "I could not find it."])
    conversation, usage = talk(script, toolbox)
    assert conversation.value == "I could not find it."
    assert script.requests[1]["messages"][-1] == {
        "role": "tool", "tool_call_id": "c0", "content": "It did not work.",
    }  # fmt: skip
    assert usage.tool_errors == usage.tool_calls == (outcome not in REFUSED)


def test_reasoning_is_sent_back_only_with_the_calls_that_it_led_to() -> None:
    script = ScriptedModel(
        [
            calling(("find", {}), reasoning_content="I should look."),
            chat_response("done", reasoning="Now I know."),
        ]
    )
    conversation, _ = talk(script, Toolbox())
    assert script.requests[1]["messages"][1]["reasoning_content"] == "I should look."
    assert conversation.messages[-1]["reasoning_content"] == "Now I know."


def test_images_of_results_follow_in_a_user_message() -> None:
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"},
    }
    toolbox = Toolbox(result=lambda call: [{"type": "text", "text": "a chart"}, image])
    script = ScriptedModel([calling(("find", {}), ("find", {})), "done"])
    talk(script, toolbox)
    *_, first, second, media = script.requests[1]["messages"]
    assert roles([first, second, media]) == ["tool", "tool", "user"]
    assert first["content"].startswith("a chart\n")
    assert [block["image_url"]["url"] for block in media["content"]] == [
        "data:image/png;base64,aaaa"
    ] * 2


def blocks(*content: dict[str, Any], stop: str = "end_turn") -> Reply:
    """An answer in Anthropic's format."""
    return httpx.Response(200, json={"content": [*content], "stop_reason": stop, "usage": {}})


def test_tools_in_the_format_of_anthropic() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s1"}
    call = {"type": "tool_use", "id": "c0", "name": "find", "input": {"q": 1}}
    script = ScriptedModel(
        [
            blocks(thought, call, {**call, "id": "c1"}, stop="tool_use"),
            blocks({**call, "id": "c2"}, stop="tool_use"),
            blocks({"type": "text", "text": "42"}),
        ]
    )

    def answer(call: ToolCall) -> ToolResult:
        outcome = ToolOutcome.ERROR if call.id == "c1" else ToolOutcome.DONE
        return ToolResult(f"result of {call.id}", outcome, 0.0)

    conversation, _ = talk(script, Toolbox(turns=1, result=answer), provider="anthropic")
    assert conversation.value == "42"
    first, second, third = script.requests
    assert first["tools"] == [{"name": "find", "input_schema": {}}]
    assert third["tool_choice"] == {"type": "none"}
    asked, called, results = second["messages"]
    assert asked == {"role": "user", "content": "Question"}
    assert called["content"] == [thought, call, {**call, "id": "c1"}]
    assert results == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c0", "content": "result of c0"},
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": "result of c1",
                "is_error": True,
            },
        ],
    }


def test_a_call_without_an_id_or_with_arguments_as_an_object_is_understood() -> None:
    message = {"tool_calls": [{"function": {"name": "find", "arguments": {"q": 1}}}]}
    choice = {"message": message, "finish_reason": "stop"}
    script = ScriptedModel([httpx.Response(200, json={"choices": [choice]}), "done"])
    _, usage = talk(script, toolbox := Toolbox())
    assert json.loads(toolbox.calls[0].arguments) == {"q": 1}
    called, result = script.requests[1]["messages"][1:]
    assert called["tool_calls"][0]["id"] == result["tool_call_id"] != ""
    assert usage.tool_calls == 1


def test_a_later_attempt_continues_after_the_last_turn(tmp_path: Any) -> None:
    batch = Batch(0, 0, 10)

    async def one(script: ScriptedModel, toolbox: Toolbox) -> Conversation:
        journal = Journal(tmp_path, batch)
        journal.open()
        turns = TurnJournal({"text": "fp"})
        turns.attach(batch, journal)
        turns.restore(read_cells(tmp_path, batch))
        configs = [model()]
        async with ModelPool(configs, Providers(), CellLimit(8), transport=script) as pool:
            slot = RequestSlot(pool["m"].queue)
            request = ModelRequest(
                pool["m"], slot, "text", toolbox=toolbox, saved_turns=turns.open("text", 3)
            )
            try:
                opening = [{"role": "user", "content": "Question"}]
                return await converse(request, opening, AnswerFormat(str), ConversationLimits(0))
            finally:
                slot.release()
                journal.close()

    script = ScriptedModel([calling(("find", {"q": 1})), calling(("find", {"q": 2})), refusal(400)])
    with pytest.raises(Exception, match="400"):
        asyncio.run(one(script, Toolbox()))
    # Another process takes over: both turns were of a tool that may be repeated.
    script = ScriptedModel(["done"])
    conversation = asyncio.run(one(script, toolbox := Toolbox()))
    assert conversation.value == "done" and toolbox.calls == []
    assert roles(script.requests[0]["messages"]) == [
        "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
