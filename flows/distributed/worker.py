"""A process that generates one batch of a dataset whose run is elsewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from prefect.logging import get_run_logger

from dd_core.config import load_config
from dd_core.dataset.compile import compile_plan
from dd_core.dataset.plan import Plan
from dd_core.errors import (
    ArtifactStorageError,
    BatchReplacedError,
    DataDesignerError,
    InvalidConfigError,
)
from dd_core.models.providers import Providers
from dd_core.models.secrets import BLOCK_PREFIX
from dd_core.models.usage import UsageLedger
from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location, is_below, is_remote

from ..blocks.providers import load_providers
from ..blocks.storage import resolve_location
from ..session import DatasetRun, open_run
from .ownership import BatchOwnership
from .records import AttemptState, BatchRecord, RunSpec

DATASETS = "DD_DATASETS"
"""Environment variable of a worker: the only folder whose datasets it generates batches of."""
_EXAMPLES = 20


@asynccontextmanager
async def remote_batch(folder: str, batch: Batch, attempt: int) -> AsyncGenerator[DatasetRun]:
    """A run of one batch, at work; its record says to the dataset's run what comes of it."""
    directory = await _opened(folder)
    handover = RunSpec.read(directory)
    _require_within(batch, handover, directory)
    tenure = BatchOwnership(directory, batch.index, attempt)
    given = await tenure.take()
    try:
        async with (
            tenure.held(handover.run_config.batch_silence),
            _run(directory, handover, batch, given) as session,
        ):
            session.before_write = tenure.require
            tenure.progress = progress = _progress(session, given)
            tenure.on_end(session.engine.stop)
            await _set_to_work(session, batch, handover)
            stopped: DataDesignerError | None = None
            try:
                yield session
            except DataDesignerError as error:
                if error is not session.engine.stopped_by:
                    raise
                stopped = error
            state = AttemptState.STOPPED if stopped else AttemptState.DONE
            await tenure.finish(state, stopped, **progress(), **_outcome(session, batch))
            if stopped:
                raise stopped
    except BatchReplacedError as error:
        get_run_logger().warning("%s", error)
        raise
    except Exception as error:
        if not tenure.record.is_over:
            await _failed(tenure, error)
        raise


@asynccontextmanager
async def _run(
    directory: DatasetDirectory, handover: RunSpec, batch: Batch, given: BatchRecord
) -> AsyncGenerator[DatasetRun]:
    providers = await load_providers(handover.model_providers)
    plan = recompile_plan(directory, handover, providers)
    # What the rest of the dataset takes is the business of its run, which handed out a share.
    directory.metadata.usage = given.usage
    config = handover.run_config.model_copy(update={"budget": given.share})
    async with open_run(plan, providers, config, directory, [batch]) as session:
        yield session


async def _opened(folder: str) -> DatasetDirectory:
    allowed = os.environ.get(DATASETS)
    _require_absolute(folder)
    path = (await resolve_location(folder)).location
    if allowed and not _is_allowed(path, (await resolve_location(allowed)).location):
        raise ArtifactStorageError(
            f"this worker only generates datasets below {allowed!r} ({DATASETS}), not {folder!r}"
        )
    if not path.is_dir():
        raise ArtifactStorageError(
            f"there is no folder {folder!r} on this machine; is the storage that the dataset's run "
            "writes to mounted here, at the same path?"
        )
    return DatasetDirectory(path)


def _require_absolute(folder: str) -> None:
    is_block = folder.startswith(BLOCK_PREFIX)
    if not is_block and not is_remote(folder) and not Path(folder).expanduser().is_absolute():
        raise ArtifactStorageError(
            f"the dataset's folder {folder!r} is not an absolute path; give one that is the same "
            "on all machines"
        )


def _is_allowed(path: Location, allowed: Location) -> bool:
    """The same address means another storage where the options differ, such as its endpoint."""
    here, there = (getattr(each, "storage_options", None) for each in (path, allowed))
    return is_below(path, allowed) and here == there


def _require_within(batch: Batch, handover: RunSpec, directory: DatasetDirectory) -> None:
    if batch.stop > handover.num_records:
        raise ArtifactStorageError(
            f"rows {batch.start} to {batch.stop - 1} are not in the dataset {directory.path}, "
            f"which has {handover.num_records}"
        )


def recompile_plan(directory: DatasetDirectory, handover: RunSpec, providers: Providers) -> Plan:
    """The plan of the dataset's run, made again here; another one would make other rows."""
    config = load_config(directory.config(), providers)
    rendering = handover.run_config.jinja_rendering_engine.value
    plan = compile_plan(config, providers, handover.seed, rendering=rendering)
    if plan.fingerprint != handover.fingerprint:
        raise InvalidConfigError(
            "on this machine the configuration means another dataset than where the run began: "
            "the seed data, the code of the project's own columns, or the version of this package "
            "differs; bring both machines to the same state"
        )
    return plan


async def _set_to_work(session: DatasetRun, batch: Batch, handover: RunSpec) -> None:
    part = session.directory.part(batch.index)
    if part and part.complete and not (handover.retry_failed and part.dropped):
        session.parts[batch.index] = part
    else:
        await session.open_batch(batch)


def _progress(session: DatasetRun, given: BatchRecord) -> Any:
    def progress() -> dict[str, Any]:
        cells = {
            name: (column.done, column.skipped, column.dropped)
            for name, column in session.progress().items()
        }
        return {
            "columns": cells,
            "usage": (UsageLedger(given.usage) + session.engine.usage()).to_dict(),
        }

    return progress


def _outcome(session: DatasetRun, batch: Batch) -> dict[str, Any]:
    part = session.parts[batch.index]
    return {
        "rows": part.rows,
        "dropped": session.dropped_count,
        "examples": session.dropped[:_EXAMPLES],
        "times": {name: asdict(times) for name, times in session.engine.timings().items()},
        "preview": _plain(session.preview) if batch.start == 0 else [],
    }


async def _failed(tenure: BatchOwnership, error: Exception) -> None:
    """Leave word of what went wrong, so that the dataset's run need not guess."""
    known = isinstance(error, DataDesignerError)
    with suppress(OSError, BatchReplacedError):
        await tenure.finish(AttemptState.FAILED, error if known else RuntimeError(repr(error)))


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    return orjson.loads(orjson.dumps(rows, default=str, option=options))
