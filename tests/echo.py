"""A server that quotes what it receives, keys included, in any part of its answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from tests.serving import serving

Answer = Callable[[str], bytes]
"""Makes a whole HTTP response from the text to quote."""


def http(content: str | bytes, status: str = "200 OK", *headers: str) -> bytes:
    body = content if isinstance(content, bytes) else content.encode()
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def chat(text: str, **fields: Any) -> str:
    message = {"role": "assistant", "content": text} | fields.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": "stop"} | fields
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})


def error(message: str) -> str:
    return json.dumps({"error": {"message": message, "type": "odd", "param": message}})


def stream(text: str) -> str:
    """The text letter by letter, as a stream of events that nobody requested."""
    events = [json.dumps({"choices": [{"index": 0, "delta": {"content": c}}]}) for c in text]
    end = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return "".join(f"data: {event}\n\n" for event in [*events, end, "[DONE]"])


def line(text: str) -> str:
    return " ".join(text.split())


def escape(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


ANSWERS: dict[str, Answer] = {
    "content": lambda said: http(chat(f"You sent {said}.")),
    "reasoning": lambda said: http(chat("fine", message={"reasoning_content": said})),
    "refusal": lambda said: http(chat("", message={"refusal": said})),
    "finish reason": lambda said: http(chat("", finish_reason=f"error {said}")),
    "stream": lambda said: http(stream(said)),
    "JSON escapes in content": lambda said: http(chat(escape(said))),
    "JSON escapes": lambda said: http(error("@").replace("@", escape(said)), "400 Bad"),
    "percent": lambda said: http(error(quote(said, safe="")), "400 Bad"),
    "base64": lambda said: http(error(base64.b64encode(said.encode()).decode()), "400 Bad"),
    "repr": lambda said: http(error(repr({"got": said, "raw": said.encode()})), "422 Bad"),
    **{
        f"status {status}": lambda said, status=status: http(error(said), f"{status} Bad")
        for status in (400, 401, 403, 404, 408, 500, 503)
    },
    "plain 502": lambda said: http(f"<html>{said}</html>", "502 Bad"),
    "error in a 200": lambda said: http(error(said)),
    "odd body": lambda said: http(f"not JSON: {said}"),
    "other JSON": lambda said: http(json.dumps({"echo": said})),
    "reason": lambda said: http(error("no"), f"400 {line(said)}"),
    "status line": lambda said: f"HTTP/1.1 {line(said)}\r\n\r\n".encode("latin-1", "replace"),
    "header": lambda said: http(error("no"), "400 Bad", f"x-echo: {line(said)}"),
    "odd header": lambda said: http(error("no"), "400 Bad", f"{line(said)}\x00 bad header"),
    "broken body": lambda said: http(chat(said))[:-9],
    **{
        f"cut at {length}": lambda said, length=length: http(
            error("y" * (300 - length) + said), "400 Bad"
        )
        for length in (4, 9, 14, 20)
    },
    # The last ones, because a redirect or a long wait may stop the run.
    "retry after": lambda said: http(error(said), "500 Bad", f"retry-after: {line(said)}"),
    "redirect": lambda said: http(
        "", "307 Moved", f"location: http://u:{quote(said)}@b.test/{quote(said)}?q={quote(said)}"
    ),
}


@contextmanager
def serve_echo(respond: Callable[[str, str], bytes]) -> Iterator[str]:
    """The URL of a server; `respond` receives the body of a request and all that can be quoted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            tokens = [value.split()[-1] for value in self.headers.values() if value]
            said = " ".join([*tokens, self.path, body, *_decode_basic(tokens)])
            self.wfile.write(respond(body, said))
            self.close_connection = True

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server) as address:
        yield f"{address}/v1"


def _decode_basic(tokens: list[str]) -> Iterator[str]:
    for token in tokens:
        try:
            yield base64.b64decode(token, validate=True).decode("ascii")
        except ValueError:
            continue
