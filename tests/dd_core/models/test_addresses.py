"""Forms of base URLs and keys, redirects, and servers that do not end their answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError
from dd_core.errors import (
    InvalidConfigError,
    ModelAPIConnectionError,
    ModelError,
    ModelRedirectError,
    ModelTimeoutError,
)
from dd_core.models.address import parse_address
from dd_core.models.providers import Providers
from dd_core.models.wire.client import Client
from dd_core.models.wire.connections import AiohttpConnections, TransportConnections
from tests.scripted import ScriptedModel, asking, chat_response, model, refusal

KEY = "sk-marker-0123456789"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def ask(script: ScriptedModel, rows: int = 1, **fields: Any) -> Any:
    return DataDesigner(transport=script).preview(asking(**fields), num_records=rows)


@pytest.mark.parametrize(
    ("base_url", "asked"),
    [
        ("http://a.test/v1", "http://a.test/v1/chat/completions"),
        ("http://a.test/v1/", "http://a.test/v1/chat/completions"),
        (" http://a.test/v1\n", "http://a.test/v1/chat/completions"),
        ("HTTP://A.test/v1", "http://a.test/v1/chat/completions"),
        ("http://a.test", "http://a.test/chat/completions"),
        ("http://a.test/v1/chat/completions", "http://a.test/v1/chat/completions"),
        ("http://a.test/v1/chat/completions/", "http://a.test/v1/chat/completions"),
        ("http://a.test/v1/embeddings", "http://a.test/v1/chat/completions"),
        ("http://a.test/v1?x=1", "http://a.test/v1/chat/completions?x=1"),
        ("http://a.test/v1/?x=1&y=a%20b", "http://a.test/v1/chat/completions?x=1&y=a%20b"),
        ("http://a.test/v1/chat/completions?x=1", "http://a.test/v1/chat/completions?x=1"),
        ("http://a.test/v1#top", "http://a.test/v1/chat/completions"),
    ],
)
def test_a_base_url_is_understood_in_the_forms_in_which_it_is_pasted(
    base_url: str, asked: str
) -> None:
    script = ScriptedModel("fine")
    ask(script, base_url=base_url)
    assert script.urls == [asked]


@pytest.mark.parametrize(
    ("base_url", "complaint"),
    [
        ("http://:80/v1", "valid host"),
        ("http://a.test:port/v1", "valid host"),
        ("http://a .test/v1", "white space"),
        ("http://user:marker@a.test/v1", "password"),
        ("http://a.test/v1/completions", "route"),
        ("http://a.test/v1/responses?x=1", "route"),
    ],
)
@pytest.mark.parametrize("place", ["base_url", "endpoint", "endpoints"])
def test_a_base_url_that_cannot_work_is_a_problem_of_the_configuration(
    base_url: str, complaint: str, place: str
) -> None:
    script = ScriptedModel("fine", probes=True)
    providers = [dd.ModelProvider(name="openai", endpoint="http://a.test/v1")]
    fields: dict[str, Any] = {"base_url": base_url}
    if place == "endpoint":
        fields = {"base_url": None}
        providers = [dd.ModelProvider(name="openai", endpoint=base_url)]
    elif place == "endpoints":
        fields = {"base_url": None, "endpoints": [dd.Endpoint(base_url=base_url)]}
    designer = DataDesigner(transport=script, model_providers=providers)
    with pytest.raises(InvalidConfigError, match=complaint) as raised:
        designer.preview(asking(**fields), num_records=1)
    assert "marker" not in str(raised.value)
    assert script.requests == []


def test_classic_azure_gets_its_version_and_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_KEY", KEY)
    script = ScriptedModel("fine")
    base = "https://x.openai.azure.com/openai/deployments/gpt-4o"
    url = f"{base}?api-version=2024-06-01"
    ask(script, base_url=url, api_key_env_var="AZURE_KEY")
    assert script.urls == [f"{base}/chat/completions?api-version=2024-06-01"]
    assert script.headers[0]["api-key"] == KEY


def test_anthropic_keeps_a_query_too() -> None:
    answer = httpx.Response(200, json={"content": [{"type": "text", "text": "fine"}]})
    for endpoint in ("http://a.test/v1/messages?x=1", "http://a.test?x=1"):
        provider = dd.ModelProvider(name="p", endpoint=endpoint, provider_type="anthropic")
        script = ScriptedModel(answer, probes=True)
        designer = DataDesigner(transport=script, model_providers=[provider])
        designer.preview(asking(provider="p", base_url=None), num_records=1)
        assert {*script.urls} == {"http://a.test/v1/messages?x=1"}


def test_a_key_in_the_query_shows_in_no_message() -> None:
    script = ScriptedModel(refusal(400, f"the key {KEY} is odd"), probes=True)
    with pytest.raises(DataDesignerGenerationError, match="is odd") as raised:
        ask(script, base_url=f"http://a.test/v1?key={KEY}")
    assert KEY not in str(raised.value)
    assert parse_address("http://a.test/v1?key=x").base == "http://a.test/v1"


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY} ", f"\r\n{KEY}\t", f"\ufeff{KEY}"])
@pytest.mark.parametrize("place", ["model", "provider"])
def test_a_key_is_sent_without_white_space(
    key: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", key)
    script = ScriptedModel("fine")
    if place == "model":
        ask(script, api_key_env_var="TEST_KEY")
    else:
        provider = dd.ModelProvider(
            name="p", endpoint="http://a.test/v1", api_key=SecretStr("TEST_KEY")
        )
        designer = DataDesigner(transport=script, model_providers=[provider])
        designer.preview(asking(provider="p", base_url=None), num_records=1)
    assert script.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        (f"{KEY}\n{KEY}", "a line break at position 21"),
        (f"“{KEY}”", "beyond ASCII at position 1"),
        (f"{KEY}\0x", "a control character"),
        (" \n", "blank"),
    ],
)
def test_a_key_that_no_header_can_hold_is_a_problem_of_the_configuration(
    key: str, complaint: str
) -> None:
    provider = dd.ModelProvider(name="p", endpoint="http://a.test/v1", api_key=SecretStr(key))
    script = ScriptedModel("fine", probes=True)
    designer = DataDesigner(transport=script, model_providers=[provider])
    with pytest.raises(InvalidConfigError, match=complaint) as raised:
        designer.preview(asking(provider="p", base_url=None), num_records=1)
    assert "marker" not in str(raised.value)
    assert script.requests == []


@pytest.mark.parametrize("header", [{"x-a": "a\nb"}, {"x a": "b"}, {"x-é": "b"}])
def test_a_header_that_cannot_be_sent_is_a_problem_of_the_configuration(
    header: dict[str, str],
) -> None:
    provider = dd.ModelProvider(name="p", endpoint="http://a.test/v1", extra_headers=header)
    designer = DataDesigner(transport=ScriptedModel("fine"), model_providers=[provider])
    with pytest.raises(InvalidConfigError, match="header"):
        designer.preview(asking(provider="p", base_url=None), num_records=1)


async def failure(answer: Any, **fields: Any) -> ModelError:
    """The error of one request to a provider with these fields."""
    provider = dd.ModelProvider(name="p", endpoint="http://a.test/v1", **fields)
    upstream = Providers([provider]).upstream(model(provider="p", base_url=None))
    client = Client(upstream, 1.0, TransportConnections(ScriptedModel(answer)))
    with pytest.raises(ModelError) as raised:
        await client.chat({"model": "tiny", "messages": [{"role": "user", "content": "x"}]})
    return raised.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_named_and_not_followed(status: int) -> None:
    location = f"https://user:{KEY}@gateway.example/v1/chat/completions?token={KEY}"
    error = await failure(httpx.Response(status, headers={"location": location}))
    assert isinstance(error, ModelRedirectError)
    assert "https://gateway.example/v1/chat/completions" in str(error)
    assert KEY not in str(error)
    relative = await failure(httpx.Response(status, headers={"location": "/v2/chat"}))
    assert "http://a.test/v2/chat" in str(relative)
    assert isinstance(await failure(httpx.Response(status)), ModelError)


@pytest.mark.parametrize(
    ("fields", "quoted"),
    [
        ({"api_key": SecretStr(KEY)}, KEY),
        ({"extra_headers": {"authorization": f"Bearer {KEY}"}}, KEY),
        ({"extra_body": {"options": {"api_key": KEY}}}, KEY),
        ({"api_key": SecretStr(f'{KEY}"/+')}, f"{KEY}%22%2F%2B"),
    ],
)
@pytest.mark.parametrize("before", [0, 280, 290])
async def test_no_part_of_a_key_is_left_where_a_message_is_cut(
    fields: dict[str, Any], quoted: str, before: int
) -> None:
    for answer in (
        refusal(400, "y" * before + quoted),
        httpx.Response(200, json={"error": {"code": 429, "message": "y" * before + quoted}}),
    ):
        assert "sk-mark" not in str(await failure(answer, **fields))


Respond = Callable[[asyncio.StreamWriter], AsyncGenerator[None]]


async def blanks(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
    writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        yield


async def headers(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
    writer.write(HEAD)
    while True:
        writer.write(b"x-more: 1\r\n")
        yield


async def interim(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        yield


async def slow_letters(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
    body = chat_response("x" * 500).content
    writer.write(HEAD + f"content-length: {len(body)}\r\n\r\n".encode())
    for letter in body:
        writer.write(bytes([letter]))
        yield


@asynccontextmanager
async def serving(respond: Respond, pause: float = 0.05) -> AsyncGenerator[str]:
    """The base URL of a server that answers with what `respond` writes, step by step."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            async for _ in respond(writer):
                await writer.drain()
                await asyncio.sleep(pause)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def request(url: str, timeout: float) -> ModelError:
    connections = AiohttpConnections(secure=False)
    client = Client(Providers([]).upstream(model(base_url=url)), timeout, connections)
    try:
        with pytest.raises(ModelError) as raised:
            await client.chat({"model": "m", "messages": [{"role": "user", "content": "x"}]})
        return raised.value
    finally:
        await connections.aclose()


