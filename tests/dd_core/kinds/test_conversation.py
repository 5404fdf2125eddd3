"""Conversations between models that play roles."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, InvalidConfigError
from dd_core.dataset.compile import compile_plan
from dd_core.errors import BudgetExhaustedError, UserTemplateError
from dd_core.models.providers import Providers, load_default_providers
from dd_core.templates.template import Template
from tests.dd_core.models.tools.test_turns import calling
from tests.scripted import Body, ScriptedModel, builder, model, refusal
from tests.serving import find_free_port
from tests.tool_servers import make_server, serving_tools

PROVIDERS = Providers(load_default_providers())
CUSTOMER = {"name": "customer", "model_alias": "m", "system_prompt": "You want {{ topic }}."}
AGENT = {"name": "agent", "model_alias": "k", "system_prompt": "You sell {{ topic }}."}


def talking(*roles: dict[str, Any], **fields: Any) -> dd.DataDesignerConfigBuilder:
    """The models `m` and `k`, and the column `chat` with the given fields."""
    made = builder().add_model_config(model("k", model="other"))
    given = {"column_type": "conversation", "roles": roles or (CUSTOMER, AGENT), "max_turns": 4}
    return made.add_column(name="chat", **{**given, **fields})


def speak(body: Body) -> str:
    """Says who speaks, and how many messages of its own it sees."""
    own = sum(each["role"] == "assistant" for each in body["messages"])
    return f"{body['model']} {own + 1}"


def preview(made: Any, script: Any = speak, rows: int = 2) -> list[dict[str, Any]]:
    return DataDesigner(transport=ScriptedModel(script)).preview(made, num_records=rows).records()


def texts_of(messages: list[dict[str, Any]]) -> list[str]:
    return [each["content"] for each in messages]


def test_roles_speak_in_turn() -> None:
    [row] = preview(talking(), rows=1)
    assert row["chat"] == [
        {"role": "user", "name": "customer", "content": "tiny 1"},
        {"role": "assistant", "name": "agent", "content": "other 1"},
        {"role": "user", "name": "customer", "content": "tiny 2"},
        {"role": "assistant", "name": "agent", "content": "other 2"},
    ]
    assert [*row] == ["topic", "chat", "chat__turns", "chat__tokens"], "no hidden column"
    assert row["chat__turns"] == 4


@pytest.mark.parametrize("name", ["my chat", "2nd", "x²", "a.b", "d'été", "for", "{{ chat }}"])
def test_a_column_may_have_any_name(name: str) -> None:
    made = builder().add_model_config(model("k", model="other"))
    made.add_column(
        name=name,
        column_type="conversation",
        roles=[CUSTOMER, AGENT],
        max_turns=4,
        stop_when="{{ turn == 3 }}",
    )
    [row] = preview(made, rows=1)
    assert len(row[name]) == row[f"{name}__turns"] == 3


@pytest.mark.parametrize("names", [("the boss", "a.b"), ("Ann", "ann"), ("role", "input")])
def test_roles_may_have_any_names(tmp_path: Path, names: tuple[str, str]) -> None:
    roles = [{"name": name, "model_alias": "m"} for name in names]
    designer = DataDesigner(tmp_path, transport=ScriptedModel(speak))
    results = designer.create(talking(*roles, max_turns=2), num_records=1)
    [row] = results.load_dataset().to_dict("records")
    assert [each["name"] for each in row["chat"]] == [*names]
    assert [*row["chat__tokens"]] == [*names]


def test_what_models_write_is_no_template() -> None:
    text = "{{ topic }} {% for x in y %}"
    [row] = preview(talking(), lambda body: text, rows=1)
    assert texts_of(row["chat"]) == [text] * 4


def test_each_role_sees_the_conversation_from_its_side() -> None:
    script = ScriptedModel(speak)
    DataDesigner(transport=script).preview(talking(start_prompt="Begin."), num_records=1)
    third, fourth = (each["messages"] for each in script.requests[2:])
    assert third == [
        {"role": "system", "content": "You want tea."},
        {"role": "user", "content": "Begin."},
        {"role": "assistant", "content": "tiny 1"},
        {"role": "user", "content": "other 1"},
    ]
    assert fourth == [
        {"role": "system", "content": "You sell tea."},
        {"role": "user", "content": "tiny 1"},
        {"role": "assistant", "content": "other 1"},
        {"role": "user", "content": "tiny 2"},
    ]


def test_an_opening_is_the_first_turn() -> None:
    script = ScriptedModel(speak)
    made = talking(opening="I would like {{ topic }}.", max_turns=3)
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert texts_of(row["chat"]) == ["I would like tea.", "other 1", "tiny 2"]
    assert len(script.requests) == 2
    assert row["chat__tokens"]["customer"]["output"] > 0
    last = script.requests[-1]["messages"]
    assert [each["role"] for each in last] == ["system", "user", "assistant", "user"]


def test_an_empty_opening_fails_its_row() -> None:
    made = talking(opening="{{ '' if topic == 'tea' else 'Hello.' }}")
    with pytest.raises(DataDesignerGenerationError, match="rendered to an empty string"):
        preview(made)


@pytest.mark.parametrize(
    ("stop_when", "turns"),
    [
        ("{{ 'other 1' in message }}", 2),
        ("{{ turn == 3 }}", 3),
        ("{{ speaker == 'agent' and turn > 2 }}", 4),
        ("{{ messages | length == 3 and messages[1].name == 'agent' }}", 3),
        ("{{ topic == 'tea' }}", 1),
        ("{{ message.nothing.there }}", 6),  # a condition that fails does not hold
    ],
)
def test_a_conversation_ends_when_its_condition_holds(stop_when: str, turns: int) -> None:
    [row] = preview(talking(stop_when=stop_when, max_turns=6), rows=1)
    assert (len(row["chat"]), row["chat__turns"]) == (turns, turns)


@pytest.mark.parametrize(
    ("last", "texts"),
    [("Thank you. [END]", ["Hello.", "Welcome.", "Thank you."]), ("[END]", ["Hello.", "Welcome."])],
)
def test_a_role_ends_the_conversation_with_the_mark(last: str, texts: list[str]) -> None:
    made = talking(end_mark="[END]", min_turns=4, max_turns=9)
    [row] = preview(made, ["Hello.", "Welcome.", last], rows=1)
    assert texts_of(row["chat"]) == texts
    assert row["chat__turns"] == len(texts)
    assert row["chat__tokens"]["customer"]["output"] == 10


def test_the_condition_is_not_asked_before_the_minimum() -> None:
    [row] = preview(talking(stop_when="{{ turn > 0 }}", min_turns=3, max_turns=6), rows=1)
    assert row["chat__turns"] == 3


def test_no_request_is_sent_after_the_end() -> None:
    script = ScriptedModel(speak)
    made = talking(stop_when="{{ turn == 2 }}", max_turns=50)
    DataDesigner(transport=script).preview(made, num_records=3)
    assert len(script.requests) == 6


def test_three_roles_hear_who_spoke() -> None:
    script = ScriptedModel(speak)
    made = talking(CUSTOMER, AGENT, {"name": "boss", "model_alias": "k"}, max_turns=4)
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert [each["role"] for each in row["chat"]] == ["user", "user", "assistant", "user"]
    heard = script.requests[-1]["messages"][-1]
    assert heard == {"role": "user", "content": "agent: other 1\n\nboss: other 1"}


def test_roles_of_messages_can_be_chosen() -> None:
    roles = ({**CUSTOMER, "message_role": "assistant"}, {**AGENT, "message_role": "user"})
    [row] = preview(talking(*roles, max_turns=2), rows=1)
    assert [each["role"] for each in row["chat"]] == ["assistant", "user"]


def test_tokens_are_counted_by_role_with_those_of_rejected_answers() -> None:
    answers = ["", "Hello.", "Good day."]
    [row] = preview(talking(max_turns=2), answers, rows=1)
    once = preview(talking(max_turns=2), ["Hello.", "Good day."], rows=1)[0]["chat__tokens"]
    assert row["chat__tokens"]["agent"] == once["agent"]
    assert row["chat__tokens"]["customer"] == {k: 2 * n for k, n in once["customer"].items()}


def test_a_skipped_conversation_is_skipped_as_a_whole() -> None:
    script = ScriptedModel(speak)
    made = talking(skip={"when": "{{ topic == 'tea' }}", "value": "none"})
    made.add_column(name="size", column_type="expression", expr="{{ chat | length }}")
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert not script.requests
    names = ("chat", "chat__turns", "size")
    assert [row[name] for name in names] == ["none", None, None]


def test_a_conversation_is_skipped_if_any_of_its_inputs_was() -> None:
    made = builder().add_model_config(model("k", model="other"))
    made.add_column(
        name="goal",
        column_type="llm-text",
        model_alias="m",
        prompt="{{ topic }}",
        skip={"when": "{{ topic == 'tea' }}"},
    )
    agent = {**AGENT, "system_prompt": "You want {{ goal }}."}
    made.add_column(name="chat", column_type="conversation", roles=[CUSTOMER, agent], max_turns=4)
    [row] = preview(made, rows=1)
    assert row["chat"] is None


def test_a_429_in_every_turn_is_waited_for() -> None:
    seen: Counter[str] = Counter()

    def script(body: Body) -> Any:
        sent = json.dumps(body["messages"])
        seen[sent] += 1
        return refusal(429, **{"retry-after": "0.01"}) if seen[sent] == 1 else speak(body)

    [row] = preview(talking(max_turns=10), script, rows=1)
    assert row["chat__turns"] == 10
    assert [*seen.values()] == [2] * 10


def test_tools_are_called_within_a_turn(tmp_path: Path) -> None:
    def script(body: Body) -> Any:
        last = body["messages"][-1]
        if "tools" in body and last["role"] == "user":
            return calling(("maths_add", {"a": 1, "b": 2}))
        return f"It is {last['content']}." if last["role"] == "tool" else "What is 1 + 2?"

    made = talking(CUSTOMER, {**AGENT, "tool_alias": "t"}, max_turns=4)
    made.add_tool_config(dd.ToolConfig(tool_alias="t", providers=["p"]))
    port = find_free_port()
    address = f"http://127.0.0.1:{port}/mcp"
    provider = dd.MCPProvider(name="p", endpoint=address, provider_type="streamable_http")
    transport = ScriptedModel(script)
    with serving_tools(make_server(port=port), "streamable-http", port):
        designer = DataDesigner(tmp_path, transport=transport, mcp_providers=[provider])
        results = designer.create(made, num_records=1)
    [row] = results.load_dataset().to_dict("records")
    answer, result = row["chat"][1:3]
    assert (answer["role"], result["role"]) == ("assistant", "tool")
    assert answer["tool_calls"][0]["function"]["name"] == "maths_add"
    assert result["tool_call_id"] == answer["tool_calls"][0]["id"]
    assert texts_of(row["chat"])[3] == "It is 3."
    assert row["chat__turns"] == 4
    seen = [each["role"] for each in transport.requests[-1]["messages"]]
    assert seen == ["system", "user", "assistant", "tool", "assistant", "user", "assistant", "tool"]


def test_a_key_in_the_name_of_a_tool_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-marker-0123456789")

    def script(body: Body) -> Any:
        is_asked = "tools" in body and body["messages"][-1]["role"] == "user"
        return calling(("sk-marker-0123456789", {"a": 1})) if is_asked else "Hello."

    made = dd.DataDesignerConfigBuilder([model("m", api_key_env_var="TEST_KEY")])
    made.add_column(
        name="chat",
        column_type="conversation",
        roles=[
            {"name": "customer", "model_alias": "m"},
            {"name": "agent", "model_alias": "m", "tool_alias": "t"},
        ],
        max_turns=2,
    )
    made.add_tool_config(dd.ToolConfig(tool_alias="t", providers=["p"]))
    port = find_free_port()
    address = f"http://127.0.0.1:{port}/mcp"
    provider = dd.MCPProvider(name="p", endpoint=address, provider_type="streamable_http")
    with serving_tools(make_server(port=port), "streamable-http", port):
        designer = DataDesigner(transport=ScriptedModel(script), mcp_providers=[provider])
        [row] = designer.preview(made, num_records=1).records()
    assert row["chat"][1]["tool_calls"]
    assert "0123456789" not in str(row)


def test_a_dataset_has_the_declared_types(tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path, transport=ScriptedModel(speak))
    results = designer.create(talking(stop_when="{{ turn == 2 }}"), num_records=3)
    table = pq.read_table(results.artifact_storage.final_dataset_path)
    assert str(table.schema.field("chat__turns").type) == "int64"
    message = table.schema.field("chat").type.value_type
    assert [field.name for field in message] == ["role", "name", "content"]
    assert table.schema.field("chat__tokens").type.num_fields == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_turns": 1}, "greater than or equal to 2"),
        ({"min_turns": 5}, "min_turns is 5, but max_turns is only 4"),
        ({"roles": [CUSTOMER]}, "at least 2 items"),
        ({"roles": [CUSTOMER, CUSTOMER]}, "two roles are named 'customer'"),
        ({"stop_when": "{{ 'x' in }}"}, "stop_when"),
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        talking(**fields)


def test_unknown_names_are_refused_with_their_place() -> None:
    agent = {**AGENT, "model_alias": "q", "tool_alias": "t", "system_prompt": "{{ topix }}"}
    made = talking(CUSTOMER, agent, stop_when="{{ massage }}")
    with pytest.raises(InvalidConfigError) as caught:
        preview(made)
    found = {problem.where: problem.message for problem in caught.value.problems}
    place = "columns.chat.roles.1"
    assert "no model has the alias 'q'" in found[f"{place}.model_alias"]
    assert "no tool configuration" in found[f"{place}.tool_alias"]
    assert "did you mean 'topic'?" in found[f"{place}.system_prompt"]
    assert "did you mean 'message'?" in found["columns.chat.stop_when"]


def test_a_column_cannot_have_the_name_of_a_variable() -> None:
    made = talking(stop_when="{{ turn > 2 }}")
    made.add_column(name="turn", column_type="expression", expr="1")
    with pytest.raises(InvalidConfigError, match="uses 'turn' for the conversation"):
        preview(made)


def test_a_budget_that_runs_out_is_continued_within_a_conversation(tmp_path: Path) -> None:
    sent: list[int] = []
    for most in (3, 8):
        script = ScriptedModel(speak)
        settings = dd.RunConfig.model_validate({"budget": {"requests": most}})
        designer = DataDesigner(tmp_path, transport=script, run_config=settings)
        with nullcontext() if most == 8 else pytest.raises(BudgetExhaustedError):
            designer.create(talking(), num_records=2, resume="if_possible")
        sent.append(len(script.requests))
    assert sent == [3, 5]


def test_more_turns_are_added_to_an_interrupted_run(tmp_path: Path) -> None:
    settings = dd.RunConfig.model_validate({"budget": {"requests": 1}})
    with pytest.raises(BudgetExhaustedError):
        designer = DataDesigner(tmp_path, transport=ScriptedModel(speak), run_config=settings)
        designer.create(talking(max_turns=2), num_records=1)
    script = ScriptedModel(speak)
    designer = DataDesigner(tmp_path, transport=script)
    results = designer.create(talking(max_turns=4), num_records=1, resume="if_possible")
    assert len(results.load_dataset()["chat"][0]) == 4
    assert len(script.requests) == 3


def test_more_turns_keep_those_that_are_there() -> None:
    plans = [compile_plan(talking(max_turns=n).build(), PROVIDERS, 1) for n in (2, 4)]
    two, four = ({n: c.fingerprint for n, c in plan.columns.items()} for plan in plans)
    assert all(four[name] == two[name] for name in two if name != "chat")


def test_a_conversation_can_be_repeated() -> None:
    made = talking(max_turns=2)
    made.add_column(name="turns", column_type="expression", expr="{{ chat__turns }}")
    made.add_repeat(columns=["chat", "turns"], at_most=3, until="{{ round == 2 }}")
    script = ScriptedModel(speak)
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert texts_of(row["chat"]) == ["tiny 1", "other 1"]
    assert (row["chat__turns"], len(script.requests)) == (2, 4)


def test_a_transcript_is_text() -> None:
    made = talking(max_turns=2)
    made.add_column(name="text", column_type="expression", expr="{{ chat | transcript }}")
    [row] = preview(made, rows=1)
    assert row["text"] == "customer: tiny 1\n\nagent: other 1"
    call = {"id": "c", "function": {"name": "add", "arguments": "{}"}}
    template = Template.compile("{{ messages | transcript }}")
    said = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    assert template.render({"messages": said}) == "assistant: [calls add with {}]"
    with pytest.raises(UserTemplateError, match="needs a list of messages"):
        template.render({"messages": ["Hello."]})


def test_the_requests_of_a_row_are_known_in_advance() -> None:
    made = talking(max_turns=5, opening="Hello.")
    made.add_column(name="said", column_type="llm-text", model_alias="m", prompt="{{ chat }}", n=3)
    made.add_column(name="draft", column_type="llm-text", model_alias="m", prompt="{{ said }}")
    made.add_repeat(columns=["draft"], at_most=4, until="{{ round > 1 }}")
    assert DataDesigner().count_requests(made) == {"chat": 4, "said": 3, "draft": 4}
