"""Between a ready cell and its answer: requests, failures, retries, conversations, keys."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, InvalidConfigError, PreviewResults
from dd_core.errors import (
    ModelAPIConnectionError,
    ModelAuthenticationError,
    ModelBadRequestError,
    ModelContextWindowExceededError,
    ModelError,
    ModelInternalServerError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from dd_core.models.providers import Providers
from dd_core.models.wire.client import Client
from dd_core.models.wire.connections import TransportConnections
from tests.datasets import model, topics
from tests.scripted import Answer, ScriptedModel, chat_response, refusal

QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi."}]}
FACTS: dict[str, Any] = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dd_core.models.model._BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("dd_core.engine.batches._SALVAGE_PAUSE", 0.001)


def preview(
    script: ScriptedModel,
    rows: int = 1,
    run_config: dd.RunConfig | None = None,
    providers: list[dd.ModelProvider] | None = None,
    column: dict[str, Any] | None = None,
    **fields: Any,
) -> PreviewResults:
    """A preview of one LLM column `out` answered by the script, without the readiness check."""
    builder = topics(model("http://model.test/v1", skip_health_check=True, **fields))
    given = {"column_type": "llm-text", "prompt": "On {{ topic }}"} | (column or {})
    builder.add_column(name="out", model_alias="m", **given)
    designer = DataDesigner(transport=script, run_config=run_config, model_providers=providers)
    return designer.preview(builder, num_records=rows)


def structured(script: ScriptedModel, run_config: dd.RunConfig | None = None, **fields: Any) -> Any:
    """A preview of one structured column."""
    column = {"column_type": "llm-structured", "output_format": FACTS}
    return preview(script, run_config=run_config, column=column, **fields)


def test_a_request_has_the_models_parameters() -> None:
    script = ScriptedModel("fine")
    parameters = dd.ChatCompletionInferenceParams(
        temperature=0.5, top_p=0.9, max_tokens=7, extra_body={"seed": 1, "n": 3}
    )
    column = {"system_prompt": "Be {{ topic }}."}
    results = preview(script, inference_parameters=parameters, column=column)
    [body] = script.requests
    topic = results.dataset["topic"][0]
    assert script.urls == ["http://model.test/v1/chat/completions"]
    assert body["messages"] == [
        {"role": "system", "content": f"Be {topic}."},
        {"role": "user", "content": f"On {topic}"},
    ]
    expected = {"model": "m", "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 1}
    assert {name: value for name, value in body.items() if name != "messages"} == expected
    assert results.dataset["out"][0] == "fine"


def test_the_providers_fields_win_over_the_models() -> None:
    script = ScriptedModel("fine")
    provider = dd.ModelProvider(
        name="p",
        endpoint="http://model.test/v1/",
        extra_body={"seed": 2},
        extra_headers={"x-team": "data"},
    )
    parameters = dd.ChatCompletionInferenceParams(extra_body={"seed": 1, "top_k": 5})
    preview(
        script, providers=[provider], provider="p", base_url=None, inference_parameters=parameters
    )
    assert (script.requests[0]["seed"], script.requests[0]["top_k"]) == (2, 5)
    assert script.headers[0]["x-team"] == "data"


def test_a_distribution_is_drawn_for_every_request() -> None:
    script = ScriptedModel("fine")
    temperature = dd.UniformDistribution(params=dd.UniformDistributionParams(low=0.2, high=0.8))
    parameters = dd.ChatCompletionInferenceParams(temperature=temperature)
    preview(script, rows=20, inference_parameters=parameters)
    drawn = [body["temperature"] for body in script.requests]
    assert len(set(drawn)) > 10
    assert all(0.2 <= value < 0.8 for value in drawn)


@pytest.mark.parametrize("temperature", [-0.1, 2.1])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(ValidationError, match="temperature must be between 0 and 2"):
        dd.ChatCompletionInferenceParams(temperature=temperature)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(401), ModelAuthenticationError),
        (refusal(403), ModelPermissionDeniedError),
        (refusal(404), ModelNotFoundError),
        (refusal(408), ModelTimeoutError),
        (refusal(413), ModelContextWindowExceededError),
        (refusal(400, "maximum context length is 8"), ModelContextWindowExceededError),
        (refusal(400, "bad temperature"), ModelBadRequestError),
        (refusal(422), ModelBadRequestError),
        (refusal(429), ModelRateLimitError),
        (refusal(429, "You exceeded your current quota"), ModelQuotaExceededError),
        (refusal(500), ModelInternalServerError),
        (refusal(503), ModelInternalServerError),
        (httpx.Response(200, content=b'{"choices": [{"mess'), ModelAPIConnectionError),
        (httpx.Response(200, json={"hello": 1}), ModelAPIConnectionError),
        (httpx.ConnectError("refused"), ModelAPIConnectionError),
        (httpx.ReadError("reset"), ModelAPIConnectionError),
        (httpx.ReadTimeout("slow"), ModelTimeoutError),
    ],
)
async def test_a_failure_has_a_class_that_says_what_it_was(
    answer: Answer, error: type[ModelError]
) -> None:
    upstream = Providers([]).upstream(model("http://model.test/v1"))
    client = Client(upstream, 1.0, TransportConnections(ScriptedModel(answer)))
    with pytest.raises(ModelError) as raised:
        await client.chat(QUESTION)
    assert type(raised.value) is error
    assert "http://model.test/v1" in str(raised.value)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("0.5", 0.5), ("soon", None), ("-2", 0.0)]
)
async def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    upstream = Providers([]).upstream(model("http://model.test/v1"))
    script = ScriptedModel(refusal(429, **{"retry-after": header}))
    with pytest.raises(ModelRateLimitError) as raised:
        await Client(upstream, 1.0, TransportConnections(script)).chat(QUESTION)
    assert raised.value.retry_after == seconds


def test_a_request_that_fails_for_a_moment_is_repeated() -> None:
    script = ScriptedModel([refusal(503), httpx.ConnectError("x"), refusal(500), "fine"])
    results = preview(script)
    assert results.dataset["out"][0] == "fine"
    usage = results.usage["m"]["out"]
    assert (usage["requests"], usage["retries"], usage["failed_requests"]) == (4, 3, 3)


def test_a_server_that_stays_down_drops_the_rows_and_says_why() -> None:
    script = ScriptedModel(refusal(503, "overloaded"))
    with pytest.raises(DataDesignerGenerationError, match=r"ModelInternalServerError.*overloaded"):
        preview(script, run_config=dd.RunConfig(disable_early_shutdown=True))
    assert len(script.requests) == 4 * 3  # four requests a try, and two more tries of the cell


def test_a_rate_limit_is_waited_out_however_often_it_comes() -> None:
    script = ScriptedModel([refusal(429, **{"retry-after": "0.001"})] * 30 + ["fine"])
    assert preview(script).dataset["out"][0] == "fine"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_concerns_every_request_stops_the_run(status: int) -> None:
    script = ScriptedModel(refusal(status, "the account is closed"))
    with pytest.raises(DataDesignerGenerationError, match="the account is closed"):
        preview(script, rows=100)
    assert len(script.requests) <= 8


@pytest.mark.parametrize(
    ("restarts", "corrections", "answers"), [(0, 0, 1), (2, 0, 3), (0, 2, 3), (2, 1, 6), (5, 0, 6)]
)
def test_answers_that_do_not_parse_are_asked_for_again(
    restarts: int, corrections: int, answers: int
) -> None:
    script = ScriptedModel("no JSON")
    run_config = dd.RunConfig(
        max_conversation_restarts=restarts,
        max_conversation_correction_steps=corrections,
        disable_early_shutdown=True,
    )
    with pytest.raises(DataDesignerGenerationError, match="could be parsed"):
        structured(script, run_config)
    assert len(script.requests) == answers


def test_a_correction_tells_the_model_what_was_wrong() -> None:
    script = ScriptedModel([{"x": "one"}, {"x": 1}])
    run_config = dd.RunConfig(max_conversation_correction_steps=1)
    assert structured(script, run_config).dataset["out"][0] == {"x": 1}
    opening, answer, complaint = script.requests[1]["messages"]
    assert opening["role"] == "user"
    assert answer == {"role": "assistant", "content": '{"x": "one"}'}
    assert "at x" in complaint["content"]


def test_json_that_was_cut_off_is_no_answer() -> None:
    script = ScriptedModel([chat_response('{"x": 1', finish_reason="length"), {"x": 2}])
    assert structured(script).dataset["out"][0] == {"x": 2}


def test_a_server_that_refuses_schemas_is_asked_without_from_then_on() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return refusal(400, "response_format?") if "response_format" in body else {"x": 1}

    script = ScriptedModel(answer)
    builder = topics(model("http://model.test/v1", parallel=1, skip_health_check=True))
    builder.add_column(
        name="out",
        column_type="llm-structured",
        model_alias="m",
        prompt="{{ id }}",
        output_format=FACTS,
    )
    results = DataDesigner(transport=script).preview(builder, num_records=5)
    assert len(results.dataset) == 5
    assert sum("response_format" in body for body in script.requests) == 1


def test_a_model_can_be_kept_from_enforcing_schemas() -> None:
    script = ScriptedModel({"x": 1})
    structured(script, structured_output="prompt")
    assert "response_format" not in script.requests[0]
    assert "<response_schema>" in script.requests[0]["messages"][-1]["content"]


def test_reasoning_and_the_conversation_can_be_kept() -> None:
    script = ScriptedModel(chat_response("<think>Hm.</think>Tea."))
    column = {"with_trace": "all_messages", "extract_reasoning_content": True}
    frame = preview(script, column=column).dataset
    assert frame["out"][0] == "Tea."
    assert frame["out__reasoning_content"][0] == "Hm."
    assert [message["role"] for message in frame["out__trace"][0]] == ["user", "assistant"]


def test_the_readiness_check_comes_before_everything_else() -> None:
    script = ScriptedModel(refusal(401, "wrong key"), probes=True)
    builder = topics(model("http://model.test/v1"))
    builder.add_column(name="out", column_type="llm-text", model_alias="m", prompt="{{ id }}")
    with pytest.raises(DataDesignerGenerationError, match=r"not ready: .*wrong key"):
        DataDesigner(transport=script).preview(builder)
    assert len(script.requests) == 1


def test_the_readiness_check_can_be_skipped_for_all_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = ScriptedModel("tea", probes=True)
    builder = topics(model("http://model.test/v1"))
    builder.add_column(name="out", column_type="llm-text", model_alias="m", prompt="{{ id }}")
    monkeypatch.setenv("DATA_DESIGNER_SKIP_MODEL_HEALTH_CHECKS", "1")
    DataDesigner(transport=script).preview(builder, num_records=2)
    assert len(script.requests) == 2


class TestKeys:
    MARKER = "sk-marker-0123456789"

    def test_a_models_own_variable_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GATEWAY_API_KEY", self.MARKER)
        script = ScriptedModel("fine")
        preview(script, api_key_env_var="GATEWAY_API_KEY")
        assert script.headers[0]["authorization"] == f"Bearer {self.MARKER}"

    def test_a_variable_that_is_not_set_is_named(self) -> None:
        with pytest.raises(InvalidConfigError, match=r"m\.api_key_env_var.*'NO_SUCH_KEY'"):
            preview(ScriptedModel("fine"), api_key_env_var="NO_SUCH_KEY")

    def test_a_providers_key_goes_to_the_providers_address_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", self.MARKER)
        script = ScriptedModel("fine")
        preview(script)  # provider openai, but a base_url elsewhere
        assert "authorization" not in script.headers[0]
        preview(script, base_url=None)
        assert script.headers[1]["authorization"] == f"Bearer {self.MARKER}"

    def test_a_key_shows_nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GATEWAY_API_KEY", self.MARKER)
        provider = dd.ModelProvider(
            name="p", endpoint="http://model.test", api_key=SecretStr(self.MARKER)
        )
        config = model("http://model.test/v1", api_key_env_var="GATEWAY_API_KEY")
        builder = topics(config)
        builder.add_column(name="out", column_type="llm-text", model_alias="m", prompt="{{ id }}")
        script = ScriptedModel(refusal(400, f"the key {self.MARKER} is odd"))
        with pytest.raises(DataDesignerGenerationError) as raised:
            DataDesigner(tmp_path, transport=script).create(builder)
        shown = [
            repr(provider),
            provider.model_dump_json(),
            str(provider.model_dump()),
            repr(raised.value),
            repr(raised.value.__cause__),
            str(pickle.dumps(raised.value)),
            *(str(path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()),
        ]
        assert not [text for text in shown if self.MARKER in text]
