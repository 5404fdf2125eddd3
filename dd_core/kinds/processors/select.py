"""Keeps the best rows: of the whole dataset or of each group, and rows that differ."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from dd_core.declaration.kind import Declaration
from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem, UserTemplateError
from dd_core.kinds.processors._diversity import Index, TextIndex, VectorIndex, choose_diverse
from dd_core.kinds.processors._words import Codes, to_bytes
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.templates.template import Condition

if TYPE_CHECKING:
    import pyarrow as pa


_logger = logging.getLogger(__name__)
_TEXTS = ("llm-text", "llm-code")
"""Types of column whose values are never vectors."""


class Diversity(Declaration):
    """How much selected rows must differ. Set either `min_distance` or `max_similarity`."""

    column: str
    """Column to compare: an embedding column or lists of numbers for `min_distance`, text for
    `max_similarity`."""
    min_distance: float | None = Field(default=None, ge=1e-4, lt=2.0)
    """Smallest cosine distance between the vectors of two selected rows, for example 0.1. The
    distance is 0 for the same direction and 1 for a right angle."""
    max_similarity: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Largest fraction of word sequences that two selected rows may share, for example 0.7. It is
    the Jaccard index, estimated by MinHash."""
    ngram_size: int = Field(default=3, ge=1, le=20)
    """Number of words in a sequence, used with `max_similarity`; default: 3."""

    @model_validator(mode="after")
    def _has_one_measure(self) -> Self:
        if (self.min_distance is None) == (self.max_similarity is None):
            raise ValueError("set either min_distance, for vectors, or max_similarity, for text")
        return self

    @property
    def reason(self) -> str:
        """Why a row is removed."""
        if self.min_distance is not None:
            return f"closer than {self.min_distance:g} to a selected row"
        return f"more similar than {self.max_similarity:g} to a selected row"

    def make_index(self) -> Index:
        """Create an empty index of the rows."""
        if self.min_distance is not None:
            return VectorIndex(self.column, self.min_distance)
        return TextIndex(self.max_similarity or 1.0, self.ngram_size)

    def problems(self, place: str, scope: Scope) -> Iterator[Problem]:
        """Yield an unknown column, or one that cannot be compared in this way."""
        if self.column not in scope.names:
            yield report_unknown(f"{place}.column", self.column, scope)
            return
        kind = scope.columns[self.column].kind if self.column in scope.columns else None
        if self.min_distance is not None and kind in _TEXTS:
            message = f"{self.column!r} is text; use max_similarity, or name an embedding column"
            yield Problem(f"{place}.column", message)
        elif self.max_similarity is not None and kind == "embedding":
            yield Problem(f"{place}.column", f"{self.column!r} has vectors; use min_distance")


