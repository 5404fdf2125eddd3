"""A lock file that shows whether the process of a run is alive.

The process of a run holds a lock on a file until it ends, whatever ends it. Other processes on the
same machine therefore know immediately when a run was killed, and can release its request slots. On
other machines, they have to wait until the leases of the run expire.

Written for Prefect 3.8.8, which shows the run of a killed process as Running if its worker is gone
too. Remove this module when Prefect detects such runs and releases their leases itself.
"""

from __future__ import annotations

import time
from pathlib import Path

from filelock import FileLock, Timeout
from prefect.settings import PREFECT_HOME

_SECONDS_PER_DAY = 86_400.0


class ProcessLock:
    """Locked from its creation until `release` is called or the process ends."""

    def __init__(self, key: bytes) -> None:
        _remove_old()
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path, thread_local=False)
        self._lock.acquire(timeout=5.0)

    def release(self) -> None:
        """Remove the file and release the lock."""
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def process_is_dead(key: bytes) -> bool:
    """Whether a process on this machine held the lock and is gone; False if unknown."""
    path = _path(key)
    return path.exists() and not _is_locked(path)


def process_is_alive(key: bytes) -> bool:
    """Whether a process on this machine holds the lock; False if unknown."""
    path = _path(key)
    return path.exists() and _is_locked(path)


def _is_locked(path: Path) -> bool:
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0.0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _remove_old() -> None:
    """Remove the files of processes that died long ago, whose leases have expired."""
    for path in _folder().glob("*.alive"):
        try:
            if path.stat().st_mtime < time.time() - _SECONDS_PER_DAY and not _is_locked(path):
                path.unlink(missing_ok=True)
        except OSError:
            continue


def _path(key: bytes) -> Path:
    return _folder() / f"{key.hex()}.alive"


def _folder() -> Path:
    return Path(PREFECT_HOME.value()) / "data-designer"
