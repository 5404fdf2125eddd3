"""Ends a run that can no longer make progress.

Every task and callback has an owner for its failure. This is the net below them: if no task is
running, nothing waits for a point in time, nobody outside holds requests back, and yet cells are
open, then nothing will ever change, and the run ends with the rows that it has.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dd_core.errors import DataDesignerError, DataDesignerGenerationError, describe_error
from dd_core.models.admission.request_queue import RequestQueue

_logger = logging.getLogger(__name__)

_INTERVAL = 1.0
_CHECKS = 3
"""Consecutive checks without any change before the run is stopped."""


class WatchedBatch(Protocol):
    """A running batch, as the watchdog sees it."""

    @property
    def open_cells(self) -> int:
        """Cells that are not settled, and columns that nobody was told are finished."""
        ...

    @property
    def may_continue(self) -> bool:
        """Whether a task is running, or failed cells may be retried."""
        ...

    def wake(self) -> None:
        """Let everybody who waits for a column check its state again."""
        ...

    def describe_open(self) -> str:
        """The cells that are open, by column and state."""
        ...


class Watchdog:
    """Looks at the batches of a run once a second, in a timer that no task can cancel."""

    def __init__(
        self, batches: Iterable[WatchedBatch], stop: Callable[[DataDesignerError], None]
    ) -> None:
        self.queues: Sequence[RequestQueue] = ()
        """The models' queues."""
        self._batches = batches
        self._stop = stop
        self._timer: asyncio.TimerHandle | None = None
        self._unchanged = 0
        self._open = -1

    def start(self) -> None:
        """Watch as long as there are batches."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._check)

    def end(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        batches = [*self._batches]
        if not batches:
            return
        self.start()
        try:
            self._look_at(batches)
        except Exception as error:
            _logger.exception("the run could not be watched")
            self._stop(DataDesignerGenerationError(describe_error(error)))

    def _look_at(self, batches: Sequence[WatchedBatch]) -> None:
        cells = sum(batch.open_cells for batch in batches)
        is_stuck = (
            cells > 0
            and cells == self._open
            and not any(batch.may_continue for batch in batches)
            and not any(map(_is_held_back, self.queues))
        )
        self._open = cells
        self._unchanged = self._unchanged + 1 if is_stuck else 0
        if self._unchanged == 1:  # perhaps only a wake-up call was lost
            for batch in batches:
                batch.wake()
            for queue in self.queues:
                queue.pump()
        elif self._unchanged >= _CHECKS:
            self._unchanged = 0
            found = "; ".join(filter(None, (batch.describe_open() for batch in batches)))
            self._stop(
                DataDesignerGenerationError(
                    f"nothing is running or scheduled, but cells are open: {found}. "
                    "This is a defect of the engine or of a custom kind"
                )
            )


def _is_held_back(queue: RequestQueue) -> bool:
    """Whether ready cells wait for a point in time, or for somebody outside this process."""
    if not queue.waiting:
        return False
    if queue.permits != math.inf or queue.allowed != queue.max_parallel_requests:
        return True  # shared with other processes
    return any(
        backend.limiter.pause > 0.0
        or backend.limiter.rates.seconds_until_next() > 0.0
        or (backend.health is not None and backend.health.wait > 0.0)
        for backend in queue.backends
    )
