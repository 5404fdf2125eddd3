"""Profiles datasets: statistics on request, summaries by models during the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import orjson

from dd_core.dataset.plan import Plan
from dd_core.errors import ArtifactStorageError, DataDesignerProfilingError, convert_errors
from dd_core.kinds.statistics import (
    AnyStatistics,
    CategoricalDistribution,
    JudgeProfile,
    LLMColumnStatistics,
    NumericalDistribution,
    SamplerColumnStatistics,
    ValidationColumnStatistics,
)
from dd_core.models.model import Model
from dd_core.models.usage import UsageLedger
from dd_core.quality.judge_scores import profile_scores, summarize
from dd_core.quality.report import DatasetProfilerResults, ProcessingStep, list_tool_use
from dd_core.quality.view import DatasetView
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location, read_content

if TYPE_CHECKING:
    import pyarrow as pa

    from dd_core.kinds.columns.column import Column


_P = ParamSpec("_P")
_T = TypeVar("_T")
_FILE = "analysis.json"
_MOST_CATEGORIES = 10


@convert_errors(DataDesignerProfilingError, "the dataset cannot be profiled")
def analyze(
    source: Sequence[Location] | pa.Table,
    plan: Plan,
    target: int,
    usage: UsageLedger,
    profiles: Sequence[JudgeProfile] = (),
    processed: Sequence[Mapping[str, Any]] = (),
) -> DatasetProfilerResults:
    """Compute the statistics of a dataset that has rows; blocks while the files are read.

    `processed` is what the metadata records of the processors of the whole dataset.
    """
    with DatasetView(source) as view:
        present: list[str] = view.schema.names
        profiled = [column for column in plan.shown_columns if column.name in present]
        used = _add_hidden(usage, plan)
        figures = [view.statistics_of(column, used.get(column.name, {})) for column in profiled]
        names = {column.name for column in profiled}
        others = [name for name in present if name not in names]
        return DatasetProfilerResults(
            num_records=view.ask("SELECT count(*) FROM records")[0][0],
            target_num_records=target,
            column_statistics=figures,
            side_effect_column_names=[*dict.fromkeys([*others, *plan.dropped_columns])],
            column_profiles=[*profiles] or None,
            tool_use=list_tool_use(usage) or None,
            processing=[ProcessingStep.model_validate(each) for each in processed] or None,
        )


def _add_hidden(usage: UsageLedger, plan: Plan) -> Mapping[str, Mapping[str, float]]:
    """Return the usage of each declared column, that of its hidden columns included."""
    owners = {name: planned.owner for name, planned in plan.columns.items()}
    found: dict[str, Counter[str]] = {}
    for name, counts in usage.by_column().items():
        found.setdefault(owners.get(name, name), Counter()).update(counts)  # pyright: ignore
    return found


class RunInThread(Protocol):
    """Runs blocking work in a thread."""

    async def __call__(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """The result of `function(*args, **kwargs)`."""
        ...


async def profile_judges(
    plan: Plan,
    source: Sequence[Location] | pa.Table,
    models: Mapping[str, Model],
    run_in_thread: RunInThread,
) -> tuple[JudgeProfile, ...]:
    """Run the configured profilers; models write the summaries."""
    columns = plan.config.columns
    judges = [column for column in columns if column.score_descriptions and not column.drop]
    found: list[JudgeProfile] = []
    for profiler in plan.config.profilers or ():
        size = profiler.summary_score_sample_size
        profiles = await run_in_thread(_scores, source, judges, size)
        model = models[profiler.model_alias]
        found += await summarize(model, profiler, judges, profiles)
    return tuple(found)


def _scores(
    source: Sequence[Location] | pa.Table, judges: Sequence[Column], size: int | None
) -> list[JudgeProfile]:
    import duckdb

    try:
        with DatasetView(source) as view:
            return profile_scores(view, judges, size)
    except duckdb.Error as error:
        raise DataDesignerProfilingError(f"the scores cannot be profiled: {error}") from error


async def profile_in_run(
    directory: DatasetDirectory,
    plan: Plan,
    target: int,
    usage: Callable[[], UsageLedger],
    models: Mapping[str, Model],
    run_in_thread: RunInThread,
) -> None:
    """Write the analysis of a finished dataset if profilers are configured."""
    files = directory.files()
    if not plan.config.profilers or not files:
        return
    profiles = await profile_judges(plan, files, models, run_in_thread)
    steps = directory.metadata.processed.get("steps", ())
    analysis = await run_in_thread(analyze, files, plan, target, usage(), profiles, steps)
    _write(directory, analysis)


def load_analysis(directory: DatasetDirectory, plan: Plan, target: int) -> DatasetProfilerResults:
    """Read the analysis of a dataset on disk, or compute it again if the files have changed."""
    files = directory.files()
    if not files:
        raise DataDesignerProfilingError(f"{directory.path} has no rows to profile")
    stored = _read(directory)
    if stored.get("of") == directory.stamps():
        with suppress(ValueError):
            return DatasetProfilerResults.model_validate(stored.get("analysis"))
    usage, steps = UsageLedger(directory.metadata.usage), directory.metadata.processed.get("steps")
    analysis = analyze(files, plan, target, usage, processed=steps or ())
    with suppress(ArtifactStorageError):  # a dataset that cannot be written to can be analyzed
        _write(directory, analysis)
    return analysis


def _write(directory: DatasetDirectory, analysis: DatasetProfilerResults) -> None:
    content = {"of": directory.stamps(), "analysis": analysis.model_dump(mode="json")}
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    directory.write_text(_FILE, orjson.dumps(content, option=options, default=str).decode())


def _read(directory: DatasetDirectory) -> Mapping[str, Any]:
    try:
        stored: Any = orjson.loads(read_content(directory.path / _FILE))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def summarize_profile(analysis: DatasetProfilerResults) -> dict[str, dict[str, Any]]:
    """Return the statistics of each column that are most useful to compare versions."""
    return {each.column_name: _figures(each) for each in analysis.column_statistics}


def _figures(column: AnyStatistics) -> dict[str, Any]:
    known: dict[str, Any] = {
        "type": column.simple_dtype,
        "null": column.num_null,
        "unique": column.num_unique,
    }
    if isinstance(column, ValidationColumnStatistics):
        known["valid"] = column.num_valid_records
    if isinstance(column, LLMColumnStatistics):
        known["output_tokens_mean"] = column.output_tokens_mean
    if isinstance(column, SamplerColumnStatistics):
        known |= _distribution(column.distribution)
    return known


def _distribution(found: Any) -> Mapping[str, Any]:
    if isinstance(found, NumericalDistribution):
        return {name: getattr(found, name) for name in ("min", "max", "mean", "stddev")}
    if isinstance(found, CategoricalDistribution):
        shown = [*zip(found.histogram.categories, found.histogram.counts, strict=True)]
        return {"most_common": {str(value): count for value, count in shown[:_MOST_CATEGORIES]}}
    return {}
