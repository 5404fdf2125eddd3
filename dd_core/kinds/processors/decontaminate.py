"""Removes rows that repeat texts of benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from dd_core.declaration.kind import Declaration
from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.processors._ngrams import NgramIndex
from dd_core.kinds.processors._words import list_texts
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.scope import Scope, list_known, report_unknown
from dd_core.kinds.seeds.seed import SeedSource
from dd_core.redaction.rules import ADDRESS_PATTERN, mask_address

if TYPE_CHECKING:
    import pyarrow as pa


_ROWS = 1000
"""Rows of a benchmark that are read at a time."""
_TABLES = (".parquet", ".csv", ".json", ".jsonl")


class Benchmark(Declaration):
    """Texts that the dataset must not contain. A path is short for a source with this path."""

    source: SeedSource
    """Source of the texts, declared like the source of a seed dataset: for example
    `seed_type: local` for a file with rows, `hf` for a dataset on Hugging Face, or `documents` for
    text files."""
    columns: list[str] | None = Field(default=None, min_length=1)
    """Columns with the texts; default: all columns. Includes strings in lists and objects."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_path(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given.startswith("hf://"):
            return {"source": {"seed_type": "hf", "path": given}}
        is_table = PurePosixPath(given).suffix.lower() in _TABLES
        return {"source": {"seed_type": "local" if is_table else "documents", "path": given}}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema, which allows a path; Prefect checks parameters against it."""
        made = super().__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [made, {"type": "string", "pattern": ADDRESS_PATTERN}]}

    @property
    def label(self) -> str:
        """The name of the benchmark in reports."""
        path = str(getattr(self.source, "path", None) or self.source.kind)
        return PurePosixPath(mask_address(path).partition("?")[0]).name or path

    def problems(self, place: str) -> Iterator[Problem]:
        """Yield what keeps the texts from being read."""
        found = [*self.source.problems(f"{place}.source")]
        yield from found
        if any(problem.level == "error" for problem in found):
            return
        try:
            known = self.source.open().columns
        except SeedDatasetError as error:
            yield Problem(f"{place}.source", str(error))
            return
        for name in self.columns or ():
            if name not in known:
                close = get_close_matches(name, known, n=1)
                fix = f"did you mean {close[0]!r}?" if close else list_known("columns", known)
                yield Problem(f"{place}.columns", f"{self.label} has no column {name!r}; {fix}")

    def read_texts(self) -> Iterator[str]:
        """Yield the texts."""
        table = self.source.open()
        for name in self.columns or (["text"] if self._has_documents else table.columns):
            for start in range(0, table.num_rows, _ROWS):
                rows = np.arange(start, min(start + _ROWS, table.num_rows))
                for text in list_texts([*table.take(name, rows)]):
                    yield text
                    if self._has_documents:  # files of lines, each of which is a text
                        yield from text.splitlines()

    @property
    def _has_documents(self) -> bool:
        return self.source.kind == "documents"


class DecontaminateProcessorConfig(ProcessorConfig):
    """Removes rows that share a sequence of words with a benchmark."""

    processor_type: Annotated[Literal["decontaminate"], OWN] = "decontaminate"
    columns: list[str] = Field(min_length=1)
    """Columns to check, including dropped columns. Includes strings in lists and objects."""
    against: list[Benchmark] = Field(min_length=1)
    """Files with the texts of benchmarks: paths, or sources with their columns."""
    ngram: int = Field(default=13, ge=1, le=100)
    """Number of words in a row that a text must share with a benchmark to be removed; default: 13.
    Case and punctuation do not count. A shorter text is removed only if it equals an entire
    benchmark text."""

    @property
    def reads(self) -> list[str]:
        """The columns to look into."""
        return self.columns

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield columns that do not exist, and benchmarks that cannot be read."""
        place = f"processors.{self.name}"
        for name in scope.unknown(self.columns):
            yield report_unknown(f"{place}.columns", name, scope)
        for number, benchmark in enumerate(self.against):
            yield from benchmark.problems(f"{place}.against.{number}")

    def resolve_paths(self) -> Self:
        """Return the processor with absolute paths of the benchmarks."""
        resolved = [
            each.model_copy(update={"source": each.source.resolve_paths()}) for each in self.against
        ]
        return self.model_copy(update={"against": resolved})

    def identity(self) -> dict[str, Any]:
        """Fields and the content of the benchmarks: what they contain is removed."""
        content = [each.source.open().content_hash() for each in self.against]
        fields = super().identity()
        for each in fields["against"]:
            # The same content at another place has the same effect.
            each["source"] = each["source"]["seed_type"]
        return {**fields, "content": content}

    def after_generation(self, tables: Tables) -> Iterator[pa.Table]:
        """Yield the tables without the rows that share texts with a benchmark."""
        known = NgramIndex(self.ngram, [each.read_texts() for each in self.against])
        found = [np.zeros(0, dtype=np.int64)]
        for table in tables:
            numbers = np.full(table.num_rows, len(self.against))
            for name in self.columns:
                np.minimum(numbers, known.find(table.column(name).to_pylist()), out=numbers)
            found.append(numbers)
        sources = np.concatenate(found)
        for number, benchmark in enumerate(self.against):
            reason = f"repeats {self.ngram} words or a whole text of {benchmark.label}"
            tables.record_removed(np.flatnonzero(sources == number), reason)
        yield from tables.filter_rows(sources == len(self.against))
