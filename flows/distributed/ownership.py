"""Ownership of a batch: a process sends heartbeats, and stops when another process took over."""

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

from dd_core.errors import ArtifactStorageError, BatchReplacedError, DataDesignerError

from .records import AttemptState, BatchRecord, RemoteError, read_stop_request

if TYPE_CHECKING:
    from dd_core.storage.directory import DatasetDirectory


_logger = logging.getLogger(__name__)
_HEARTBEATS_PER_TIMEOUT = 8
_MAX_INTERVAL_SECONDS = 10.0
"""Longest time between two heartbeats."""


class BatchOwnership:
    """The right to generate a batch. It ends when another process acquires the batch.

    Each attempt has its own record, so attempts never overwrite each other: an attempt loses the
    batch as soon as there is a record of the next one. Two processes of the same attempt (for
    example, of a pod that was restarted) share a record. The one that wrote its name into the
    record last owns the batch.
    """

    def __init__(self, directory: DatasetDirectory, index: int, attempt: int) -> None:
        self._directory = directory
        self._write_lock = threading.Lock()
        self.record = BatchRecord(index=index, attempt=attempt)
        self.progress: Callable[[], dict[str, Any]] = dict
        """Returns the fields of the record that each heartbeat updates. Runs in the event loop."""
        self._latest_progress: dict[str, Any] = {}
        self._stop_reason: DataDesignerError | None = None
        self._on_stop: Callable[[DataDesignerError], None] | None = None
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    async def acquire(self) -> BatchRecord:
        """Become the owner; returns the previous record. Raises if there is a later attempt."""
        return await asyncio.to_thread(self._acquire)

    def _acquire(self) -> BatchRecord:
        new = self.record
        previous = BatchRecord.read(self._directory, new.index, new.attempt) or new
        changes = {"owner": self.owner, "state": AttemptState.RUNNING}
        self.record = previous.model_copy(update=changes)
        self._raise_if_replaced(stored=None)
        self.record.write(self._directory)
        return previous

    @asynccontextmanager
    async def hold(self, heartbeat_timeout: float) -> AsyncGenerator[None]:
        """Send heartbeats, several within `heartbeat_timeout` seconds.

        A thread sends them, because a busy event loop would send them late.
        """
        interval = min(_MAX_INTERVAL_SECONDS, heartbeat_timeout / _HEARTBEATS_PER_TIMEOUT)
        is_over = threading.Event()
        arguments = (interval, is_over, asyncio.get_running_loop())
        thread = threading.Thread(
            target=self._send_heartbeats, args=arguments, name="dd-heartbeat", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            await asyncio.to_thread(thread.join)

    def on_stop(self, callback: Callable[[DataDesignerError], None]) -> None:
        """Call `callback` with the reason when this process must stop working on the batch.

        This happens when another process has acquired the batch, or when the dataset's run asks its
        batches to stop. If it has already happened, the callback is called immediately.
        """
        self._on_stop = callback
        if self._stop_reason is not None:
            callback(self._stop_reason)

    def _send_heartbeats(
        self, interval: float, is_over: threading.Event, loop: asyncio.AbstractEventLoop
    ) -> None:
        while not is_over.wait(interval):
            self._update_progress(loop, interval)
            try:
                self._write({**self._latest_progress, "heartbeats": self.record.heartbeats + 1})
                reason = read_stop_request(self._directory)
            except BatchReplacedError as error:
                reason = error
            except (ArtifactStorageError, OSError) as error:
                # The storage may come back before the heartbeat times out.
                _logger.warning("batch %d: heartbeat failed: %s", self.record.index, error)
                continue
            if reason is not None:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._stop, reason)
            if isinstance(reason, BatchReplacedError):
                return

    def _update_progress(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        """Get the progress from the event loop; if the loop is too busy, keep the previous one."""
        is_updated = threading.Event()

        def update() -> None:
            self._latest_progress = self.progress()
            is_updated.set()

        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(update)
            is_updated.wait(interval)

    def _stop(self, reason: DataDesignerError) -> None:
        self._stop_reason = reason
        if self._on_stop is not None:
            self._on_stop(reason)

    async def require(self) -> None:
        """Raise `BatchReplacedError` if another process has acquired the batch."""
        await asyncio.to_thread(self._write, {"heartbeats": self.record.heartbeats + 1})

    async def finish(self, state: AttemptState, error: BaseException | None, **fields: Any) -> None:
        """Write the result of the attempt."""
        remote_error = None if error is None else RemoteError.of(error)
        fields |= {"state": state, "remote_error": remote_error}
        await asyncio.to_thread(self._write, fields)

    def _write(self, fields: dict[str, Any]) -> None:
        with self._write_lock:
            stored = BatchRecord.read(self._directory, self.record.index, self.record.attempt)
            self._raise_if_replaced(stored)
            self.record = self.record.model_copy(update=fields)
            self.record.write(self._directory)

    def _raise_if_replaced(self, stored: BatchRecord | None) -> None:
        record = self.record
        later = BatchRecord.read(self._directory, record.index, record.attempt + 1)
        if later is not None or (stored is not None and stored.owner != self.owner):
            owner = later.owner if later else stored.owner if stored else ""
            raise BatchReplacedError(
                f"batch {record.index} is now generated by {owner or 'a later attempt'}; this "
                "process stops working on it"
            )
