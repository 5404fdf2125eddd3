"""Statistics about the columns of a finished dataset.

`Column.statistics` decides which statistics a kind of column has. It receives a `ColumnView` of the
column's values and returns a `ColumnStatistics` or a subclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

NOT_COMPUTED = "--"
"""Stands for a statistic that could not be computed."""

Figure = float | Literal["--"]
Count = int | Literal["--"]

DistributionType = Literal["categorical", "numerical", "text", "other", "unknown"]


class ColumnDistributionType(StrEnum):
    """Names for the values of `distribution_type`, to compare with."""

    CATEGORICAL = "categorical"
    NUMERICAL = "numerical"
    TEXT = "text"
    OTHER = "other"
    UNKNOWN = "unknown"


class MissingValue(StrEnum):
    """Names for what stands in the place of a statistic, to compare with."""

    CALCULATION_FAILED = NOT_COMPUTED
    OUTPUT_FORMAT_ERROR = "output_format_error"


class Result(BaseModel):
    """Base of all results in this module: frozen, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CategoricalHistogram(Result):
    """Categories and their counts, most frequent first."""

    categories: list[Any]
    counts: list[int]


class CategoricalDistribution(Result):
    """Distribution of values that have no order."""

    most_common_value: Any
    least_common_value: Any
    histogram: CategoricalHistogram


class NumericalDistribution(Result):
    """Distribution of numbers."""

    min: float
    max: float
    mean: float
    stddev: float
    """Sample standard deviation."""
    median: float


Distribution = CategoricalDistribution | NumericalDistribution | Literal["--"] | None


class ColumnStatistics(Result):
    """Statistics that every column has."""

    column_name: str
    column_type: str
    num_records: Count
    num_null: Count
    num_unique: Count
    """Distinct values, not counting nulls. Structured values are compared by content."""
    pyarrow_dtype: str
    simple_dtype: str

    @property
    def percent_null(self) -> Figure:
        """Percentage of nulls, 0 to 100."""
        return compute_percent(self.num_null, self.num_records)

    @property
    def percent_unique(self) -> Figure:
        """Distinct values as a percentage of the records, 0 to 100."""
        return compute_percent(self.num_unique, self.num_records)


class LLMColumnStatistics(ColumnStatistics):
    """Tokens per cell.

    The means are the provider's counts if it reported any. All other values are estimated from the
    lengths of prompts and answers.
    """

    input_tokens_mean: Figure
    input_tokens_median: Figure
    input_tokens_stddev: Figure
    output_tokens_mean: Figure
    output_tokens_median: Figure
    output_tokens_stddev: Figure
    unusable_answers: str = ""
    """Answers that were not usable, by kind, such as `2 empty, 1 truncated`."""


class LLMJudgeColumnStatistics(LLMColumnStatistics):
    """Tokens per cell, and how often each score was given."""

    scores: Mapping[str, Distribution]
    """Distributions by the name of the score. The scores are strings, even if they are numbers."""


class SamplerColumnStatistics(ColumnStatistics):
    """The distribution of the sampled values."""

    sampler_type: str
    distribution_type: DistributionType
    distribution: Distribution


class ValidationColumnStatistics(ColumnStatistics):
    """The number of valid records. Records without a verdict count as invalid."""

    num_valid_records: Count

    @property
    def percent_valid(self) -> Figure:
        """Percentage of valid records, 0 to 100."""
        return compute_percent(self.num_valid_records, self.num_records)


class ScoreSample(Result):
    """A score with the judge's reasoning."""

    score: str
    reasoning: str


class ScoreProfile(Result):
    """The profile of one score of a judge."""

    score_name: str
    distribution_type: DistributionType
    distribution: NumericalDistribution | CategoricalDistribution | None
    counts: dict[str, int]
    """How often each score was given, in the order of the scores."""
    samples: list[ScoreSample]
    """Examples of scores with their reasoning."""
    summary: str | None = None
    """A model's summary of the reasoning, or the reason why there is none."""


class JudgeProfile(Result):
    """The profile of a judge's scores."""

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
    """The values of one column in a finished dataset, from which statistics are computed.

    A statistic that cannot be computed from the values is `NOT_COMPUTED`.
    """

    def general(self) -> Mapping[str, Any]:
        """Return the fields of `ColumnStatistics`."""
        ...

    def categorical(self) -> Distribution:
        """Return the distribution of the values as categories."""
        ...

    def numerical(self) -> Distribution:
        """Return the distribution of the values as numbers."""
        ...

    def member(self, path: Sequence[str]) -> Distribution:
        """Return the distribution of one member of structured values, as strings.

        `path` names the keys that lead to the member, for example `["helpful", "score"]`.
        """
        ...

    def count_valid(self, targets: Sequence[str]) -> Count:
        """Return the number of records whose verdict is valid.

        If there are several targets, `is_valid` must be true for each of them.
        """
        ...

    def tokens(self, templates: Sequence[str]) -> Mapping[str, Any]:
        """Return the fields of `LLMColumnStatistics` about tokens and answers.

        `templates` are the templates of the prompts that a cell sends.
        """
        ...


def compute_percent(part: Count, whole: Count) -> Figure:
    """Return `part` as a percentage of `whole`, 0 to 100."""
    if isinstance(part, str) or isinstance(whole, str) or whole == 0:
        return NOT_COMPUTED
    return 100.0 * part / whole
