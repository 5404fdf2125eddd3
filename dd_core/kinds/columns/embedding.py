"""Embedding vectors of the text in another column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np

from dd_core.declaration.own_fields import OWN
from dd_core.declaration.syntax import parse_literal
from dd_core.errors import DataDesignerGenerationError, Problem
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.models.conversation import retry_rejected
from dd_core.storage.schema import make_vectors

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable
    from dd_core.models.admission.slot import RequestSlot

_DEFAULT = ("dtype", "float32")


class EmbeddingColumnConfig(Column):
    """Embedding vectors of a string or of a list of strings.

    Each value is `{embeddings, num_embeddings, dimension}`.
    """

    model_types: ClassVar[tuple[str, ...]] = ("embedding",)
    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "max_duplicate_share")

    column_type: Literal["embedding"] = "embedding"
    target_column: str
    """Column to embed. A cell is a string, a list of strings, or a list written as JSON."""
    model_alias: str
    """Alias of an embedding model."""
    dtype: Annotated[Literal["float32", "float64"], OWN] = "float32"
    """Type of the numbers. With `float32`, the values are rounded when the answer arrives."""

    @property
    def required_columns(self) -> list[str]:
        """The column that is embedded."""
        return [self.target_column]

    def identity(self) -> dict[str, Any]:
        """Return the declaration; the default type of numbers is left out.

        Datasets that were begun before `dtype` existed can be continued.
        """
        fields = super().identity()
        return {name: fields[name] for name in fields if (name, fields[name]) != _DEFAULT}

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield a problem if the target column does not exist."""
        yield from super().problems(scope)
        if scope.unknown([self.target_column]):
            place = f"columns.{self.name}.target_column"
            yield report_unknown(place, self.target_column, scope)

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of `{embeddings, num_embeddings, dimension}`."""
        import pyarrow as pa

        numbers = pa.float32() if self.dtype == "float32" else pa.float64()
        vectors = pa.list_(make_vectors(numbers))
        counts = [("num_embeddings", pa.int64()), ("dimension", pa.int64())]
        return {self.name: pa.struct([("embeddings", vectors), *counts])}

    def bind(self, binding: Binding) -> CellColumn:
        """Return the generator, which sends one request per row."""
        return _EmbeddingCells(self, binding)


class _EmbeddingCells(CellColumn):
    def __init__(self, column: EmbeddingColumnConfig, binding: Binding) -> None:
        self.model = self._model = binding.models[column.model_alias]
        self._column = column
        self._limits = binding.conversation

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Return the vectors of one row; an empty list of strings needs no request."""
        column = self._column
        texts = extract_texts(row[column.target_column])
        if texts is None:
            raise DataDesignerGenerationError(
                f"column {column.target_column!r} is null in this row; "
                f"set skip on column {column.name!r} for such rows"
            )
        assert slot is not None
        vectors = await self._embed(slot, texts) if texts else []
        value = {
            "embeddings": vectors,
            "num_embeddings": len(vectors),
            "dimension": len(vectors[0]) if vectors else 0,
        }
        return {column.name: value}

    async def _embed(self, slot: RequestSlot, texts: list[str]) -> list[list[float]]:
        vectors = await retry_rejected(
            lambda: self._model.embed(slot, texts, self._column.name), self._limits
        )
        return vectors if self._column.dtype == "float64" else _round_vectors(vectors)


def _round_vectors(vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    """Round vectors of one length to float32, so that every reader gets the stored numbers."""
    with np.errstate(over="ignore"):
        rounded = np.asarray(vectors, np.float32)
    if not np.isfinite(rounded).all():
        raise DataDesignerGenerationError(
            "the vector has a number that is too large for float32; set dtype to float64"
        )
    return rounded.tolist()


def extract_texts(value: Any) -> list[str] | None:
    """Return the strings to embed: the items of a list, or the value itself; None for null.

    A string that contains a list is treated as that list. Other types become JSON.
    """
    if value is None:
        return None
    if isinstance(value, str):
        listed = _parse_list(value)
        return [value] if listed is None else extract_texts(listed)
    if isinstance(value, list | tuple):
        return [_to_text(each) for each in cast("list[Any]", value)]
    return [_to_text(value)]


def _parse_list(text: str) -> list[Any] | None:
    """Return the list that text contains, in JSON or Python syntax; None if there is none."""
    if not text.lstrip().startswith("["):
        return None
    for read in (json.loads, parse_literal):
        try:
            value: Any = read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return cast("list[Any]", value)
    return None


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
