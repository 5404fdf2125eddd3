"""Sends one request to an inference server and turns its answer into a value or an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import urljoin, urlsplit

import orjson

from dd_core.errors import (
    ModelAPIConnectionError,
    ModelBadRequestError,
    ModelError,
    ModelInternalServerError,
    ModelRedirectError,
    ModelTimeoutError,
    ModelUnsupportedCapabilityError,
)
from dd_core.models.address import Address, parse_address
from dd_core.models.providers import Upstream
from dd_core.models.wire.answers import (
    Images,
    Reply,
    ToolCall,
    Vectors,
    parse_embeddings,
    parse_images,
)
from dd_core.models.wire.anthropic import AnthropicWire
from dd_core.models.wire.openai import OpenAIWire
from dd_core.models.wire.refusals import (
    Refusal,
    make_error,
    read_error_in_answer,
    read_error_without_answer,
    read_refusal,
)
from dd_core.models.wire.transport import MAX_BODY_BYTES, Connections, HttpResponse, LostError
from dd_core.redaction.redactor import MASK, Redactor
from dd_core.redaction.registry import register_secrets
from dd_core.storage.json_codec import dump_json

_logger = logging.getLogger(__name__)

Body: TypeAlias = Mapping[str, Any]
_T = TypeVar("_T")

_QUOTED_LENGTH = 300
_SHOWN_LENGTH = 100
_MAX_REDIRECTS = 5


class Wire(Protocol):
    """The wire format of a type of server. A URL is None if the server lacks that route."""

    chat: str
    completions: str | None
    embeddings: str | None
    images: str | None

    def headers(self, key: str | None) -> dict[str, str]:
        """The headers that authenticate a request."""
        ...

    def chat_body(self, body: Body) -> Body:
        """Translate the body of a chat request from OpenAI's format."""
        ...

    def reply(self, content: bytes, *, exact: bool = False) -> Reply:
        """Parse the answer to a chat request; `exact` keeps white space around the text."""
        ...


_WIRES: dict[str, Callable[[Address], Wire]] = {"anthropic": AnthropicWire}


