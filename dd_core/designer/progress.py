"""Logs the progress of a run that nobody watches, and what the run waits for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from dd_core.engine.batch_run import BatchRun
from dd_core.engine.engine import Engine
from dd_core.models.admission.long_waits import LONG_WAIT, format_time
from dd_core.models.admission.request_queue import RequestQueue
from dd_core.models.tools.limit import CallLimit

_logger = logging.getLogger(__name__)
_LONGEST_SILENCE = 60.0
"""Seconds after which a line is logged even if nothing has changed."""


class ProgressLog:
    """Counts the settled cells of a run and logs them."""

    def __init__(self, engine: Engine, rows: int) -> None:
        self._engine = engine
        self._rows = rows
        self._finished: Counter[str] = Counter()
        self._began = time.monotonic()

    def count(self, run: BatchRun) -> None:
        """Count the cells of a finished batch."""
        self._finished.update({name: len(it.status) for name, it in run.states.items()})

    @asynccontextmanager
    async def log_regularly(self) -> AsyncGenerator[None]:
        """Log a line every `RunConfig.progress_interval` seconds while the context is open."""
        logging_task = asyncio.create_task(self._log_forever())
        try:
            yield
        finally:
            logging_task.cancel()
            await asyncio.gather(logging_task, return_exceptions=True)

    async def _log_forever(self) -> None:
        shown, shown_at = "", 0.0
        while True:
            await asyncio.sleep(self._engine.run_config.progress_interval)
            line, now = self.describe(), time.monotonic()
            if line != shown or now - shown_at > _LONGEST_SILENCE:
                _logger.info("after %.0f s: %s", now - self._began, line)
                shown, shown_at = line, now

    def describe(self) -> str:
        """Settled cells of the columns that take long, requests, and models that are waited for."""
        settled = self._finished.copy()
        for run in self._engine.running_batches():
            settled.update({name: len(it.status) - it.open for name, it in run.states.items()})
        columns = self._engine.plan.columns
        slow = [name for name in columns if columns[name].column.get_model_aliases()]
        facts = [f"{name} {settled[name]:,}/{self._rows:,}" for name in slow or columns]
        facts.append(f"{self._engine.local_usage().total().requests:,} requests")
        facts += describe_waits(self._engine)
        return ", ".join(facts)


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
