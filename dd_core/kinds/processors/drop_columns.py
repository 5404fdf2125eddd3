"""Leaves columns out of the dataset after they were generated."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from dd_core.errors import Problem
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.scope import Scope, report_unknown


class DropColumnsProcessorConfig(ProcessorConfig):
    """Leaves columns out of the dataset, like `drop: true` on each of them."""

    processor_type: Literal["drop_columns"] = "drop_columns"
    column_names: list[str] = Field(min_length=1)
    """Names of columns, including side-effect columns such as `review__trace`; `*` is a
    wildcard."""

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield errors for unknown names, and warnings for patterns that match nothing."""
        place = f"processors.{self.name}.column_names"
        for name in self.column_names:
            if "*" not in name and name not in scope.names:
                yield report_unknown(place, name, scope)
            elif "*" in name and not any(fnmatchcase(known, name) for known in scope.names):
                message = f"no column matches {name!r}; correct the pattern or remove it"
                yield Problem(place, message, "warning")

    def drops(self, name: str) -> bool:
        """Return whether a name is listed or matches a pattern."""
        return any(
            name == listed or ("*" in listed and fnmatchcase(name, listed))
            for listed in self.column_names
        )
