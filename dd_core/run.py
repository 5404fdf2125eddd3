"""The steps of a dataset run that the library and the flows have in common."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dd_core.checks import gate_problems
from dd_core.dataset_config import BuilderConfig, DataDesignerConfig
from dd_core.engine import Engine
from dd_core.errors import (
    BudgetExhaustedError,
    DataDesignerEarlyShutdownError,
    DataDesignerError,
    DataDesignerGenerationError,
    InvalidConfigError,
)
from dd_core.handover import added
from dd_core.location import Location
from dd_core.manifest import origin
from dd_core.models.providers import Providers
from dd_core.models.spending import budget_problems, costs
from dd_core.plan import Plan, compile_plan
from dd_core.results import DroppedRow
from dd_core.resume import chosen, require_room_for
from dd_core.run_config import ResumeMode, RunConfig
from dd_core.storage import CONFIG, DatasetDirectory, parts_folder_of

_logger = logging.getLogger(__name__)
_BETWEEN_NOTES = 1.0
"""Seconds."""
_SHARE_OF_TIME = 20
"""Times as long as a note took, at least, until the next: with many parts it takes seconds."""


def open_dataset(
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
) -> tuple[Plan, DatasetDirectory]:
    """Check the config and settle where the dataset goes and which seed it has.

    With a `version` it goes to a folder of its own below the dataset's, and is continued there.
    """
    versioned = version is not None
    checked = checked_plan(
        config, providers, run_config, num_records, has_versions=versioned, assets=managed_assets
    )
    fingerprint = config.fingerprint()
    placed = DatasetDirectory.place(artifact_path, dataset_name, version)
    hashes = {"config_hash": str(fingerprint["config_hash"]), "plan_hash": checked.fingerprint}
    directory = chosen(placed, resume, run_config.seed, hashes)
    stored = directory.seed if directory.seed is not None else secrets.randbits(32)
    seed = stored if run_config.seed is None else run_config.seed
    rendering = run_config.jinja_rendering_engine.value
    plan = compile_plan(config, providers, seed, rendering=rendering, managed_assets=managed_assets)
    for warning in plan.warnings:
        _logger.warning("%s", warning)
    require_room_for(directory, num_records)
    directory.write_metadata(
        **fingerprint,
        **origin(plan),
        plan_hash=checked.fingerprint,
        dataset_name=dataset_name if versioned else directory.path.name,
        version=version,
        seed=plan.seed,
        target_num_records=num_records,
        original_target_num_records=directory.metadata.get(
            "original_target_num_records", num_records
        ),
        buffer_size=run_config.buffer_size,
        preserve_dropped_columns=run_config.preserve_dropped_columns,
        parts_folder=parts_folder_of(config.processors),
        column_fingerprints={name: each.fingerprint for name, each in plan.columns.items()},
    )
    directory.copy_metadata()
    directory.write_text(CONFIG, BuilderConfig.of(plan.config).to_json() or "")
    return plan, directory


def checked_plan(
    config: DataDesignerConfig,
    providers: Providers,
    run_config: RunConfig,
    num_records: int,
    *,
    has_versions: bool,
    assets: Path | None = None,
) -> Plan:
    """The plan of a config, with a seed of 0; raises everything wrong with it and its run."""
    rendering = run_config.jinja_rendering_engine.value
    plan = compile_plan(config, providers, 0, rendering=rendering, managed_assets=assets)
    problems = budget_problems(run_config.budget, {model.alias: model for model in plan.models})
    problems += gate_problems(run_config.gates, plan, num_records, has_versions=has_versions)
    if problems:
        raise InvalidConfigError(problems)
    return plan


def note_progress(directory: DatasetDirectory, engine: Engine) -> None:
    """Record the progress if that was not done a moment ago: it looks at every part."""
    began = time.monotonic()
    if began > engine.note_progress_at:
        record_progress(directory, engine)
        now = time.monotonic()
        engine.note_progress_at = now + max(_BETWEEN_NOTES, _SHARE_OF_TIME * (now - began))


def record_progress(directory: DatasetDirectory, engine: Engine) -> int:
    """Note in the metadata what is on disk and what it took; returns the rows generated."""
    parts = directory.parts()
    rows = sum(part.rows for part in parts)
    files = [part.path for part in parts] if directory.holds_parts else directory.files()
    usage = engine.usage_of_all_runs()
    elsewhere = engine.elsewhere
    if counted := added(
        elsewhere.recorded_before, elsewhere.usage()
    ):  # the rest of the usage is in no batch's record
        directory.metadata["usage_in_batches"] = counted
    directory.write_metadata(
        actual_num_records=rows if directory.holds_parts else directory.count_rows(),
        generated_num_records=rows,
        total_num_batches=len(parts),
        num_completed_batches=sum(part.complete for part in parts),
        file_paths={"parquet-files": [f"parquet-files/{path.name}" for path in files]},
        usage=usage,
        answered_at=engine.answered_at(),
        dollars=costs(usage, {model.alias: model for model in engine.plan.models}),
    )
    return rows


def record_outcome(directory: DatasetDirectory, engine: Engine) -> int:
    """Note what a run came to; returns the number of rows generated."""
    directory.tidy()
    directory.write_metadata(times={name: asdict(t) for name, t in engine.times().items()})
    return record_progress(directory, engine)


async def require_ready(engine: Engine) -> None:
    """Ask every model one question before the run; raises what is wrong with it."""
    try:
        await engine.check_models()
    except BudgetExhaustedError:
        raise
    except DataDesignerError as error:
        raise DataDesignerGenerationError(f"the models are not ready: {error}") from error


def require_rows(engine: Engine, has_rows: bool, dropped: Sequence[DroppedRow]) -> None:
    """Raise when the run was stopped for good or has nothing to show."""
    stopped = engine.stopped_by
    if stopped is not None and not isinstance(stopped, DataDesignerEarlyShutdownError):
        raise DataDesignerGenerationError(
            f"the run was stopped: {stopped}. What was finished is kept; "
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
