"""Counts the settled cells of a run in this process, and tells them while it runs."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dd_core.designer.view.progress_bars import display_progress, repeat_lines
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.engine import Engine
from dd_core.models.admission.long_waits import LONG_WAIT, format_time
from dd_core.models.admission.request_queue import RequestQueue
from dd_core.models.tools.limit import CallLimit
from dd_core.models.usage import UsageCount

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellCount:
    """Settled cells of one column."""

    settled: int
    dropped: int
    total: int


class RunProgress:
    """The progress of a run in this process."""

    def __init__(self, engine: Engine, rows: int) -> None:
        self.engine = engine
        self._rows = rows
        self._finished: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._latest: dict[str, CellCount] = {}
        self._began = time.monotonic()

    def count(self, run: BatchRun) -> None:
        """Count the cells of a finished batch."""
        self._finished.update({name: len(it.status) for name, it in run.states.items()})
        self._dropped.update({name: it.dropped for name, it in run.states.items()})

    @asynccontextmanager
    async def shown(self) -> AsyncGenerator[None]:
        """Show the progress while the context is open: as bars if `display_tui`, else in the log.

        The pause between lines is `RunConfig.progress_interval`.
        """
        settings = self.engine.run_config
        if settings.display_tui:
            showing = display_progress(lambda: self, settings.progress_interval)
        else:
            showing = repeat_lines(lambda: self, settings.progress_interval, _logger.info)
        async with showing:
            yield

    def progress(self) -> dict[str, CellCount]:
        """Settled cells by column. A count never falls, even while a batch is being written."""
        settled, dropped = self._finished.copy(), self._dropped.copy()
        for run in self.engine.running_batches():
            settled.update({name: len(it.status) - it.open for name, it in run.states.items()})
            dropped.update({name: it.dropped for name, it in run.states.items()})
        for name in self.engine.plan.visible_columns:
            known = self._latest.get(name, CellCount(0, 0, self._rows))
            self._latest[name] = CellCount(
                min(self._rows, max(known.settled, settled[name])),
                max(known.dropped, dropped[name]),
                self._rows,
            )
        return self._latest

    def usage(self) -> UsageCount:
        """Requests and tokens of this run."""
        return self.engine.local_usage().total()

    def describe_waits(self) -> list[str]:
        """What the run waits for."""
        return describe_waits(self.engine)

    @property
    def seconds(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self._began


def describe_waits(engine: Engine) -> list[str]:
    """What models and tools that do nothing wait for: a server's Retry-After, or slots."""
    waits = [
        f"model {alias!r} waits until {format_time(round(time.time() + model.pause))} (Retry-After)"
        for alias, model in engine.models.items()
        if model.pause >= LONG_WAIT
    ]
    limits: list[RequestQueue | CallLimit] = [model.queue for model in engine.models.values()]
    limits += [toolbox.limit for toolbox in engine.toolboxes.values()]
    return waits + [
        f"waiting for slots of {each.allowed_by}" for each in limits if each.is_held_back
    ]
