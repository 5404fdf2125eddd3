"""Profilers: what they are told, and what they find out. The built-in one looks at judges' scores.

How the scores are looked at is in `judge_profile.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import Field

from dd_core.kind import Declaration
from dd_core.statistics import (
    CategoricalDistribution,
    ColumnStatistics,
    DistributionType,
    Figure,
    LLMColumnStatistics,
    LLMJudgeColumnStatistics,
    NumericalDistribution,
    Result,
    SamplerColumnStatistics,
    ValidationColumnStatistics,
    percent,
)


class JudgeScoreProfilerConfig(Declaration):
    """For each score of each judge: how it is distributed, examples, and a summary by a model."""

    model_alias: str
    """Alias of the model that writes the summaries."""
    summary_score_sample_size: int | None = Field(default=20, ge=1)
    """Reasonings that a summary is made from; no summary, if None."""


class ScoreSample(Result):
    """A score with the judge's reason for it."""

    score: str
    reasoning: str


class ScoreProfile(Result):
    """What is known about one score of a judge."""

    score_name: str
    distribution_type: DistributionType
    distribution: NumericalDistribution | CategoricalDistribution | None
    counts: dict[str, int]
    """How often each score was given, in the order of the scores."""
    samples: list[ScoreSample]
    summary: str | None = None
    """A model's summary of the reasonings, or why there is none."""


class JudgeProfile(Result):
    """What is known about a judge's scores."""

    column_name: str
    scores: list[ScoreProfile]


AnyStatistics = (
    ValidationColumnStatistics
    | SamplerColumnStatistics
    | LLMJudgeColumnStatistics
    | LLMColumnStatistics
    | ColumnStatistics
)


class DatasetProfilerResults(Result):
    """What a dataset is like."""

    num_records: int
    target_num_records: int
    column_statistics: Sequence[AnyStatistics]
    """Of the configured columns that are in the dataset, in its order."""
    side_effect_column_names: list[str] | None = None
    """All other columns: traces, reasonings, seed columns, dropped columns that were kept."""
    column_profiles: list[JudgeProfile] | None = None

    @property
    def percent_complete(self) -> Figure:
        """Records in the dataset per hundred asked for."""
        return percent(self.num_records, self.target_num_records)

    @property
    def column_types(self) -> list[str]:
        """The types of the columns, each once, sorted."""
        return sorted({each.column_type for each in self.column_statistics})

    def to_report(
        self,
        save_path: str | Path | None = None,
        include_sections: Collection[str] | None = None,
    ) -> None:
        """Show it in the terminal, or write it to a `.html` or `.svg` file.

        `include_sections` names some of `overview`, `column_profilers` and the columns' types; all
        of them are shown, if not given.
        """
        from dd_core.report import report, show

        show(report(self, include_sections), save_path, title="dataset profile")

    def get_column_statistics_by_type(self, column_type: str) -> list[AnyStatistics]:
        """The statistics of the columns of one type."""
        return [each for each in self.column_statistics if each.column_type == str(column_type)]
