"""Texts that a model continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, InvalidConfigError
from dd_core.dataset.compile import compile_plan
from dd_core.errors import (
    ModelBadRequestError,
    ModelNotFoundError,
    ModelUnsupportedCapabilityError,
)
from dd_core.models.providers import Providers, load_default_providers
from tests.scripted import (
    Body,
    ScriptedModel,
    builder,
    chat_response,
    completion_response,
    model,
    refusal,
)

LOGPROBS = {"tokens": [" green", " tea"], "token_logprobs": [-0.5, -1.5], "top_logprobs": None}
ANTHROPIC = dd.ModelProvider(
    name="anthropic", endpoint="http://model.test", provider_type="anthropic"
)
CHAT_LOGPROBS = {"content": [{"token": "green", "logprob": -0.5, "top_logprobs": []}]}


def completing(**fields: Any) -> dd.DataDesignerConfigBuilder:
    """A model `m` that stops after 20 tokens, and the column `text` with the given fields."""
    given: dict[str, Any] = {"column_type": "llm-completion", "model_alias": "m"}
    given |= {"prompt": "I like {{ topic }}"}
    return builder(max_tokens=20).add_column(name="text", **{**given, **fields})


def preview(made: Any, script: Any) -> dict[str, Any]:
    transport = ScriptedModel(script)
    [row] = DataDesigner(transport=transport).preview(made, num_records=1).records()
    return row


def test_a_prompt_is_continued_exactly() -> None:
    script = ScriptedModel(completion_response("  green\n"))
    made = completing(stop=["\n\n", "END"])
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert row == {"topic": "tea", "text": "  green\n"}
    [body] = script.requests
    assert body == {
        "model": "tiny",
        "prompt": "I like tea",
        "max_tokens": 20,
        "stop": ["\n\n", "END"],
    }
    assert script.urls == ["http://model.test/v1/completions"]


def test_a_prefill_is_continued() -> None:
    script = ScriptedModel(chat_response(" cups, please."))
    made = completing(prefill="Three {{ topic }}", system_prompt="You order.", echo=True)
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert row["text"] == "Three tea cups, please."
    [body] = script.requests
    assert body["messages"] == [
        {"role": "system", "content": "You order."},
        {"role": "user", "content": "I like tea"},
        {"role": "assistant", "content": "Three tea"},
    ]
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False


@pytest.mark.parametrize(
    ("probe", "answer", "text"),
    [
        ("Hello there", "[[1], [2]]", "[[1], [2]]"),  # the server repeats the prefill
        ("there", "[1], [2]]", "[[1], [2]]"),
        ("there", "[1]]", "[[1]]"),  # what looks like the prefill is new
    ],
)
def test_a_server_may_repeat_the_prefill(probe: str, answer: str, text: str) -> None:
    def script(body: Body) -> Any:
        return chat_response(probe if body["messages"][-1]["content"] == "Hello" else answer)

    transport = ScriptedModel(script, probes=True)
    made = completing(prefill="[", echo=True)
    [row] = DataDesigner(transport=transport).preview(made, num_records=1).records()
    assert row["text"] == text


def test_anthropic_continues_a_last_message_of_the_assistant() -> None:
    answer = {"content": [{"type": "text", "text": " cup"}], "stop_reason": "end_turn"}
    script = ScriptedModel(lambda body: httpx.Response(200, json=answer), probes=True)
    made = dd.DataDesignerConfigBuilder([model(provider="anthropic", base_url=None)])
    made.add_column(
        name="text", column_type="llm-completion", model_alias="m", prompt="Hi.", prefill="One"
    )
    designer = DataDesigner(transport=script, model_providers=[ANTHROPIC])
    assert designer.preview(made, num_records=1).records() == [{"text": " cup"}]
    for body in script.requests:
        assert body["messages"][-1]["role"] == "assistant"
        assert "continue_final_message" not in body


@pytest.mark.parametrize(
    ("fields", "response", "asked"),
    [
        ({}, completion_response(" green tea", logprobs=LOGPROBS), 1),
        ({"prefill": "A"}, chat_response("green"), True),
    ],
)
def test_log_probabilities_are_kept(
    tmp_path: Path, fields: dict[str, Any], response: httpx.Response, asked: Any
) -> None:
    if "prefill" in fields:
        choice = {**response.json()["choices"][0], "logprobs": CHAT_LOGPROBS}
        response = httpx.Response(200, json={"choices": [choice]})
    script = ScriptedModel(response, probes=True)
    designer = DataDesigner(tmp_path, transport=script)
    results = designer.create(completing(with_logprobs=True, **fields), num_records=2)
    [row, _] = results.load_dataset().to_dict("records")
    expected = [-0.5] if fields else [-0.5, -1.5]
    assert [each["logprob"] for each in row["text__logprobs"]] == expected
    assert row["text__mean_logprob"] == sum(expected) / len(expected)
    assert script.requests[-1]["logprobs"] == asked
    schema = pq.read_schema(next(tmp_path.rglob("*.parquet")))
    assert str(schema.field("text__mean_logprob").type) == "double"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"tokens": ["a", "b"], "token_logprobs": [None, -1]}, [("b", -1)]),
        ({"tokens": ["a", "b"], "token_logprobs": [float("nan"), -1]}, [("b", -1)]),
        ({"tokens": ["a", "b"], "token_logprobs": [float("-inf"), -1]}, [("b", -1)]),
        ({"tokens": ["a", "b"], "token_logprobs": [-(10**400), -1]}, [("b", -1)]),
        ({"tokens": ["a", "b"], "token_logprobs": [True, "-1"]}, None),
        ({"tokens": ["a", "b"], "token_logprobs": [-1]}, [("a", -1)]),
        ({"tokens": [None, {"a": 1}], "token_logprobs": [-1, -1]}, None),
        ({"tokens": "ab", "token_logprobs": 5}, None),
        ({"content": [{"token": "a", "logprob": -1}, None, "b", {}]}, [("a", -1)]),
        (
            {"content": [{"token": "a", "logprob": -1}], "tokens": ["a"], "token_logprobs": [-1]},
            [("a", -1)],
        ),
        ([-1], None),
    ],
)
def test_log_probabilities_that_are_no_numbers_are_left_out(given: Any, kept: Any) -> None:
    choice = {"text": "ab", "finish_reason": "stop", "logprobs": given}
    body = json.dumps({"choices": [choice]}).encode()  # with NaN, as some servers send it
    row = preview(completing(with_logprobs=True), httpx.Response(200, content=body))
    found = row["text__logprobs"] or ()
    assert ([(each["token"], each["logprob"]) for each in found] or None) == kept
    assert row["text__mean_logprob"] == (None if kept is None else -1)


@pytest.mark.parametrize("end", ["\n\n", "\n\ndata: [DONE]\n\n"])
def test_a_stream_that_nobody_requested_is_read_as_a_whole(end: str) -> None:
    logprobs = [{"tokens": [word], "token_logprobs": [-1]} for word in (" green", " tea")]
    chunks = [
        {"text": " green", "logprobs": logprobs[0]},
        {"text": " tea", "finish_reason": "stop", "logprobs": logprobs[1]},
    ]
    lines = [f"data: {json.dumps({'choices': [{'index': 0, **each}]})}" for each in chunks]
    answer = httpx.Response(200, content=("\n\n".join(lines) + end).encode())
    row = preview(completing(with_logprobs=True), answer)
    assert row["text"] == " green tea"
    assert [each["token"] for each in row["text__logprobs"]] == [" green", " tea"]


def test_markers_of_reasoning_are_text() -> None:
    answer = completion_response("<think>green", finish_reason="length")
    assert preview(completing(), answer)["text"] == "<think>green"


@pytest.mark.parametrize("text", ["sk-marker-0123456789", "harmless"])
def test_a_key_does_not_leak_through_log_probabilities(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-marker-0123456789")
    logprobs = {"tokens": ["sk-marker-", "0123456789"], "token_logprobs": [-0.1, -0.2]}
    script = ScriptedModel(completion_response(text, logprobs=logprobs))
    made = dd.DataDesignerConfigBuilder([model(api_key_env_var="TEST_KEY")])
    made.add_column(
        name="text",
        column_type="llm-completion",
        model_alias="m",
        prompt="Hi.",
        with_logprobs=True,
    )
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert "0123456789" not in str(row)
    assert row["text__logprobs"] is None


@pytest.mark.parametrize(
    ("policy", "texts", "requests"), [("keep", "cut", 1), ("retry", "cut", 2), ("fail", None, 1)]
)
def test_texts_that_are_cut_off(policy: str, texts: str | None, requests: int) -> None:
    script = ScriptedModel(completion_response("cut", finish_reason="length"))
    made = completing(on_truncated=policy)
    designer = DataDesigner(transport=script)
    if texts is None:
        with pytest.raises(DataDesignerGenerationError, match="was cut off"):
            designer.preview(made, num_records=1)
    else:
        assert designer.preview(made, num_records=1).records()[0]["text"] == texts
    assert len(script.requests) == requests


def test_an_empty_text_is_requested_again() -> None:
    assert preview(completing(), ["", " green"])["text"] == " green"


def test_a_model_is_checked_with_what_its_columns_need() -> None:
    script = ScriptedModel(completion_response("x", logprobs=LOGPROBS), probes=True)
    designer = DataDesigner(transport=script)
    designer.check_models(completing(with_logprobs=True, stop=["."]))
    [body] = script.requests
    expected = {"prompt": "Hello", "logprobs": 1, "stop": ["."], "max_tokens": 1}
    assert {name: body[name] for name in expected} == expected
    chatting = completing().add_column(
        name="said", column_type="llm-text", model_alias="m", prompt="Say {{ topic }}."
    )
    script.requests.clear()
    designer.check_models(chatting)
    assert sorted("prompt" in body for body in script.requests) == [False, True]


def test_a_repeated_column_is_checked_as_well() -> None:
    made = completing()
    made.add_repeat(columns=["text"], at_most=2, until="{{ text | length > 3 }}")
    script = ScriptedModel(completion_response("x"), probes=True)
    DataDesigner(transport=script).check_models(made)
    assert [body["prompt"] for body in script.requests] == ["Hello"]


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (refusal(404, "Not Found"), ModelNotFoundError, "Not Found"),
        (refusal(400, "unknown field"), ModelBadRequestError, "unknown field"),
        (completion_response("x"), ModelUnsupportedCapabilityError, "no log probabilities"),
    ],
)
def test_providers_that_lack_it_are_refused_before_a_run(
    answer: httpx.Response, error: type[Exception], reason: str
) -> None:
    script = ScriptedModel(answer, probes=True)
    designer = DataDesigner(transport=script)
    with pytest.raises(error, match=reason):
        designer.check_models(completing(with_logprobs=True))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "does not support raw completions"),
        ({"prefill": "A", "with_logprobs": True}, "no log probabilities"),
    ],
)
def test_anthropic_is_refused_for_what_it_lacks(fields: dict[str, Any], reason: str) -> None:
    made = dd.DataDesignerConfigBuilder([model(provider="anthropic", base_url=None)])
    made.add_column(
        name="text", column_type="llm-completion", model_alias="m", prompt="Hi.", **fields
    )
    script = ScriptedModel(probes=True)
    with pytest.raises(ModelUnsupportedCapabilityError, match=reason):
        DataDesigner(transport=script, model_providers=[ANTHROPIC]).check_models(made)
    assert not script.requests


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"system_prompt": "You order."}, "system_prompt needs prefill"),
        ({"stop": [""]}, "contains an empty text"),
        ({"prompt": ""}, "at least 1 character"),
        ({"stop": []}, "at least 1 item"),
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        completing(**fields)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidConfigError, match=r"text\.prefill: .*did you mean 'topic'"):
        preview(completing(prefill="{{ topik }}"), "x")


def test_texts_without_an_end_are_warned_about() -> None:
    made = dd.DataDesignerConfigBuilder([model()])
    made.add_column(name="text", column_type="llm-completion", model_alias="m", prompt="Once")
    plan = compile_plan(made.build(), Providers(load_default_providers()), 1)
    assert any("nothing ends the texts" in str(warning) for warning in plan.warnings)
