"""The finished dataset's profile as an artifact: its figures, with bars for distributions."""

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

_MOST_BARS = 10
_FEWEST_REPEATED = 1.5
"""Rows per distinct value from which on bars say anything."""


async def show_profile(session: DatasetRun, dataset: str, target: int) -> None:
    """Show what the dataset is like. DuckDB reads its files in a thread; memory stays flat."""
    if not session.directory.files():
        return
    try:
        plan = session.engine.plan
        analysis = await session.engine.run_in_thread(
            load_analysis, session.directory, plan, target
        )
        await acreate_markdown_artifact(
            "\n".join(format_profile(analysis, dataset)),
            key=make_artifact_key(dataset, "profile"),
            description=f"What the rows of {dataset} are like",
        )
    except (DataDesignerError, OSError) as error:  # the dataset is there all the same
        get_run_logger().warning("the dataset could not be profiled: %s", error)


def format_profile(analysis: DatasetProfilerResults, dataset: str) -> list[str]:
    """The report, line by line."""
    columns = analysis.column_statistics
    heads = ["column", "kind", "type", "distinct", "null", "tokens in", "tokens out"]
    lines = [f"# {escape(dataset)}", ""]
    lines += [f"{analysis.num_records:,} of {analysis.target_num_records:,} rows.", ""]
    lines += format_table(heads, [_row(each) for each in columns])
    profiled = {profile.column_name for profile in analysis.column_profiles or ()}
    for each in columns:
        if each.column_name not in profiled:
            lines += _distribution(each)
    for profile in analysis.column_profiles or ():
        for score in profile.scores:
            counts = {str(value): count for value, count in score.counts.items()}
            lines += ["", f"## {escape(profile.column_name)}: {escape(score.score_name)}", ""]
            lines += [*_bars(counts), "", escape(score.summary or "")]
    return lines


def _row(each: ColumnStatistics) -> list[str]:
    tokens = ["", ""]
    if isinstance(each, LLMColumnStatistics):
        tokens = [_figure(each.input_tokens_mean), _figure(each.output_tokens_mean)]
    distinct = f"{_figure(each.num_unique)} ({_figure(each.percent_unique)} %)"
    null = f"{_figure(each.percent_null)} %"
    return [escape(each.column_name), each.column_type, each.simple_dtype, distinct, null, *tokens]


def _distribution(each: ColumnStatistics) -> Iterator[str]:
    name = escape(each.column_name)
    if isinstance(each, ValidationColumnStatistics):
        share = each.percent_valid
        if isinstance(share, float):
            yield from ("", f"## {name}", "", f"{format_bar(share / 100)} {share:.1f} % valid")
    elif isinstance(each, LLMJudgeColumnStatistics):
        for score, found in each.scores.items():
            yield from _drawn(f"{name}: {escape(score)}", found)
    elif isinstance(each, SamplerColumnStatistics):
        yield from _drawn(name, each.distribution)


def _drawn(title: str, found: Distribution) -> Iterator[str]:
    if isinstance(found, NumericalDistribution):
        heads = ["least", "median", "mean", "most", "standard deviation"]
        figures = [found.min, found.median, found.mean, found.max, found.stddev]
        yield from (
            "",
            f"## {title}",
            "",
            *format_table(heads, [[_figure(each) for each in figures]]),
        )
    elif isinstance(found, CategoricalDistribution):
        histogram = found.histogram
        total, kinds = sum(histogram.counts), len(histogram.categories)
        if kinds and total / kinds >= _FEWEST_REPEATED:
            pairs = zip(map(str, histogram.categories), histogram.counts, strict=True)
            yield from ("", f"## {title}", "", *_bars(dict(pairs)))


def _bars(counts: dict[str, int]) -> list[str]:
    total, most = max(1, sum(counts.values())), max(counts.values(), default=1)
    shown = [*counts.items()][:_MOST_BARS]
    rows = [
        [escape(value), format_bar(count / max(1, most)), f"{count:,}", f"{count / total:.1%}"]
        for value, count in shown
    ]
    if rest := len(counts) - len(shown):
        others = total - sum(count for _, count in shown)
        rows.append([f"{rest:,} more", "", f"{others:,}", f"{others / total:.1%}"])
    return format_table(["value", "", "rows", "share"], rows)


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)
