"""The files or objects that the lines of a journal are written to."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from dd_core.retries import retry_blocking
from dd_core.storage.access.trial import SpaceReserve
from dd_core.storage.location import Location

_logger = logging.getLogger(__name__)

_SYNC_SECONDS = 0.5
_WRITE_SECONDS = 0.1
_UPLOAD_SECONDS = 0.5
_UPLOAD_RETRIES = 3


class SegmentReport(Protocol):
    """What segments tell the journal. Called in the event loop, if there is one."""

    def failed(self, error: BaseException, *, is_kept: bool) -> None:
        """A write failed for good; `is_kept`: the lines were stored in the last space there is."""
        ...

    def held(self, is_held: bool) -> None:
        """A write is being retried, or the retries have ended."""
        ...


class Segments(Protocol):
    """Stores the lines of one attempt."""

    pause: float
    """Seconds for which lines are collected before they are written."""

    def open(self) -> None:
        """Prepare for lines, so that a failure is known before anything is spent."""
        ...

    def write(self, lines: bytes) -> None:
        """Store whole lines, possibly in the background."""
        ...

    def close(self) -> int:
        """Wait for all writes and release the file or the thread; returns the lines lost."""
        ...


class AppendedSegment:
    """A file that lines are appended to."""

    pause = _WRITE_SECONDS

    def __init__(
        self, directory: Path, stem: str, report: SegmentReport, reserve: SpaceReserve | None
    ) -> None:
        self._directory = directory
        self._stem = stem
        self._report = report
        self._reserve = reserve
        self._file: int | None = None
        self._path: Path | None = None
        self._is_empty = True
        self._synced = 0.0
        self._left = b""
        """Lines that have not been stored."""

    def open(self) -> None:
        """Create the file."""
        try:
            self._open()
        except OSError as error:
            self._report.failed(error, is_kept=False)

    def write(self, lines: bytes) -> None:
        """Append lines, and those that could not be stored before."""
        self._left += lines
        try:
            self._append()
            self._sync()
        except OSError as error:
            self._report.failed(error, is_kept=self._append_with_reserve())

    def _append_with_reserve(self) -> bool:
        """Use the reserved space, then another file; returns whether all lines are stored."""
        if self._reserve is not None:
            self._reserve.release()
        for is_new in (False, True):
            with suppress(OSError):
                if is_new:  # the old one may have reached the largest size, or be damaged
                    self._close_file()
                self._append()
                return True
        return False

    def _append(self) -> None:
        """Store all lines that are left, or as many whole lines as there is space for."""
        file = self._open()
        written = 0
        try:
            while written < len(self._left):  # a full disk takes only a part of what is written
                count = os.write(file, memoryview(self._left)[written:])
                if count == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written += count
        except OSError:
            whole = self._left.rfind(b"\n", 0, written) + 1
            if torn := written - whole:
                self._undo(file, torn)
            self._is_empty = self._is_empty and not whole
            self._left = self._left[whole:]
            raise
        if written:
            self._is_empty = False
            self._left = b""

    def _undo(self, file: int, size: int) -> None:
        """Remove a line that was cut off; if that fails, the next lines get another file."""
        try:
            os.ftruncate(file, os.fstat(file).st_size - size)
        except OSError:
            self._close_file()

    def _sync(self) -> None:
        # Syncing takes milliseconds and must not block the event loop, if there is one.
        loop = _running_loop()
        assert self._file is not None
        if loop is None:
            os.fsync(self._file)
        elif loop.time() - self._synced > _SYNC_SECONDS:
            self._synced = loop.time()
            loop.run_in_executor(None, _make_sync(self._file)).add_done_callback(self._synced_once)

    def _synced_once(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._report.failed(error, is_kept=False)

    def close(self) -> int:
        """Close the file, and remove it if it is empty."""
        if self._left:
            self._append_with_reserve()
        self._close_file()
        return self._left.count(b"\n")

    def _open(self) -> int:
        if self._file is not None:
            return self._file
        self._directory.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            path = self._directory / f"{self._stem}.{number:03d}.jsonl"
            try:  # O_EXCL: an earlier attempt may have left a segment, or still be writing to it
                self._file = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644
                )
            except FileExistsError:
                number += 1
            else:
                self._path, self._is_empty = path, True
                return self._file

    def _close_file(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        os.close(file)
        if self._is_empty and self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


class UploadedSegments:
    """One object for each write."""

    pause = _UPLOAD_SECONDS

    def __init__(self, directory: Location, stem: str, report: SegmentReport) -> None:
        self._directory = directory
        # A random name, because checking for existing objects would take a request and could race.
        self._attempt = f"{stem}.{secrets.token_hex(4)}"
        self._number = 0
        self._report = report
        self._uploads: list[Future[None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dd-journal")
        self._is_closed = False
        self._left = b""
        """Lines that could not be uploaded."""

    def open(self) -> None:
        """Do nothing: the trial write has shown that objects can be created."""

    def write(self, lines: bytes) -> None:
        """Upload lines, and those that could not be uploaded before."""
        self._uploads = [each for each in self._uploads if not each.done()]
        loop = _running_loop()
        self._uploads.append(self._thread.submit(self._upload, lines, loop))

    def wait(self) -> None:
        """Wait for the uploads so far."""
        wait(self._uploads)

    def close(self) -> int:
        """Wait for the uploads, and try once more what failed."""
        self.wait()
        if self._left and not self._is_closed:
            self._thread.submit(self._upload, b"", None).result()
        self._is_closed = True
        self._thread.shutdown()
        return self._left.count(b"\n")

    def _upload(self, lines: bytes, loop: asyncio.AbstractEventLoop | None) -> None:
        """Upload lines; runs in the thread. While it retries, no further cells start."""
        lines, self._left = self._left + lines, b""
        path = self._directory / f"{self._attempt}-{self._number:05d}.jsonl"
        self._number += 1
        try:
            path.write_bytes(lines)
            return
        except Exception as error:  # storage libraries raise exceptions of all kinds
            _logger.warning("%s could not be written and is retried: %s", path, error)
        self._tell(loop, lambda: self._report.held(True))
        try:
            retry_blocking((Exception,), attempts=_UPLOAD_RETRIES)(path.write_bytes, lines)
        except Exception as error:
            failure = error
            self._left = lines
            self._tell(loop, lambda: self._report.failed(failure, is_kept=True))
        self._tell(loop, lambda: self._report.held(False))

    def _tell(self, loop: asyncio.AbstractEventLoop | None, notify: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            if loop is not None:
                loop.call_soon_threadsafe(notify)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _make_sync(file: int) -> Callable[[], None]:
    """Return a function that syncs the file, even if the file has been closed in the meantime."""
    try:
        copy = os.dup(file)
    except OSError:  # too many open files: the operating system has the lines all the same
        return lambda: None

    def sync() -> None:
        try:
            os.fsync(copy)
        finally:
            os.close(copy)

    return sync
