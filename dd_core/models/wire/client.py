"""Sends one request to an inference server and turns its answer into a value or an error."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

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
    ModelUnsupportedCapabilityError,
)
from dd_core.models.providers import Upstream
from dd_core.models.wire.answers import Images, Reply, Vectors, parse_embeddings, parse_images
from dd_core.models.wire.anthropic import AnthropicWire
from dd_core.models.wire.openai import OpenAIWire
from dd_core.models.wire.transport import Connections, HttpResponse, LostError

Body: TypeAlias = Mapping[str, Any]
_T = TypeVar("_T")

_QUOTA_WORDS = ("insufficient_quota", "exceeded your current quota", "insufficient credit",
                "credit balance", "out of credits", "billing")  # fmt: skip
_CONTEXT_WORDS = ("context length", "context window", "maximum context", "context_length")
_QUOTED_LENGTH = 300


class Wire(Protocol):
    """The wire format of a type of server. A URL is None if the server lacks that route."""

    chat: str
    embeddings: str | None
    images: str | None

    def headers(self, key: str | None) -> dict[str, str]:
        """The headers that authenticate a request."""
        ...

    def chat_body(self, body: Body) -> Body:
        """Translate the body of a chat request from OpenAI's format."""
        ...

    def reply(self, content: bytes) -> Reply:
        """Parse the answer to a chat request."""
        ...


_WIRES: dict[str, Callable[[str], Wire]] = {"anthropic": AnthropicWire}


class Client:
    """Sends requests for one model to one server."""

    def __init__(
        self,
        upstream: Upstream,
        timeout: float,
        connections: Connections,
        model: str | None = None,
    ) -> None:
        self._upstream = upstream
        self._connections = connections
        self._model = {"model": model} if model else {}
        self._wire = _WIRES.get(upstream.wire, OpenAIWire)(upstream.url)
        key = upstream.key.get_secret_value() if upstream.key is not None else None
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        self._headers.update(self._wire.headers(key))
        self._headers.update(upstream.extra_headers)
        self._timeout = timeout

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self._upstream.provider

    async def chat(self, body: Body) -> Reply:
        """Request a chat completion. Like all requests here, raises a subclass of `ModelError`."""
        content = await self._post(self._wire.chat, self._wire.chat_body(body))
        return self._read(self._wire.reply, content, "chat completion")

    async def embed(self, body: Body) -> Vectors:
        """Request embeddings."""
        url = self._require(self._wire.embeddings, "embeddings")
        return self._read(parse_embeddings, await self._post(url, body), "list of embeddings")

    async def draw(self, body: Body, *, by_chat: bool) -> Images:
        """Request images through the chat route or the images route."""
        url = self._require(self._wire.images, "images")
        if by_chat:
            url, body = self._wire.chat, self._wire.chat_body(body)
        return self._read(parse_images, await self._post(url, body), "answer with images")

    def _require(self, url: str | None, capability: str) -> str:
        if url is None:
            raise ModelUnsupportedCapabilityError(
                f"provider {self._upstream.provider!r} does not support {capability}; "
                "use a model of another provider"
            )
        return url

    async def fetch(self, address: str) -> bytes:
        """Fetch a URL from an answer, without the API key: the URL may point to any host."""
        return await self._send("GET", address, {}, None)

    async def _post(self, url: str, body: Body) -> bytes:
        # The fields of the provider come last, so that they override those of the model.
        content = orjson.dumps({**body, **self._model, **self._upstream.extra_body})
        return await self._send("POST", url, self._headers, content)

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> bytes:
        try:
            answer = await self._connections.send(method, url, headers, content, self._timeout)
        except LostError as error:
            raise self._error_for_lost(error) from error
        if answer.status >= 300:
            raise self._error_for_status(answer)
        return answer.content

    def _read(self, parse: Callable[[bytes], _T], content: bytes, expected: str) -> _T:
        try:
            return parse(content)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelAPIConnectionError(
                f"{self._where} returned a body that is not a valid {expected} "
                f"({type(error).__name__}); if this persists, check the URL"
            ) from error

    def _error_for_lost(self, error: LostError) -> ModelError:
        if error.timed_out:
            return ModelTimeoutError(
                f"{self._where} did not answer in time; raise the model's `timeout` "
                "or lower its `max_parallel_requests`"
            )
        return ModelAPIConnectionError(
            f"{self._where} could not be reached ({error.kind}: "
            f"{self._redacted(str(error))}); check that the server is running at this URL"
        )

    def _error_for_status(self, answer: HttpResponse) -> ModelError:
        """The error for an answer with a status of 300 or more."""
        status = answer.status
        reason = self._redacted(_find_reason(answer.content)).rstrip(". ")
        message = f"{self._where} returned status {status}: {reason}"
        lowered = reason.lower()
        # Servers report exhausted quotas as 429, 402 or 400. Waiting does not help, so the text
        # takes precedence over the status.
        if any(word in lowered for word in _QUOTA_WORDS):
            return ModelQuotaExceededError(f"{message}. Add credit or use another API key")
        if status == 429:
            return ModelRateLimitError(
                message, _parse_retry_after(answer.headers.get("retry-after"))
            )
        if status == 408:
            return ModelTimeoutError(message)
        if status >= 500:
            return ModelInternalServerError(message)
        if status == 413 or (status == 400 and any(word in lowered for word in _CONTEXT_WORDS)):
            return ModelContextWindowExceededError(f"{message}. Shorten the prompt")
        rejections: dict[int, tuple[type[ModelError], str]] = {
            401: (ModelAuthenticationError, "Check the API key"),
            403: (ModelPermissionDeniedError, "Check the permissions of the API key"),
            404: (ModelNotFoundError, "Check the model id and the URL"),
        }
        kind, fix = rejections.get(status, (ModelBadRequestError, "Check the model's parameters"))
        return kind(f"{message}. {fix}")

    @property
    def _where(self) -> str:
        return f"provider {self._upstream.provider!r} at {self._upstream.url}"

    def _redacted(self, text: str) -> str:
        """Mask the key and the extra headers: servers and exceptions may quote them."""
        secrets = [*self._upstream.extra_headers.values()]
        if self._upstream.key is not None:
            secrets.append(self._upstream.key.get_secret_value())
        for secret in secrets:
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return text


def _find_reason(content: bytes) -> str:
    """The message of an error, from the usual JSON forms; else the start of the body."""
    try:
        parsed: Any = orjson.loads(content)
        error: Any = parsed.get("error", parsed)
        reason: Any = error if isinstance(error, str) else error.get("message")
    except (ValueError, AttributeError):
        reason = None
    text = str(reason) if reason else content.decode("utf-8", "replace")
    return " ".join(text.split())[:_QUOTED_LENGTH] or "(no text)"


def _parse_retry_after(header: str | None) -> float | None:
    """The requested wait in seconds; the header contains either seconds or a date."""
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
