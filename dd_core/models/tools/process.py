"""Talks to a tool server that runs as a process: one JSON message per line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage
from pydantic import ValidationError

from dd_core.declaration.scripts import complete_command
from dd_core.models.tools import guard
from dd_core.models.tools.config import LocalStdioMCPProvider
from dd_core.models.tools.providers import ToolServerAccess
from dd_core.models.tools.session import (
    MOST_MESSAGE_BYTES,
    Connection,
    SessionLostError,
    Streams,
)
from dd_core.models.wire.body import replace_surrogates

_logger = logging.getLogger(__name__)

_CHUNK = 2**18
_QUOTED_LINES = 5
_QUOTED_LENGTH = 500
_STOP_SECONDS = 5.0
"""More than the guard needs to stop a server that does not end by itself."""
_LAST_WORDS_SECONDS = 1.0
_SHOWN_LENGTH = 100
_ANSWER_PARTS = (b'"result"', b'"error"')
_MESSAGE_PART = re.compile(rb'"jsonrpc"|^\{\s*"(?:result|error)"')
_ANSWER_ID = re.compile(
    rb'"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d+)|"id"\s*:\s*(\d+)\s*,\s*"jsonrpc"'
)
"""The id of an answer that is not valid JSON: other fields of this name belong to its content."""


class ProcessConnection(Connection):
    """A connection to a process, which ends with the connection."""

    def __init__(self, access: ToolServerAccess) -> None:
        super().__init__()
        assert isinstance(access.provider, LocalStdioMCPProvider)
        self._provider = access.provider
        self._access = access
        self._last_lines: deque[str] = deque(maxlen=_QUOTED_LINES)
        self._status: int | None = None
        self._fault = ""
        """Why this process has stopped listening to the server."""
        self._has_warned = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Streams]:
        """Start the process; it is stopped in the end, whatever happens."""
        process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._access.values},
            cwd=self._provider.cwd,
            limit=_CHUNK,
            start_new_session=True,  # Ctrl-C is for this process, which then stops the server
        )
        received, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, to_send = anyio.create_memory_object_stream[SessionMessage](0)
        errors = asyncio.create_task(self._keep_last_lines(process))
        tasks = [
            errors,
            asyncio.create_task(self._receive(process, received, errors)),
            asyncio.create_task(self._send(process, to_send)),
        ]
        try:
            yield incoming, outgoing
        finally:
            try:
                await _stop(process)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                # asyncio closes pipes that have been read to the end. This one may be full, or
                # belong to a process that has left the server's process group.
                cast("Any", process)._transport.close()
                for stream in (received, incoming, outgoing, to_send):
                    stream.close()

    def explain(self) -> str:
        """Why the connection ended, as far as the process says so."""
        status = "" if self._status is None else f"it exited with status {self._status}"
        printed = "; ".join(self._last_lines)
        if printed:
            printed = self._access.redactor.mask(printed)[-_QUOTED_LENGTH:]
            printed = f"its last lines on stderr: {printed}"
        return ", ".join(filter(None, (self._fault, status, printed)))

    def _command(self) -> list[str]:
        command = complete_command(self._provider.command, self._provider.args)
        if os.name != "posix":
            return command  # there are no process groups: the server sees that its input ends
        return [sys.executable, "-I", "-S", str(Path(guard.__file__)), *command]

    async def _receive(
        self,
        process: asyncio.subprocess.Process,
        received: MemoryObjectSendStream[SessionMessage | Exception],
        errors: asyncio.Task[None],
    ) -> None:
        assert process.stdout is not None
        with received:
            await self._receive_messages(process, process.stdout, received, errors)
        while await process.stdout.read(_CHUNK):
            pass  # a process that cannot write cannot end, either

    async def _receive_messages(
        self,
        process: asyncio.subprocess.Process,
        output: asyncio.StreamReader,
        received: MemoryObjectSendStream[SessionMessage | Exception],
        errors: asyncio.Task[None],
    ) -> None:
        parts: list[bytes] = []
        size = 0
        while chunk := await output.read(_CHUNK):
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                await self._deliver(b"".join([*parts, line]), received)
                parts, size = [], 0
            parts.append(rest)
            size += len(rest)
            if size > MOST_MESSAGE_BYTES:
                self._fault = f"it sent a message of more than {MOST_MESSAGE_BYTES} bytes"
                with suppress(ProcessLookupError):
                    process.terminate()
                return
        # Whoever waits for an answer is told why there will be none.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                self._status = await process.wait()
                await asyncio.shield(errors)

    async def _deliver(
        self, line: bytes, received: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        if not line.strip():
            return
        try:
            message = JSONRPCMessage.model_validate_json(line)
        except ValidationError:
            message = self._read_leniently(line)
            if message is None:
                self._warn(line)
                return
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # it is over
            await received.send(SessionMessage(message))

    def _read_leniently(self, line: bytes) -> JSONRPCMessage | None:
        """A message that pydantic does not read, such as one with half a surrogate pair.

        Returns None if it is none. Whoever waits for an answer of the wrong form is told.
        """
        try:
            content: Any = replace_surrogates(json.loads(line.decode(errors="replace")))
        except (ValueError, RecursionError):
            self._report_broken(line)
            return None
        with suppress(ValidationError):
            return JSONRPCMessage.model_validate(content)
        members = cast("list[Any]", content) if isinstance(content, list) else [content]
        for member in members:
            if isinstance(member, dict) and _is_answer(member := cast("dict[str, Any]", member)):
                number = member.get("id")
                self._report_refused(
                    number if isinstance(number, int) else None,
                    f"its answer is not a valid message: {self._show(line)}",
                )
        return None

    def _report_broken(self, line: bytes) -> None:
        """Report the answer that a line seems to be a part of, although it is not valid JSON."""
        text = line.strip()
        is_answer = any(part in text for part in _ANSWER_PARTS) or b'"method"' not in text
        if not (text.startswith((b"{", b'"jsonrpc"')) and is_answer and _MESSAGE_PART.search(text)):
            return
        found = _ANSWER_ID.search(text)
        number = int(found[1] or found[2]) if found else None
        self._report_refused(
            number,
            f"its answer is not valid JSON: {self._show(line)}; a server has to write each message "
            "on one line, and everything else to standard error",
        )

    def _report_refused(self, number: int | None, reason: str) -> None:
        self.report_lost(number, SessionLostError(reason, was_sent=True, ends_session=False))

    def _show(self, line: bytes) -> str:
        return repr(self._access.redactor.mask(line.decode(errors="replace"))[:_SHOWN_LENGTH])

    def _warn(self, line: bytes) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        _logger.warning(
            "%s prints something to its standard output that is not a message, such as %s. It is "
            "ignored; let the server print to standard error",
            self._access.label,
            self._show(line),
        )

    async def _send(
        self,
        process: asyncio.subprocess.Process,
        to_send: MemoryObjectReceiveStream[SessionMessage],
    ) -> None:
        assert process.stdin is not None
        async with to_send:
            async for message in to_send:
                text = message.message.model_dump_json(by_alias=True, exclude_none=True)
                try:
                    process.stdin.write(text.encode() + b"\n")
                    await process.stdin.drain()
                except OSError:
                    return  # the server has ended, and `_receive` sees that, too

    async def _keep_last_lines(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        rest = b""
        while chunk := await process.stderr.read(_CHUNK):
            *lines, rest = (rest[-_QUOTED_LENGTH:] + chunk).split(b"\n")
            for line in filter(bytes.strip, lines[-_QUOTED_LINES:]):
                self._last_lines.append(line.decode(errors="replace").strip())
        if rest.strip():
            self._last_lines.append(rest.decode(errors="replace").strip())


def _is_answer(content: Mapping[str, Any]) -> bool:
    """Whether an object is meant as an answer, and is not just something that a server prints."""
    has_result = "result" in content or "error" in content
    has_id = isinstance(content.get("id"), int)
    return "method" not in content and ("jsonrpc" in content or (has_result and has_id))


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the input of a process, which stops it; kill it if it does not end."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()  # the guard kills the server and ends
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await process.wait()
