"""What a failed request means for its cell and for the run, and that no key shows in it."""

from __future__ import annotations

import email.utils
import pickle
import time
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ModelError, ModelRateLimitError
from dd_core.models.providers import Providers
from dd_core.models.wire.client import Client
from dd_core.models.wire.connections import TransportConnections
from tests.scripted import ScriptedModel, asking, chat_response, model, refusal

KEY = "sk-marker-0123456789"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dd_core.models.model._BACKOFF_SECONDS", 0.001)


async def failure(answer: Any, provider: dd.ModelProvider | None = None) -> ModelError:
    """The error of one request."""
    config = model(provider="p", base_url=None) if provider else model()
    upstream = Providers([provider] if provider else []).upstream(config)
    client = Client(upstream, 1.0, TransportConnections(ScriptedModel(answer)))
    with pytest.raises(ModelError) as raised:
        await client.chat({"model": "tiny", "messages": [{"role": "user", "content": "x"}]})
    return raised.value


@pytest.mark.parametrize(
    ("answer", "retryable", "fatal"),
    [
        (refusal(400), False, False),
        (refusal(401), False, True),
        (refusal(403), False, True),
        (refusal(404), False, True),
        (refusal(408), True, False),
        (refusal(413), False, False),
        (refusal(422), False, False),
        (refusal(429), True, False),
        (refusal(429, "insufficient_quota"), False, True),
        (refusal(402, "Your credit balance is too low"), False, True),
        (refusal(500), True, False),
        (refusal(503), True, False),
        (httpx.Response(200, content=b"<html>"), True, False),
        (httpx.ConnectError("refused"), True, False),
        (httpx.ConnectTimeout("slow"), True, False),
        (httpx.RemoteProtocolError("cut"), True, False),
        (httpx.ReadTimeout("slow"), True, False),
    ],
)
async def test_the_class_of_a_failure_says_whether_to_go_on(
    answer: Any, retryable: bool, fatal: bool
) -> None:
    error = await failure(answer)
    assert (error.retryable, error.fatal) == (retryable, fatal)


@pytest.mark.parametrize(("ahead", "wait"), [(3000, 3000.0), (-3000, 0.0)])
async def test_retry_after_may_be_a_moment(ahead: int, wait: float) -> None:
    date = email.utils.formatdate(time.time() + ahead, usegmt=True)
    for header in (date, str(int(time.time()) + ahead)):
        error = await failure(refusal(429, retry_after=header))
        assert isinstance(error, ModelRateLimitError)
        assert error.retry_after == pytest.approx(wait, abs=60.0)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(400, f"the key {KEY} is odd"),
        refusal(401, f"invalid key {KEY}"),
        refusal(429, f"too many for {KEY}"),
        refusal(500, f"cannot serve {KEY}"),
        httpx.Response(502, text=f"<html>{KEY}</html>"),
        httpx.ConnectError(f"cannot reach http://user:{KEY}@host"),
    ],
)
@pytest.mark.parametrize("place", ["api_key", "extra_headers"])
async def test_no_failure_quotes_a_key(answer: Any, place: str) -> None:
    secret: Any = SecretStr(KEY) if place == "api_key" else {"x-key": KEY}
    provider = dd.ModelProvider(name="p", endpoint="http://model.test/v1", **{place: secret})
    error = await failure(answer, provider)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    shown = [str(error), repr(error), str(copy), repr(vars(error)), repr(provider)]
    assert [text for text in shown if KEY in text] == []


@pytest.mark.parametrize("kind", ["rate limit", "failure"])
async def test_an_error_survives_a_journey_between_processes(kind: str) -> None:
    error = await failure(refusal(429, retry_after="7") if kind == "rate limit" else refusal(500))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_rate_limits_and_failures_together_cost_no_row() -> None:
    asked: dict[str, int] = {}

    def every_other_time(body: dict[str, Any]) -> Any:
        prompt = body["messages"][-1]["content"]
        asked[prompt] = asked.get(prompt, 0) + 1
        if asked[prompt] % 2:
            return refusal(429, retry_after="0.001")
        return refusal(503) if asked[prompt] < 6 else "fine"

    script = ScriptedModel(every_other_time)
    builder = asking("{{ topic }} {{ id }}")
    builder.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    results = DataDesigner(transport=script).preview(builder, num_records=12)
    assert results.dataset["text"].tolist() == ["fine"] * 12
    assert set(asked.values()) == {6}


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_comes_under_either_name(field: str) -> None:
    message = {"role": "assistant", "content": "Tea.", field: "Hm."}
    answer = httpx.Response(200, json={"choices": [{"message": message}]})
    builder = asking()
    column = builder.get_column_config("text")
    builder.add_column(column.changed(extract_reasoning_content=True))
    frame = DataDesigner(transport=ScriptedModel(answer)).preview(builder, num_records=1).dataset
    assert frame["text__reasoning_content"][0] == "Hm."


def test_tokens_are_counted_by_model_and_column() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 3},
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    script = ScriptedModel(chat_response("fine", usage=usage))
    counted = DataDesigner(transport=script).preview(asking(), num_records=5).usage["m"]["text"]
    assert (counted["input_tokens"], counted["output_tokens"]) == (50, 20)
    assert (counted["reasoning_tokens"], counted["cached_tokens"]) == (15, 10)