class Client:
    """Sends requests for one model to one server.

    `model_body` are the fields that the model adds to the bodies. Whatever the server says is
    masked here, before it is cut, quoted or returned: servers quote headers and bodies.
    """

    def __init__(
        self,
        upstream: Upstream,
        timeout: float,
        connections: Connections,
        model: str | None = None,
        model_body: Body | None = None,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._upstream = upstream
        self._connections = connections
        self._model = {"model": model} if model else {}
        self._address = parse_address(upstream.url)
        self._wire = _WIRES.get(upstream.wire, OpenAIWire)(self._address)
        key = upstream.key.get_secret_value() if upstream.key is not None else None
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        self._headers.update(self._wire.headers(key))
        self._headers.update(upstream.extra_headers)
        self._timeout = timeout
        found = upstream.collect_secrets()
        found.add_fields(model_body)
        register_secrets(found)
        self._redactor = Redactor(found)
        self._has_warned = False
        self._repeats_prefill = True
        self._most_bytes = most_bytes

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self._upstream.provider

    async def chat(self, body: Body) -> Reply:
        """Request a chat completion. Like all requests here, raises a subclass of `ModelError`."""
        content = await self._post(self._wire.chat, self._wire.chat_body(body))
        return self._mask_reply(self._read(self._wire.reply, content, "chat completion"))

    async def complete(self, body: Body) -> Reply:
        """Request the continuation of `prompt`, or of the last one of `messages`.

        The text is exactly what the model wrote, with white space around it.
        """
        prefill = ""
        if "messages" in body:
            prefill = body["messages"][-1]["content"]
            url, body = self._wire.chat, self._wire.chat_body(body)
        else:
            url = self._require(self._wire.completions, "raw completions")
        content = await self._post(url, body)
        reply = self._read(partial(self._wire.reply, exact=True), content, "completion")
        return self._mask_reply(self._remove_prefill(reply, prefill) if prefill else reply)

    def _remove_prefill(self, reply: Reply, prefill: str) -> Reply:
        """The reply without its prefill, which llama.cpp repeats and other servers do not.

        A server that has left it out once always does. Then text that is equal to it is new text.
        """
        if not reply.text.startswith(prefill):
            self._repeats_prefill = False
        elif self._repeats_prefill:
            return replace(reply, text=reply.text[len(prefill) :])
        return reply

    async def embed(self, body: Body) -> Vectors:
        """Request embeddings."""
        url = self._require(self._wire.embeddings, "embeddings")
        return self._read(parse_embeddings, await self._post(url, body), "list of embeddings")

    async def draw(self, body: Body, *, by_chat: bool) -> Images:
        """Request images through the chat route or the images route."""
        url = self._require(self._wire.images, "images")
        if by_chat:
            url, body = self._wire.chat, self._wire.chat_body(body)
        content = await self._post(url, body)
        return self._mask_images(self._read(parse_images, content, "answer with images"))

    def _require(self, url: str | None, capability: str) -> str:
        if url is None:
            raise ModelUnsupportedCapabilityError(
                f"provider {self._upstream.provider!r} does not support {capability}; "
                "use a model of another provider"
            )
        return url

    async def fetch(self, address: str) -> bytes:
        """Fetch a URL from an answer, without the API key: the URL may point to any host."""
        answer = await self._send("GET", address, {}, None)
        for _ in range(_MAX_REDIRECTS):
            location = answer.headers.get("location")
            if not (300 <= answer.status < 400 and location):
                break
            try:
                address = urljoin(address, location)
            except ValueError:
                break
            answer = await self._send("GET", address, {}, None)
        if answer.status < 300:
            self._require_no_secret(answer.content)
            return answer.content
        # The host of a file says nothing about the model, whatever status it answers.
        host = self._redactor.mask(str(urlsplit(address).hostname))
        message = f"{self._where} returned the address of a file at {host}, which "
        message += f"returned status {answer.status}"
        if answer.status in (408, 429) or answer.status >= 500:
            raise ModelInternalServerError(message)
        raise ModelBadRequestError(f"{message}. Check that the file may be read without a key")

    async def _post(self, url: str, body: Body) -> bytes:
        # The fields of the provider come last, so that they override those of the model.
        fields = {**body, **self._model, **self._upstream.extra_body}
        try:
            content = orjson.dumps(fields)
        except TypeError:  # integers of more than 64 bits, for example in a JSON schema
            content = dump_json(fields)
        answer = await self._send("POST", url, self._headers, content)
        if answer.status >= 300:
            raise self._error_for_status(url, answer)
        refusal = read_error_in_answer(answer.content, answer.headers)
        if refusal is not None:
            raise self._error_for_refusal(refusal, "returned an error")
        return answer.content

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpResponse:
        try:
            return await self._connections.send(
                method, url, headers, content, self._timeout, self._most_bytes
            )
        except LostError as error:
            failure = self._error_for_lost(error)
        # Not inside the `except`: the cause holds the request, and the words of the server.
        raise failure

    def _read(self, parse: Callable[[bytes], _T], content: bytes, expected: str) -> _T:
        try:
            return parse(content)
        except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
            kind = type(error).__name__
        refusal = read_error_without_answer(content)
        if refusal is not None:
            raise self._error_for_refusal(refusal, "returned an error")
        begins = self._redactor.mask(content.decode("utf-8", "replace"))
        raise ModelAPIConnectionError(
            f"{self._where} returned a body that is not a valid {expected} ({kind}): "
            f"{begins[:_SHOWN_LENGTH]!r}; if this persists, check the URL"
        )

    def _mask_reply(self, reply: Reply) -> Reply:
        """The reply without secrets of the request; datasets must not contain them either."""
        mask = self._redactor.mask_answer
        text, reasoning, reason = mask(reply.text), reply.reasoning, reply.finish_reason
        reasoning = reasoning and mask(reasoning)
        # A server may put other tokens there than those of the text. A key spans several.
        tokens = "".join([token for token, _ in reply.logprobs or ()])
        leaks = bool(tokens) and mask(tokens) != tokens
        if leaks or text != reply.text or reasoning != reply.reasoning:
            self._warn_of_secret()
            reply = replace(reply, text=text, reasoning=reasoning, logprobs=None, thoughts={})
        calls = tuple(map(self._mask_call, reply.tool_calls))
        if calls != reply.tool_calls:
            self._warn_of_secret()
            reply = replace(reply, tool_calls=calls)
        if reply.refusal or (reason and mask(reason) != reason):
            refusal = reply.refusal and self._redactor.mask(reply.refusal)
            reply = replace(reply, refusal=refusal, finish_reason=reason and mask(reason))
        return reply

    def _mask_call(self, call: ToolCall) -> ToolCall:
        mask = self._redactor.mask_answer
        return ToolCall(mask(call.id), mask(call.name), mask(call.arguments))

    def _mask_images(self, answer: Images) -> Images:
        for image in answer.found:
            if isinstance(image, bytes):
                self._require_no_secret(image)
        mask = self._redactor.mask
        refusal, reason = answer.refusal, answer.finish_reason
        return replace(
            answer,
            text=mask(answer.text),
            refusal=refusal and mask(refusal),
            finish_reason=reason and mask(reason),
        )

    def _require_no_secret(self, image: bytes) -> None:
        if self._redactor.is_in(image):
            raise ModelBadRequestError(
                f"{self._where} returned an image that contains a key of this run; it was not kept"
            )

    def _warn_of_secret(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "%s repeats a key or a header of the request in its answers. %s replaces it in the "
                "dataset; check the server",
                self._where,
                MASK,
            )

    def _error_for_lost(self, error: LostError) -> ModelError:
        if error.timed_out:
            return ModelTimeoutError(
                f"{self._where} did not answer in full within {self._timeout:g} s; raise the "
                "model's `timeout` or lower its `max_parallel_requests`"
            )
        if error.is_too_long:
            return ModelAPIConnectionError(
                f"{self._where} sent an answer of more than {self._most_bytes / 2**20:g} MiB, "
                "which was not read; check the URL, or raise the model's `max_response_bytes`"
            )
        return ModelAPIConnectionError(
            f"{self._where} could not be reached ({error.kind}: "
            f"{self._redactor.mask(str(error))}); check that the server is running at this URL"
        )

    def _error_for_status(self, url: str, answer: HttpResponse) -> ModelError:
        """The error for an answer with a status of 300 or more."""
        if answer.status < 400:
            return self._error_for_redirect(url, answer.headers.get("location"), answer.status)
        refusal = read_refusal(answer.status, answer.headers, answer.content)
        return self._error_for_refusal(refusal, f"returned status {answer.status}")

    def _error_for_refusal(self, refusal: Refusal, did: str) -> ModelError:
        # Redacted before it is cut, so that no half of a key remains.
        reason = self._redactor.mask(refusal.words)[:_QUOTED_LENGTH].rstrip(". ") or "(no text)"
        return make_error(refusal, f"{self._where} {did}: {reason}")

    def _error_for_redirect(self, url: str, location: str | None, status: int) -> ModelError:
        """Redirects are not followed: the key is meant for the configured address only."""
        target = _resolve(url, location) if location else None
        if target is None:
            error = ModelRedirectError(
                f"{self._where} returned status {status}, a redirect without a valid address. "
                "Check the URL, for example its scheme and whether it needs /v1"
            )
        else:
            error = ModelRedirectError(
                f"{self._where} returned status {status}: it redirects to "
                f"{self._redactor.mask(target)[:500]}. Requests do not follow redirects, so that "
                "the API key stays with this server; if you trust the new address, use it as "
                "`base_url`, without the route"
            )
        error.status = status
        return error

    @property
    def _where(self) -> str:
        return f"provider {self._upstream.provider!r} at {self._address.base}"


def _resolve(url: str, location: str) -> str | None:
    """The target of a redirect without its query and user, which may hold keys; None if invalid."""
    try:
        parts = urlsplit(urljoin(url, location))
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
