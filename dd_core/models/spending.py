"""What a dataset may cost, and what it has cost so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from dd_core.errors import BudgetExhaustedError, Problem
from dd_core.models.answers import Usage
from dd_core.models.config import ModelConfig
from dd_core.models.price import Price
from dd_core.run_config import Budget

_MILLION = 1_000_000

UsageByColumn = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Counts by model alias and column."""


class Spending:
    """The requests, tokens and dollars of a dataset, earlier runs included.

    Requests in flight count with what a request takes on average, so that a budget is not
    overdrawn while their answers are on the way.
    """

    def __init__(
        self, budget: Budget | None, on_exhausted: Callable[[BudgetExhaustedError], None]
    ) -> None:
        self._budget = budget or Budget()
        self._on_exhausted = on_exhausted
        self._at_work = 0
        self._answers = 0
        self._answered = {"tokens": 0.0, "dollars": 0.0}
        """What the answers of this run took."""
        self.spent = {"requests": 0.0, "tokens": 0.0, "dollars": 0.0}
        """What the dataset has taken; a place for a request counts as one."""

    def add_earlier(self, usage: UsageByColumn, prices: Mapping[str, Price | None]) -> None:
        """Count what earlier runs of the dataset used."""
        for alias, columns in usage.items():
            for count in columns.values():
                self.spent["requests"] += count.get("requests", 0)
                tokens = count.get("input_tokens", 0) + count.get("output_tokens", 0)
                self.spent["tokens"] += tokens
                self.spent["dollars"] += dollars(count, prices.get(alias)) or 0.0

    def allows_request(self) -> bool:
        """Whether one more request may start; when all have ended, the run is told to stop."""
        name = self._short_of()
        if name is None:
            return True
        if self._at_work == 0:
            limit = getattr(self._budget, name)
            reason = BudgetExhaustedError(
                f"the budget of {limit:,g} {name} is used up ({self.spent[name]:,.6g} so far); "
                "raise RunConfig.budget and resume to go on"
            )
            # Soon rather than now: the cell whose request has just ended is still to be stored.
            asyncio.get_running_loop().call_soon(self._on_exhausted, reason)
        return False

    def began(self) -> None:
        """A place was given for a request."""
        self._at_work += 1
        self.spent["requests"] += 1

    def answered(self, usage: Usage, price: Price | None) -> None:
        """An answer came."""
        self._answers += 1
        counts = {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens,
        }
        taken = {
            "tokens": usage.input_tokens + usage.output_tokens,
            "dollars": dollars(counts, price) or 0.0,
        }
        for name, amount in taken.items():
            self._answered[name] += amount
            self.spent[name] += amount

    def ended(self, *, was_sent: bool) -> None:
        """A place was given back, with or without its request having been sent."""
        self._at_work -= 1
        self.spent["requests"] -= not was_sent

    def _short_of(self) -> str | None:
        for name, spent in self.spent.items():
            limit = getattr(self._budget, name)
            if limit is None:
                continue
            expected = spent + 1
            if name != "requests":
                average = self._answered[name] / self._answers if self._answers else 0.0
                expected = spent + average * (self._at_work + 1)
            if expected > limit or spent >= limit:
                return name
        return None


def dollars(count: Mapping[str, Any], price: Price | None) -> float | None:
    """What tokens cost; None if the model's price is not known."""
    if price is None:
        return None
    cached = count.get("cached_tokens", 0)
    fresh = count.get("input_tokens", 0) - cached
    rate = price.input if price.cached is None else price.cached
    total = fresh * price.input + cached * rate + count.get("output_tokens", 0) * price.output
    return total / _MILLION


def costs(usage: UsageByColumn, models: Mapping[str, ModelConfig]) -> dict[str, float | None]:
    """Dollars by alias; None where the price is not known."""
    found: dict[str, float | None] = {}
    for alias, columns in usage.items():
        price = models[alias].price if alias in models else None
        each = [dollars(count, price) for count in columns.values()]
        found[alias] = None if price is None else sum(cost or 0.0 for cost in each)
    return found


def budget_problems(budget: Budget | None, models: Mapping[str, ModelConfig]) -> list[Problem]:
    """A budget in dollars needs the prices of all models."""
    if budget is None or budget.dollars is None:
        return []
    return [
        Problem(
            f"model_configs.{alias}.price",
            "is missing, so budget.dollars cannot be kept; add {input, output} per million tokens",
        )
        for alias, model in models.items()
        if model.price is None
    ]
