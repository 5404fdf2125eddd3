"""Removes rows that do not satisfy a condition."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import field_validator

from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem, UserTemplateError
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.storage.batch import NumberedRow
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
        errors: list[UserTemplateError] = []
        failed, refused = array("q"), array("q")

        def keeps(row: NumberedRow) -> bool:
            try:
                if condition.holds(row):
                    return True
                refused.append(row.number)
            except UserTemplateError as error:
                errors[:] = errors or [error]
                failed.append(row.number)
            return False

        for table, rows in tables.read_rows(self):
            yield table.filter(pa.array(map(keeps, rows), pa.bool_()))
        tables.record_removed(np.asarray(refused), "the condition is false")
        tables.record_removed(np.asarray(failed), "the condition cannot be evaluated")
        if errors:
            message = (
                "processor %r: %d rows were removed because the condition could not be evaluated; "
                "the first error: %s"
            )
            _logger.warning(message, self.name, len(failed), errors[0])
