"""One request to an OpenAI-compatible server, and what its answer or its failure means.

The seam is an `httpx.AsyncBaseTransport`: tests script a model behind it, runs use aiohttp
behind it, because httpx's own connection pool costs milliseconds of CPU a request when hundreds
of connections idle. Requests go straight to the transport; the client around it would only add
cookies, redirects and authentication flows that no inference server needs.
"""

from __future__ import annotations

import email.utils
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import httpx_aiohttp
import orjson

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
from dd_core.models.providers import Upstream

_QUOTA_WORDS = ("insufficient_quota", "exceeded your current quota", "insufficient credit",
                "credit balance", "out of credits", "billing")  # fmt: skip
_CONTEXT_WORDS = ("context length", "context window", "maximum context", "context_length")
_QUOTED_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the server counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a chat model."""

    text: str
    reasoning: str | None
    finish_reason: str | None
    usage: Usage


def open_transport(*, secure: bool) -> httpx.AsyncBaseTransport:
    """The transport of a run. `secure` loads the system's certificates, which takes 20 ms."""
    context = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=30.0)
        return aiohttp.ClientSession(connector=connector, trust_env=True)

    return httpx_aiohttp.AiohttpTransport(verify=context, client=session)


class ChatClient:
    """Sends chat requests for one model to one server."""

    def __init__(self, upstream: Upstream, timeout: float, transport: httpx.AsyncBaseTransport):
        self._upstream = upstream
        self._transport = transport
        self._url = httpx.URL(f"{upstream.url}/chat/completions")
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if upstream.key is not None:
            self._headers["authorization"] = f"Bearer {upstream.key.get_secret_value()}"
        self._headers.update(upstream.extra_headers)
        self._extensions = {
            "timeout": {"connect": timeout, "read": timeout, "write": timeout, "pool": None}
        }

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """Ask once. Raises a `ModelError` whose class says what went wrong."""
        request = httpx.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=orjson.dumps({**body, **self._upstream.extra_body}),
            extensions=self._extensions,
        )
        try:
            response = await self._transport.handle_async_request(request)
            content = await response.aread()
            await response.aclose()
        except httpx.HTTPError as error:
            raise self._lost(error) from error
        if response.status_code >= 300:
            raise self._refused(response, content)
        return self._parsed(content)

    def _parsed(self, content: bytes) -> Reply:
        try:
            answer = orjson.loads(content)
            choice = answer["choices"][0]
            message = choice["message"]
            usage = _usage(answer.get("usage") or {})
            return Reply(
                text=_text(message.get("content")).strip(),
                reasoning=message.get("reasoning") or message.get("reasoning_content"),
                finish_reason=choice.get("finish_reason"),
                usage=usage,
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelAPIConnectionError(
                f"{self._where} answered with a body that is no chat completion "
                f"({type(error).__name__}); if this persists, check that the address is right"
            ) from error

    def _lost(self, error: httpx.HTTPError) -> ModelError:
        if isinstance(error, httpx.TimeoutException) and not isinstance(
            error, httpx.ConnectTimeout
        ):
            return ModelTimeoutError(
                f"{self._where} did not answer in time; raise the model's `timeout` "
                "or lower its `max_parallel_requests`"
            )
        return ModelAPIConnectionError(
            f"{self._where} could not be reached ({type(error).__name__}: "
            f"{self._redacted(str(error))}); check that the server runs at this address"
        )

    def _refused(self, response: httpx.Response, content: bytes) -> ModelError:
        status = response.status_code
        words = self._redacted(_provider_words(content))
        said = f"{self._where} answered {status}: {words}"
        lowered = words.lower()
        if any(word in lowered for word in _QUOTA_WORDS):
            return ModelQuotaExceededError(f"{said}. Add credit or use another key")
        if status == 429:
            return ModelRateLimitError(said, _retry_after(response.headers.get("retry-after")))
        if status == 408:
            return ModelTimeoutError(said)
        if status >= 500:
            return ModelInternalServerError(said)
        if status == 413 or (status == 400 and any(word in lowered for word in _CONTEXT_WORDS)):
            return ModelContextWindowExceededError(f"{said}. Shorten the prompt")
        refusals: dict[int, tuple[type[ModelError], str]] = {
            401: (ModelAuthenticationError, "Check the API key"),
            403: (ModelPermissionDeniedError, "Check what the API key may use"),
            404: (ModelNotFoundError, "Check the model id and the address"),
        }
        kind, fix = refusals.get(status, (ModelBadRequestError, "Check the model's parameters"))
        return kind(f"{said}. {fix}")

    @property
    def _where(self) -> str:
        return f"provider {self._upstream.provider!r} at {self._upstream.url}"

    def _redacted(self, text: str) -> str:
        secrets = [*self._upstream.extra_headers.values()]
        if self._upstream.key is not None:
            secrets.append(self._upstream.key.get_secret_value())
        for secret in secrets:
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content)


def _usage(given: Mapping[str, Any]) -> Usage:
    """Tokens under the names of either of OpenAI's two interfaces."""
    answer: Any = given.get("completion_tokens_details") or given.get("output_tokens_details")
    prompt: Any = given.get("prompt_tokens_details")
    reasoning: Any = given.get("reasoning_tokens")
    if reasoning is None and answer:
        reasoning = answer.get("reasoning_tokens")
    return Usage(
        input_tokens=given.get("prompt_tokens") or given.get("input_tokens") or 0,
        output_tokens=given.get("completion_tokens") or given.get("output_tokens") or 0,
        reasoning_tokens=reasoning or 0,
        cached_tokens=(prompt.get("cached_tokens") if prompt else 0) or 0,
    )


def _provider_words(content: bytes) -> str:
    try:
        parsed: Any = orjson.loads(content)
        error: Any = parsed.get("error", parsed)
        words: Any = error if isinstance(error, str) else error.get("message")
    except (ValueError, AttributeError):
        words = None
    text = str(words) if words else content.decode("utf-8", "replace")
    return " ".join(text.split())[:_QUOTED_LENGTH] or "(no text)"


def _retry_after(header: str | None) -> float | None:
    """Seconds that the server asks to wait; it may say so in seconds or as a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
