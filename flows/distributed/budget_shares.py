"""Divides a dataset's budget among processes that each know only their own usage."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

from dd_core.errors import BudgetExhaustedError
from dd_core.models.config import Price
from dd_core.models.usage import Budget, BudgetTracker, UsageLedger

_MIN_FRACTION = 0.01
"""Fraction of the budget that must be left to allocate it in another round."""


class BudgetAllocator:
    """Allocates shares of a budget to batches, in proportion to their rows.

    A share counts as spent until its attempt has ended, so that the shares together never exceed
    the budget. When the attempt has ended, only its actual usage counts.
    """

    def __init__(self, budget: Budget | None, prices: Mapping[str, Price | None]) -> None:
        self._budget = budget
        self._prices = prices
        self._allocated: dict[int, dict[str, float]] = {}
        self._last_remaining: dict[str, float] = {}

    def allocate(self, batch: int, rows: int, of_rows: int, spent: UsageLedger) -> Budget | None:
        """Allocate a share to a batch that has `rows` of the `of_rows` without a share.

        `spent` is the usage of everything that has no share at the moment. Returns None if there is
        no budget. Raises `BudgetExhaustedError` if nothing is left.
        """
        if self._budget is None:
            return None
        remaining = self.remaining(spent)
        share = {name: amount * min(1.0, rows / of_rows) for name, amount in remaining.items()}
        for name in ("tokens", "requests", "tool_calls"):
            if name in share:
                share[name] = floor(share[name])
        exhausted = [name for name, amount in share.items() if amount <= 0]
        if exhausted:
            raise self.make_error(exhausted[0], spent)
        self._allocated[batch] = share
        return Budget.model_validate(share)

    def adopt(self, batch: int, share: Budget | None) -> None:
        """Record the share that an earlier process of the run allocated to a running attempt."""
        if self._budget is not None and share is not None:
            self._allocated[batch] = share.model_dump(exclude_none=True)

    def release(self, batch: int) -> None:
        """Release the share of an attempt that has ended; from now on its usage is in `spent`."""
        self._allocated.pop(batch, None)

    def remaining(self, spent: UsageLedger) -> dict[str, float]:
        """What is left to allocate, by the limits of the budget."""
        limits = {} if self._budget is None else self._budget.model_dump(exclude_none=True)
        used = self._count(spent)
        return {
            name: limit - used[name] - sum(share.get(name, 0) for share in self._allocated.values())
            for name, limit in limits.items()
        }

    def start_round(self, spent: UsageLedger) -> bool:
        """Whether batches that used up their shares can continue with what the others left.

        The amount must have changed since the last round. Otherwise, batches that cannot use what
        is left, such as less than one request, would be started again forever.
        """
        if self._budget is None:
            return False
        remaining, before = self.remaining(spent), self._last_remaining
        self._last_remaining = remaining
        limits = self._budget.model_dump(exclude_none=True)
        is_enough = all(
            amount >= _MIN_FRACTION * limits[name] for name, amount in remaining.items()
        )
        return is_enough and remaining != before

    def make_error(self, name: str | None, spent: UsageLedger) -> BudgetExhaustedError:
        """The error for an exhausted limit; by default, the limit with the least left."""
        remaining = self.remaining(spent)
        name = name or min(remaining, key=lambda each: remaining[each])
        limit, used = getattr(self._budget, name), self._count(spent)[name]
        return BudgetExhaustedError(
            f"the budget of {limit:,g} {name.replace('_', ' ')} is used up or allocated "
            f"({used:,.6g} used so far); "
            "raise RunConfig.budget and resume the run to continue"
        )

    def _count(self, usage: UsageLedger) -> dict[str, float]:
        tracker = BudgetTracker(None, lambda _: None)
        tracker.add_earlier(usage, self._prices)
        return tracker.spent
