"""Profiles datasets: the figures when they are asked for, what models have to say in the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.columns.llm_judge import LLMJudgeColumnConfig
from dd_core.columns.seed_dataset import SeedDatasetColumnConfig
from dd_core.engine import Engine
from dd_core.errors import DataDesignerProfilingError
from dd_core.judge_profile import score_profiles, summarized
from dd_core.location import Location, content_of
from dd_core.models.spending import UsageByColumn
from dd_core.profile import DatasetView
from dd_core.statistics import DatasetProfilerResults, JudgeProfile
from dd_core.storage import DatasetDirectory

if TYPE_CHECKING:
    import pyarrow as pa

    from dd_core.column import Column
    from dd_core.plan import Plan

_FILE = "analysis.json"


def analyse(
    source: Sequence[Location] | pa.Table,
    plan: Plan,
    target: int,
    usage: UsageByColumn,
    profiles: Sequence[JudgeProfile] = (),
) -> DatasetProfilerResults:
    """The figures of a dataset that has rows; blocks for as long as the files take to read."""
    with DatasetView(source) as view:
        present: list[str] = view.schema.names
        profiled = _profiled(plan, present)
        taken = _usage_by_column(usage)
        figures = [view.statistics_of(column, taken.get(column.name, {})) for column in profiled]
        names = {column.name for column in profiled}
        others = [name for name in present if name not in names]
        return DatasetProfilerResults(
            num_records=view.ask("SELECT count(*) FROM records")[0][0],
            target_num_records=target,
            column_statistics=figures,
            side_effect_column_names=[*dict.fromkeys([*others, *plan.dropped_columns])] or None,
            column_profiles=[*profiles] or None,
        )


def _profiled(plan: Plan, present: Sequence[str]) -> list[Column]:
    columns = [column for column in plan.config.columns if column.name in present]
    generated = [each for each in columns if not isinstance(each, SeedDatasetColumnConfig)]
    return generated or columns  # a dataset that only processes a seed is still one


def _usage_by_column(usage: UsageByColumn) -> dict[str, dict[str, float]]:
    """What each column took of all models."""
    total: dict[str, dict[str, float]] = {}
    for columns in usage.values():
        for column, counts in columns.items():
            known = total.setdefault(column, {})
            for name, value in counts.items():
                known[name] = known.get(name, 0.0) + value
    return total


async def judge_profiles(
    engine: Engine, source: Sequence[Location] | pa.Table
) -> tuple[JudgeProfile, ...]:
    """What the configured profilers find, with the help of models."""
    config = engine.plan.config
    judges = [
        column
        for column in config.columns
        if isinstance(column, LLMJudgeColumnConfig) and not column.drop
    ]
    found: list[JudgeProfile] = []
    for profiler in config.profilers or ():
        size = profiler.summary_score_sample_size
        profiles = await engine.in_thread(_scores, source, judges, size)
        found += await summarized(engine, profiler, judges, profiles)
    return tuple(found)


def _scores(
    source: Sequence[Location] | pa.Table, judges: Sequence[LLMJudgeColumnConfig], size: int | None
) -> list[JudgeProfile]:
    import duckdb

    try:
        with DatasetView(source) as view:
            return score_profiles(view, judges, size)
    except duckdb.Error as error:
        raise DataDesignerProfilingError(f"the scores cannot be profiled: {error}") from error


async def profile_in_run(engine: Engine, directory: DatasetDirectory, target: int) -> None:
    """Write the analysis if profilers are configured, which need the run's models."""
    files = directory.files()
    if not engine.plan.config.profilers or not files:
        return
    profiles = await judge_profiles(engine, files)
    usage = engine.usage_of_all_runs()
    analysis = await engine.in_thread(analyse, files, engine.plan, target, usage, profiles)
    _write(directory, analysis)


def load_analysis(directory: DatasetDirectory, plan: Plan, target: int) -> DatasetProfilerResults:
    """The analysis of a dataset on disk: as it was written, or made now if the files changed."""
    files = directory.files()
    if not files:
        raise DataDesignerProfilingError(f"{directory.path} has no rows to profile")
    stored = _read(directory)
    if stored.get("of") == directory.stamps():
        with suppress(ValueError):
            return DatasetProfilerResults.model_validate(stored["analysis"])
    analysis = analyse(files, plan, target, directory.metadata.get("usage", {}))
    _write(directory, analysis)
    return analysis


def _write(directory: DatasetDirectory, analysis: DatasetProfilerResults) -> None:
    content = {"of": directory.stamps(), "analysis": analysis.model_dump(mode="json")}
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    directory.write_text(_FILE, orjson.dumps(content, option=options, default=str).decode())


def _read(directory: DatasetDirectory) -> Mapping[str, Any]:
    try:
        return orjson.loads(content_of(directory.path / _FILE))
    except (OSError, ValueError):
        return {}
