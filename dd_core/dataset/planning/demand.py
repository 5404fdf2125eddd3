"""How many rows have to be generated until as many are accepted as were requested.

Rows are generated in rounds. The first has as many rows as are requested, because fewer cannot be
enough. Each further round has as many as the rate of the round before makes necessary, and a few
more, so that usually two or three rounds are enough.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from dd_core.dataset.plan import Plan
from dd_core.dataset.planning.acceptance import Quotas, list_values
from dd_core.errors import RowsExhaustedError
from dd_core.storage.batch import Batch, Part
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.files.parquet import read_parquet

_logger = logging.getLogger(__name__)

_FEW = 30
"""Number of accepted rows below which their rate is uncertain."""


@dataclass(frozen=True)
class Tally:
    """The rows that have been generated so far."""

    generated: int
    """Rows that were generated, rejected and failed ones included."""
    accepted: int
    """Rows that count towards the requested ones, within the quotas; never more than these."""


class Demand:
    """Plans the batches of a run whose dataset accepts only some of the generated rows."""

    def __init__(
        self, plan: Plan, directory: DatasetDirectory, requested: int, buffer_size: int
    ) -> None:
        assert plan.config.accept is not None
        self._accept = plan.config.accept
        self._directory = directory
        self._requested = requested
        self._buffer_size = buffer_size
        self._planned: list[Batch] = []
        """The batches that this run generates."""
        self._reach = 0
        """End of the rows that are generated or being generated."""
        self._before = Tally(0, 0)
        self.tally = Tally(0, 0)

    @property
    def is_met(self) -> bool:
        """Whether enough rows are accepted."""
        return self.tally.accepted == self._requested

    def plan_first(self, *, retry_failed: bool = False) -> list[Batch]:
        """Return the batches of the first round."""
        self._count()
        return self._directory.missing(self._extend(), self._buffer_size, retry_failed=retry_failed)

    def add(self, batches: Sequence[Batch]) -> None:
        """Note batches that the run generates."""
        self._planned += batches
        self._reach = max([self._reach, *(batch.stop for batch in batches)])

    def plan_next(self) -> list[Batch]:
        """Return the batches of another round; none if enough rows are accepted, or none may be."""
        self._count()
        _logger.info(
            "%d of %d rows are accepted, after %d rows",
            self.tally.accepted,
            self._requested,
            self._reach,
        )
        batches = self._directory.missing(self._extend(), self._buffer_size, done=self._planned)
        self.add(batches)
        return batches

    def require_met(self) -> None:
        """Raise `RowsExhaustedError` if too few rows are accepted, unless that is allowed."""
        if self.is_met or self._accept.on_exhausted == "partial":
            return
        raise RowsExhaustedError(
            f"{self.tally.accepted} of {self._requested} rows are accepted after {self._reach} "
            f"rows, and `accept.at_most` is {self._accept.at_most}; raise it, change the condition "
            "or the prompts, or set on_exhausted: partial. The rows are kept"
        )

    def _count(self) -> None:
        parts = self._directory.parts()
        self._reach = max([self._reach, *(part.stop for part in parts)])
        if self.tally.generated < self._reach:
            self._before = self.tally
            self.tally = Tally(self._reach, self._count_accepted(parts))

    def _count_accepted(self, parts: Sequence[Part]) -> int:
        quotas = Quotas(self._requested, self._accept.per)
        if not quotas.columns:
            return min(self._requested, sum(part.rows for part in parts))
        for part in sorted(parts, key=lambda each: each.start):
            table = read_parquet(part.path, columns=quotas.columns)
            for values in list_values(table, quotas.columns):
                quotas.take(values)
        return quotas.count

    def _extend(self) -> int:
        """The end of the rows to generate next."""
        lacking = self._requested - self.tally.accepted
        if not lacking:
            return self._reach
        if not self._reach:
            return min(self._accept.at_most, self._requested)
        generated = self.tally.generated - self._before.generated
        accepted = self.tally.accepted - self._before.accepted
        return min(self._accept.at_most, self._reach + estimate_rows(lacking, accepted, generated))


def estimate_rows(lacking: int, accepted: int, generated: int) -> int:
    """Return how many rows to generate for `lacking` accepted ones, given those of a round."""
    if not accepted:
        return generated  # nothing is known but that the rate is low
    if accepted < _FEW:
        # The rate may be much higher than it seems, and rows that nobody needs would be paid for.
        return math.ceil(lacking * generated / (accepted + math.sqrt(accepted)))
    rate = min(1.0, accepted / generated)
    deviation = math.sqrt(lacking * (1.0 - rate)) / rate
    return math.ceil(lacking / rate + deviation)


def find_batches(
    plan: Plan,
    directory: DatasetDirectory,
    requested: int,
    buffer_size: int,
    *,
    retry_failed: bool = False,
) -> list[Batch]:
    """Return the batches that a run starts with."""
    if plan.config.accept is None:
        return directory.missing(requested, buffer_size, retry_failed=retry_failed)
    demand = Demand(plan, directory, requested, buffer_size)
    return demand.plan_first(retry_failed=retry_failed)
