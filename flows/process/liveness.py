"""Signs of life: a run's process holds a lock on a file for as long as it lives.

With it, the slots of a run that was killed on this machine are known to be free at once. On other
machines one has to wait for its leases to end.
"""

from __future__ import annotations

import time
from pathlib import Path

from filelock import FileLock, Timeout
from prefect.settings import PREFECT_HOME

_DAY = 86_400.0


class ProcessLock:
    """Given from when it is made until `end` is called or the process is gone."""

    def __init__(self, key: bytes) -> None:
        _remove_old()
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path, thread_local=False)
        self._lock.acquire(timeout=5.0)

    def end(self) -> None:
        """Let go of the file and remove it."""
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def process_is_dead(key: bytes) -> bool:
    """Whether a process of this machine gave signs of life and is gone; False if unknown."""
    path = _path(key)
    return path.exists() and not _is_locked(path)


def process_is_alive(key: bytes) -> bool:
    """Whether a process of this machine gives signs of life; False if unknown."""
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
    """Forget processes that died long ago: their leases have ended."""
    for path in _folder().glob("*.alive"):
        try:
            if path.stat().st_mtime < time.time() - _DAY and not _is_locked(path):
                path.unlink(missing_ok=True)
        except OSError:
            continue


def _path(key: bytes) -> Path:
    return _folder() / f"{key.hex()}.alive"


def _folder() -> Path:
    return Path(PREFECT_HOME.value()) / "data-designer"
