"""Renders the profile of a dataset as tables: in the terminal, as HTML or as SVG."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI
from rich.text import Text

from dd_core.errors import AnalysisReportError
from dd_core.kinds.statistics import (
    AnyStatistics,
    CategoricalDistribution,
    Figure,
    JudgeProfile,
    LLMColumnStatistics,
    LLMJudgeColumnStatistics,
    NumericalDistribution,
    Result,
    SamplerColumnStatistics,
    ScoreProfile,
    ValidationColumnStatistics,
    compute_percent,
)
from dd_core.models.usage import UsageLedger
from dd_core.quality.printable import make_printable
from dd_core.storage.access.failures import report_storage_errors

_BAR = 24
_MOST_SHOWN = 8


class ReportSection(StrEnum):
    """Sections of a report besides those for the types of columns."""

    OVERVIEW = "overview"
    COLUMN_PROFILERS = "column_profilers"


class ToolUse(Result):
    """The calls of one tool for one column."""

    column: str
    tool: str
    calls: int
    """Calls that were sent to a server."""
    errors: int
    """Those of them that failed."""
    refused: int
    """Calls that were not sent, because of their name, their arguments or the limit of turns."""
    seconds: float
    """Duration of the calls."""


def list_tool_use(usage: UsageLedger) -> list[ToolUse]:
    """The calls by column and tool, the tools that were called most often first."""
    found = [
        ToolUse(
            column=column,
            tool=tool,
            calls=int(count.get("calls", 0)),
            errors=int(count.get("errors", 0)),
            refused=int(count.get("refused", 0)),
            seconds=round(count.get("seconds", 0.0), 3),
        )
        for column, tools in usage.by_tool().items()
        for tool, count in tools.items()
    ]
    return sorted(found, key=lambda use: (use.column, -use.calls, use.tool))


class ProcessingStep(Result):
    """What a processor of the whole dataset did."""

    name: str
    """Name of the processor."""
    rows: int
    """Rows that it left."""
    removed: dict[str, int] = Field(default_factory=dict)
    """Rows that it removed, by reason."""


class DatasetProfilerResults(Result):
    """The profile of a dataset."""

    num_records: int
    target_num_records: int
    column_statistics: Sequence[AnyStatistics]
    """Statistics of the configured columns in the dataset, in its order."""
    side_effect_column_names: list[str] | None = None
    """All other columns: traces, reasoning, seed columns and preserved dropped columns."""
    column_profiles: list[JudgeProfile] | None = None
    tool_use: list[ToolUse] | None = None
    processing: list[ProcessingStep] | None = None
    """What processors of the whole dataset did, in their order."""

    @property
    def percent_complete(self) -> Figure:
        """Records in the dataset as a percentage of the records requested."""
        return compute_percent(self.num_records, self.target_num_records)

    @property
    def column_types(self) -> list[str]:
        """The distinct types of the columns, sorted."""
        return sorted({each.column_type for each in self.column_statistics})

    def to_report(
        self,
        save_path: str | Path | None = None,
        include_sections: Collection[str] | None = None,
    ) -> None:
        """Show the profile in the terminal, or write it to a `.html` or `.svg` file.

        `include_sections` selects sections: `overview`, `column_profilers` and types of columns;
        default: all.
        """
        show(render_report(self, include_sections), save_path, title="dataset profile")

    def get_column_statistics_by_type(self, column_type: str) -> list[AnyStatistics]:
        """The statistics of the columns of one type."""
        return [each for each in self.column_statistics if each.column_type == str(column_type)]


def show(
    content: RenderableType,
    save_path: str | Path | None = None,
    *,
    width: int | None = None,
    theme: str = "dark",
    title: str = "dataset",
) -> None:
    """Print content to the terminal, or write it to a `.html` or `.svg` file."""
    if save_path is None:
        Console(width=width).print(content)
        return
    import io

    path = Path(save_path)
    console = Console(record=True, width=width or 110, file=io.StringIO(), force_jupyter=False)
    console.print(content)
    colors = MONOKAI if theme == "dark" else DEFAULT_TERMINAL_THEME
    if path.suffix == ".html":
        with report_storage_errors(path):
            console.save_html(str(path), theme=colors)
    elif path.suffix == ".svg":
        with report_storage_errors(path):
            console.save_svg(str(path), title=title, theme=colors)
    else:
        raise AnalysisReportError(f"save_path {str(save_path)!r} must end in .html or .svg")


def render_report(
    analysis: DatasetProfilerResults, include_sections: Collection[str] | None = None
) -> RenderableType:
    """Render the sections in the order overview, types of columns, profilers."""
    known = {*ReportSection, *analysis.column_types}
    included = known if include_sections is None else {str(each) for each in include_sections}
    if unknown := sorted(included - known):
        raise AnalysisReportError(
            f"section {unknown[0]!r} does not exist; choose from {sorted(known)}"
        )
    return Group(*_sections(analysis, included))


def _sections(
    analysis: DatasetProfilerResults, included: Collection[str]
) -> Iterator[RenderableType]:
    if ReportSection.OVERVIEW in included:
        yield _overview(analysis)
        if analysis.processing:
            yield _processing(analysis.processing)
        if analysis.tool_use:
            yield _tools(analysis.tool_use)
    for kind in analysis.column_types:
        if kind in included:
            yield _columns(kind, analysis.get_column_statistics_by_type(kind))
    if ReportSection.COLUMN_PROFILERS in included:
        for profile in analysis.column_profiles or ():
            yield _judge(profile)
    if any(isinstance(each, LLMColumnStatistics) for each in analysis.column_statistics):
        yield Text(
            "Token counts are estimated from text lengths and scaled to the provider's mean.", "dim"
        )


def _overview(analysis: DatasetProfilerResults) -> Table:
    table = Table(title="Dataset", show_header=False)
    table.add_row("records", f"{analysis.num_records:,} of {analysis.target_num_records:,}")
    table.add_row("complete", f"{_number(analysis.percent_complete)} %")
    table.add_row("columns", str(len(analysis.column_statistics)))
    if analysis.side_effect_column_names:
        table.add_row("other columns", _literal(", ".join(analysis.side_effect_column_names)))
    return table


def _processing(steps: Sequence[ProcessingStep]) -> Table:
    table = Table("processor", "rows left", "removed", title="Processors")
    for step in steps:
        reasons = "\n".join(f"{count:,}: {reason}" for reason, count in step.removed.items())
        table.add_row(_literal(step.name), _number(step.rows), _literal(reasons))
    return table


def _tools(uses: Sequence[ToolUse]) -> Table:
    table = Table("column", "tool", "calls", "errors", "refused", "seconds", title="Tools")
    for use in uses:
        figures = [use.calls, use.errors, use.refused, use.seconds]
        table.add_row(Text(use.column), Text(use.tool), *map(_number, figures))
    return table


def _columns(kind: str, columns: Sequence[AnyStatistics]) -> Table:
    heads = ["column", "type", "unique", "null"]
    heads += [head for head, _ in _details(columns[0])]
    table = Table(title=f"{kind} columns")
    for head in heads:
        table.add_column(head)
    for each in columns:
        unique = f"{_number(each.num_unique)} ({_number(each.percent_unique)} %)"
        null = f"{_number(each.num_null)} ({_number(each.percent_null)} %)"
        details = [value for _, value in _details(each)]
        row = [each.column_name, each.simple_dtype, unique, null, *details]
        table.add_row(*map(_literal, row))
    return table


def _details(each: AnyStatistics) -> list[tuple[str, str]]:
    if isinstance(each, LLMColumnStatistics):
        given = [each.input_tokens_mean, each.input_tokens_stddev]
        made = [each.output_tokens_mean, each.output_tokens_stddev]
        return [
            ("input tokens", " ± ".join(map(_number, given))),
            ("output tokens", " ± ".join(map(_number, made))),
            ("unusable answers", each.unusable_answers or "none"),
            *(_scores(each) if isinstance(each, LLMJudgeColumnStatistics) else ()),
        ]
    if isinstance(each, SamplerColumnStatistics):
        return [("sampler", each.sampler_type), ("distribution", _described(each.distribution))]
    if isinstance(each, ValidationColumnStatistics):
        valid = f"{_number(each.num_valid_records)} ({_number(each.percent_valid)} %)"
        return [("valid", valid)]
    return []


def _scores(each: LLMJudgeColumnStatistics) -> Iterator[tuple[str, str]]:
    found = [f"{name} {_described(score)}" for name, score in each.scores.items()]
    yield "scores", "; ".join(found)


def _described(distribution: Any) -> str:
    if isinstance(distribution, NumericalDistribution):
        return (
            f"{_number(distribution.min)} to {_number(distribution.max)}, mean "
            f"{_number(distribution.mean)} ± {_number(distribution.stddev)}, "
            f"median {_number(distribution.median)}"
        )
    if isinstance(distribution, CategoricalDistribution):
        histogram = distribution.histogram
        pairs = [*zip(histogram.categories, histogram.counts, strict=True)]
        more = f", {len(pairs) - _MOST_SHOWN} more" if len(pairs) > _MOST_SHOWN else ""
        return ", ".join(f"{value}: {count:,}" for value, count in pairs[:_MOST_SHOWN]) + more
    return "--" if distribution else ""


def _judge(profile: JudgeProfile) -> Panel:
    parts = [part for score in profile.scores for part in _score(score)]
    return Panel(Group(*parts), title=_literal(profile.column_name))


def _score(score: ScoreProfile) -> Iterator[RenderableType]:
    table = Table(title=_literal(score.score_name), show_header=False, box=None)
    most = max(score.counts.values(), default=1)
    for value, count in score.counts.items():
        table.add_row(_literal(value), "█" * max(1, round(_BAR * count / most)), f"{count:,}")
    yield table
    if score.distribution is not None:
        yield _literal(_described(score.distribution), "dim")
    if score.summary:
        yield _literal(score.summary)


def _literal(text: str, style: str = "") -> Text:
    """Text as it is: neither markup of Rich nor control characters have an effect."""
    return Text(make_printable(text), style)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)
