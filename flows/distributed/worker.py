"""Generates one batch of a dataset whose run is in another process, usually on another machine."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from prefect.logging import get_run_logger

from dd_core.config import load_config
from dd_core.dataset.compile import compile_plan
from dd_core.dataset.plan import Plan
from dd_core.declaration.secrets import BLOCK_PREFIX
from dd_core.errors import (
    ArtifactStorageError,
    BatchRefusedError,
    BatchReplacedError,
    DataDesignerError,
    InvalidConfigError,
)
from dd_core.models.providers import Providers
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
"""Environment variable of a worker: if set, it only generates batches of datasets below this
folder."""
_MAX_EXAMPLES = 20


@asynccontextmanager
async def remote_batch(folder: str, batch: Batch, attempt: int) -> AsyncGenerator[DatasetRun]:
    """Open a run of one batch; the attempt's record reports its progress and its result.

    Raises `BatchRefusedError` if this machine cannot generate batches of the dataset.
    """
    _require_absolute(folder)
    with _refuse_on_error():
        directory = await _open_directory(folder)
        run_spec = RunSpec.read(directory)
    _require_within(batch, run_spec, directory)
    ownership = BatchOwnership(directory, batch.index, attempt)
    previous = await ownership.acquire()
    try:
        async with (
            ownership.hold(run_spec.run_config.batch_silence),
            _open_run(directory, run_spec, batch, previous) as session,
        ):
            session.before_write = ownership.require
            ownership.progress = progress = _make_progress(session, previous)
            ownership.on_stop(session.engine.stop)
            await _start_batch(session, batch, run_spec)
            stopped: DataDesignerError | None = None
            try:
                yield session
            except DataDesignerError as error:
                if error is not session.engine.stopped_by:
                    raise
                stopped = error
            state = AttemptState.STOPPED if stopped else AttemptState.DONE
            await ownership.finish(state, stopped, **progress(), **_make_result(session, batch))
            if stopped:
                raise stopped
    except BatchReplacedError as error:
        get_run_logger().warning("%s", error)
        raise
    except Exception as error:
        if not ownership.record.is_over:
            await _record_failure(ownership, error)
        raise


@contextmanager
def _refuse_on_error() -> Generator[None]:
    """Turn errors that this machine is to blame for, and not the batch, into a refusal."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, DataDesignerError) else repr(error)
        raise BatchRefusedError(f"{socket.gethostname()} refused it: {reason}") from error


@asynccontextmanager
async def _open_run(
    directory: DatasetDirectory, run_spec: RunSpec, batch: Batch, previous: BatchRecord
) -> AsyncGenerator[DatasetRun]:
    with _refuse_on_error():
        providers = await load_providers(run_spec)
        plan = recompile_plan(directory, run_spec, providers)
    # This process must stay within its own share of the budget. The dataset's run accounts for the
    # usage of the other batches, so only the earlier usage of this attempt counts here.
    directory.metadata.usage = previous.usage
    config = run_spec.run_config.model_copy(update={"budget": previous.share})
    async with open_run(plan, providers, config, directory, [batch]) as session:
        yield session


async def _open_directory(folder: str) -> DatasetDirectory:
    allowed = os.environ.get(DATASETS)
    path = (await resolve_location(folder)).location
    if allowed and not _is_allowed(path, (await resolve_location(allowed)).location):
        raise ArtifactStorageError(
            f"this worker only generates datasets below {allowed!r} ({DATASETS}), not {folder!r}"
        )
    if not path.is_dir():
        raise ArtifactStorageError(
            f"there is no folder {folder!r} on this machine; check that the storage of the "
            "dataset's run is mounted at the same path here"
        )
    return DatasetDirectory(path)


def _require_absolute(folder: str) -> None:
    is_block = folder.startswith(BLOCK_PREFIX)
    if not is_block and not is_remote(folder) and not Path(folder).expanduser().is_absolute():
        raise ArtifactStorageError(
            f"the dataset's folder {folder!r} is not an absolute path; use a path that is the same "
            "on all machines"
        )


def _is_allowed(path: Location, allowed: Location) -> bool:
    """Whether a path is below the allowed one, in the same storage.

    The same address is another storage if the options differ, for example the endpoint.
    """
    here, there = (getattr(each, "storage_options", None) for each in (path, allowed))
    return is_below(path, allowed) and here == there


def _require_within(batch: Batch, run_spec: RunSpec, directory: DatasetDirectory) -> None:
    if batch.stop > run_spec.num_records:
        raise ArtifactStorageError(
            f"rows {batch.start} to {batch.stop - 1} are not in the dataset {directory.path}, "
            f"which has {run_spec.num_records} rows"
        )


def recompile_plan(directory: DatasetDirectory, run_spec: RunSpec, providers: Providers) -> Plan:
    """Compile the plan of the dataset's run again; raises if the result is a different plan.

    A different plan would generate rows that do not fit the other batches.
    """
    config = load_config(directory.config(), providers)
    rendering = run_spec.run_config.jinja_rendering_engine.value
    plan = compile_plan(config, providers, run_spec.seed, rendering=rendering)
    if plan.fingerprint != run_spec.fingerprint:
        raise InvalidConfigError(
            "this machine computes a different plan from the one the run started with: the seed "
            "data, the code of custom columns or kinds, or the version of this package differs; "
            "use the same files and versions on both machines"
        )
    return plan


async def _start_batch(session: DatasetRun, batch: Batch, run_spec: RunSpec) -> None:
    """Start the engine on the batch, unless its part is complete already."""
    part = session.directory.part(batch.index)
    if part and part.complete and not (run_spec.retry_failed and part.dropped):
        session.parts[batch.index] = part
    else:
        await session.open_batch(batch)


def _make_progress(session: DatasetRun, previous: BatchRecord) -> Any:
    """A function that returns the progress fields of the record."""

    def progress() -> dict[str, Any]:
        cells = {
            name: (column.done, column.skipped, column.dropped)
            for name, column in session.progress().items()
        }
        return {
            "columns": cells,
            "usage": (UsageLedger(previous.usage) + session.engine.usage()).to_dict(),
        }

    return progress


def _make_result(session: DatasetRun, batch: Batch) -> dict[str, Any]:
    """The fields of the record that are known when the batch has been written."""
    part = session.parts[batch.index]
    return {
        "rows": part.rows,
        "dropped": session.dropped_count,
        "examples": session.dropped[:_MAX_EXAMPLES],
        "times": {name: asdict(times) for name, times in session.engine.timings().items()},
        "preview": _to_json_types(session.preview) if batch.start == 0 else [],
    }


async def _record_failure(ownership: BatchOwnership, error: Exception) -> None:
    """Write the error to the record, so that the dataset's run can report it."""
    known = error if isinstance(error, DataDesignerError) else RuntimeError(repr(error))
    is_refusal = isinstance(error, BatchRefusedError)
    with suppress(ArtifactStorageError, BatchReplacedError):
        await ownership.finish(AttemptState.REFUSED if is_refusal else AttemptState.FAILED, known)


def _to_json_types(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with values of JSON types only, which the record can hold."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    return orjson.loads(orjson.dumps(rows, default=str, option=options))
