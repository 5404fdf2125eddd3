"""One owner of a dataset at a time: other processes are refused, or wait, before they spend.

A process that generates a dataset keeps a claim, a small file in the folder `owner` of the dataset.
It writes the claim first and lists the claims of others afterwards. It owns the dataset only if it
finds none of a living process, so two processes can never both become the owner. If both find each
other, both withdraw, and try again after a random pause.

Whether a process is alive is known at once on the machine that it runs on. Everywhere else, the
claim must have been renewed in the last `STALE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dd_core.errors import DatasetInUseError
from dd_core.storage.location import Location, list_paths, put, read_content, read_modified

_logger = logging.getLogger(__name__)

OWNER = "owner"
"""Folder in a dataset with the claims of processes."""
STALE_SECONDS = 90.0
"""Time without renewal after which the claim of a process on another machine is void."""
_RENEW_SECONDS = 10.0
_POLL_SECONDS = 2.0
_ATTEMPTS = 20
_LONGEST_PAUSE = 0.2

_ENDED = "ended"

_held: set[str] = set()
"""The claims of this process that are in use."""


class OwnerClaim(BaseModel):
    """Who owns a dataset, or asks for it."""

    token: str
    host: str
    machine: str
    """Identity of the machine, its last start and its process table."""
    pid: int
    started: str | None
    """When the process was started, in units of the operating system, if it says so."""
    user: str
    run: str | None = None
    """Id of the flow run, if it runs in Prefect."""
    since: str
    """When the process asked for the dataset, ISO 8601 with time zone."""
    renewed: float
    """When the claim was last written, in seconds since 1970 by the clock of its machine."""
    is_owner: bool = False
    """Whether the process has found no other claim."""

    @classmethod
    def of_this_process(cls, run: str | None) -> OwnerClaim:
        """Make a claim of this process."""
        return cls(
            token=secrets.token_hex(8),
            host=socket.gethostname(),
            machine=_identify_machine(),
            pid=os.getpid(),
            started=_find_start(os.getpid()),
            user=_find_user(),
            run=run,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            renewed=time.time(),
        )

    def __str__(self) -> str:
        flow_run = f" for flow run {self.run}" if self.run else ""
        return f"process {self.pid} of {self.user} on {self.host}{flow_run}, since {self.since}"

    @property
    def is_alive_here(self) -> bool | None:
        """Whether its process is alive; None if that cannot be known on this machine."""
        if self.machine != _identify_machine():
            return None
        if self.pid == os.getpid():
            return self.token in _held
        start = _find_start(self.pid)
        if start == _ENDED:
            return False
        # Without its start, the process may be another one with the same number.
        return None if start is None or self.started is None else start == self.started


class DatasetOwnership:
    """The right to generate the dataset in a folder or at an address.

    `run` is the id of the flow run, if there is one: an attempt takes over the claim of an earlier
    attempt at the same flow run at once.
    """

    def __init__(self, dataset: Location, run: str | None = None) -> None:
        self._dataset = dataset
        self._folder = dataset / OWNER
        self.claim = OwnerClaim.of_this_process(run)
        self._path = self._folder / f"{self.claim.token}.json"
        self._is_over = threading.Event()
        self._renewal: threading.Thread | None = None
        self._lost: DatasetInUseError | None = None
        self._on_loss: Callable[[DatasetInUseError], None] | None = None

    async def acquire(self, wait: float = 0.0) -> None:
        """Become the owner, if need be after waiting for `wait` seconds.

        Raises `DatasetInUseError`, which says who the owner is.
        """
        deadline = time.monotonic() + wait
        has_waited = False
        while (owner := await asyncio.to_thread(self._try_acquire)) is not None:
            if time.monotonic() >= deadline:
                raise self._make_refusal(owner, wait)
            if not has_waited:
                _logger.warning("waiting for %s: %s has it", self._dataset, owner)
                has_waited = True
            await asyncio.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))

    def release(self) -> None:
        """Give the dataset up. A folder that contains nothing else is removed."""
        self._is_over.set()
        if self._renewal is not None:
            self._renewal.join()
            self._renewal = None
        self._withdraw()
        for folder in (self._folder, self._dataset):
            if isinstance(folder, Path):
                with suppress(OSError):  # not empty
                    folder.rmdir()

    def on_loss(self, callback: Callable[[DatasetInUseError], None]) -> None:
        """Call `callback` in the running event loop when this process no longer owns the dataset.

        This happens if the process was suspended, or cut off from the storage, for so long that
        another process took the dataset over.
        """
        loop = asyncio.get_running_loop()

        def notify(error: DatasetInUseError) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(callback, error)

        self._on_loss = notify
        if self._lost is not None:
            notify(self._lost)

    def require(self) -> None:
        """Raise `DatasetInUseError` if this process no longer owns the dataset."""
        if self._lost is None:
            with suppress(FileNotFoundError):
                read_modified(self._path)
                return
            self._lose()
        assert self._lost is not None
        raise self._lost

    def _try_acquire(self) -> OwnerClaim | None:
        """Become the owner, or return the claim that prevents it."""
        other: OwnerClaim | None = None
        for _ in range(_ATTEMPTS):
            _held.add(self.claim.token)
            try:
                self._write()
                other = self._find_other()
                if other is None:
                    self._write(is_owner=True)
                    self._start_renewal()
                    if self._is_over.is_set():  # released while this thread was running
                        self._withdraw()
                    return None
            except BaseException:
                self._withdraw()
                raise
            self._withdraw()
            if other.is_owner:
                return other
            time.sleep(random.uniform(0.0, _LONGEST_PAUSE))
        return other

    def _find_other(self) -> OwnerClaim | None:
        """The claim of another living process, preferably the owner's; removes void ones."""
        found: list[OwnerClaim] = []
        for path in list_paths(self._folder, "*.json"):
            if path.name == self._path.name:
                continue
            try:
                claim = OwnerClaim.model_validate_json(read_content(path))
                is_valid = self._is_valid(claim, path)
            except FileNotFoundError:  # withdrawn in the meantime
                continue
            except ValidationError:  # not written by us
                continue
            if is_valid:
                found.append(claim)
            else:
                path.unlink(missing_ok=True)
        return max(found, key=lambda claim: claim.is_owner, default=None)

    def _is_valid(self, claim: OwnerClaim, path: Location) -> bool:
        if claim.run is not None and claim.run == self.claim.run:
            return False  # an earlier attempt at the same flow run; it notices
        is_alive = claim.is_alive_here
        if is_alive is not None:
            return is_alive
        # Both times are by the clock of the storage, if it has one.
        theirs, ours = read_modified(path), read_modified(self._path)
        if theirs is None or ours is None:
            theirs, ours = claim.renewed, time.time()
        return ours - theirs < STALE_SECONDS

    def _start_renewal(self) -> None:
        self._renewal = threading.Thread(target=self._renew, name="dd-owner", daemon=True)
        self._renewal.start()

    def _renew(self) -> None:
        while not self._is_over.wait(_RENEW_SECONDS):
            try:
                if isinstance(self._path, Path):
                    os.utime(self._path)  # needs no space
                else:
                    read_modified(self._path)
                    self._write()
            except FileNotFoundError:
                self._lose()
                return
            except Exception as error:  # the storage may come back before the claim is void
                _logger.warning("the claim %s could not be renewed: %s", self._path, error)

    def _lose(self) -> None:
        self._lost = DatasetInUseError(
            f"this process no longer owns {self._dataset}: another process has taken it over, or "
            "its folder was removed; finished work is kept"
        )
        if self._on_loss is not None:
            self._on_loss(self._lost)

    def _write(self, **changes: object) -> None:
        self.claim = self.claim.model_copy(update={**changes, "renewed": time.time()})
        put(self._path, self.claim.model_dump_json(indent=2).encode())

    def _withdraw(self) -> None:
        _held.discard(self.claim.token)
        with suppress(Exception):  # then it becomes void by itself
            self._path.unlink(missing_ok=True)

    def _make_refusal(self, owner: OwnerClaim, wait: float) -> DatasetInUseError:
        waited = f" after {wait:g} s" if wait else ""
        return DatasetInUseError(
            f"{self._dataset} is being generated by {owner}{waited}; wait until it ends (set "
            "RunConfig.wait_for_owner or --wait to the seconds to wait), or choose another "
            "dataset_name"
        )


@lru_cache(maxsize=1)
def _identify_machine() -> str:
    """Two processes with the same identity can see each other by their process ids."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _find_start(pid: int) -> str | None:
    """When a process was started, in clock ticks; `_ENDED` if it has ended, None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None if _process_exists(pid) else _ENDED
    fields = stat[stat.rindex(")") + 2 :].split()  # the name may contain anything
    return _ENDED if fields[0] in "ZX" else fields[19]


def _process_exists(pid: int) -> bool:
    if os.name != "posix":  # a signal with the number 0 is not harmless there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _find_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for the user
        return "an unknown user"
