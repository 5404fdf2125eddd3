"""Columns that are generated but kept out of the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from dd_core.errors import Problem
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.scope import Scope, report_unknown


class DropColumnsProcessorConfig(ProcessorConfig):
    """Drops columns, as `drop: true` on each of them does."""

    processor_type: Literal["drop_columns"] = "drop_columns"
    column_names: list[str] = Field(min_length=1)
    """Names of columns or of their side effects; `*` stands for anything."""

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Names must exist; patterns should match something."""
        place = f"processors.{self.name}.column_names"
        for name in self.column_names:
            if "*" not in name and name not in scope.names:
                yield report_unknown(place, name, scope)
            elif "*" in name and not any(fnmatchcase(known, name) for known in scope.names):
                yield Problem(place, f"no column matches {name!r}", "warning")

    def drops(self, name: str) -> bool:
        """Whether a name is listed or matches a pattern."""
        return any(
            name == listed or ("*" in listed and fnmatchcase(name, listed))
            for listed in self.column_names
        )
