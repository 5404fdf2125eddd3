"""Answers that are not values: requested again, then the row fails; paid answers are not lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError
from dd_core.models.address import parse_address
from dd_core.models.wire.answers import Reply, parse_chat
from dd_core.models.wire.anthropic import AnthropicWire
from dd_core.models.wire.judgement import Verdict, judge_reply
from tests.scripted import ScriptedModel, builder, chat_response

_anthropic = AnthropicWire(parse_address("http://a.test")).reply
CODE = {"column_type": "llm-code", "code_lang": "python"}
FACTS = {
    "column_type": "llm-structured",
    "output_format": {
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
    },
}
USABLE = {"llm-text": "Tea.", "llm-code": "```python\nx = 1\n```", "llm-structured": '{"x": 1}'}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def body(content: Any, finish: Any = "stop", **message: Any) -> httpx.Response:
    said = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish}
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    return httpx.Response(200, json={"choices": [choice], "usage": usage})


def run(
    script: Any, folder: Path, restarts: int = 5, corrections: int = 0, **column: Any
) -> tuple[list[Any], Mapping[str, float], ScriptedModel]:
    """The values of one row, its usage, and the model that answered."""
    given = {"column_type": "llm-text", "prompt": "On {{ topic }}.", **column}
    made = builder(skip_health_check=True).add_column(name="out", model_alias="m", **given)
    model = ScriptedModel(script)
    run_config = dd.RunConfig(
        max_conversation_restarts=restarts,
        max_conversation_correction_steps=corrections,
        disable_early_shutdown=True,
    )
    designer = DataDesigner(folder, transport=model, run_config=run_config)
    results = designer.create(made, num_records=1)
    usage = results.directory.metadata.usage["m"]["out"]
    return results.load_dataset()["out"].tolist(), usage, model


def native(content: str, reason: str) -> httpx.Response:
    """An answer of a router that does not know the provider's finish reason."""
    choice = {"message": {"content": content}, "finish_reason": None}
    return httpx.Response(200, json={"choices": [choice | {"native_finish_reason": reason}]})


ODD = [
    ("reasoning only, cut off", body(None, "length", reasoning_content="Hm."), "truncated"),
    ("an unclosed think tag, cut off", body("<think>Hm.", "length"), "truncated"),
    ("an unclosed tag of a model family", body("<seed:think>Hm."), "empty"),
    ("only the channel of the reasoning", body("<|channel|>analysis<|message|>Hm."), "empty"),
    ("a think tag opened later", body("Well. <think>Hm.", "length"), "truncated"),
    ("an unclosed think tag", body("<think>Hm."), "empty"),
    ("nothing after the reasoning", body("<think>Hm.</think>\n"), "empty"),
    ("nothing", body(""), "empty"),
    ("null", body(None), "empty"),
    ("whitespace and zero-width characters", body(" \n\u200b\ufeff"), "empty"),
    ("only a special token", body("<|im_end|>"), "empty"),
    ("an empty list of blocks", body([]), "empty"),
    ("an empty object", body({}), "empty"),
    ("false", body(False), "empty"),
    ("a limit that only the provider names", native("Once upon", "MAX_TOKENS"), "truncated"),
    ("a filter that only the provider names", native("Once upon", "SAFETY"), "filtered"),
    ("no choices", httpx.Response(200, json={"choices": []}), "empty"),
    ("a refusal", body(None, refusal="I cannot help."), "refused"),
    ("a block with a refusal", body([{"type": "refusal", "refusal": "No."}]), "refused"),
    ("a content filter", body("", "content_filter"), "filtered"),
    ("half of an answer and a content filter", body("Once upon", "content_filter"), "filtered"),
    ("a filter of another provider", body("Once", "content_filter: SAFETY"), "filtered"),
    (
        "a content filter without a message",
        httpx.Response(200, json={"choices": [{"index": 0, "finish_reason": "content_filter"}]}),
        "filtered",
    ),
    ("a tool call", body(None, "tool_calls", tool_calls=[CALL]), "tool_call"),
    ("words before a tool call", body("I look it up.", "stop", tool_calls=[CALL]), "tool_call"),
    ("an error", body("Once upon a", "error"), "failed"),
]


