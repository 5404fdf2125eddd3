"""Checks before anything is spent: a trial write, and space that is reserved for a full disk."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from dd_core.storage.location import Location, put

_BYTES = 1 << 20
"""Reserved space: enough for the answers in flight, and for the metadata of the run."""


def write_trial(folder: Location) -> None:
    """Write and remove a small file in a folder; raises what the storage refuses."""
    path = folder / _make_name()
    put(path, b"trial")
    path.unlink(missing_ok=True)


class SpaceReserve:
    """A file that keeps some space, and one open file, free for the end of a run.

    Creating it is also a trial: it raises `OSError` if the folder cannot be written to, or has
    less space than this.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / _make_name()
        self._file: int | None = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            left = memoryview(os.urandom(_BYTES))  # zeros may take no space
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self.release()
            if error.errno != errno.EFBIG:  # a limit of the size of one file leaves room for others
                raise

    def release(self) -> bool:
        """Release the space; returns whether it had not been released before."""
        file, self._file = self._file, None
        if file is None:
            return False
        with suppress(OSError):
            os.close(file)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            self._path.parent.rmdir()
        return True


def _make_name() -> str:
    """A name that `DatasetDirectory.tidy` removes if this process is killed."""
    return f".trial.{secrets.token_hex(4)}.partial"
