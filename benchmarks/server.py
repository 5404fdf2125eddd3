"""A fast OpenAI-compatible server with configurable latency, capacity and faults.

    python benchmarks/server.py --latency 0.2 --capacity 16 --retry-after 1

The server shares the machine with the client under test, so it is a plain asyncio protocol without
a framework. Responses depend only on the model and the messages.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

if __package__:
    from benchmarks.answers import ROUTES, Answers, Settings
else:
    from answers import ROUTES, Answers, Settings

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_REASONS[500] = "Internal Server Error"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse settings, port and lifetime from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--die-with-parent", action="store_true")
    parser.add_argument("--record", action="store_true")
    kinds = {"float": float, "int": int, "str": str}
    for field in fields(Settings)[:-1]:
        kind = kinds[str(field.type).split(" |")[0]]
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    return parser.parse_args(arguments)


class Connection(asyncio.Protocol):
    """An HTTP/1.1 keep-alive connection; bodies need a Content-Length; no pipelining."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:end]
            _, named, length = head.lower().partition(b"\r\ncontent-length:")
            stop = end + 4 + (int(length.split(b"\r\n", 1)[0]) if named else 0)
            if len(buffer) < stop:
                break
            body, buffer = buffer[end + 4 : stop], buffer[stop:]
            try:
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
                self._handle(method, path, body)
            except Exception as error:  # report any problem with a request to the client
                self._refuse(400, f"{type(error).__name__}: {error}")
        self._buffer = buffer

    def _handle(self, method: str, path: str, body: bytes) -> None:
        answers = self._answers
        if method == "POST" and path in ROUTES:
            self._ask(path, json.loads(body))
        elif (method, path) == ("GET", "/stats"):
            self._send(200, json.dumps(answers.load.stats()).encode())
        elif (method, path) == ("GET", "/prompts"):
            rows = [[*key, count] for key, count in answers.prompts.items()]
            self._send(200, json.dumps(rows).encode())
        elif (method, path) == ("POST", "/reset"):
            answers.load.reset()
            answers.prompts.clear()
            self._send(200, b"{}")
        elif (method, path) == ("POST", "/settings"):
            answers.change(json.loads(body))
            self._send(200, b"{}")
        else:
            self._refuse(404, f"no such route: {method} {path}")

    def _ask(self, path: str, request: dict[str, Any]) -> None:
        answers, model = self._answers, request["model"]
        refusal = answers.refusal(model)
        if refusal is not None:
            answers.load.refused(model, refusal[0])
            self._send(*refusal)
            return
        status, body = answers.answer(path, request)
        if answers.settings.record:
            answers.remember(request)
        answers.load.started(model)
        delay = answers.delay(model)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._answer, model, status, body)
        else:
            self._answer(model, status, body)

    def _answer(self, model: str, status: int, body: bytes) -> None:
        self._answers.load.finished(model, status)
        self._send(status, body)

    def _refuse(self, status: int, message: str) -> None:
        self._send(status, json.dumps({"error": {"message": message}}).encode())

    def _send(self, status: int, body: bytes, headers: str = "") -> None:
        if self._transport is None or self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        )
        self._transport.write(head.encode() + body)


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until the process ends."""
    named = {field.name for field in fields(Settings)}
    answers = Answers(Settings(**{k: v for k, v in vars(arguments).items() if k in named}))
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answers), "127.0.0.1", arguments.port, backlog=1024
    )
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}/v1", "pid": os.getpid()}), flush=True)
    if arguments.die_with_parent:
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
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"the server did not start with {options!r}; see its message above")
        ready = json.loads(line)
        self.url: str = ready["url"]
        self.pid: int = ready["pid"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        # A forked process may keep the pipe open, so closing our end is not enough.
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def stats(self) -> dict[str, Any]:
        """Requests and load since the start or the last reset."""
        return self._ask("/stats")

    def prompts(self) -> list[tuple[str, str, int]]:
        """Model, last user message, and how often it was sent."""
        return [(model, text, count) for model, text, count in self._ask("/prompts")]

    def reset(self) -> None:
        """Discard the load and the prompts recorded so far."""
        self._ask("/reset", {})

    def settings(self, **values: Any) -> None:
        """Change settings at run time; use `models={"m": {"latency": 1}}` for a single model."""
        self._ask("/settings", values)

    def _ask(self, path: str, content: Any = None) -> Any:
        url = self.url.removesuffix("/v1") + path
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(url, data=data, timeout=120) as response:
            return json.load(response)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parse()))
