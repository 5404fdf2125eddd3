"""Several servers behind an alias, models that stand in for others, and Anthropic's format."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerError, InvalidConfigError
from dd_core.models.admission.backend import Health
from tests.scripted import ScriptedModel, chat_response, refusal


class Servers(httpx.AsyncBaseTransport):
    """Hosts that answer, or fail with what is put in `down`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.down: dict[str, httpx.Response | Exception] = {}
        self.bodies: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        self.asked[host] += 1
        self.bodies.append(json.loads(request.content))
        down = self.down.get(host)
        if isinstance(down, Exception):
            raise down
        return chat_response(host) if down is None else httpx.Response(down.status_code, json={})


def spread(*endpoints: dict[str, Any], **fields: Any) -> dd.DataDesignerConfigBuilder:
    model = dd.ModelConfig(
        alias="m",
        model="tiny",
        skip_health_check=True,
        endpoints=[dd.Endpoint(**endpoint) for endpoint in endpoints],
        inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=6),
        **fields,
    )
    made = dd.DataDesignerConfigBuilder([model])
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    return made.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="On {{ id }}"
    )


A = {"base_url": "http://a.test/v1"}
B = {"base_url": "http://b.test/v1", "model": "tiny-b"}


def test_endpoints_share_the_requests_by_weight() -> None:
    servers = Servers()
    made = spread({**A, "weight": 2}, B)
    DataDesigner(transport=servers).preview(made, num_records=60)
    assert servers.asked["a.test"] == pytest.approx(40, abs=4)
    assert servers.asked["b.test"] == pytest.approx(20, abs=4)
    assert {body["model"] for body in servers.bodies} == {"tiny", "tiny-b"}


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.Response(503)])
def test_an_endpoint_that_fails_is_left_alone_and_no_row_is_lost(failure: Any) -> None:
    servers = Servers()
    servers.down["b.test"] = failure
    found = DataDesigner(transport=servers).preview(spread(A, B), num_records=200)
    assert len(found.dataset) == 200
    assert servers.asked["b.test"] <= 8, "those in flight when it failed, and probes"


def test_an_endpoint_rests_longer_each_time_and_is_tried_by_one_request() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    for _ in range(2):
        health.failed()
    assert health.is_well
    rests: list[float] = []
    for _ in range(6):
        health.failed()
        rests.append(health.wait)
        assert health.seconds_until_next(0) > 0
        now[0] += health.wait
        assert health.seconds_until_next(0) == 0
        assert health.seconds_until_next(1) > 0
    assert rests == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    health.answered()
    assert health.is_well
    assert health.seconds_until_next(50) == 0


def test_a_fallback_answers_for_a_model_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    servers = Servers()
    servers.down["old.test"] = httpx.Response(404)
    old = dd.ModelConfig(alias="m", model="old", base_url="http://old.test/v1", fallback="new")
    new = dd.ModelConfig(
        alias="new",
        model="new",
        base_url="http://new.test/v1",
        inference_parameters=dd.ChatCompletionInferenceParams(temperature=0.3),
    )
    made = dd.DataDesignerConfigBuilder([old, new])
    made.add_column(name="text", column_type="llm-text", model_alias="m", prompt="Hi")
    found = DataDesigner(transport=servers).preview(made, num_records=4)
    assert found.dataset["text"].tolist() == ["new.test"] * 4
    assert servers.asked["old.test"] == 1
    assert servers.bodies[-1]["temperature"] == 0.3
    assert any("'new' replaces model 'm'" in text for text in caplog.messages)


def test_a_fallback_that_is_gone_as_well_ends_the_run() -> None:
    servers = Servers()
    servers.down["old.test"] = servers.down["new.test"] = httpx.Response(404)
    old = dd.ModelConfig(alias="m", model="old", base_url="http://old.test/v1", fallback="new")
    new = dd.ModelConfig(
        alias="new", model="new", base_url="http://new.test/v1", skip_health_check=True
    )
    made = dd.DataDesignerConfigBuilder([old, new])
    made.add_column(name="text", column_type="llm-text", model_alias="m", prompt="Hi")
    with pytest.raises(DataDesignerError, match="404"):
        DataDesigner(transport=servers).preview(made, num_records=4)
    assert servers.asked["old.test"] + servers.asked["new.test"] < 10


