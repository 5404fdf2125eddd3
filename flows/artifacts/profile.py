"""The profile of a finished dataset as an artifact: statistics, with bars for distributions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.artifacts import acreate_markdown_artifact
from prefect.logging import get_run_logger

from dd_core.errors import DataDesignerError
from dd_core.kinds.statistics import (
    CategoricalDistribution,
    ColumnStatistics,
    Distribution,
    LLMColumnStatistics,
    LLMJudgeColumnStatistics,
    NumericalDistribution,
    SamplerColumnStatistics,
    ValidationColumnStatistics,
)
from dd_core.quality.analysis import load_analysis
from dd_core.quality.report import DatasetProfilerResults

from ..session import DatasetRun
from .markdown import escape, format_bar, format_table, make_artifact_key

_MAX_BARS = 10
_MIN_ROWS_PER_VALUE = 1.5
"""Rows per distinct value below which a histogram shows nothing useful."""


async def show_profile(session: DatasetRun, dataset: str, target: int) -> None:
    """Create the artifact `<dataset>-profile`. DuckDB reads the files in a separate thread."""
    try:
        if not session.directory.files():
            return
        plan = session.engine.plan
        analysis = await session.engine.run_in_thread(
            load_analysis, session.directory, plan, target
        )
        await acreate_markdown_artifact(
            "\n".join(format_profile(analysis, dataset)),
            key=make_artifact_key(dataset, "profile"),
            description=f"Profile of {dataset}",
        )
    except (DataDesignerError, OSError) as error:  # the dataset is complete without a profile
        get_run_logger().warning("the dataset could not be profiled: %s", error)


def format_profile(analysis: DatasetProfilerResults, dataset: str) -> list[str]:
    """The lines of the profile, in Markdown."""
    columns = analysis.column_statistics
    heads = ["column", "kind", "type", "distinct", "null", "tokens in", "tokens out"]
    lines = [f"# {escape(dataset)}", ""]
    lines += [f"{analysis.num_records:,} of {analysis.target_num_records:,} rows.", ""]
    lines += format_table(heads, [_format_column(each) for each in columns])
    profiled = {profile.column_name for profile in analysis.column_profiles or ()}
    for each in columns:
        if each.column_name not in profiled:
            lines += _format_distributions(each)
    for profile in analysis.column_profiles or ():
        for score in profile.scores:
            counts = {str(value): count for value, count in score.counts.items()}
            lines += ["", f"## {escape(profile.column_name)}: {escape(score.score_name)}", ""]
            lines += [*_format_bars(counts), "", escape(score.summary or "")]
    return lines


def _format_column(each: ColumnStatistics) -> list[str]:
    tokens = ["", ""]
    if isinstance(each, LLMColumnStatistics):
        tokens = [_format_number(each.input_tokens_mean), _format_number(each.output_tokens_mean)]
    distinct = f"{_format_number(each.num_unique)} ({_format_number(each.percent_unique)} %)"
    null = f"{_format_number(each.percent_null)} %"
    return [escape(each.column_name), each.column_type, each.simple_dtype, distinct, null, *tokens]


def _format_distributions(each: ColumnStatistics) -> Iterator[str]:
    name = escape(each.column_name)
    if isinstance(each, ValidationColumnStatistics):
        share = each.percent_valid
        if isinstance(share, float):
            yield from ("", f"## {name}", "", f"{format_bar(share / 100)} {share:.1f} % valid")
    elif isinstance(each, LLMJudgeColumnStatistics):
        for score, distribution in each.scores.items():
            yield from _format_distribution(f"{name}: {escape(score)}", distribution)
    elif isinstance(each, SamplerColumnStatistics):
        yield from _format_distribution(name, each.distribution)


def _format_distribution(title: str, data: Distribution) -> Iterator[str]:
    if isinstance(data, NumericalDistribution):
        heads = ["min", "median", "mean", "max", "standard deviation"]
        values = [data.min, data.median, data.mean, data.max, data.stddev]
        table = format_table(heads, [[_format_number(each) for each in values]])
        yield from ("", f"## {title}", "", *table)
    elif isinstance(data, CategoricalDistribution):
        histogram = data.histogram
        rows, distinct = sum(histogram.counts), len(histogram.categories)
        if distinct and rows / distinct >= _MIN_ROWS_PER_VALUE:
            pairs = zip(map(str, histogram.categories), histogram.counts, strict=True)
            yield from ("", f"## {title}", "", *_format_bars(dict(pairs)))


def _format_bars(counts: dict[str, int]) -> list[str]:
    total, highest = max(1, sum(counts.values())), max(counts.values(), default=1)
    shown = [*counts.items()][:_MAX_BARS]
    rows = [
        [escape(value), format_bar(count / max(1, highest)), f"{count:,}", f"{count / total:.1%}"]
        for value, count in shown
    ]
    if rest := len(counts) - len(shown):
        others = total - sum(count for _, count in shown)
        rows.append([f"{rest:,} more", "", f"{others:,}", f"{others / total:.1%}"])
    return format_table(["value", "", "rows", "share"], rows)


def _format_number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)
