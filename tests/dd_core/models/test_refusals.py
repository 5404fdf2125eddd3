"""What the refusals of servers mean for a row and for the run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError
from dd_core.errors import (
    ModelAuthenticationError,
    ModelBadRequestError,
    ModelContentFilteredError,
    ModelContextWindowExceededError,
    ModelError,
    ModelInternalServerError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from dd_core.models.admission.stop_evidence import StopEvidence
from dd_core.models.providers import Providers
from dd_core.models.wire.client import Client
from dd_core.models.wire.connections import TransportConnections
from tests.scripted import ScriptedModel, asking, builder, chat_response, model, prompt_of, refusal

ROWS = 30

GOOGLE_PER_MINUTE = [
    {
        "error": {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "message": "You exceeded your current quota, please check your plan and billing.",
            "details": [
                {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.01s"},
            ],
        }
    }
]
MODERATED = {
    "error": {
        "code": 403,
        "message": "Your input was flagged",
        "metadata": {"reasons": ["violence"], "flagged_input": "Write on tea"},
    }
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dd_core.models.model._BACKOFF_SECONDS", 0.001)


def coded(status: int, code: str, message: str = "no", **fields: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": message, **fields}})


def minimax(code: int, message: str) -> dict[str, Any]:
    return {"base_resp": {"status_code": code, "status_msg": message}}


async def failure(answer: httpx.Response) -> ModelError:
    """The error of one request."""
    upstream = Providers([]).upstream(model())
    client = Client(upstream, 1.0, TransportConnections(ScriptedModel(answer)))
    with pytest.raises(ModelError) as raised:
        await client.chat({"model": "tiny", "messages": [{"role": "user", "content": "x"}]})
    return raised.value


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(429, json=GOOGLE_PER_MINUTE), ModelRateLimitError),
        (coded(429, "rate_limit_exceeded", "see /billing"), ModelRateLimitError),
        (refusal(429, "see your plan and billing", retry_after="1"), ModelRateLimitError),
        (refusal(429, "Quota reached, try again in 1m30s. See billing"), ModelRateLimitError),
        (coded(429, "insufficient_quota", "check your plan"), ModelQuotaExceededError),
        (coded(429, "x", type="insufficient_quota"), ModelQuotaExceededError),
        (refusal(429, "Request too large: limit 1, requested 2"), ModelContextWindowExceededError),
        (refusal(402, "Pay"), ModelQuotaExceededError),
        (refusal(400, "Your credit balance is too low to use the API"), ModelQuotaExceededError),
        (refusal(400, "'Write about billing' is not allowed"), ModelBadRequestError),
        (refusal(400, "rejected: 'You exceeded your current quota' is rude"), ModelBadRequestError),
        (coded(400, "content_filter", "billing"), ModelContentFilteredError),
        (coded(400, "x", innererror={"code": "ResponsibleAIPolicyViolation"}),
         ModelContentFilteredError),
        (httpx.Response(403, json=MODERATED), ModelContentFilteredError),
        (refusal(403, "This request violates our usage policy"), ModelContentFilteredError),
        (refusal(403, "not for this key"), ModelPermissionDeniedError),
        (coded(403, "insufficient_quota"), ModelQuotaExceededError),
        (coded(403, "rate_limit_exceeded"), ModelRateLimitError),
        (coded(400, "API_KEY_INVALID"), ModelAuthenticationError),
        (coded(400, "context_length_exceeded"), ModelContextWindowExceededError),
        (refusal(501, "response_format is not implemented"), ModelBadRequestError),
        (coded(400, "model_not_found"), ModelNotFoundError),
        (httpx.Response(422, json={"detail": [{"msg": "field required"}]}), ModelBadRequestError),
        (httpx.Response(500, text="quota and billing"), ModelInternalServerError),
    ],
)  # fmt: skip
async def test_status_and_codes_say_more_than_words(
    answer: httpx.Response, kind: type[ModelError]
) -> None:
    assert type(await failure(answer)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": "busy"}, ModelRateLimitError),
        ({"code": "429", "message": "busy"}, ModelRateLimitError),
        ({"code": 502, "message": "the backend broke"}, ModelInternalServerError),
        ({"message": "Provider returned error"}, ModelInternalServerError),
        ("it broke", ModelInternalServerError),
        ({"type": "overloaded_error", "message": "Overloaded"}, ModelInternalServerError),
        ({"type": "rate_limit_error", "message": "slow"}, ModelRateLimitError),
        ({"code": "context_length_exceeded"}, ModelContextWindowExceededError),
        ({"code": 403, "metadata": {"reasons": ["x"]}}, ModelContentFilteredError),
        ({"code": 401, "message": "who?"}, ModelAuthenticationError),
        ({"code": 408, "message": "late"}, ModelTimeoutError),
    ],
)
@pytest.mark.parametrize("place", ["top", "top of an answer", "choice", "list"])
async def test_an_error_inside_a_200_counts_as_its_status(
    error: Any, kind: type[ModelError], place: str
) -> None:
    half = {"message": {"role": "assistant", "content": "half an ans"}, "finish_reason": "error"}
    body: Any = {
        "top": {"error": error},
        "top of an answer": {"choices": [half], "error": error},
        "choice": {"choices": [{**half, "error": error}]},
        "list": [{"error": error}],
    }[place]
    found = await failure(httpx.Response(200, json=body))
    assert type(found) is kind
    words = error if isinstance(error, str) else error.get("message", "")
    assert words in str(found)


@pytest.mark.parametrize("nothing", [None, "", {}, {"code": None, "message": ""}, False])
def test_an_empty_error_beside_an_answer_is_none(nothing: Any) -> None:
    body = {"error": nothing, "choices": [{"error": nothing, "message": {"content": "fine"}}]}
    script = ScriptedModel(httpx.Response(200, json=body))
    found = DataDesigner(transport=script).preview(asking(), num_records=1)
    assert found.dataset["text"][0] == "fine"


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (refusal(429, retry_after="7"), 7.0),
        (refusal(429, retry_after_ms="1500"), 1.5),
        (httpx.Response(429, json=GOOGLE_PER_MINUTE), 0.01),
        (refusal(429, "Please try again in 6m0s."), 360.0),
        (refusal(429, "Please retry in 250 ms"), 0.25),
        (refusal(429, "Try again after 1 hour and 30 minutes"), 5400.0),
        (refusal(429, retry_after="soon"), None),
        (refusal(429, retry_after="inf"), None),
        (refusal(429, retry_after="nan"), None),
        (refusal(429, "try later"), None),
    ],
)
async def test_the_wait_is_read_wherever_the_server_names_it(
    answer: httpx.Response, wait: float | None
) -> None:
    error = await failure(answer)
    assert isinstance(error, ModelRateLimitError)
    assert error.retry_after == wait


def one_refusal_at(
    number: int, answer: httpx.Response, usual: Any = "fine"
) -> Callable[[dict[str, Any]], Any]:
    asked = [0]

    def script(body: dict[str, Any]) -> Any:
        asked[0] += 1
        return answer if asked[0] == number else usual

    return script


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, "no such key"),
        refusal(402, "Pay"),
        refusal(404, "gone"),
        coded(429, "insufficient_quota"),
        refusal(429, "You exceeded your current quota, see billing", retry_after="0.01"),
        httpx.Response(429, json=GOOGLE_PER_MINUTE),
    ],
)
def test_one_refusal_of_a_model_that_answers_costs_no_row(answer: httpx.Response) -> None:
    script = ScriptedModel(one_refusal_at(3, answer))
    made = asking(max_parallel_requests=1)
    assert len(DataDesigner(transport=script).preview(made, num_records=6).dataset) == 6
    assert len(script.requests) == 7


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(403, json=MODERATED),
        refusal(403, "no"),
        refusal(400, "'Write about billing' is not allowed"),
        refusal(400, "Your credit balance is too low"),
        coded(400, "insufficient_quota"),
    ],
)
def test_a_refusal_of_one_row_costs_that_row(answer: httpx.Response) -> None:
    script = ScriptedModel(one_refusal_at(3, answer))
    made = asking(max_parallel_requests=1)
    assert len(DataDesigner(transport=script).preview(made, num_records=6).dataset) == 5
    assert len(script.requests) == 6


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(401, "no such key"), "Check the API key"),
        (refusal(402, "Pay"), "Add credit"),
        (refusal(403, "no"), "permissions"),
        (refusal(404, "gone"), "model id"),
        (coded(429, "insufficient_quota"), "Add credit"),
        (refusal(400, "Your credit balance is too low"), "Add credit"),
    ],
)
@pytest.mark.parametrize("parallel", [1, 8])
def test_refusals_of_several_rows_in_a_row_stop_the_run(
    answer: httpx.Response, words: str, parallel: int
) -> None:
    script = ScriptedModel(lambda body: "fine" if len(script.requests) <= 10 else answer)
    made = asking(max_parallel_requests=parallel)
    with pytest.raises(DataDesignerGenerationError, match=words):
        DataDesigner(transport=script).preview(made, num_records=100)
    assert len(script.requests) <= 10 + 5 + parallel


def test_rows_of_different_batches_are_different_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dd_core.engine.batches._SALVAGE_PAUSE", 0.001)
    script = ScriptedModel(lambda body: "fine" if len(script.requests) <= 4 else refusal(401))
    run_config = dd.RunConfig(buffer_size=1, max_concurrent_row_groups=1, max_request_retries=0)
    designer = DataDesigner(tmp_path, run_config=run_config, transport=script)
    with pytest.raises(DataDesignerGenerationError, match="Check the API key"):
        designer.create(asking(), num_records=30)
    assert len(script.requests) == 4 + 3 + 3 + 1  # two rows are dropped, the third is the proof


def test_an_endpoint_that_rejects_its_key_is_left_out_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Servers(httpx.AsyncBaseTransport):
        requests = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.requests += 1
            await asyncio.sleep(0.001)
            return refusal(401, "who?") if request.url.host == "b.test" else chat_response("fine")

    servers = Servers()
    urls = ["http://a.test/v1", "http://b.test/v1"]
    endpoints = [dd.Endpoint(base_url=url) for url in urls]
    made = asking(base_url=None, endpoints=endpoints, max_parallel_requests=8)
    assert len(DataDesigner(transport=servers).preview(made, num_records=100).dataset) == 100
    assert servers.requests < 115
    assert any("b.test" in text and "who?" in text for text in caplog.messages)


@pytest.mark.parametrize("wait", [500, 50_000])
def test_a_wait_of_hours_before_the_run_is_told_as_well(
    wait: int, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    script = ScriptedModel(refusal(429, "daily limit", retry_after=str(wait)), probes=True)

    async def for_a_moment() -> None:
        async with asyncio.timeout(1.0):
            await DataDesigner(tmp_path, transport=script).acreate(asking(), num_records=2)

    expected = DataDesignerGenerationError if wait == 50_000 else TimeoutError
    with pytest.raises(expected) as raised:
        asyncio.run(for_a_moment())
    assert f"{wait:,} s" in f"{raised.value} {caplog.text}"
    assert len(script.requests) == 1


def test_moderated_rows_in_a_row_do_not_stop_the_run() -> None:
    script = ScriptedModel(
        lambda body: httpx.Response(403, json=MODERATED) if len(script.requests) <= 8 else "fine"
    )
    run_config = dd.RunConfig(shutdown_error_window=ROWS)
    designer = DataDesigner(transport=script, run_config=run_config)
    found = designer.preview(asking(max_parallel_requests=1), num_records=ROWS)
    assert len(found.dataset) == ROWS - 8


def test_words_about_quotas_stop_a_run_only_after_more_than_a_minute() -> None:
    now = [0.0]
    evidence = StopEvidence(lambda: now[0])
    evidence.answered()

    def weigh() -> ModelError:
        error = ModelQuotaExceededError("see billing")
        error.status, error.is_certain = 429, False
        return evidence.weigh(error, row=1)

    for _ in range(8):
        assert isinstance(weigh(), ModelRateLimitError)
        now[0] += 12.0
    assert isinstance(weigh(), ModelQuotaExceededError)
    evidence.answered()
    assert isinstance(weigh(), ModelRateLimitError)


def test_retries_of_rows_that_were_refused_prove_nothing() -> None:
    evidence = StopEvidence()
    evidence.answered()
    for round_ in range(3):
        for row in (1, 2):
            error = ModelAuthenticationError("no")
            error.status = 401
            assert not evidence.weigh(error, row).fatal, round_
        evidence.answered()


def structured() -> dd.DataDesignerConfigBuilder:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    made = builder(max_parallel_requests=1)
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    return made.add_column(
        name="out",
        column_type="llm-structured",
        model_alias="m",
        prompt="{{ id }} please",
        output_format=schema,
    )


@pytest.mark.parametrize(
    "answer",
    [
        coded(400, "content_filter"),
        refusal(400, "the prompt is refused"),
        refusal(400, "'Explain response_format and json_schema' is refused"),
        refusal(422, "no"),
    ],
)
@pytest.mark.parametrize("number", [1, 3])
def test_a_refused_row_does_not_end_server_side_json(answer: httpx.Response, number: int) -> None:
    prompts: list[str] = []

    def respond(body: dict[str, Any]) -> Any:
        prompts.append(prompt_of(body).split()[0])
        is_refused = len(prompts) >= number and prompts[-1] == prompts[number - 1]
        return answer if is_refused else {"x": 1}

    script = ScriptedModel(respond)
    found = DataDesigner(transport=script).preview(structured(), num_records=6)
    assert len(found.dataset) == 5
    assert sum("response_format" not in body for body in script.requests) <= 1


def test_an_exception_of_a_server_with_json_schemas_does_not_end_them() -> None:
    script = ScriptedModel(one_refusal_at(3, refusal(400, "not now"), {"x": 1}))
    found = DataDesigner(transport=script).preview(structured(), num_records=9)
    assert len(found.dataset) == 9
    assert sum("response_format" not in body for body in script.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusal(400, "'response_format' is not supported"),
        coded(400, "unsupported", "no", param="response_format"),
        refusal(404, "No endpoints support response_format"),
        refusal(400, "bad request"),
    ],
)
def test_a_server_without_json_schemas_is_asked_without(answer: httpx.Response) -> None:
    script = ScriptedModel(lambda body: answer if "response_format" in body else {"x": 1})
    found = DataDesigner(transport=script).preview(structured(), num_records=6)
    assert len(found.dataset) == 6
    assert sum("response_format" in body for body in script.requests) <= 2


def test_a_wait_of_hours_is_told_and_ends_the_run_if_it_is_too_long(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter(["fine"] * 2)
    script = ScriptedModel(
        lambda body: next(answers, refusal(429, "daily limit", retry_after="20000"))
    )
    run_config = dd.RunConfig(max_retry_after=3600, buffer_size=2)
    designer = DataDesigner(tmp_path, transport=script, run_config=run_config)
    made = asking(max_parallel_requests=1)
    began = time.monotonic()
    with pytest.raises(DataDesignerGenerationError, match="daily limit") as raised:
        designer.create(made, num_records=6, dataset_name="d")
    assert time.monotonic() - began < 5.0
    for part in ("20,000 s", "max_retry_after", "resume"):
        assert part in str(raised.value)
    script = ScriptedModel("fine")
    later = DataDesigner(tmp_path, transport=script, run_config=run_config)
    results = later.create(made, num_records=6, dataset_name="d", resume="always")
    assert results.count_records() == 6
    assert len(script.requests) == 4


def test_a_run_that_waits_says_until_when(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dd_core")
    answers = iter(["fine", refusal(429, retry_after="61")])

    def script(body: dict[str, Any]) -> Any:
        return next(answers, "fine")

    run_config = dd.RunConfig(progress_interval=0.05)
    designer = DataDesigner(tmp_path, transport=ScriptedModel(script), run_config=run_config)

    async def for_a_moment() -> None:
        made = asking(max_parallel_requests=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await designer.acreate(made, num_records=5, dataset_name="d")

    asyncio.run(for_a_moment())
    told = [text for text in caplog.messages if "accepts requests again at" in text]
    assert len(told) == 1
    assert "61 s (Retry-After)" in told[0]
    lines = [text for text in caplog.messages if "waits until" in text and "text 1/5" in text]
    assert lines


def test_a_refusal_in_a_fetched_image_is_the_rows_matter() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            assert "authorization" not in request.headers
            return httpx.Response(403)
        return httpx.Response(200, json={"data": [{"url": "http://cdn.test/x.png"}]})

    class Cdn(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return answer(request)

    client = Client(Providers([]).upstream(model()), 1.0, TransportConnections(Cdn()))

    async def fetch() -> None:
        with pytest.raises(ModelBadRequestError, match=r"cdn\.test.*403"):
            await client.fetch("http://cdn.test/x.png")

    asyncio.run(fetch())


def test_a_refusal_may_have_any_body() -> None:
    bodies = ["", "null", "[]", "[1]", '"x"', "{}", '{"error": []}', '{"error": [null]}', "<html>",
              '{"error": {"message": {"a": 1}}}', '{"error": {"message": null, "code": [1]}}',
              '{"error": {"details": {"details": {"details": [[[[{}]]]]}}}}']  # fmt: skip

    async def run() -> None:
        for status in (400, 403, 429, 500):
            for body in bodies:
                await failure(httpx.Response(status, text=body))

    asyncio.run(run())


@pytest.mark.parametrize("status", [500, 503, 529])
def test_a_wait_that_a_failed_server_asks_for_is_kept(status: int, tmp_path: Any) -> None:
    times: list[float] = []

    def script(body: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        return refusal(status, retry_after="1") if len(times) == 1 else "fine"

    run_config = dd.RunConfig(max_request_retries=1, buffer_size=2)
    designer = DataDesigner(
        artifact_path=tmp_path, transport=ScriptedModel(script), run_config=run_config
    )
    results = designer.create(asking("topic"), num_records=2)
    assert results.count_records() == 2
    assert times[-1] - times[0] >= 0.9


def test_a_failed_server_that_asks_for_too_long_a_wait_ends_the_run(tmp_path: Any) -> None:
    script = ScriptedModel(lambda body: refusal(503, retry_after="20000"))
    designer = DataDesigner(
        artifact_path=tmp_path, transport=script, run_config=dd.RunConfig(max_retry_after=3600)
    )
    with pytest.raises(DataDesignerGenerationError, match=r"20,000 s .*max_retry_after"):
        designer.create(asking("topic"), num_records=2)


async def test_the_words_of_a_failed_server_name_no_wait() -> None:
    assert (await failure(refusal(500, "try again in 24 hours"))).retry_after is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": [{"message": "tea is out", "code": 400}]}, ModelBadRequestError),
        ({"errors": [{"message": "tea is out"}]}, ModelInternalServerError),
        ({"object": "error", "message": "tea is out", "code": 400.0}, ModelBadRequestError),
        ({"message": "tea is out", "code": 401}, ModelAuthenticationError),
        ({"detail": "tea is out"}, ModelInternalServerError),
        (minimax(1002, "tea is out"), ModelRateLimitError),
        (minimax(1002, "tea is out") | {"choices": None}, ModelRateLimitError),
        (minimax(1004, "tea is out"), ModelAuthenticationError),
        (minimax(1008, "tea is out"), ModelQuotaExceededError),
        (minimax(1013, "tea is out"), ModelInternalServerError),
        (minimax(9999, "rate limit: tea is out"), ModelRateLimitError),
        (minimax(0, "success") | {"message": "tea is out"}, ModelInternalServerError),
    ],
)
async def test_a_body_without_an_answer_is_read_as_an_error(
    body: Any, kind: type[ModelError]
) -> None:
    error = await failure(httpx.Response(200, json=body))
    assert type(error) is kind and "tea is out" in str(error)


async def test_a_body_that_is_nothing_is_quoted() -> None:
    error = await failure(httpx.Response(200, text="<html>gateway"))
    assert "'<html>gateway'" in str(error)
