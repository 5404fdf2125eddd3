"""A model behind an httpx transport that answers from a script and records its requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import httpx

import dd_core.config as dd
from benchmarks.schema_values import value_of

Body: TypeAlias = dict[str, Any]
Answer: TypeAlias = "str | dict[str, Any] | httpx.Response | Exception"
"""Text, an object that is sent as JSON text, a complete response, or an error that is raised."""
Script: TypeAlias = "Answer | Sequence[Answer] | Callable[[Body], Answer] | None"

PROBE = "Say hello."
"""The prompt of the readiness check before a run."""


def chat_response(
    text: str | None,
    *,
    finish_reason: str = "stop",
    reasoning: str | None = None,
    prompt_tokens: int = 3,
    completion_tokens: int = 5,
    usage: dict[str, Any] | None = None,
) -> httpx.Response:
    """A response of an OpenAI-compatible server; `usage` replaces the token counts."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    counted = usage or {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return httpx.Response(200, json={"choices": [choice], "usage": counted})


def refusal(status: int, message: str = "no", **headers: str) -> httpx.Response:
    """An error response of an OpenAI-compatible server; `retry_after` becomes Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"error": {"message": message}}, headers=named)


def answer_schema(schema: dict[str, Any]) -> Any:
    """A value that satisfies the schema, as the bench server would return it."""
    return value_of(schema)


def completion_response(
    text: str, *, logprobs: Any = None, finish_reason: str = "stop"
) -> httpx.Response:
    """A response to a request for a raw completion."""
    choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": logprobs}
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    return httpx.Response(200, json={"choices": [choice], "usage": usage})


def _is_probe(body: Body) -> bool:
    if "input" in body:
        return body["input"] == ["Hello."]
    return prompt_of(body) in (PROBE, "Hello")


def prompt_of(body: Body) -> str:
    """The prompt, or the text of the request's last message."""
    return str(body["prompt"] if "prompt" in body else body["messages"][-1]["content"])


class ScriptedModel(httpx.AsyncBaseTransport):
    """Always answers with the same text, with the answers of a list, or with a function's result.

    Without a script, an answer satisfies the JSON schema of the request. The readiness check before
    a run is answered automatically and not recorded, unless `probes` is true.
    """

    def __init__(self, script: Script = None, *, latency: float = 0.0, probes: bool = False):
        self._script = script
        self._latency = latency
        self._probes = probes
        self._used = 0
        self.requests: list[Body] = []
        """The parsed bodies, in order of arrival."""
        self.headers: list[httpx.Headers] = []
        self.urls: list[str] = []
        self.in_flight = 0
        self.max_in_flight = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body: Body = json.loads(request.content)
        if not self._probes and _is_probe(body):
            if "input" in body:
                return httpx.Response(200, json={"data": [{"embedding": [1.0]}]})
            if "logprobs" in body:
                logprobs = {"tokens": ["Hello"], "token_logprobs": [-1.0]}
                return completion_response("Hello.", logprobs=logprobs)
            return chat_response("Hello.")
        self.requests.append(body)
        self.headers.append(request.headers)
        self.urls.append(str(request.url))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await self.pause(body)
            return self._response(body)
        finally:
            self.in_flight -= 1

    async def pause(self, body: Body) -> None:
        """Wait between a request and its answer."""
        await asyncio.sleep(self._latency)

    def _response(self, body: Body) -> httpx.Response:
        answer = self._answer(body)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            # A response can be read only once, but a script may send it several times.
            return httpx.Response(
                answer.status_code, headers=answer.headers, content=answer.content
            )
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return chat_response(text) if "messages" in body else completion_response(text)

    def _answer(self, body: Body) -> Answer:
        match self._script:
            case None:
                return _fitting(body, len(self.requests))
            case str() | dict() | httpx.Response() | Exception():
                return self._script
            case list() | tuple():
                assert self._used < len(self._script), "the script has no more answers"
                self._used += 1
                return self._script[self._used - 1]
            case _:
                return self._script(body)


def builder(**fields: Any) -> dd.DataDesignerConfigBuilder:
    """A builder with one model, alias `m`, and one sampler column, `topic`.

    `fields` are fields of the model or of its inference parameters.
    """
    made = dd.DataDesignerConfigBuilder([model(**fields)])
    return made.add_column(
        name="topic", column_type="sampler", sampler_type="category", params={"values": ["tea"]}
    )


def model(alias: str = "m", **fields: Any) -> dd.ModelConfig:
    """A model at `http://model.test/v1`."""
    known = dd.ChatCompletionInferenceParams.model_fields
    parameters = {name: fields.pop(name) for name in [*fields] if name in known}
    given = {"model": "tiny", "provider": "openai", "base_url": "http://model.test/v1", **fields}
    return dd.ModelConfig(
        alias=alias,
        inference_parameters=dd.ChatCompletionInferenceParams(**parameters),
        **given,
    )


def asking(prompt: str = "Write on {{ topic }}.", **fields: Any) -> dd.DataDesignerConfigBuilder:
    """`builder` and an LLM column `text` that asks the model about the topic."""
    return builder(**fields).add_column(
        name="text", column_type="llm-text", model_alias="m", prompt=prompt
    )


def _fitting(body: Body, number: int) -> Answer:
    wanted = body.get("response_format")
    if not wanted:
        return f"Answer {number}"
    return json.dumps(value_of(wanted["json_schema"]["schema"], number))
