"""Responses of the benchmark server: a function of the model, the messages and the settings."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

if __package__:
    from benchmarks.load import Load
    from benchmarks.schema_values import structured_text, text_of
else:
    from load import Load
    from schema_values import structured_text, text_of


@dataclass(frozen=True)
class Settings:
    """Settings of the server, at startup and while it runs."""

    latency: float = 0.0  # mean response time in seconds
    latency_sigma: float = 0.0  # sigma of a lognormal distribution with that mean
    capacity: int | None = None  # requests in flight above which the server responds with 429
    retry_after: str | None = None  # header of a 429: seconds, a date, or none
    error_rate: float = 0.0  # share of requests that get status 500
    broken_rate: float = 0.0  # share of responses with only half of the body
    malformed_rate: float = 0.0  # share of structured answers that violate their schema
    output_tokens: int = 20
    embedding_size: int = 16
    answer_text: str | None = None
    seed: int = 0
    record: bool = False  # count prompts for GET /prompts


class Answers:
    """Computes the response to each request."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.load = Load()
        self.prompts: Counter[tuple[str, str]] = Counter()
        self._random = random.Random(settings.seed)
        self._own: dict[str, dict[str, Any]] = {}
        self._of: dict[str, Settings] = {}

    def of(self, model: str) -> Settings:
        """The settings that apply to a model."""
        return self._of.get(model, self.settings)

    def change(self, values: dict[str, Any]) -> None:
        """Change settings; `models` maps a model to the settings that differ for it."""
        values = dict(values)
        own = {**self._own}
        for model, changed in values.pop("models", {}).items():
            own[model] = {**own.get(model, {}), **changed}
        settings = replace(self.settings, **values)
        self._of = {model: replace(settings, **changed) for model, changed in own.items()}
        self.settings, self._own = settings, own

    def delay(self, model: str) -> float:
        """Seconds until the next response of a model."""
        settings = self.of(model)
        mean, sigma = settings.latency, settings.latency_sigma
        if not sigma or not mean:
            return mean
        return self._random.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma)

    def refusal(self, model: str) -> tuple[int, bytes, str] | None:
        """An immediate 429 response, or None if the model has capacity left."""
        settings = self.of(model)
        if settings.capacity is None:
            return None
        # A model's own capacity counts only its own requests, the general one counts all.
        load: Any = self.load
        if "capacity" in self._own.get(model, ()):
            load = self.load.models.get(model)
        if (load.in_flight if load else 0) < settings.capacity:
            return None
        wait = settings.retry_after
        header = f"retry-after: {wait}\r\n" if wait not in (None, "none") else ""
        return 429, b'{"error":{"message":"too many requests"}}', header

    def remember(self, request: dict[str, Any]) -> None:
        """Count the last user message, or the inputs to embed."""
        said = [m["content"] for m in request.get("messages", ()) if m["role"] == "user"]
        if "input" in request:
            asked = _inputs(request)
        else:
            asked = [text_of(said[-1]) if said else request.get("prompt", "")]
        self.prompts.update((request["model"], str(text)) for text in asked)

    def answer(self, path: str, request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of the response to a request."""
        settings, chance = self.of(request["model"]), self._random.random()
        if chance < settings.error_rate:
            return 500, b'{"error":{"message":"internal error"}}'
        body = (ROUTES[path])(self, settings, request)
        if chance < settings.error_rate + settings.broken_rate:
            return 200, body[: len(body) // 2]
        return 200, body

    def chat(self, settings: Settings, request: dict[str, Any]) -> bytes:
        """Body of a chat completion."""
        model, messages = request["model"], request["messages"]
        asked = "".join([text_of(message["content"]) for message in messages])
        digest = _digest(model, messages)
        text = structured_text(request, int(digest, 16))
        if text is None:
            text = settings.answer_text
            if text is None:
                text = f"answer {digest} {_padding(settings.output_tokens)}"
        elif settings.malformed_rate and self._random.random() < settings.malformed_rate:
            text = "I would rather not answer in JSON."
        # Formatted by hand, because json.dumps of the whole body takes three times as long.
        before, after = len(asked) // 4, len(text) // 4
        return (
            f'{{"id":"{digest}","object":"chat.completion","created":0,"model":{quoted(model)},'
            '"choices":[{"index":0,"finish_reason":"stop",'
            f'"message":{{"role":"assistant","content":{quoted(text)}}}}}],'
            f'"usage":{{"prompt_tokens":{before},"completion_tokens":{after},'
            f'"total_tokens":{before + after}}}}}'
        ).encode()

    def completions(self, settings: Settings, request: dict[str, Any]) -> bytes:
        """Body of a raw completion, with log probabilities if they are requested."""
        prompt = request["prompt"]
        text = f" completion {_digest(request['model'], prompt)}"
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "text": text}
        if request.get("logprobs"):
            choice["logprobs"] = {"tokens": text.split(), "token_logprobs": [-0.5, -1.5]}
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4}
        return json.dumps(
            {"object": "text_completion", "choices": [choice], "usage": usage}
        ).encode()

    def embeddings(self, settings: Settings, request: dict[str, Any]) -> bytes:
        """Body of an embeddings response with a unit vector for each input."""
        model, inputs = request["model"], _inputs(request)
        size = request.get("dimensions") or settings.embedding_size
        data: list[dict[str, Any]] = []
        for index, text in enumerate(inputs):
            vector = _vector(_digest(model, text), size)
            if settings.malformed_rate and self._random.random() < settings.malformed_rate:
                vector = []
            packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            value = packed if request.get("encoding_format") == "base64" else vector
            data.append({"object": "embedding", "index": index, "embedding": value})
        tokens = sum(len(text) // 4 for text in inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json.dumps({"object": "list", "model": model, "data": data, "usage": usage}).encode()

    def images(self, settings: Settings, request: dict[str, Any]) -> bytes:
        """Body of an images response with `n` PNG images of one gray pixel each."""
        shade = hashlib.blake2b(request["prompt"].encode(), digest_size=1).digest()
        item = {"b64_json": base64.b64encode(_pixel(shade)).decode()}
        return json.dumps({"created": 0, "data": [item] * request.get("n", 1)}).encode()


ROUTES = {
    "/v1/chat/completions": Answers.chat,
    "/v1/completions": Answers.completions,
    "/v1/embeddings": Answers.embeddings,
    "/v1/images/generations": Answers.images,
}


def _inputs(request: dict[str, Any]) -> list[Any]:
    """The strings or token lists to embed; a single one may come without an enclosing list."""
    given = request["input"]
    return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


def _digest(model: str, asked: Any) -> str:
    return hashlib.blake2b(f"{model}{asked}".encode(), digest_size=8).hexdigest()


def _vector(digest: str, size: int) -> list[float]:
    drawn = random.Random(digest)
    vector = [drawn.uniform(-1, 1) for _ in range(size)]
    norm = math.hypot(*vector)
    return [value / norm for value in vector]


def _pixel(shade: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + shade))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


@cache
def _padding(tokens: int) -> str:
    """Padding that extends `answer <digest> ` to this many tokens of four characters."""
    return ("word " * tokens)[: max(0, 4 * tokens - len("answer 0123456789abcdef "))]
