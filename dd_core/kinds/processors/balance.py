"""Removes rows of values that are too common, so that a column has the wanted distribution."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem
from dd_core.kinds.draws import Draws
from dd_core.kinds.processors._words import Codes, to_text
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.scope import Scope, report_unknown

if TYPE_CHECKING:
    import pyarrow as pa


_logger = logging.getLogger(__name__)
_ROUNDING = 1e-6
_MOST_SHOWN = 10


class BalanceProcessorConfig(ProcessorConfig):
    """Removes random rows with common values so that the values of a column have given shares."""

    processor_type: Annotated[Literal["balance"], OWN] = "balance"
    column: str
    """Column whose values are balanced. Rows without a value are removed."""
    target: dict[str, float] | Literal["equal"] | None = None
    """Share of each value, for example `{easy: 0.5, hard: 0.5}`, or `equal` for the same number of
    rows of every value; default: no target shares. The shares must add up to 1, and rows with
    other values are removed. Write values that are numbers, booleans or objects as JSON."""
    at_most: int | None = Field(default=None, ge=1)
    """Largest number of rows of each value; default: no limit."""

    @field_validator("target", mode="before")
    @classmethod
    def _writes_values(cls, target: Any) -> Any:
        if not isinstance(target, Mapping):
            return target
        shares = cast("Mapping[Any, Any]", target)
        return {to_text(value): share for value, share in shares.items()}

    @field_validator("target")
    @classmethod
    def _are_shares(cls, target: dict[str, float] | str | None) -> dict[str, float] | str | None:
        if isinstance(target, dict):
            if wrong := [value for value, share in target.items() if not 0 < share <= 1]:
                raise ValueError(f"the share of {wrong[0]!r} must be above 0 and at most 1")
            if abs((total := sum(target.values())) - 1) > _ROUNDING:
                raise ValueError(f"the shares add up to {total:g}; they must add up to 1")
        return target

    @model_validator(mode="after")
    def _balances(self) -> Self:
        if self.target is None and self.at_most is None:
            raise ValueError("it would keep all rows; set target or at_most")
        return self

    @property
    def reads(self) -> list[str]:
        """The column that is balanced."""
        return [self.column]

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield a column that does not exist."""
        for name in scope.unknown(self.reads):
            yield report_unknown(f"processors.{self.name}.column", name, scope)

    def after_generation(self, tables: Tables) -> Iterator[pa.Table]:
        """Yield the tables without the rows of too common values that were drawn for removal."""
        found = Codes()
        null = np.zeros(0, dtype=np.bool_)
        for table in tables:
            column = table.column(self.column)
            found.extend([to_text(value) for value in column.to_pylist()])
            null = np.append(null, column.is_null().to_numpy())
        codes, names = found.to_array(), [*found.names]
        tables.record_removed(np.flatnonzero(null), f"{self.column!r} has no value")
        counts = np.bincount(codes[~null], minlength=len(names))
        quotas = self._choose_quotas(names, counts)
        kept = self._draw(tables, codes, quotas, ~null)
        removed = np.flatnonzero(~kept & ~null)
        removed = removed[np.argsort(codes[removed], kind="stable")]
        limits = np.searchsorted(codes[removed], np.arange(len(names) + 1))
        for code, name in enumerate(names):
            rows = removed[limits[code] : limits[code + 1]]
            tables.record_removed(rows, self._explain(name, int(quotas[code])))
        yield from tables.filter_rows(kept)

    def _explain(self, name: str, quota: int) -> str:
        shown = repr(name if len(name) <= 40 else f"{name[:37]}...")
        is_other = isinstance(self.target, dict) and name not in self.target
        return f"{shown} is not in the target" if is_other else f"more than {quota} rows of {shown}"

    def _choose_quotas(self, names: list[str], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of rows to keep of each value."""
        available = np.minimum(counts, self.at_most or counts.max(initial=0))
        present = [code for code, count in enumerate(available.tolist()) if count]
        if self.target is None or not present:
            return available
        if self.target == "equal":
            shares = {code: Fraction(1) for code in present}
        else:
            given = {name: Fraction(str(share)) for name, share in self.target.items()}
            shares = {code: given[names[code]] for code in present if names[code] in given}
            self._warn_of_missing({names[code] for code in shares})
        quotas = np.zeros_like(available)
        for code, quota in compute_quotas(shares, available.tolist()).items():
            quotas[code] = quota
        return quotas

    def _warn_of_missing(self, present: set[str]) -> None:
        missing = [name for name in self.target or () if name not in present]
        if missing:
            listed = ", ".join(map(repr, missing[:_MOST_SHOWN]))
            message = "processor %r: no row of column %r has the value %s; the others are balanced"
            _logger.warning(message, self.name, self.column, listed)

    def _draw(
        self,
        tables: Tables,
        codes: NDArray[np.int32],
        quotas: NDArray[np.int64],
        usable: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Return which rows to keep: of each value, those whose random numbers are smallest."""
        draws = Draws(tables.seed, self.name, 0, int(tables.numbers.max(initial=-1)) + 1)
        rows = np.flatnonzero(usable)
        # A stream of its own, in case a sampler column has the name of the processor.
        random = draws.bits("balance")[tables.numbers[rows]]
        order = rows[np.lexsort((random, codes[rows]))]
        sizes = np.bincount(codes[rows], minlength=len(quotas))
        starts = np.cumsum(sizes) - sizes
        ranks = np.arange(len(order)) - np.repeat(starts, sizes)
        kept = np.zeros(len(codes), dtype=np.bool_)
        kept[order[ranks < np.repeat(quotas, sizes)]] = True
        return kept


def compute_quotas(shares: Mapping[int, Fraction], available: list[int]) -> dict[int, int]:
    """Return as many rows of each value as the shares and the available rows allow.

    Shares are relative. What is lost when they are rounded to whole rows goes to the values with
    the largest remainders.
    """
    if not shares:
        return {}
    whole = sum(shares.values())
    total = min(int(available[code] * whole / share) for code, share in shares.items())
    exact = {code: total * share / whole for code, share in shares.items()}
    quotas = {code: int(value) for code, value in exact.items()}
    by_remainder = sorted(exact, key=lambda code: (quotas[code] - exact[code], code))
    for code in by_remainder[: total - sum(quotas.values())]:
        quotas[code] += 1
    return quotas
