"""Scores given by a language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field, field_validator

from dd_core.declaration.kind import Declaration
from dd_core.kinds.columns._answers import extract_json, write_json_instructions
from dd_core.kinds.columns._llm import LLMColumn
from dd_core.kinds.columns._schema import Rubric
from dd_core.kinds.columns._types import translate_schema
from dd_core.models.conversation import AnswerFormat

if TYPE_CHECKING:
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView, Distribution


class Score(Declaration):
    """A criterion that a judge scores, with its scale."""

    name: str = Field(min_length=1)
    """Name of the score in the values."""
    description: str
    """What the score measures."""
    options: dict[int | str, str] = Field(min_length=1)
    """Possible scores, each with its meaning."""

    @field_validator("options", mode="before")
    @classmethod
    def _integers_stay_integers(cls, options: Any) -> Any:
        """Convert the keys to integers if all of them look like integers.

        JSON and other files store keys as strings.
        """
        if not isinstance(options, dict):
            return options
        given = cast("dict[Any, Any]", options)
        try:
            return {int(key): meaning for key, meaning in given.items()}
        except (TypeError, ValueError):
            return given


class LLMJudgeColumnConfig(LLMColumn):
    """Scores given by a model: `{reasoning, score}` for each criterion."""

    supported_gates: ClassVar[tuple[str, ...]] = (*LLMColumn.supported_gates, "min_mean_scores")

    column_type: Literal["llm-judge"] = "llm-judge"
    scores: list[Score] = Field(min_length=1)
    """Criteria to score, each with its scale."""

    @field_validator("scores")
    @classmethod
    def _names_are_unique(cls, scores: list[Score]) -> list[Score]:
        names = [score.name for score in scores]
        if len(set(names)) < len(names):
            raise ValueError("two scores have the same name; rename one of them")
        return scores

    @property
    def scores_by_name(self) -> Mapping[str, bool]:
        """Whether each score is a number, by score name: true if all its options are integers.

        Empty for lists of candidates, which are several verdicts.
        """
        if self.n is not None:
            return {}
        return {
            score.name: all(isinstance(option, int) for option in score.options)
            for score in self.scores
        }

    @property
    def score_descriptions(self) -> Mapping[str, str]:
        """What each score measures, by score name; empty for lists of candidates."""
        if self.n is not None:
            return {}
        return {score.name: score.description for score in self.scores}

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Return the statistics of LLM columns, and how often each score was given."""
        from dd_core.kinds.statistics import LLMJudgeColumnStatistics

        if self.n is not None:
            return super().statistics(view)
        scores: dict[str, Distribution] = {
            score.name: view.member([score.name, "score"]) for score in self.scores
        }
        return LLMJudgeColumnStatistics(**dict(super().statistics(view)), scores=scores)

    def value_type(self) -> Any:
        """Return the type of `{reasoning, score}` for each criterion."""
        return translate_schema(Rubric(self.scores).schema)

    def answer_format(self) -> AnswerFormat:
        """Return a format that requires JSON in which every score is one of its options."""
        rubric = Rubric(self.scores)
        return AnswerFormat(lambda text: extract_json(text, rubric.parse), rubric.schema)

    def instructions(self) -> str:
        """Return instructions that ask for the reasoning and the score of each criterion."""
        return write_json_instructions(Rubric(self.scores).schema)