@pytest.mark.parametrize(
    ("fallback", "complaint"), [("x", "not the alias"), ("m", "of another model")]
)
def test_a_fallback_must_be_another_model(fallback: str, complaint: str) -> None:
    made = spread(A, B, fallback=fallback)
    with pytest.raises(InvalidConfigError, match=complaint):
        DataDesigner().validate(made)


def test_endpoints_do_not_change_what_a_column_is() -> None:
    assert spread(A).build().fingerprint() == spread(A, B).build().fingerprint()
    with pytest.raises(ValidationError, match="greater than 0"):
        dd.Endpoint(base_url="http://a.test/v1", weight=0)


def claude(**parameters: Any) -> tuple[dd.DataDesignerConfigBuilder, list[dd.ModelProvider]]:
    provider = dd.ModelProvider(
        name="anthropic",
        endpoint="https://api.anthropic.test",
        provider_type="anthropic",
        api_key="key-of-ours",  # type: ignore[arg-type]
    )
    model = dd.ModelConfig(
        alias="m",
        model="claude",
        provider="anthropic",
        inference_parameters=dd.ChatCompletionInferenceParams(**parameters),
    )
    made = dd.DataDesignerConfigBuilder([model])
    made.add_column(
        name="topic", column_type="sampler", sampler_type="category", params={"values": ["tea"]}
    )
    return made, [provider]


def answer(*blocks: dict[str, Any], stop: str = "end_turn") -> httpx.Response:
    usage = {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 2}
    return httpx.Response(200, json={"content": blocks, "stop_reason": stop, "usage": usage})


THOUGHT = {"type": "thinking", "thinking": "Tea is hot."}
SAID = {"type": "text", "text": " Hot. "}


def test_anthropic_is_asked_in_its_own_words() -> None:
    made, providers = claude(temperature=0.5, extra_body={"stop": "END", "seed": 3})
    made.add_column(
        name="text",
        column_type="llm-text",
        model_alias="m",
        prompt="On {{ topic }}",
        system_prompt="Be brief.",
        extract_reasoning_content=True,
    )
    scripted = ScriptedModel(answer(THOUGHT, SAID), probes=True)
    designer = DataDesigner(model_providers=providers, transport=scripted)
    found = designer.preview(made, num_records=1)
    row = found.records()[0]
    assert (row["text"], row["text__reasoning_content"]) == ("Hot.", "Tea is hot.")
    assert scripted.urls[-1] == "https://api.anthropic.test/v1/messages"
    assert scripted.headers[-1]["x-api-key"] == "key-of-ours"
    assert scripted.headers[-1]["anthropic-version"] == "2023-06-01"
    assert scripted.requests[-1] == {
        "model": "claude",
        "temperature": 0.5,
        "max_tokens": 4096,
        "stop_sequences": ["END"],
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "On tea"}],
    }
    used = found.usage["m"]["text"]
    assert (used["input_tokens"], used["output_tokens"], used["cached_tokens"]) == (9, 3, 2)


def test_anthropic_is_told_the_schema_in_the_prompt() -> None:
    made, providers = claude()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    made.add_column(
        name="facts",
        column_type="llm-structured",
        model_alias="m",
        prompt="On {{ topic }}",
        output_format=schema,
    )
    scripted = ScriptedModel(
        answer({"type": "text", "text": '```json\n{"n": 4}\n```'}), probes=True
    )
    designer = DataDesigner(model_providers=providers, transport=scripted)
    assert designer.preview(made, num_records=1).records()[0]["facts"] == {"n": 4}
    assert "response_format" not in scripted.requests[-1]
    assert "<response_schema>" in scripted.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize(
    "column",
    [
        {"column_type": "embedding", "target_column": "topic"},
        {"column_type": "image", "prompt": "Draw {{ topic }}"},
    ],
)
def test_anthropic_gives_neither_vectors_nor_images(column: dict[str, Any]) -> None:
    made, providers = claude()
    made.delete_model_config("m")
    kind = {"generation_type": column["column_type"]}
    made.add_model_config(
        dd.ModelConfig(
            alias="m",
            model="gpt-image-1",
            provider="anthropic",
            skip_health_check=True,
            inference_parameters=kind,  # type: ignore[arg-type]
        )
    )
    made.add_column(name="x", model_alias="m", **column)
    designer = DataDesigner(model_providers=providers, transport=ScriptedModel(refusal(500)))
    message = r"provider 'anthropic' does not support (embeddings|images)"
    with pytest.raises(Exception, match=message):
        designer.preview(made, num_records=1)
