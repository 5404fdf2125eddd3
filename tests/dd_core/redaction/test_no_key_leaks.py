"""Keys in every place that can hold one are nowhere, whatever part of an answer quotes them."""

from __future__ import annotations

import base64
import io
import logging
import traceback
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr, ValidationError

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import DataDesignerError, InvalidConfigError
from dd_core.models.wire import telemetry
from dd_core.redaction.registry import mask_error, register_secret
from tests.echo import ANSWERS, chat, error, http, serve_echo

PLACES = (
    *("env", "token", "trace", "basic", "field", "note", "list", "model", "query", "proxy"),
)  # fmt: skip


def marker(place: str) -> str:
    return f"sk-{place}7f3a9c2e1d-{place[::-1]}8b4d"


MARKERS = [marker(place) for place in PLACES]


def find_markers(text: str) -> list[str]:
    """The markers of which the text contains the beginning or the end."""
    return [each for each in MARKERS if each[:10] in text or each[-8:] in text]


def providers(url: str) -> list[dd.ModelProvider]:
    basic = base64.b64encode(f"me:{marker('basic')}".encode()).decode()
    return [
        dd.ModelProvider(
            name="p",
            endpoint=f"{url}?api-version=1&key={marker('query')}",
            api_key=SecretStr("LEAK_TEST_KEY"),
            extra_headers={
                "x-gateway": f"Bearer {marker('token')}",
                "x-trace": marker("trace"),
                "x-basic": f"Basic {basic}",
            },
            extra_body={
                "api_key": marker("field"),
                "note": f"for {marker('note')}",
                "list": [{"deep": marker("list")}],
            },
        )
    ]