@pytest.mark.parametrize("column", [{}, CODE, FACTS], ids=["text", "code", "structured"])
@pytest.mark.parametrize(("odd", "verdict"), [case[1:] for case in ODD], ids=[c[0] for c in ODD])
def test_what_is_not_an_answer_is_requested_again_and_counted(
    odd: httpx.Response, verdict: str, column: dict[str, Any], tmp_path: Path
) -> None:
    good = chat_response(USABLE[column.get("column_type", "llm-text")])
    values, usage, model = run([odd, good], tmp_path, **column)
    assert values in (["Tea."], ["x = 1"], [{"x": 1}])
    assert len(model.requests) == 2
    assert model.requests[0]["messages"] == model.requests[1]["messages"]
    assert usage[f"{verdict}_answers"] == 1
    counts = [name for name in usage if name.endswith("_answers") and usage[name]]
    assert counts == [f"{verdict}_answers"]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (body(""), "the answer was empty"),
        (body(None, refusal="Not this."), "the model refused to answer: 'Not this.'"),
        (body("x", "content_filter"), "content filter withheld"),
        (body(None, "length", reasoning="Hm."), "cut off before it had any text.*max_tokens"),
        (body(None, tool_calls=[CALL]), "called a tool"),
    ],
)
def test_a_row_fails_with_the_reason_after_as_many_answers_as_one_that_cannot_be_parsed(
    odd: httpx.Response, reason: str, tmp_path: Path
) -> None:
    script = ScriptedModel(odd)
    made = builder(skip_health_check=True).add_column(
        name="out", column_type="llm-text", model_alias="m", prompt="On {{ topic }}."
    )
    run_config = dd.RunConfig(
        max_conversation_restarts=1,
        max_conversation_correction_steps=1,
        disable_early_shutdown=True,
    )
    with pytest.raises(DataDesignerGenerationError, match=reason):
        DataDesigner(transport=script, run_config=run_config).preview(made, num_records=1)
    assert len(script.requests) == 4
    assert all(len(request["messages"]) == 1 for request in script.requests)


def test_judges_are_judged_too(tmp_path: Path) -> None:
    scored = {"taste": {"reasoning": "It is {warm}.", "score": 5}}
    good = f"Scores: {json.dumps(scored)}. I used {{taste}} alone."
    score = dd.Score(name="taste", description="How good", options={1: "bad", 5: "good"})
    values, usage, _ = run(
        [body(None, refusal="No."), body('{"taste": {"reasoning": "It'), body("", "error"), good],
        tmp_path, column_type="llm-judge", scores=[score],
    )  # fmt: skip
    assert values == [scored]
    assert (usage["refused_answers"], usage["failed_answers"]) == (1, 1)


def test_custom_functions_get_no_answer_that_is_not_usable(tmp_path: Path) -> None:
    @dd.custom_column_generator(required_columns=["topic"], model_aliases=["m"])
    async def generator(row: dict[str, Any], generator_params: Any, models: Any) -> dict[str, Any]:
        value, _ = await models["m"].agenerate("Hi.", max_conversation_restarts=1)
        return row | {"out": value}

    made = builder(skip_health_check=True)
    made.add_column(dd.CustomColumnConfig(name="out", generator_function=generator))
    model = ScriptedModel([body(""), "Tea."])
    results = DataDesigner(tmp_path, transport=model).create(made, num_records=1)
    assert results.load_dataset()["out"].tolist() == ["Tea."]
    assert results.directory.metadata.usage["m"]["out"]["empty_answers"] == 1


def test_the_profile_counts_unusable_answers(tmp_path: Path) -> None:
    made = builder(skip_health_check=True).add_column(
        name="out", column_type="llm-text", model_alias="m", prompt="On {{ topic }}."
    )
    half = body("Once", "length")
    model = ScriptedModel([body(""), half, half])
    analysis = DataDesigner(tmp_path, transport=model).create(made, num_records=1).load_analysis()
    [column] = analysis.get_column_statistics_by_type("llm-text")
    assert column.unusable_answers == "1 empty, 2 truncated, 1 truncated but kept"


