"""Vectors of a column's texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from dd_core.declaration.syntax import parse_literal
from dd_core.errors import DataDesignerGenerationError, Problem
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row
from dd_core.kinds.scope import Scope, report_unknown

if TYPE_CHECKING:
    from dd_core.models.admission.slot import RequestSlot


class EmbeddingColumnConfig(Column):
    """`{embeddings, num_embeddings, dimension}` of a text, or of each text of a list."""

    model_types: ClassVar[tuple[str, ...]] = ("embedding",)
    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "max_duplicate_share")

    column_type: Literal["embedding"] = "embedding"
    target_column: str
    """The column to embed: texts, lists of texts, or lists written as JSON."""
    model_alias: str
    """Alias of the embedding model."""

    @property
    def required_columns(self) -> list[str]:
        """The embedded column."""
        return [self.target_column]

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """The target must exist."""
        yield from super().problems(scope)
        if scope.unknown([self.target_column]):
            place = f"columns.{self.name}.target_column"
            yield report_unknown(place, self.target_column, scope)

    def bind(self, binding: Binding) -> CellColumn:
        """The generator that sends one request a row."""
        return _Embedding(self, binding)


class _Embedding(CellColumn):
    def __init__(self, column: EmbeddingColumnConfig, binding: Binding) -> None:
        self.model = self._model = binding.models[column.model_alias]
        self._column = column

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """The vectors of one row."""
        column = self._column
        texts = extract_texts(row[column.target_column])
        if texts is None:
            raise DataDesignerGenerationError(
                f"column {column.target_column!r} is empty, so there is nothing to embed; "
                f"set `skip` on {column.name!r} for such rows"
            )
        assert slot is not None
        vectors = await self._model.embed(slot, texts, column.name) if texts else []
        value = {
            "embeddings": vectors,
            "num_embeddings": len(vectors),
            "dimension": len(vectors[0]) if vectors else 0,
        }
        return {column.name: value}


def extract_texts(value: Any) -> list[str] | None:
    """The texts to embed: those of a list, of a list written as text, or the value's own text."""
    if value is None:
        return None
    if isinstance(value, str):
        listed = _list_in(value)
        return [value] if listed is None else extract_texts(listed)
    if isinstance(value, list | tuple):
        return [_text(each) for each in cast("list[Any]", value)]
    return [_text(value)]


def _list_in(text: str) -> list[Any] | None:
    """The list that a text spells as JSON or as Python; None for other texts."""
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
