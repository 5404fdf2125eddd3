"""What a finished dataset is like: figures for each column.

A kind of column says which figures it has by `Column.statistics`, given a view of its values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

NOT_COMPUTED = "--"
"""In place of a figure that could not be computed."""

Figure = float | Literal["--"]
Count = int | Literal["--"]


DistributionType = Literal["categorical", "numerical", "text", "other", "unknown"]


class Result(BaseModel):
    """Part of what was found out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CategoricalHistogram(Result):
    """Categories, the most frequent first, and their counts."""

    categories: list[Any]
    counts: list[int]


class CategoricalDistribution(Result):
    """Of values that are compared for equality only."""

    most_common_value: Any
    least_common_value: Any
    histogram: CategoricalHistogram


class NumericalDistribution(Result):
    """Of numbers; the standard deviation is that of a sample."""

    min: float
    max: float
    mean: float
    stddev: float
    median: float


Distribution = CategoricalDistribution | NumericalDistribution | Literal["--"] | None


class ColumnStatistics(Result):
    """Figures that every column has."""

    column_name: str
    column_type: str
    num_records: Count
    num_null: Count
    num_unique: Count
    """Distinct values, nulls apart; structured values count by their content."""
    pyarrow_dtype: str
    simple_dtype: str

    @property
    def percent_null(self) -> Figure:
        """Share of nulls, 0 to 100."""
        return compute_percent(self.num_null, self.num_records)

    @property
    def percent_unique(self) -> Figure:
        """Distinct values per hundred records."""
        return compute_percent(self.num_unique, self.num_records)


class LLMColumnStatistics(ColumnStatistics):
    """Tokens of a cell, estimated from lengths of texts; the means are the provider's counts
    where there are any."""

    input_tokens_mean: Figure
    input_tokens_median: Figure
    input_tokens_stddev: Figure
    output_tokens_mean: Figure
    output_tokens_median: Figure
    output_tokens_stddev: Figure


class LLMJudgeColumnStatistics(LLMColumnStatistics):
    """How often each score was given, too."""

    scores: Mapping[str, Distribution]
    """By the name of the score; its values are texts."""


class SamplerColumnStatistics(ColumnStatistics):
    """How the sampled values are distributed."""

    sampler_type: str
    distribution_type: DistributionType
    distribution: Distribution


class ValidationColumnStatistics(ColumnStatistics):
    """How many records are valid; records without a verdict are not."""

    num_valid_records: Count

    @property
    def percent_valid(self) -> Figure:
        """Share of valid records, 0 to 100."""
        return compute_percent(self.num_valid_records, self.num_records)


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


class ColumnView(Protocol):
    """A column's values in a finished dataset, as kinds of columns look at them."""

    def general(self) -> Mapping[str, Any]:
        """The fields of `ColumnStatistics`."""
        ...

    def categorical(self) -> Distribution:
        """The values as categories."""
        ...

    def numerical(self) -> Distribution:
        """The values as numbers."""
        ...

    def member(self, path: Sequence[str]) -> Distribution:
        """A member of structured values as categories, which are texts."""
        ...

    def count_valid(self, targets: Sequence[str]) -> Count:
        """Records whose `is_valid` is true, that of every target if there are several."""
        ...

    def tokens(self, templates: Sequence[str]) -> Mapping[str, Any]:
        """The figures of `LLMColumnStatistics`, given the templates of a cell's prompts."""
        ...


def compute_percent(part: Count, whole: Count) -> Figure:
    """`part` of `whole`, in hundredths."""
    if isinstance(part, str) or isinstance(whole, str) or whole == 0:
        return NOT_COMPUTED
    return 100.0 * part / whole