class TestTruncated:
    HALF = body("Once upon a ti", "length")

    def test_text_is_requested_once_more(self, tmp_path: Path) -> None:
        values, usage, model = run([self.HALF, "Tea."], tmp_path)
        assert values == ["Tea."]
        assert (usage["truncated_answers"], usage["truncated_values"]) == (1, 0)
        assert len(model.requests) == 2

    @pytest.mark.parametrize("second", [HALF, body(None, "length", reasoning_content="Hm.")])
    def test_text_is_kept_and_counted_if_the_second_answer_is_cut_off_too(
        self, second: httpx.Response, tmp_path: Path
    ) -> None:
        values, usage, model = run([self.HALF, second], tmp_path)
        assert values == ["Once upon a ti"]
        assert usage["truncated_values"] == 1
        assert len(model.requests) == 2

    @pytest.mark.parametrize(
        "second",
        [
            body(""),
            body(None, refusal="No."),
            body("Once", "content_filter"),
            body("Once", "error"),
            body(None, "tool_calls", tool_calls=[CALL]),
        ],
        ids=["empty", "refused", "filtered", "failed", "tool call"],
    )
    def test_another_kind_of_unusable_answer_says_nothing_about_the_limit(
        self, second: httpx.Response, tmp_path: Path
    ) -> None:
        values, usage, model = run([self.HALF, second, "Tea."], tmp_path)
        assert values == ["Tea."]
        assert (usage["truncated_values"], len(model.requests)) == (0, 3)

    def test_text_is_kept_if_no_later_answer_is_usable(self, tmp_path: Path) -> None:
        values, usage, model = run([self.HALF, body(""), body("")], tmp_path, restarts=2)
        assert values == ["Once upon a ti"]
        assert (usage["truncated_values"], len(model.requests)) == (1, 3)

    def test_without_restarts_text_is_kept_at_once(self, tmp_path: Path) -> None:
        values, usage, model = run(self.HALF, tmp_path, restarts=0)
        assert values == ["Once upon a ti"]
        assert (usage["truncated_values"], len(model.requests)) == (1, 1)

    def test_a_column_may_keep_text_at_once(self, tmp_path: Path) -> None:
        values, usage, model = run(self.HALF, tmp_path, on_truncated="keep")
        assert values == ["Once upon a ti"]
        assert (usage["truncated_values"], len(model.requests)) == (1, 1)

    @pytest.mark.parametrize("column", [{}, CODE])
    def test_a_column_may_fail_the_row_at_once(self, column: Any, tmp_path: Path) -> None:
        script = ScriptedModel(self.HALF)
        made = builder(skip_health_check=True).add_column(
            **{"column_type": "llm-text", **column},
            name="out", model_alias="m", prompt="On {{ topic }}.", on_truncated="fail",
        )  # fmt: skip
        with pytest.raises(DataDesignerGenerationError, match=r"in 1 attempt .*cut off"):
            DataDesigner(transport=script).preview(made, num_records=1)
        assert len(script.requests) == 1

    @pytest.mark.parametrize("policy", ["retry", "keep"])
    def test_code_that_is_cut_off_is_never_kept(self, policy: str, tmp_path: Path) -> None:
        half = body("```python\ndef f():\n    return (1 +", "length")
        good = "```python\nx = 1\n```"
        values, usage, _ = run([half] * 3 + [good], tmp_path, **CODE, on_truncated=policy)
        assert values == ["x = 1"]
        assert (usage["truncated_answers"], usage["truncated_values"]) == (3, 0)

    def test_whole_code_before_an_explanation_that_is_cut_off_is_kept(self, tmp_path: Path) -> None:
        half = body("```python\nx = 1\n```\nThis sets", "length")
        values, usage, model = run(half, tmp_path, **CODE)
        assert values == ["x = 1"]
        assert (usage["truncated_values"], len(model.requests)) == (1, 2)

    def test_json_is_never_kept(self, tmp_path: Path) -> None:
        half = body('{"x": 1}', "max_tokens")
        values, usage, _ = run([half, half, {"x": 2}], tmp_path, **FACTS)
        assert values == [{"x": 2}]
        assert usage["truncated_answers"] == 2

    def test_structured_columns_have_no_such_setting(self) -> None:
        with pytest.raises(ValueError, match="on_truncated"):
            builder().add_column(
                **FACTS, name="x", model_alias="m", prompt="On it.", on_truncated="keep"
            )

    def test_only_another_setting_than_the_default_changes_the_identity(self) -> None:
        def identity(**fields: Any) -> dict[str, Any]:
            column = dd.LLMTextColumnConfig(name="x", model_alias="m", prompt="On it.", **fields)
            return column.identity()

        assert "on_truncated" not in identity()
        assert identity(on_truncated="retry") == identity()
        assert identity(on_truncated="keep")["on_truncated"] == "keep"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def stream(*events: Any, end: str = "data: [DONE]\n\n") -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + end.encode()