@pytest.mark.parametrize("respond", [blanks, headers, interim, slow_letters])
async def test_the_timeout_is_a_deadline_for_the_whole_answer(respond: Respond) -> None:
    async with serving(respond) as url:
        began = time.monotonic()
        error = await request(url, timeout=0.5)
        assert time.monotonic() - began < 2.0
    assert isinstance(error, ModelTimeoutError | ModelAPIConnectionError)
    if respond is not headers:  # aiohttp may refuse the number of headers before the deadline
        assert isinstance(error, ModelTimeoutError)
        assert "0.5 s" in str(error)


async def test_an_answer_may_not_be_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dd_core.models.wire.connections.MAX_BODY_BYTES", 2**20)

    async def much(writer: asyncio.StreamWriter) -> AsyncGenerator[None]:
        writer.write(HEAD + b"content-length: 999999999\r\n\r\n")
        while True:
            writer.write(b" " * 2**16)
            yield

    async with serving(much, pause=0.0) as url:
        error = await request(url, timeout=20.0)
    assert isinstance(error, ModelAPIConnectionError)
    assert "MiB" in str(error)


async def test_a_scripted_transport_keeps_the_deadline_too() -> None:
    upstream = Providers([]).upstream(model())
    client = Client(upstream, 0.1, TransportConnections(ScriptedModel("fine", latency=5.0)))
    with pytest.raises(ModelTimeoutError):
        await client.chat({"model": "m", "messages": [{"role": "user", "content": "x"}]})


def test_no_file_of_a_dataset_holds_a_key_that_a_server_quotes(tmp_path: Path) -> None:
    provider = dd.ModelProvider(name="p", endpoint="http://a.test/v1", api_key=SecretStr(KEY))
    script = ScriptedModel(
        lambda body: refusal(400, f"no {KEY}") if len(script.requests) == 2 else "fine"
    )
    designer = DataDesigner(tmp_path, transport=script, model_providers=[provider])
    made = asking(provider="p", base_url=None, max_parallel_requests=1)
    designer.create(made, num_records=4, dataset_name="d")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("headers", [{}, {"location": "http://[bad"}, {"location": ""}])
async def test_a_redirect_without_an_address_is_one_too(headers: dict[str, str]) -> None:
    error = await failure(httpx.Response(307, headers=headers))
    assert isinstance(error, ModelRedirectError) and "without a valid address" in str(error)
