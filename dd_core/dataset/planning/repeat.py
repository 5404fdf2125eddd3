"""The declaration of columns that are generated again until a condition holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from dd_core.declaration.kind import Declaration, find_repeated
from dd_core.templates.template import Condition


class Repeat(Declaration):
    """Columns that are generated again for a row, until a condition holds."""

    columns: list[str] = Field(min_length=1)
    """Columns that are generated in each round. Their templates may use `round`, the number of the
    round from 1, and `previous`, which holds the values of the previous round by column name and
    is null in the first round."""
    until: str | None = None
    """Jinja condition after which a row is done, for example `{{ verdict.ok.score == 1 }}`;
    default: all rounds are generated."""
    at_most: int = Field(default=3, ge=1, le=50)
    """Maximum number of rounds; default: 3."""
    keep: Literal["last", "best", "all"] = "last"
    """Which values the dataset contains: those of the last round (default), of the round with the
    highest score, or a list with those of all rounds."""
    score: str | None = None
    """Jinja template that gives the score of a round as a number; only with `keep: best`."""
    on_exhausted: Literal["keep", "fail"] = "keep"
    """What happens to a row that is not done after all rounds: it is kept (default), or it fails
    and is left out of the dataset."""
    rounds_column: str | None = Field(default=None, min_length=1)
    """Name of a column with the number of rounds that were generated; default: none."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if repeated := find_repeated(self.columns):
            raise ValueError(f"columns lists {repeated[0]!r} more than once; list it once")
        if (self.keep == "best") != (self.score is not None):
            raise ValueError("score and keep: best need each other; set both or neither")
        if self.on_exhausted == "fail" and self.until is None:
            raise ValueError("on_exhausted: fail needs the condition until")
        for template in (self.until, self.score):
            if template is not None:
                Condition.compile(template)
        return self


def list_rounds_columns(repeats: Sequence[Repeat] | None) -> list[str]:
    """The names of the columns with numbers of rounds."""
    return [each.rounds_column for each in repeats or () if each.rounds_column]