WHOLE = json.dumps({"choices": [{"message": {"content": "Tea."}, "finish_reason": "stop"}]})


def with_usage(usage: str) -> bytes:
    return (WHOLE[:-1] + f', "usage": {usage}}}').encode()


def with_message(fields: str) -> bytes:
    return WHOLE.replace('"content"', f'{fields}, "content"').encode()


class TestSideInformation:
    @pytest.mark.parametrize(
        "usage",
        [
            "null", "[]", "7", '"none"', '{"prompt_tokens": "3"}', '{"prompt_tokens": [1]}',
            '{"prompt_tokens": -1, "completion_tokens": 1.5}', '{"prompt_tokens": {"total": 3}}',
            '{"completion_tokens_details": 5, "prompt_tokens_details": [1]}',
            '{"prompt_tokens_details": "x", "reasoning_tokens": {}}', '{"prompt_tokens": NaN}',
            '{"prompt_tokens": true}', '{"prompt_tokens": 1e300}', '{"prompt_tokens": Infinity}',
        ],
    )  # fmt: skip
    def test_usage_of_any_form(self, usage: str) -> None:
        reply = parse_chat(with_usage(usage))
        assert reply.text == "Tea."
        assert reply.usage.input_tokens >= 0

    @pytest.mark.parametrize(
        ("fields", "reasoning"),
        [
            ('"reasoning": {"text": "Hm."}', "Hm."),
            ('"reasoning_content": ["H", "m."]', "Hm."),
            ('"reasoning": [{"type": "summary", "text": "Hm."}]', "Hm."),
            ('"reasoning": {"effort": 3}', None),
            ('"reasoning": 5', None),
            ('"reasoning": true', None),
            ('"refusal": null, "tool_calls": []', None),
            ('"refusal": "", "function_call": null', None),
        ],
    )
    def test_reasoning_of_any_form(self, fields: str, reasoning: str | None) -> None:
        reply = parse_chat(with_message(fields))
        assert (reply.text, reply.reasoning) == ("Tea.", reasoning)
        assert judge_reply(reply, reply.text).verdict is Verdict.USABLE

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            ([{"type": "text", "text": "Te"}, {"type": "text", "text": "a."}], "Tea."),
            (["Te", "a."], "Tea."),
            ({"type": "text", "text": "Tea."}, "Tea."),
            ({"x": 1}, '{"x":1}'),
            ([{"type": "thinking", "thinking": [{"text": "Hm."}]}, {"text": "Tea."}], "Tea."),
            ([{"type": "image_url", "image_url": {"url": "x"}}, {"text": "Tea."}], "Tea."),
        ],
    )
    def test_content_of_any_form(self, content: Any, text: str) -> None:
        assert parse_chat(body(content).content).text == text

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"\xef\xbb\xbf" + WHOLE.encode(), "Tea."),
            (WHOLE.encode("utf-16"), "Tea."),
            (WHOLE.replace("Tea.", "caf\u00e9").encode("latin-1"), "caf\ufffd"),
            (WHOLE.replace("Tea.", "half \\ud83d end").encode(), "half \ufffd end"),
            (WHOLE.replace("Tea.", "\\ude00 half").encode(), "\ufffd half"),
            (WHOLE.replace("Tea.", "\\ud83d\\ude00 \\ud83d").encode(), "\U0001f600 \ufffd"),
            (WHOLE.replace("Tea.", "a\nb").encode(), "a\nb"),
            (b"\n\n" + WHOLE.encode() + b"\n\0", "Tea."),
            (WHOLE.encode() + b'{"more": 1}', "Tea."),
            (WHOLE[:-1].encode() + b', "logprobs": [-Infinity, NaN]}', "Tea."),
            (WHOLE[:-1].encode() + b', "x": "' + b"\xed\xa0\xbd" + b'"}', "Tea."),
        ],
    )
    def test_bodies_that_are_not_quite_json(self, content: bytes, text: str) -> None:
        assert parse_chat(content).text == text

    @pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", WHOLE[:-9].encode(), b"5"])
    def test_bodies_without_an_answer_are_malformed(self, content: bytes) -> None:
        with pytest.raises((ValueError, KeyError, TypeError)):
            parse_chat(content)


