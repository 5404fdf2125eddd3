"""Steps of a dataset run around its batches: open the dataset, record progress, check results."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from dd_core.dataset.checks import check_gates, check_row_counts
from dd_core.dataset.compile import compile_plan, reseed
from dd_core.dataset.config import BuilderConfig, DataDesignerConfig
from dd_core.dataset.plan import Plan
from dd_core.dataset.run_config import RunConfig
from dd_core.engine.engine import Engine
from dd_core.errors import (
    ArtifactStorageError,
    BudgetExhaustedError,
    DataDesignerEarlyShutdownError,
    DataDesignerError,
    DataDesignerGenerationError,
    DatasetInUseError,
    InvalidConfigError,
    Problem,
    StorageFailedError,
    convert_errors,
)
from dd_core.kinds.seeds.seed import SeedTable
from dd_core.models.providers import Providers
from dd_core.models.usage import check_budget
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.batch import DroppedRow
from dd_core.storage.directory import CONFIG, ROWS_FOLDER, DatasetDirectory
from dd_core.storage.location import Location
from dd_core.storage.resume import (
    ResumeMode,
    acquire_directory,
    choose_directory,
    require_room_for,
    set_damaged_aside,
)

_logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_RECORDS = 1.0
_README = "README.md"
_CARD = """---
configs:
- config_name: data
  default: true
  data_files:
  - split: train
    path: {rows}/*.parquet
---

The rows of this dataset are in `{rows}`, and `{config}` is the configuration that generated them.
The lines above tell `datasets.load_dataset` which files to read.
"""
_MOST_TIME_FOR_RECORDS = 1 / 20
"""Share of the run's time: with many parts, recording the progress takes seconds."""


@asynccontextmanager
async def open_dataset(
    config: DataDesignerConfig,
    providers: Providers,
    run_config: RunConfig,
    *,
    artifact_path: str | Location,
    dataset_name: str,
    num_records: int,
    resume: ResumeMode,
    managed_assets: Path | None = None,
    version: str | None = None,
    flow_run: str | None = None,
    table: SeedTable | None = None,
) -> AsyncGenerator[tuple[Plan, DatasetDirectory]]:
    """Check the configuration, choose the dataset's directory and seed, and own it for the block.

    A dataset with a `version` goes to a folder of its own below the dataset's folder, and is always
    continued there. `flow_run` is the id of the flow run, if there is one.
    `table` is the seed dataset, if it is not opened from its source.

    If the dataset is finished and a run with these settings would change nothing, its files stay as
    they are, and its metadata says that it is settled.

    Raises `DatasetInUseError` if another process generates the dataset, and `ArtifactStorageError`.
    """
    is_versioned = version is not None
    unseeded = check_plan(
        config, providers, run_config, num_records,
        has_versions=is_versioned, assets=managed_assets, table=table,
    )  # fmt: skip
    hashes = config.fingerprint()
    expected = {"config_hash": str(hashes["config_hash"]), "plan_hash": unseeded.fingerprint}
    is_new = resume is ResumeMode.NEVER and not is_versioned

    def choose() -> DatasetDirectory:
        placed = DatasetDirectory.place(artifact_path, dataset_name, version)
        return choose_directory(placed, resume, run_config.seed, expected)

    async with AsyncExitStack() as stack:
        with (
            convert_errors(ArtifactStorageError, "the dataset cannot be opened"),
            report_storage_errors(f"{artifact_path}/{dataset_name}"),
        ):
            directory = await stack.enter_async_context(
                acquire_directory(choose, run_config.wait_for_owner, flow_run, is_new=is_new)
            )
            plan = _choose_seed(unseeded, run_config, directory)
            require_room_for(directory, num_records)
            set_damaged_aside(directory)
            # Further rows of a table that is not read from its source may still be on their way.
            if table is not None or not is_finished(
                directory, plan, run_config, num_records, expected
            ):
                _describe_run(
                    directory, plan, run_config, num_records, **hashes, version=version,
                    plan_hash=unseeded.fingerprint,
                    dataset_name=dataset_name if is_versioned else directory.path.name,
                )  # fmt: skip
        yield plan, directory


def _choose_seed(unseeded: Plan, run_config: RunConfig, directory: DatasetDirectory) -> Plan:
    stored = directory.seed if directory.seed is not None else secrets.randbits(32)
    plan = reseed(unseeded, stored if run_config.seed is None else run_config.seed)
    for warning in plan.warnings:
        _logger.warning("%s", warning)
    return plan


def is_finished(
    directory: DatasetDirectory,
    plan: Plan,
    run_config: RunConfig,
    num_records: int,
    expected: Mapping[str, str],
) -> bool:
    """Whether the dataset is what the run would make of it, down to the results of its gates."""
    known, gates = directory.metadata, run_config.gates
    is_judged = gates is not None or directory.version is not None
    by = plan.hash_processing(num_records)
    same = (
        known.is_settled
        and (known.config_hash, known.plan_hash) == (expected["config_hash"], expected["plan_hash"])
        and (known.seed, known.target_num_records) == (plan.seed, num_records)
        and known.generated_num_records >= num_records
        and (plan.config.accept is None or (known.actual_num_records or 0) >= num_records)
        and known.gate_settings == (gates.model_dump(mode="json") if gates is not None else None)
        and (known.accepted or not is_judged)
        and known.processed.get("by", by) == by
    )
    if not same or directory.lost:
        return False
    return not any(
        each.damage for each in directory.inspect_all(*directory.list_folders()).values()
    )


def _describe_run(
    directory: DatasetDirectory,
    plan: Plan,
    run_config: RunConfig,
    num_records: int,
    **fields: Any,
) -> None:
    """Write to the directory what the run is about to generate."""
    first_target = directory.metadata.original_target_num_records or num_records
    directory.write_metadata(
        **fields,
        **_origin(plan),
        is_settled=False,
        seed=plan.seed,
        target_num_records=num_records,
        original_target_num_records=first_target,
        buffer_size=run_config.buffer_size,
        preserve_dropped_columns=run_config.preserve_dropped_columns,
        parts_folder=plan.parts_folder,
        column_fingerprints={name: each.fingerprint for name, each in plan.columns.items()},
    )
    directory.copy_metadata()
    directory.write_text(CONFIG, BuilderConfig.of(plan.config).to_json() or "")
    if directory.read_text(_README) is None:
        directory.write_text(_README, _CARD.format(rows=ROWS_FOLDER, config=CONFIG))


def check_plan(
    config: DataDesignerConfig,
    providers: Providers,
    run_config: RunConfig,
    num_records: int,
    *,
    has_versions: bool,
    assets: Path | None = None,
    table: SeedTable | None = None,
) -> Plan:
    """The plan with a seed of 0; raises everything that is wrong with the config and its run."""
    if counts := check_row_counts(num_records=num_records):
        raise InvalidConfigError(counts)
    rendering = run_config.jinja_rendering_engine.value
    plan = compile_plan(
        config, providers, 0, rendering=rendering, managed_assets=assets, table=table
    )
    problems = check_budget(run_config.budget, {model.alias: model for model in plan.models})
    if config.accept is not None and config.accept.at_most < num_records:
        message = f"is {config.accept.at_most}, but num_records is {num_records}; raise it"
        problems.append(Problem("accept.at_most", message))
    problems += check_gates(run_config.gates, plan, num_records, has_versions=has_versions)
    if problems:
        raise InvalidConfigError(problems)
    return plan


def _origin(plan: Plan) -> dict[str, Any]:
    """What the dataset is made by and from, and the start of the run."""
    table = plan.seed_table
    return {
        "library_version": version_of("prefect-data-designer"),
        "models": {
            model.alias: {"model": model.model, "provider": model.provider} for model in plan.models
        },
        "seed_source_hash": table.content_hash() if table is not None else None,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def record_progress_sometimes(directory: DatasetDirectory, engine: Engine) -> None:
    """Record the progress unless that was done a moment ago: it looks at every part."""
    began = time.monotonic()
    if began > engine.next_progress_at:
        record_progress(directory, engine)
        now = time.monotonic()
        pause = max(_SECONDS_BETWEEN_RECORDS, (now - began) / _MOST_TIME_FOR_RECORDS)
        engine.next_progress_at = now + pause


def record_progress(directory: DatasetDirectory, engine: Engine) -> int:
    """Write what is in storage and what it cost to the metadata; returns the rows generated."""
    found = directory.inspect_all(directory.parts_folder, ROWS_FOLDER)
    parts = found[directory.parts_folder].parts
    rows = sum(part.rows for part in parts)
    usage = engine.usage_of_all_runs()
    # The rest of the usage is in no record of a batch.
    if recorded := engine.remote.before + engine.remote.total:
        directory.metadata.usage_in_batches = recorded.to_dict()
    directory.write_metadata(
        actual_num_records=found[ROWS_FOLDER].count_rows(),
        generated_num_records=rows,
        total_num_batches=len(parts),
        num_completed_batches=sum(part.complete for part in parts),
        files=directory.record_files(found),
        file_paths={ROWS_FOLDER: [f"{ROWS_FOLDER}/{name}" for name in found[ROWS_FOLDER].files]},
        usage=usage.to_dict(),
        answered_at=engine.answered_at(),
        dollars=usage.costs(engine.plan.prices),
    )
    return rows


def record_outcome(directory: DatasetDirectory, engine: Engine) -> int:
    """Write the outcome of a run to the metadata; returns the number of rows generated."""
    directory.tidy()
    directory.write_metadata(times={name: asdict(t) for name, t in engine.timings().items()})
    rows = record_progress(directory, engine)
    found = directory.inspect_all(*directory.list_folders())
    directory.write_metadata(files=directory.record_files(found), is_settled=True)
    return rows


def explain_storage_failure(
    engine: Engine, directory: DatasetDirectory, error: ArtifactStorageError
) -> ArtifactStorageError:
    """Add to the failure of a storage what is kept, and how to continue.

    The usage is recorded if there is room for it.
    """
    if isinstance(error, DatasetInUseError):
        return error  # what is kept is the other process's to say
    written: int | None = None
    with suppress(OSError, ArtifactStorageError):
        written = record_progress(directory, engine)
    target = directory.metadata.target_num_records
    rows = "" if written is None else f"{written} of {target} rows, and "
    lost = f", except {engine.lost_cells} cells" if engine.lost_cells else ""
    return StorageFailedError(
        f"the run was stopped: {error}. {directory.path} keeps {rows}the finished cells of all "
        f"unfinished rows{lost}. Run again with resume='if_possible' to continue"
    )


async def require_ready(engine: Engine) -> None:
    """Check every model before the run; raises what is wrong with it."""
    try:
        await engine.check_models()
    except BudgetExhaustedError:
        raise
    except DataDesignerError as error:
        raise DataDesignerGenerationError(f"the models are not ready: {error}") from error


def require_rows(engine: Engine, has_rows: bool, dropped: Sequence[DroppedRow]) -> None:
    """Raise if the run was stopped by an error or produced no rows."""
    stopped = engine.stopped_by
    if stopped is not None and not isinstance(stopped, DataDesignerEarlyShutdownError):
        raise DataDesignerGenerationError(
            f"the run was stopped: {stopped}. Finished work is kept; "
            "run again with resume='if_possible' to continue"
        ) from stopped
    if has_rows:
        if stopped is not None:
            _logger.warning("the run was stopped early: %s", stopped)
        return
    if stopped is not None:
        raise stopped
    if dropped:
        first = dropped[0]
        raise DataDesignerGenerationError(
            f"no rows were generated; the first failure was in column {first.column!r}, "
            f"row {first.row}: {first.error}: {first.message}"
        )
