"""A dataset's budget, handed out to processes that each know only what they take themselves."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

from dd_core.errors import BudgetExhaustedError
from dd_core.models.config import Price
from dd_core.models.usage import Budget, BudgetTracker, UsageLedger

_WORTHWHILE = 0.01
"""Share of a budget below which a rest is not handed out again."""


class BudgetAllocator:
    """Hands out a budget in shares of what is left, by the rows that they are to pay for.

    A share counts as spent until its try has ended, so the shares together never exceed the budget.
    """

    def __init__(self, budget: Budget | None, prices: Mapping[str, Price | None]) -> None:
        self._budget = budget
        self._prices = prices
        self._out: dict[int, dict[str, float]] = {}
        self._last_rest: dict[str, float] = {}

    def share(self, batch: int, rows: int, of_rows: int, spent: UsageLedger) -> Budget | None:
        """The share of a batch with `rows` of the `of_rows` that are still to be paid for.

        `spent` is what batches without a share out have taken. None if there is no budget; raises
        `BudgetExhaustedError` when nothing is left.
        """
        if self._budget is None:
            return None
        left = self.left(spent)
        parts = {name: amount * min(1.0, rows / of_rows) for name, amount in left.items()}
        for name in ("tokens", "requests"):
            if name in parts:
                parts[name] = floor(parts[name])
        short = [name for name, amount in parts.items() if amount <= 0]
        if short:
            raise self.exhausted(short[0], spent)
        self._out[batch] = parts
        return Budget.model_validate(parts)

    def taken_over(self, batch: int, share: Budget | None) -> None:
        """A try that an earlier attempt of the run began has its share already."""
        if self._budget is not None and share is not None:
            self._out[batch] = share.model_dump(exclude_none=True)

    def ended(self, batch: int) -> None:
        """A batch's try has ended: what it took is among what is spent from now on."""
        self._out.pop(batch, None)

    def left(self, spent: UsageLedger) -> dict[str, float]:
        """What can be handed out."""
        limits = {} if self._budget is None else self._budget.model_dump(exclude_none=True)
        taken = self._spent(spent)
        return {
            name: limit - taken[name] - sum(share.get(name, 0) for share in self._out.values())
            for name, limit in limits.items()
        }

    def is_worth_another_round(self, spent: UsageLedger) -> bool:
        """Whether batches that used up their shares can go on with what others left over."""
        if self._budget is None:
            return False
        left, before = self.left(spent), self._last_rest
        self._last_rest = left
        limits = self._budget.model_dump(exclude_none=True)
        enough = all(amount >= _WORTHWHILE * limits[name] for name, amount in left.items())
        return enough and left != before

    def exhausted(self, name: str | None, spent: UsageLedger) -> BudgetExhaustedError:
        """The error that says so."""
        left = self.left(spent)
        name = name or min(left, key=lambda each: left[each])
        limit, taken = getattr(self._budget, name), self._spent(spent)[name]
        return BudgetExhaustedError(
            f"the budget of {limit:,g} {name} is used up or handed out ({taken:,.6g} so far); "
            "raise RunConfig.budget and resume to go on"
        )

    def _spent(self, usage: UsageLedger) -> dict[str, float]:
        spending = BudgetTracker(None, lambda _: None)
        spending.add_earlier(usage, self._prices)
        return spending.spent
