"""Removes rows that do not satisfy a condition."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import field_validator

from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem, UserTemplateError
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.templates.template import Condition

if TYPE_CHECKING:
    import pyarrow as pa


_logger = logging.getLogger(__name__)


class FilterRowsProcessorConfig(ProcessorConfig):
    """Keeps the rows of the finished dataset for which a condition is true."""

    processor_type: Annotated[Literal["filter_rows"], OWN] = "filter_rows"
    condition: str
    """Jinja condition, for example `{{ verdict.helpful.score >= 2 }}`, over any columns, dropped
    columns included. Rows for which it cannot be evaluated are removed."""

    @field_validator("condition")
    @classmethod
    def _compiles(cls, condition: str) -> str:
        Condition.compile(condition)
        return condition

    @property
    def reads(self) -> list[str]:
        """Columns that the condition refers to."""
        return sorted(Condition.compile(self.condition).references)

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield names in the condition that do not exist."""
        for name in scope.unknown(self.reads):
            yield report_unknown(f"processors.{self.name}.condition", name, scope)

    def after_generation(self, tables: Tables) -> Iterator[pa.Table]:
        """Yield the tables without the rows that do not satisfy the condition."""
        import pyarrow as pa

        condition = Condition.compile(self.condition)
        failed: list[UserTemplateError] = []

        def keeps(row: Mapping[str, Any]) -> bool:
            try:
                return condition.holds(row)
            except UserTemplateError as error:
                failed.append(error)
                return False

        for table, rows in tables.read_rows(self):
            yield table.filter(pa.array(map(keeps, rows), pa.bool_()))
        if failed:
            message = (
                "processor %r: %d rows were removed because the condition could not be evaluated; "
                "the first error: %s"
            )
            _logger.warning(message, self.name, len(failed), failed[0])