class TestStreams:
    def test_chunks_are_joined(self) -> None:
        events = [
            chunk(role="assistant", content=""),
            chunk(reasoning_content="Hm."),
            chunk(content="Te"),
            chunk(content="a."),
            chunk("stop"),
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        ]
        reply = parse_chat(b": waiting\n\n" + stream(*events))
        assert (reply.text, reply.reasoning, reply.finish_reason) == ("Tea.", "Hm.", "stop")
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 2)

    def test_windows_line_ends_and_lines_without_blanks_between_them(self) -> None:
        lines = [f"data:{json.dumps(each)}" for each in (chunk(content="Tea."), chunk("stop"))]
        for end in ("\r\n\r\n", "\n"):
            assert parse_chat(end.join([*lines, ""]).encode()).text == "Tea."

    def test_line_separators_in_text_do_not_end_a_line(self) -> None:
        text = "Te\u2028a\x85."
        event = json.dumps(chunk("stop", content=text), ensure_ascii=False)
        assert parse_chat(f"data: {event}\n\n".encode()).text == text

    def test_json_lines_are_joined(self) -> None:
        events = (chunk(content="Te"), chunk("stop", content="a."))
        assert parse_chat("\n".join(map(json.dumps, events)).encode()).text == "Tea."

    def test_a_whole_answer_may_come_as_one_event(self) -> None:
        assert parse_chat(f"event: message\ndata: {WHOLE}\n\n".encode()).text == "Tea."

    @pytest.mark.parametrize(
        "events", [[chunk(content="Te")], [chunk(content="Te"), {"error": {"message": "gone"}}]]
    )
    def test_a_stream_that_breaks_off_is_not_an_answer(self, events: list[Any]) -> None:
        reply = parse_chat(stream(*events, end=""))
        assert judge_reply(reply, reply.text).verdict is Verdict.FAILED

    def test_messages_in_anthropics_format_are_joined(self) -> None:
        text = {"type": "text_delta", "text": "Te"}
        events = [
            {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "Hm."},
            },
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text"}},
            {"type": "content_block_delta", "index": 1, "delta": text},
            {"type": "content_block_delta", "index": 1, "delta": {**text, "text": "a."}},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 2},
            },
        ]
        reply = _anthropic(stream(*events, end=""))
        assert (reply.text, reply.reasoning, reply.finish_reason) == ("Tea.", "Hm.", "end_turn")
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 2)

    def test_an_answer_in_a_stream_becomes_a_value(self, tmp_path: Path) -> None:
        response = httpx.Response(200, content=stream(chunk(content="Tea."), chunk("stop")))
        values, _, _ = run([response], tmp_path)
        assert values == ["Tea."]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({"content": [], "stop_reason": "end_turn"}, Verdict.EMPTY),
        ({"content": [{"type": "text", "text": "Te"}], "stop_reason": "refusal"}, Verdict.REFUSED),
        (
            {"content": [{"type": "thinking", "thinking": "Hm."}], "stop_reason": "max_tokens"},
            Verdict.TRUNCATED,
        ),
        ({"content": [{"type": "tool_use"}], "stop_reason": "tool_use"}, Verdict.TOOL_CALL),
        ({"content": "Tea.", "stop_reason": "end_turn", "usage": [3]}, Verdict.USABLE),
        ({"content": None, "stop_reason": "refusal"}, Verdict.REFUSED),
        ({"stop_reason": "max_tokens"}, Verdict.TRUNCATED),
        ({"content": [None, {"type": "text", "text": "Tea."}]}, Verdict.USABLE),
    ],
)
def test_answers_in_anthropics_format_are_judged(answer: Any, verdict: Verdict) -> None:
    reply: Reply = _anthropic(json.dumps(answer).encode())
    assert judge_reply(reply, reply.text).verdict is verdict


