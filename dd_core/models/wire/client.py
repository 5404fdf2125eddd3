"""One request to an inference server, and what its answer or its failure means."""

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
    """How a kind of server is spoken to."""

    chat: str
    embeddings: str | None
    images: str | None

    def headers(self, key: str | None) -> dict[str, str]:
        """What authenticates a request."""
        ...

    def chat_body(self, body: Body) -> Body:
        """A request for a chat completion, translated from the engine's form."""
        ...

    def reply(self, content: bytes) -> Reply:
        """What the server answered."""
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
        """Ask once. All requests here raise a `ModelError` whose class says what is wrong."""
        content = await self._post(self._wire.chat, self._wire.chat_body(body))
        return self._read(self._wire.reply, content, "chat completion")

    async def embed(self, body: Body) -> Vectors:
        """Embed texts."""
        url = self._supported(self._wire.embeddings, "embeddings")
        return self._read(parse_embeddings, await self._post(url, body), "list of embeddings")

    async def draw(self, body: Body, *, by_chat: bool) -> Images:
        """Generate images, by the chat route or by the images route."""
        url = self._supported(self._wire.images, "images")
        if by_chat:
            url, body = self._wire.chat, self._wire.chat_body(body)
        return self._read(parse_images, await self._post(url, body), "answer with images")

    def _supported(self, url: str | None, what: str) -> str:
        if url is None:
            raise ModelUnsupportedCapabilityError(
                f"provider {self._upstream.provider!r} gives no {what}; use a model of another one"
            )
        return url

    async def fetch(self, address: str) -> bytes:
        """What is at an address that an answer named; the provider's key is not sent there."""
        return await self._send("GET", address, {}, None)

    async def _post(self, url: str, body: Body) -> bytes:
        content = orjson.dumps({**body, **self._model, **self._upstream.extra_body})
        return await self._send("POST", url, self._headers, content)

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> bytes:
        try:
            answer = await self._connections.send(method, url, headers, content, self._timeout)
        except LostError as error:
            raise self._lost(error) from error
        if answer.status >= 300:
            raise self._refused(answer)
        return answer.content

    def _read(self, parse: Callable[[bytes], _T], content: bytes, wanted: str) -> _T:
        try:
            return parse(content)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelAPIConnectionError(
                f"{self._where} answered with a body that is no {wanted} "
                f"({type(error).__name__}); if this persists, check that the address is right"
            ) from error

    def _lost(self, error: LostError) -> ModelError:
        if error.timed_out:
            return ModelTimeoutError(
                f"{self._where} did not answer in time; raise the model's `timeout` "
                "or lower its `max_parallel_requests`"
            )
        return ModelAPIConnectionError(
            f"{self._where} could not be reached ({error.kind}: "
            f"{self._redacted(str(error))}); check that the server runs at this address"
        )

    def _refused(self, answer: HttpResponse) -> ModelError:
        status = answer.status
        words = self._redacted(_provider_words(answer.content)).rstrip(". ")
        said = f"{self._where} answered {status}: {words}"
        lowered = words.lower()
        if any(word in lowered for word in _QUOTA_WORDS):
            return ModelQuotaExceededError(f"{said}. Add credit or use another key")
        if status == 429:
            return ModelRateLimitError(said, _retry_after(answer.headers.get("retry-after")))
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
