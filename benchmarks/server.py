"""A fast OpenAI-compatible server with settable latency, capacity and faults.

    python benchmarks/server.py --latency 0.2 --capacity 16 --retry-after 1

It shares the machine with the client under test, so it is one asyncio protocol without a
framework. Answers are a function of the model and the messages alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Self

if __package__:
    from benchmarks.load import Load
    from benchmarks.schema_values import value_of
else:
    from load import Load
    from schema_values import value_of

_REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


class Settings(argparse.Namespace):
    """What can be set, at the start and while the server runs."""

    latency: float
    latency_sigma: float
    capacity: int | None
    retry_after: str | None
    error_rate: float
    broken_rate: float
    malformed_rate: float
    output_tokens: int
    answer_text: str | None
    models: dict[str, dict[str, Any]]
    record: bool
    seed: int
    port: int
    die_with_parent: bool

    def of(self, model: str, name: str) -> Any:
        """A setting, with the model's own value first."""
        return self.models.get(model, {}).get(name, getattr(self, name))


def parse(arguments: list[str] | None = None) -> Settings:
    """Settings from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="mean seconds an answer takes")
    parser.add_argument("--latency-sigma", type=float, default=0.0, help="lognormal sigma")
    parser.add_argument("--capacity", type=int, default=None, help="beyond it the answer is 429")
    parser.add_argument("--retry-after", default=None)
    parser.add_argument("--error-rate", type=float, default=0.0, help="share answered with 500")
    parser.add_argument("--broken-rate", type=float, default=0.0, help="share with half a body")
    parser.add_argument("--malformed-rate", type=float, default=0.0, help="share without JSON")
    parser.add_argument("--output-tokens", type=int, default=20)
    parser.add_argument("--answer-text", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="remember prompts for GET /prompts")
    parser.add_argument("--die-with-parent", action="store_true")
    settings = parser.parse_args(arguments, namespace=Settings())
    settings.models = {}
    return settings


class Answers:
    """What the server says."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.load = Load()
        self.prompts: Counter[tuple[str, str]] = Counter()
        self.random = random.Random(settings.seed)

    def delay(self, model: str) -> float:
        """Seconds until the next answer of a model."""
        mean, sigma = self.settings.of(model, "latency"), self.settings.of(model, "latency_sigma")
        if not sigma or not mean:
            return float(mean)
        return self.random.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma)

    def refusal(self, model: str) -> tuple[int, bytes, str] | None:
        """An answer that comes at once instead of the one asked for."""
        capacity = self.settings.of(model, "capacity")
        if capacity is None or self.load.in_flight < capacity:
            return None
        wait = self.settings.of(model, "retry_after")
        header = f"retry-after: {wait}\r\n" if wait not in (None, "none") else ""
        return 429, b'{"error":{"message":"too many requests"}}', header

    def chat(self, request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body of a chat completion."""
        chance, settings = self.random.random(), self.settings
        if chance < settings.error_rate:
            return 500, b'{"error":{"message":"internal error"}}'
        body = self._completion(request)
        chance -= settings.error_rate
        if chance < settings.broken_rate:
            return 200, body[: len(body) // 2]
        return 200, body

    def _completion(self, request: dict[str, Any]) -> bytes:
        messages = request["messages"]
        asked = _text(messages[-1]["content"])
        digest = hashlib.blake2b(
            f"{request['model']}{messages}".encode(), digest_size=8
        ).hexdigest()
        text = self._content(request, asked, digest)
        tokens = {"prompt_tokens": len(asked) // 4, "completion_tokens": len(text) // 4}
        answer = {
            "id": digest,
            "object": "chat.completion",
            "model": request["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": tokens | {"total_tokens": sum(tokens.values())},
        }
        return json.dumps(answer).encode()

    def _content(self, request: dict[str, Any], asked: str, digest: str) -> str:
        schema: Any = None
        response_format = request.get("response_format") or {}
        if response_format.get("type") == "json_schema":
            schema = response_format["json_schema"]["schema"]
        elif "<response_schema>" in asked:
            schema = json.loads(asked.split("<response_schema>")[1].split("</response_schema>")[0])
        if schema is not None:
            if self.random.random() < self.settings.malformed_rate:
                return "I would rather not answer in JSON."
            value = json.dumps(value_of(schema, int(digest, 16)))
            return value if response_format else f"```json\n{value}\n```"
        if self.settings.answer_text is not None:
            return self.settings.answer_text
        return " ".join([f"answer {digest}", *["word"] * max(0, self.settings.output_tokens - 4)])


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with keep-alive; requests have a Content-Length."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].decode("latin-1")
            length = 0
            for line in head.split("\r\n")[1:]:
                if line[:15].lower() == "content-length:":
                    length = int(line[15:])
            stop = end + 4 + length
            if len(self._buffer) < stop:
                return
            body, self._buffer = self._buffer[end + 4 : stop], self._buffer[stop:]
            method, path, _ = head.split("\r\n", 1)[0].split(" ", 2)
            self._handle(method, path, body)

    def _handle(self, method: str, path: str, body: bytes) -> None:
        answers = self._answers
        if method == "POST" and path == "/v1/chat/completions":
            self._chat(json.loads(body))
        elif path == "/stats":
            self._send(200, json.dumps(answers.load.stats()).encode())
        elif path == "/prompts":
            rows = [[*key, count] for key, count in answers.prompts.items()]
            self._send(200, json.dumps(rows).encode())
        elif path == "/reset":
            answers.load.reset()
            answers.prompts.clear()
            self._send(200, b"{}")
        elif path == "/settings":
            for name, value in json.loads(body).items():
                setattr(answers.settings, name, value)
            self._send(200, b"{}")
        else:
            self._send(404, b'{"error":{"message":"no such route"}}')

    def _chat(self, request: dict[str, Any]) -> None:
        answers, model = self._answers, request["model"]
        refusal = answers.refusal(model)
        if refusal is not None:
            answers.load.refused(model, refusal[0])
            self._send(*refusal)
            return
        answers.load.started(model)
        if answers.settings.record:
            answers.prompts[model, _text(request["messages"][-1]["content"])] += 1
        delay = answers.delay(model)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._answer, request)
        else:
            self._answer(request)

    def _answer(self, request: dict[str, Any]) -> None:
        status, body = self._answers.chat(request)
        self._answers.load.finished(request["model"], status)
        self._send(status, body)

    def _send(self, status: int, body: bytes, headers: str = "") -> None:
        if self._transport is None or self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        )
        self._transport.write(head.encode() + body)


async def serve(settings: Settings) -> None:
    """Serve until the process ends."""
    answers = Answers(settings)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(answers), "127.0.0.1", settings.port, backlog=1024
    )
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}/v1", "pid": os.getpid()}), flush=True)
    if settings.die_with_parent:
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    await server.serve_forever()


def _exit_at_end_of_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


class BenchServer:
    """The server as a child process: `with BenchServer(latency=0.2) as server: server.url`."""

    def __init__(self, **options: Any) -> None:
        arguments = [
            part
            for name, value in options.items()
            if value is not None and value is not False
            for part in ([f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)]))
        ]
        command = [sys.executable, str(Path(__file__).resolve()), "--die-with-parent", *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.url: str = ready["url"]
        self.pid: int = ready["pid"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def stats(self) -> dict[str, Any]:
        """Requests and load since the start or the last reset."""
        return self._ask("/stats")

    def prompts(self) -> list[tuple[str, str, int]]:
        """Model, last message and how often it was asked."""
        return [tuple(row) for row in self._ask("/prompts")]

    def reset(self) -> None:
        """Forget the load so far."""
        self._ask("/reset")

    def settings(self, **values: Any) -> None:
        """Change settings while the server runs."""
        self._ask("/settings", values)

    def _ask(self, path: str, content: Any = None) -> Any:
        import urllib.request

        url = self.url.removesuffix("/v1") + path
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(url, data=data, timeout=10) as response:
            return json.load(response)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parse()))