class SelectProcessorConfig(ProcessorConfig):
    """Keeps the rows with the highest scores, and among them only rows that differ."""

    processor_type: Annotated[Literal["select"], OWN] = "select"
    by: str | None = None
    """Score of a row: a column of numbers, or a Jinja expression in braces such as
    `{{ verdict.helpful.score * verdict.deep.score }}`. Rows with equal scores are considered
    in the order of the dataset, and rows whose score is not a number are removed; default: all
    scores are equal."""
    order: Literal["descending", "ascending"] = "descending"
    """`descending` prefers high scores, `ascending` prefers low ones."""
    top: int | None = Field(default=None, ge=1)
    """Number of rows to keep, of each group if `per` is set; default: no limit."""
    top_share: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of the rows to keep, or of the rows of each group if `per` is set; an alternative to
    `top`. The number of rows is rounded, and at least one row is kept."""
    per: list[str] | None = Field(default=None, min_length=1)
    """Columns whose values form the groups for `top` and `top_share`; default: one group."""
    diverse: Diversity | None = None
    """How much selected rows must differ; default: they may be equal. The rows are considered from
    the best to the worst, and each is compared with all rows that were selected before it."""

    @field_validator("by")
    @classmethod
    def _compiles(cls, by: str | None) -> str | None:
        if by is not None and "{" in by:
            Condition.compile(by)
        return by

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if self.top is not None and self.top_share is not None:
            raise ValueError("top and top_share exclude each other; remove one of them")
        if self.top is None and self.top_share is None:
            if self.diverse is None:
                raise ValueError("it would keep all rows; set top, top_share or diverse")
            if self.per is not None:
                raise ValueError("per applies to top and top_share; set one of them")
        return self

    @property
    def _score(self) -> Condition | None:
        return Condition.compile(self.by) if self.by is not None and "{" in self.by else None

    @property
    def _keys(self) -> list[str]:
        """Columns that scores and groups are computed from."""
        scores = sorted(self._score.references) if self._score else [self.by] if self.by else []
        return list(dict.fromkeys([*scores, *(self.per or ())]))

    @property
    def reads(self) -> list[str]:
        """Columns of the score, of the groups, and the one that is compared."""
        return list(dict.fromkeys([*self._keys, *([self.diverse.column] if self.diverse else [])]))

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield column names that do not exist, and a column that cannot be compared."""
        place = f"processors.{self.name}"
        scores = sorted(self._score.references) if self._score else [self.by] if self.by else []
        for name in scope.unknown(scores):
            if not self._score and name.split(".")[0] in scope.names:
                message = f"is not a column; to use a field of one, write {{{{ {name} }}}}"
                yield Problem(f"{place}.by", message)
            else:
                yield report_unknown(f"{place}.by", name, scope)
        for name in scope.unknown(self.per or ()):
            yield report_unknown(f"{place}.per", name, scope)
        if self.diverse is not None:
            yield from self.diverse.problems(f"{place}.diverse", scope)

    def after_generation(self, tables: Tables) -> Iterator[pa.Table]:
        """Yield the tables with the selected rows, in the order of the dataset."""
        if self.diverse is None:
            scores, groups = self._read(tables, None)
            order = self._rank(tables, scores)
            selected, close = _choose_first(order, groups, self._quotas(groups[order], groups)), []
        else:
            with self.diverse.make_index() as index:
                scores, groups = self._read(tables, index)
                order = self._rank(tables, scores)
                missing = np.isin(order, np.asarray(index.missing))
                reason = f"{self.diverse.column!r} has no vector"
                tables.record_removed(order[missing], reason)
                order = order[~missing]
                quotas = self._quotas(groups[order], groups)
                selected, close = choose_diverse(order, groups, quotas, index)
            tables.record_removed(np.asarray(close), self.diverse.reason)
        kept = np.zeros(len(scores), dtype=np.bool_)
        kept[selected] = True
        rest = order[~np.isin(order, np.asarray([*selected, *close], dtype=np.int64))]
        tables.record_removed(rest, self._reason)
        yield from tables.filter_rows(kept)

    @property
    def _reason(self) -> str:
        top = f"{self.top}" if self.top else f"{100 * (self.top_share or 1):g} %"
        return f"not among the top {top}" + (" of its group" if self.per else "")

    def _read(
        self, tables: Tables, index: Index | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Return the scores and the groups of all rows, and add the rows to the index.

        A score that is not a number is NaN.
        """
        score = self._score
        scores: list[NDArray[np.float64]] = [np.zeros(0)]
        groups = Codes()
        for table, rows in tables.read_rows(self, self._keys):
            if self.by is None:
                scores.append(np.zeros(table.num_rows))
            else:
                scores.append(np.asarray([self._rate(row, score) for row in rows], np.float64))
            if self.per is None:
                groups.extend([""] * table.num_rows)
            else:
                names = self.per
                groups.extend([to_bytes([row[name] for name in names]).decode() for row in rows])
            if index is not None and self.diverse is not None:
                index.extend(table.column(self.diverse.column))
        return np.concatenate(scores), groups.to_array()

    def _rate(self, row: Mapping[str, Any], score: Condition | None) -> float:
        try:
            return score.to_number(row) if score else float(row[self.by or ""])
        except (UserTemplateError, TypeError, ValueError, OverflowError):
            return np.nan

    def _rank(self, tables: Tables, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the positions of the rows that have a score, from the best to the worst."""
        unrated = np.flatnonzero(np.isnan(scores))
        tables.record_removed(unrated, f"its score {self.by!r} is not a number")
        if len(unrated):
            message = "processor %r: %d rows were removed because their score is not a number"
            _logger.warning(message, self.name, len(unrated))
        keys = -scores if self.order == "descending" else scores
        return np.argsort(keys, kind="stable")[: len(scores) - len(unrated)]

    def _quotas(self, rated: NDArray[np.int32], groups: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the number of rows to keep of each group. `rated` are the groups of the rows that
        can be selected."""
        sizes = np.bincount(rated, minlength=int(groups.max(initial=-1)) + 1)
        if self.top is not None:
            return np.minimum(sizes, self.top)
        wanted = np.floor(sizes * (self.top_share or 1.0) + 0.5).astype(np.int64)
        return np.minimum(np.maximum(wanted, 1), sizes)


def _choose_first(
    order: NDArray[np.int64], groups: NDArray[np.int32], quotas: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the first rows of each group in an order."""
    ordered = groups[order]
    by_group = np.argsort(ordered, kind="stable")
    sizes = np.bincount(ordered, minlength=len(quotas))
    starts = np.cumsum(sizes) - sizes
    ranks = np.arange(len(order)) - np.repeat(starts, sizes)
    return order[by_group[ranks < np.repeat(quotas, sizes)]]
