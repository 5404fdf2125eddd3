"""Models for trying out custom functions outside a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from dd_core.dataset.run_config import RunConfig
from dd_core.errors import BuilderConfigurationError
from dd_core.models.admission.request_queue import CellLimit
from dd_core.models.config import ModelConfig
from dd_core.models.handle import ModelHandle
from dd_core.models.pool import ModelPool
from dd_core.models.providers import Providers


class Workbench(Mapping[str, ModelHandle]):
    """Models by alias; call their `generate` until the workbench is closed.

    Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        aliases: Sequence[str],
        configs: Sequence[ModelConfig],
        providers: Providers,
        run_config: RunConfig,
    ) -> None:
        known = {config.alias: config for config in configs}
        if unknown := [alias for alias in aliases if alias not in known]:
            raise BuilderConfigurationError(
                f"no default model has the alias {unknown[0]!r}; known: {sorted(known)}"
            )
        chosen = [known[alias] for alias in aliases]
        cells = CellLimit(run_config.max_in_flight_tasks)
        self._models = ModelPool(
            chosen,
            providers,
            cells,
            max_retries=run_config.max_request_retries,
            tuning=run_config.request_admission,
        )
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="dd-models", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._models.__aenter__(), loop).result()
        self._handles = {
            alias: ModelHandle(self._models[alias], "(none)", loop) for alias in aliases
        }

    def close(self) -> None:
        """Close the connections."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._models.__aexit__(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getitem__(self, alias: str) -> ModelHandle:
        return self._handles[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)