def test_blocks_of_a_cited_sentence_are_one_text() -> None:
    texts = ["Tea is ", "hot", "."]
    blocks = [{"type": "text", "text": text, "citations": [text]} for text in texts]
    assert _anthropic(json.dumps({"content": blocks}).encode()).text == "Tea is hot."


def embeddings(*vectors: Any) -> httpx.Response:
    data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return httpx.Response(200, content=json.dumps({"data": data}).encode())


def media(alias: str, parameters: Any, **column: Any) -> dd.DataDesignerConfigBuilder:
    made = builder(skip_health_check=True)
    made.add_model_config(
        dd.ModelConfig(
            alias=alias, model="s", provider="openai", base_url="http://model.test/v1",
            inference_parameters=parameters, skip_health_check=True,
        )
    )  # fmt: skip
    return made.add_column(name="out", model_alias=alias, **column)


@pytest.mark.parametrize(
    ("odd", "verdict"),
    [
        (embeddings(), "empty"),
        (embeddings([]), "empty"),
        (embeddings(None), "empty"),
        (embeddings([1.0, float("nan")]), "failed"),
        (embeddings([1.0, 10**400]), "failed"),
        (embeddings([1.0, None]), "failed"),
        (embeddings("no base64"), "failed"),
        (embeddings([1.0], [2.0]), "truncated"),
    ],
)
def test_vectors_that_are_not_whole_are_requested_again(
    odd: httpx.Response, verdict: str, tmp_path: Path
) -> None:
    made = media("e", dd.EmbeddingInferenceParams(), column_type="embedding", target_column="topic")
    model = ScriptedModel([odd, embeddings([1.0, 2.0])])
    results = DataDesigner(tmp_path, transport=model).create(made, num_records=1)
    assert [*results.load_dataset()["out"][0]["embeddings"][0]] == [1.0, 2.0]
    assert results.directory.metadata.usage["e"]["out"][f"{verdict}_answers"] == 1


PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


def image(content: bytes) -> httpx.Response:
    encoded = base64.b64encode(content).decode()
    return httpx.Response(200, json={"data": [{"b64_json": encoded}], "usage": "odd"})


@pytest.mark.parametrize(
    ("odd", "verdict"),
    [
        (httpx.Response(200, json={"data": []}), "empty"),
        (httpx.Response(200, json={"data": None}), "empty"),
        (httpx.Response(200, json={"data": [{"b64_json": None}]}), "empty"),
        (image(PIXEL[:-6]), "truncated"),
    ],
)
def test_images_that_are_not_whole_are_requested_again(
    odd: httpx.Response, verdict: str, tmp_path: Path
) -> None:
    made = media("i", dd.ImageInferenceParams(), column_type="image", prompt="{{ topic }}")
    model = ScriptedModel([odd, image(PIXEL)])
    results = DataDesigner(tmp_path, transport=model).create(made, num_records=1)
    assert len(results.load_dataset()["out"][0]) == 1
    assert results.directory.metadata.usage["i"]["out"][f"{verdict}_answers"] == 1


def test_images_may_come_as_data_uris() -> None:
    made = media("i", dd.ImageInferenceParams(), column_type="image", prompt="{{ topic }}")
    uri = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    model = ScriptedModel(httpx.Response(200, json={"data": [{"url": uri}]}))
    found = DataDesigner(transport=model).preview(made, num_records=1).records()[0]["out"]
    assert [base64.b64decode(each) for each in found] == [PIXEL]


def test_a_refused_image_says_why() -> None:
    made = media("i", dd.ImageInferenceParams(), column_type="image", prompt="{{ topic }}")
    made.delete_model_config("i")
    made.add_model_config(
        dd.ModelConfig(
            alias="i", model="s", provider="openai", base_url="http://model.test/v1",
            inference_parameters=dd.ChatCompletionInferenceParams(), skip_health_check=True,
        )
    )  # fmt: skip
    model = ScriptedModel(body(None, "stop", refusal="Not this picture."))
    run_config = dd.RunConfig(max_conversation_restarts=1, disable_early_shutdown=True)
    with pytest.raises(DataDesignerGenerationError, match="Not this picture"):
        DataDesigner(transport=model, run_config=run_config).preview(made, num_records=1)
    assert len(model.requests) == 2
