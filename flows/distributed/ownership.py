"""A process's hold on a batch: it gives signs of life and lets go when another has taken over."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from dd_core.errors import BatchReplacedError, DataDesignerError

from .records import AttemptState, BatchRecord, RemoteError, read_stop_request

if TYPE_CHECKING:
    from dd_core.storage.directory import DatasetDirectory


_logger = logging.getLogger(__name__)
_BEATS_IN_SILENCE = 8
_LONGEST = 10.0
"""Seconds between signs of life."""


class BatchOwnership:
    """The right to generate a batch. A later try ends it, as does another process of this try.

    Each try has a record of its own, so tries never write over each other. Two processes of one
    try (a restarted pod) tell each other by the owner: the one that came last goes on.
    """

    def __init__(self, directory: DatasetDirectory, index: int, attempt: int) -> None:
        self._directory = directory
        self._writing = threading.Lock()
        self.record = BatchRecord(index=index, attempt=attempt)
        self.progress: Callable[[], dict[str, Any]] = dict
        """What a sign of life says beside that there is life; called by the event loop."""
        self._said: dict[str, Any] = {}
        self._reason: DataDesignerError | None = None
        self._on_end: Callable[[DataDesignerError], None] | None = None
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def take(self) -> BatchRecord:
        """Become the owner; returns the record as it was. Raises if there is a later try."""
        return await asyncio.to_thread(self._take)

    def _take(self) -> BatchRecord:
        given = self.record
        found = BatchRecord.read(self._directory, given.index, given.attempt) or given
        self.record = found.model_copy(update={"owner": self.owner, "state": AttemptState.AT_WORK})
        self._refuse_if_replaced(found=None)
        self.record.write(self._directory)
        return found

    @asynccontextmanager
    async def held(self, silence: float) -> AsyncGenerator[None]:
        """Give signs of life, several in `silence` seconds.

        A thread gives them: an event loop that is kept busy is late, and not dead.
        """
        interval, is_over = min(_LONGEST, silence / _BEATS_IN_SILENCE), threading.Event()
        given = (interval, is_over, asyncio.get_running_loop())
        beating = threading.Thread(target=self._beat, args=given, name="dd-beat", daemon=True)
        beating.start()
        try:
            yield
        finally:
            is_over.set()
            await asyncio.to_thread(beating.join)

    def on_end(self, call: Callable[[DataDesignerError], None]) -> None:
        """Have `call` told the reason when the batch has been taken over, or when the dataset's
        run asks its batches to stop; at once, if that has happened already."""
        self._on_end = call
        if self._reason is not None:
            call(self._reason)

    def _beat(
        self, interval: float, is_over: threading.Event, loop: asyncio.AbstractEventLoop
    ) -> None:
        while not is_over.wait(interval):
            self._ask_for_progress(loop, interval)
            try:
                self._write({**self._said, "beats": self.record.beats + 1})
                reason = read_stop_request(self._directory)
            except DataDesignerError as error:
                reason = error
            except OSError as error:  # the storage may come back; the run waits for a while
                _logger.warning("no sign of life could be given: %s", error)
                continue
            if reason is not None:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._end, reason)
            if isinstance(reason, BatchReplacedError):
                return

    def _ask_for_progress(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        """Have the loop say how far it is; if it does not get to it, what it said last counts."""
        has_said = threading.Event()

        def say() -> None:
            self._said = self.progress()
            has_said.set()

        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(say)
            has_said.wait(interval)

    def _end(self, reason: DataDesignerError) -> None:
        self._reason = reason
        if self._on_end is not None:
            self._on_end(reason)

    async def require(self) -> None:
        """Raise `BatchReplacedError` if another process has taken over."""
        await asyncio.to_thread(self._write, {"beats": self.record.beats + 1})

    async def finish(self, state: AttemptState, error: BaseException | None, **fields: Any) -> None:
        """Write what the try came to."""
        complaint = None if error is None else RemoteError.of(error)
        fields |= {"state": state, "complaint": complaint}
        await asyncio.to_thread(self._write, fields)

    def _write(self, fields: dict[str, Any]) -> None:
        with self._writing:
            found = BatchRecord.read(self._directory, self.record.index, self.record.attempt)
            self._refuse_if_replaced(found)
            self.record = self.record.model_copy(update=fields)
            self.record.write(self._directory)

    def _refuse_if_replaced(self, found: BatchRecord | None) -> None:
        record = self.record
        later = BatchRecord.read(self._directory, record.index, record.attempt + 1)
        if later is not None or (found is not None and found.owner != self.owner):
            by = later.owner if later else found.owner if found else ""
            raise BatchReplacedError(
                f"batch {record.index} has been taken over by {by or 'a later try'}; this process "
                "leaves it alone"
            )
