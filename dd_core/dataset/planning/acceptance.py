"""The declaration of which generated rows a dataset accepts, until it has as many as requested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from dd_core.declaration.kind import Declaration
from dd_core.errors import Problem
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.templates.template import Condition

if TYPE_CHECKING:
    import pyarrow as pa

ACCEPTED = "(accepted)"
"""Name of the internal column that says whether a row is accepted."""
_NAME = re.compile(r"\w+")


class Accept(Declaration):
    """Which rows are accepted. The dataset then has as many accepted rows as were requested."""

    when: str = Field(min_length=1)
    """Jinja condition for an accepted row, such as `{{ verdict.ok.score == 1 }}`, or the name of a
    column. Where it cannot be evaluated, the row is rejected."""
    at_most: int = Field(ge=1)
    """Maximum number of rows to generate until enough are accepted, rejected and failed ones
    included."""
    on_exhausted: Literal["raise", "partial"] = "raise"
    """What happens if too few rows are accepted by then: `raise` ends the run with an error
    (default), `partial` with the rows that there are."""
    per: dict[str, int] | None = None
    """Quotas: by column, the maximum number of accepted rows with the same value. Default: none."""

    @field_validator("when")
    @classmethod
    def _is_condition(cls, given: str) -> str:
        source = f"{{{{ {given.strip()} }}}}" if _NAME.fullmatch(given.strip()) else given
        Condition.compile(source)
        return source

    @field_validator("per")
    @classmethod
    def _are_quotas(cls, given: dict[str, int] | None) -> dict[str, int] | None:
        for name, quota in (given or {}).items():
            if quota < 1:
                raise ValueError(f"the quota of {name!r} is {quota}; set it to at least 1")
        return given or None

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield names that do not exist."""
        for field, names in (
            ("when", sorted(Condition.compile(self.when).references)),
            ("per", [*(self.per or ())]),
        ):
            for name in scope.unknown(names):
                yield report_unknown(f"accept.{field}", name, scope)


class Quotas:
    """Counts rows towards the number that is wanted, and towards the quota of each value."""

    def __init__(self, wanted: int | None, per: dict[str, int] | None) -> None:
        self._wanted = wanted
        self._per = per or {}
        self._counts: dict[str, dict[Any, int]] = {name: {} for name in self._per}
        self.count = 0
        """Rows that were taken."""

    @property
    def columns(self) -> list[str]:
        """The columns with quotas."""
        return [*self._per]

    def take(self, values: tuple[Any, ...]) -> str | None:
        """Take a row with these values of the columns, or return why it is left out."""
        if self._wanted is not None and self.count >= self._wanted:
            return "more rows than requested were accepted"
        keys = [repr(value) for value in values]
        for (name, quota), key, value in zip(self._per.items(), keys, values, strict=True):
            if self._counts[name].get(key, 0) >= quota:
                return f"the quota of {quota} rows is filled for {name} = {value!r}"
        for name, key in zip(self._per, keys, strict=True):
            self._counts[name][key] = self._counts[name].get(key, 0) + 1
        self.count += 1
        return None


class AcceptedRows(ProcessorConfig):
    """Keeps the first accepted rows, as many as were requested, within the quotas."""

    name: str = "accepted-rows"
    wanted: int | None
    """Number of rows; None for all."""
    per: dict[str, int] | None

    @property
    def reads(self) -> list[str]:
        """The columns with quotas."""
        return [*(self.per or ())]

    def after_generation(self, tables: Tables) -> Iterator[pa.Table]:
        """Yield the tables with the rows that are kept."""
        import pyarrow as pa

        quotas = Quotas(self.wanted, self.per)
        left_out: dict[str, list[int]] = {}
        position = 0
        for table in tables:
            kept = np.ones(table.num_rows, dtype=np.bool_)
            for row, values in enumerate(list_values(table, quotas.columns)):
                if (reason := quotas.take(values)) is not None:
                    kept[row] = False
                    left_out.setdefault(reason, []).append(position + row)
            position += table.num_rows
            yield table.filter(pa.array(kept))
        for reason, positions in left_out.items():
            tables.record_removed(np.asarray(positions), reason)


def list_values(table: pa.Table, names: list[str]) -> Iterator[tuple[Any, ...]]:
    """Yield each row's values of some columns."""
    if not names:
        yield from (() for _ in range(table.num_rows))
        return
    yield from zip(*(table.column(name).to_pylist() for name in names), strict=True)