def config() -> dd.DataDesignerConfigBuilder:
    parameters = {"max_parallel_requests": 1, "extra_body": {"tag": marker("model")}}
    model = dd.ModelConfig(alias="m", model="tiny", provider="p", inference_parameters=parameters)
    made = dd.DataDesignerConfigBuilder([model])
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    return made.add_column(
        name="t",
        column_type="llm-text",
        model_alias="m",
        prompt="On {{ id }}",
        with_trace="all_messages",
    )


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """Everything that any logger logs."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    return exporter


def show(raised: BaseException) -> str:
    """All texts of an error and of everything that it is linked with."""
    shown, waiting, seen = "", [raised], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        shown += "".join(traceback.format_exception(each)) + repr(each) + repr(vars(each))
        waiting += [link for link in (each.__cause__, each.__context__) if link is not None]
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("first", range(4))
def test_a_quoted_key_is_found_nowhere(
    first: int,
    tmp_path: Path,
    logs: io.StringIO,
    spans: InMemorySpanExporter,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEAK_TEST_KEY", marker("env"))
    monkeypatch.setenv("FTP_PROXY", f"http://me:{marker('proxy')}@proxy.test:1")
    parts = [*ANSWERS][first::4]
    quoted: list[str] = []
    requests = count()

    def respond(body: str, said: str) -> bytes:
        # Between answers that would stop the run, the server accepts a request.
        if "Say hello" in body or next(requests) % 2 == 0:
            return http(chat("fine"))
        quoted.append(said)
        return ANSWERS[parts[(len(quoted) - 1) % len(parts)]](f"{said} {marker('proxy')}")

    found: list[Any] = []
    with serve_echo(respond) as url:
        settings = dd.RunConfig(
            max_request_retries=0, max_conversation_restarts=0, disable_early_shutdown=True
        )
        designer = DataDesigner(tmp_path, model_providers=providers(url), run_config=settings)
        try:
            results = designer.create(config(), num_records=3 * len(parts))
            found += [results.load_dataset().to_dict(), repr(results), [*results.dropped]]
        except DataDesignerError as raised:
            found.append(show(raised))
        found += [repr(providers(url)), repr(config().build())]
    assert len(quoted) >= len(parts), "every part was quoted in"
    assert {*find_markers(quoted[0])} == {*MARKERS} - {marker("proxy")}
    printed = capfd.readouterr()
    found += [printed.out, printed.err, logs.getvalue()]
    found += [span.to_json() for span in spans.get_finished_spans()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "builder_config.json" for path in files)
    for path in files:
        assert find_markers(path.read_bytes().decode("latin-1")) == [], path
    for each in found:
        assert find_markers(str(each)) == []


def test_a_key_in_an_answer_is_masked_and_the_row_is_kept(
    monkeypatch: pytest.MonkeyPatch, logs: io.StringIO
) -> None:
    monkeypatch.setenv("LEAK_TEST_KEY", marker("env"))
    with serve_echo(lambda body, said: http(chat(f"Key: {marker('env')}!"))) as url:
        designer = DataDesigner(model_providers=providers(url))
        table = designer.preview(config(), num_records=2).dataset
    assert [*table["t"]] == ["Key: ***!"] * 2
    assert logs.getvalue().count("repeats a key") == 1


def test_a_configuration_that_was_written_asks_for_its_keys(tmp_path: Path) -> None:
    with serve_echo(lambda body, said: http(chat("fine"))) as url:
        provider = dd.ModelProvider(name="p", endpoint=url)
        designer = DataDesigner(tmp_path, model_providers=[provider])
        results = designer.create(config(), num_records=1)
        written = next(tmp_path.rglob("builder_config.json"))
        assert '"tag": "(masked)"' in written.read_text()
        with pytest.raises(InvalidConfigError, match=r"extra_body contains \(masked\)"):
            designer.create(written, num_records=2, resume="always")
        # The original configuration still continues the dataset.
        name = results.load_dataset() is not None and written.parent.name
        more = designer.create(config(), num_records=2, dataset_name=str(name), resume="always")
        assert len(more.load_dataset()) == 2


@pytest.mark.parametrize(
    "address",
    [f"http://me:{marker('env')}@a.test/v1", f"http://a.test/v1?key={marker('env')}"],
)
def test_addresses_are_shown_and_written_without_keys(address: str) -> None:
    model = dd.ModelConfig(alias="m", model="x", base_url=address)
    more = dd.ModelConfig(alias="n", model="x", endpoints=[dd.Endpoint(base_url=address)])
    validator = dd.RemoteValidatorParams(endpoint_url=address)
    provider = dd.ModelProvider(name="p", endpoint=address)
    seed = dd.LocalFileSeedSource(path=address.replace("/v1", "/rows.csv").partition("?")[0])
    for each in (model, more, validator, provider, seed):
        assert find_markers(each.model_dump_json() + repr(each)) == []
    assert model.base_url == address, "requests need the key"
    assert [served.base_url for served, _ in more.at_endpoints()] == [address]


def test_a_rejected_declaration_does_not_quote_its_input() -> None:
    for fields in (
        {"api_key": marker("env")},
        {"endpoint": f"ftp://me:{marker('env')}@x", "extra_headers": {"a": marker("env")}},
        {"endpoint": "http://x", "extra_headers": marker("env")},
    ):
        with pytest.raises(ValidationError) as raised:
            dd.ModelProvider.model_validate({"name": "p", **fields})
        assert find_markers(str(raised.value)) == []


def test_causes_of_an_error_are_masked_or_cut() -> None:
    key = marker("env")
    register_secret(key)

    class StubbornError(Exception):
        def __str__(self) -> str:
            return f"I always say {key}"

    def fail() -> None:
        try:
            try:
                raise StubbornError
            except StubbornError as raised:
                raise OSError(2, f"no {key}", f"/tmp/{key}") from raised
        except OSError as raised:
            raised.add_note(f"with {key}")
            raise DataDesignerError(f"it was {key}") from raised

    with pytest.raises(DataDesignerError) as raised:
        fail()
    mask_error(raised.value)
    assert find_markers(show(raised.value)) == []
    assert isinstance(raised.value.__cause__, OSError)


def test_log_records_of_others_are_masked(logs: io.StringIO) -> None:
    register_secret(marker("env"))
    logger = logging.getLogger("some.library")
    logger.debug("sends %s", {"authorization": marker("env")})
    try:
        raise ValueError(marker("env"))
    except ValueError:
        logger.exception("failed")
    shown = logs.getvalue()
    assert find_markers(shown) == []
    assert "some.library sends" in shown and "ValueError: ***" in shown


@pytest.mark.parametrize("claimed", ["1e308", "-5", "1e400", '"-7"', "99999999999999999999", "NaN"])
def test_numbers_that_no_answer_can_have_are_not_believed(claimed: str) -> None:
    usage = f'"usage": {{"prompt_tokens": {claimed}, "completion_tokens": {claimed}'
    usage += f', "prompt_tokens_details": {{"cached_tokens": {claimed}}}}}'
    answer = http(
        chat("fine").replace('"usage": {"prompt_tokens": 3, "completion_tokens": 2}', usage)
    )
    assert claimed.encode() in answer
    with serve_echo(lambda body, said: answer) as url:
        provider = dd.ModelProvider(name="p", endpoint=url)
        settings = dd.RunConfig(budget=dd.Budget(tokens=100))
        designer = DataDesigner(model_providers=[provider], run_config=settings)
        results = designer.preview(config(), num_records=3)
    assert len(results.dataset) == 3
    count = results.usage["m"]["t"]
    assert (count["input_tokens"], count["output_tokens"], count["cached_tokens"]) == (0, 0, 0)


def test_an_error_names_the_reason_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK_TEST_KEY", marker("env"))
    with serve_echo(
        lambda body, said: http(error(f"Bad key {said[:0]}{marker('env')}."), "401 No")
    ) as url:
        designer = DataDesigner(model_providers=providers(url))
        with pytest.raises(DataDesignerError, match=r"Bad key \*\*\*\. Check the API key"):
            designer.preview(config(), num_records=1)
