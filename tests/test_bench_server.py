"""The server that tests and benchmarks rely on: its answers, faults and counts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, Field

from benchmarks.answers import Answers, Settings
from benchmarks.schema_values import structured_text, value_of
from benchmarks.server import BenchServer
from tests.conftest import ServerFactory
from tests.scripted import answer_schema

pytestmark = pytest.mark.slow
Reply = tuple[int, str, Any]


def chat(prompt: Any, name: str = "m", **fields: Any) -> dict[str, Any]:
    return {"model": name, "messages": [{"role": "user", "content": prompt}], **fields}


def structured(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


async def send(server: BenchServer, *bodies: Any, path: str = "/chat/completions") -> list[Reply]:
    """Send all bodies at once; returns status, text and headers of the answers, in that order."""

    async def one(session: aiohttp.ClientSession, body: Any) -> Reply:
        async with session.post(server.url + path, json=body) as response:
            return response.status, await response.text(), response.headers

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(one(session, body) for body in bodies))


async def content(server: BenchServer, body: dict[str, Any]) -> str:
    [(status, text, _)] = await send(server, body)
    assert status == 200, text
    return json.loads(text)["choices"][0]["message"]["content"]


class Node(BaseModel):
    name: str = Field(max_length=5)
    children: list[Node] = Field(min_length=1)


class Review(BaseModel):
    stars: int = Field(ge=1, le=5)
    mood: float = Field(gt=0.2, lt=0.8)
    author: str | None
    more: Review | None = None


SCHEMAS: dict[str, dict[str, Any]] = {
    "pydantic": Review.model_json_schema(),
    "const": {"const": [1, None]},
    "enum": {"enum": ["a", 2, False]},
    "short string": {"type": "string", "maxLength": 3},
    "long string": {"type": "string", "minLength": 80},
    "empty array": {"type": "array", "maxItems": 0},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "uniqueItems": True},
    "tuple": {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}]},
    "negative": {"type": "integer", "maximum": -7},
    "exclusive": {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
    "multiple": {"type": "integer", "minimum": 5, "multipleOf": 7},
    "required alone": {"type": "object", "required": ["x"]},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
    "types": {"type": ["integer", "null"]},
    "date": {"type": "string", "format": "date"},
    "reference with bounds": {
        "$defs": {"n": {"type": "integer"}},
        "properties": {"x": {"$ref": "#/$defs/n", "minimum": 1000}},
    },
    "all of": {
        "$defs": {"a": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}},
        "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"b": {"type": "null"}}}],
        "required": ["b"],
        "additionalProperties": {},
    },
    "recursive": {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    },
    "recursive union": {
        "$defs": {"t": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/t"}}, {}]}},
        "$ref": "#/$defs/t",
    },
}


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.tuples(st.integers(-50, 50), st.integers(0, 9))
    return st.one_of(
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": ["x", 1]}, {"const": 3}]),
        bounds.map(lambda b: {"type": "string", "minLength": b[1], "maxLength": b[1] + 1}),
        bounds.map(lambda b: {"type": "integer", "minimum": b[0], "maximum": sum(b)}),
        bounds.map(lambda b: {"type": "number", "minimum": b[0] / 9, "maximum": sum(b) / 9}),
    )


def branches(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    members = st.dictionaries(st.sampled_from("abc"), inner)
    return st.one_of(
        members.map(lambda m: {"type": "object", "properties": m, "required": [*m]}),
        st.tuples(inner, st.integers(0, 3)).map(
            lambda a: {"type": "array", "items": a[0], "minItems": a[1], "maxItems": a[1] + 1}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_value_satisfies_its_schema(name: str) -> None:
    for number in range(200):
        jsonschema_rs.validate(SCHEMAS[name], value_of(SCHEMAS[name], number))
    assert answer_schema(SCHEMAS[name]) == value_of(SCHEMAS[name], 0)


@given(st.recursive(leaves(), branches, max_leaves=8), st.integers(0, 2**64))
def test_a_value_satisfies_any_schema(schema: dict[str, Any], number: int) -> None:
    value = value_of(schema, number)
    assert value == value_of(schema, number)
    jsonschema_rs.validate(schema, value)


@pytest.mark.parametrize(
    "schema",
    [{"type": "integer", "minimum": 3, "maximum": 2}, {"type": "string", "pattern": "^a+$"}],
)
def test_a_schema_that_cannot_be_met_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no integer satisfies|no strings for the pattern"):
        value_of(schema)


def test_a_correction_answers_the_schema_of_the_first_message() -> None:
    asked = 'Go. <response_schema>{"type": "integer", "minimum": 7}</response_schema>'
    roles = [("user", asked), ("assistant", "no"), ("user", "That is no JSON. Again, please.")]
    messages = [{"role": role, "content": text} for role, text in roles]
    assert structured_text({"messages": messages}, 0) == "```json\n7\n```"


async def test_a_chat_is_answered_by_the_text_of_its_messages_alone(
    bench_server: ServerFactory,
) -> None:
    first, second = bench_server(), bench_server(latency=0.02, seed=7)
    text = await content(first, chat("Tea?", temperature=0.1))
    assert text == await content(second, chat("Tea?", temperature=0.9))
    assert text != await content(first, chat("Rain?"))
    assert text != await content(first, chat("Tea?", name="other"))
    [(_, body, _)] = await send(first, chat([{"type": "text", "text": "x" * 400}]))
    answer = json.loads(body)
    assert answer["usage"] == {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_structured_answer_is_fenced_if_only_the_prompt_asks_for_it(
    bench_server: ServerFactory,
) -> None:
    server, schema = bench_server(), Review.model_json_schema()
    prompt = f"Go.\n<response_schema>{json.dumps(schema)}</response_schema>"
    fenced = await content(server, chat(prompt))
    jsonschema_rs.validate(schema, json.loads(fenced.removeprefix("```json").removesuffix("```")))
    plain = await content(server, chat("Go.", response_format=structured(schema)))
    jsonschema_rs.validate(schema, json.loads(plain))


async def test_embeddings_are_repeatable_vectors_of_length_one(bench_server: ServerFactory) -> None:
    server, ask = bench_server(), {"model": "e", "input": ["tea", "rain"], "dimensions": 8}
    bodies = [ask, ask | {"encoding_format": "base64"}, {"model": "e", "input": "tea"}]
    replies = await send(server, *bodies, path="/embeddings")
    plain, packed, single = (json.loads(body)["data"] for _, body, _ in replies)
    tea, rain = (row["embedding"] for row in plain)
    assert tea != rain
    assert sum(value * value for value in tea) == pytest.approx(1.0)
    assert len(b64decode(packed[0]["embedding"])) == 8 * 4
    assert [len(row["embedding"]) for row in single] == [16]


@pytest.mark.slow
async def test_requests_beyond_the_capacity_are_turned_away(bench_server: ServerFactory) -> None:
    server = bench_server(latency=3.0, capacity=3, retry_after="2")
    replies = await send(server, *(chat(str(number)) for number in range(8)))
    assert sorted(status for status, _, _ in replies) == [200] * 3 + [429] * 5
    assert {headers.get("retry-after") for status, _, headers in replies if status == 429} == {"2"}
    stats = server.stats()
    assert stats["by_status"] == {"200": 3, "429": 5}
    assert (stats["requests"], stats["max_in_flight"], stats["in_flight"]) == (8, 3, 0)


async def test_faults_come_at_their_rates(bench_server: ServerFactory) -> None:
    server = bench_server(error_rate=0.2, broken_rate=0.2, malformed_rate=0.25)
    wanted = structured({"type": "object"})
    replies = await send(server, *(chat(str(n), response_format=wanted) for n in range(400)))
    assert sum(status == 500 for status, _, _ in replies) == pytest.approx(80, abs=25)
    texts = [text for status, text, _ in replies if status == 200]
    whole = [json.loads(text) for text in texts if text.endswith("}}")]
    assert len(texts) - len(whole) == pytest.approx(80, abs=25)
    said = [answer["choices"][0]["message"]["content"] for answer in whole]
    assert sum(text != "{}" for text in said) == pytest.approx(60, abs=25)


async def test_the_load_is_counted_over_time(bench_server: ServerFactory) -> None:
    server = bench_server(latency=1.0)
    began = time.perf_counter()
    await send(server, *(chat(str(number)) for number in range(4)))
    await send(server, *(chat(str(number), name="n") for number in range(4)))
    elapsed = time.perf_counter() - began
    stats = server.stats()
    assert (stats["requests"], stats["max_in_flight"]) == (8, 4)
    for name, track in stats["models"].items():
        assert name in {"m", "n"}
        assert (track["requests"], track["max_in_flight"]) == (4, 4)
        assert 1.0 <= track["busy_seconds"] < elapsed
        assert track["last"] - track["first"] == track["busy_seconds"]
        assert sum(track["seconds_at"].values()) == pytest.approx(track["busy_seconds"])
        assert 1 < track["mean_in_flight"] <= 4
    assert stats["models"]["m"]["last"] <= stats["models"]["n"]["first"]
    server.reset()
    assert server.stats()["requests"] == 0


async def test_latencies_have_the_mean_that_was_asked_for(bench_server: ServerFactory) -> None:
    answers = Answers(Settings(latency=0.2, latency_sigma=0.5, seed=1))
    delays = [answers.delay("m") for _ in range(300)]
    assert sum(delays) / 300 == pytest.approx(0.2, abs=0.03)
    assert max(delays) > 2 * 0.2, "some take much longer"
    server = bench_server(latency=0.2, latency_sigma=0.5, seed=1)
    await send(server, *(chat(str(number)) for number in range(300)))
    stats = server.stats()
    # The delays are drawn in turn with other chances; a busy machine only adds to them.
    assert stats["mean_in_flight"] * stats["busy_seconds"] / 300 > 0.17
    assert stats["busy_seconds"] > 2 * 0.2


async def test_settings_change_while_it_runs(bench_server: ServerFactory) -> None:
    server = bench_server(answer_text="one")
    assert await content(server, chat("x")) == "one"
    server.settings(answer_text="two", models={"n": {"answer_text": "three"}})
    server.settings(models={"n": {"latency": 0.1}})
    assert await content(server, chat("x")) == "two"
    began = time.perf_counter()
    assert await content(server, chat("x", name="n")) == "three"
    assert time.perf_counter() - began >= 0.1


@pytest.mark.slow
async def test_a_models_own_capacity_counts_its_own_requests(bench_server: ServerFactory) -> None:
    server = bench_server(latency=3.0)
    server.settings(models={"small": {"capacity": 2}})
    names = ["m"] * 4 + ["small"] * 4
    replies = await send(server, *(chat("x", name=name) for name in names))
    assert sum(status == 429 for status, _, _ in replies) == 2
    assert server.stats()["models"]["small"]["by_status"] == {"429": 2, "200": 2}


async def test_prompts_are_remembered_with_how_often_they_were_asked(
    bench_server: ServerFactory,
) -> None:
    server = bench_server(record=True, error_rate=1.0)
    await send(server, chat("a"), chat([{"type": "text", "text": "a"}]), chat("b", name="n"))
    await send(server, {"model": "e", "input": ["c", "d"]}, path="/embeddings")
    wanted = [("e", "c", 1), ("e", "d", 1), ("m", "a", 2), ("n", "b", 1)]
    assert sorted(server.prompts()) == wanted


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/nothing", {}, 404, "no such route: POST /v1/nothing"),
        ("/chat/completions", {"messages": []}, 400, "KeyError: 'model'"),
        ("/../settings", {"latencyy": 1}, 400, "latencyy"),
    ],
)
async def test_a_wrong_request_is_told_why(
    path: str, body: Any, status: int, message: str, bench_server: ServerFactory
) -> None:
    server = bench_server()
    [(got, text, _)] = await send(server, body, path=path)
    assert (got, message in json.loads(text)["error"]["message"]) == (status, True)
    assert (await content(server, chat("x"))).startswith("answer")


async def test_requests_may_come_in_pieces_and_in_one_piece(bench_server: ServerFactory) -> None:
    host, port = bench_server().url.split("/")[2].split(":")
    body = json.dumps(chat("x" * 300_000)).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nCONTENT-LENGTH: %d\r\n\r\n" % len(body) + body
    reader, writer = await asyncio.open_connection(host, int(port))
    for piece in (request[:30], request[30:100_000], request[100_000:] + request):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    for _ in range(2):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length))["object"] == "chat.completion"
    writer.close()
    await writer.wait_closed()


def test_a_server_that_cannot_start_says_so() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        BenchServer(no_such_option=1)


def test_it_dies_with_its_parent() -> None:
    code = (
        "import time; from benchmarks.server import BenchServer\n"
        "print(BenchServer().pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
