"""What was asked of models, what it cost, and the budget that bounds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields

from pydantic import Field

from dd_core.declaration.kind import Declaration
from dd_core.errors import BudgetExhaustedError, Problem
from dd_core.models.config import ModelConfig, Price
from dd_core.models.wire.answers import Usage
from dd_core.models.wire.judgement import Verdict

_MILLION = 1_000_000

UsageByColumn = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Counts by model alias and column."""
Prices = Mapping[str, Price | None]
"""Prices by model alias; None where the price is unknown."""


class Budget(Declaration):
    """Limits on what a dataset may use, including resumed runs.

    The run stops cleanly at the first limit that it reaches and keeps everything that was paid for.
    To continue, resume it with a larger budget.
    """

    dollars: float | None = Field(default=None, gt=0)
    """Maximum cost in dollars, based on the `price` of each model."""
    tokens: int | None = Field(default=None, gt=0)
    """Maximum number of tokens, input and output."""
    requests: int | None = Field(default=None, gt=0)
    """Maximum number of requests, including failed requests. If it is set, the readiness of models
    is not checked before the run."""
    tool_calls: int | None = Field(default=None, gt=0)
    """Maximum number of tool calls, including failed calls."""


@dataclass
class ToolCount:
    """The calls of one tool for one column; every field is a running total."""

    calls: int = 0
    """Calls that were sent to a server."""
    errors: int = 0
    """Those of them that failed."""
    refused: int = 0
    """Calls that were not sent, because of their name, their arguments or the limit of turns."""
    seconds: float = 0.0
    """Duration, summed over calls."""
    result_bytes: int = 0
    """Size of what the model received."""


@dataclass
class UsageCount:
    """What one column asked of one model; every field is a running total."""

    requests: int = 0
    failed_requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    images: int = 0
    empty_answers: int = 0
    refused_answers: int = 0
    filtered_answers: int = 0
    truncated_answers: int = 0
    """Answers that a limit of tokens cut off, whether or not they were kept."""
    tool_call_answers: int = 0
    failed_answers: int = 0
    """Answers that the server or the model broke off."""
    truncated_values: int = 0
    """Values that were kept although they had been cut off."""
    seconds: float = 0.0
    """Time in flight, summed over requests."""
    waiting: float = 0.0
    """Time between the requests of one cell: back-off, and slots for further requests."""
    tool_turns: int = 0
    """Answers in which the model called tools."""
    tool_calls: int = 0
    """Calls that were sent to a server."""
    tool_errors: int = 0
    """Those of them that failed."""
    tool_seconds: float = 0.0
    """Time that cells waited for tools; the calls of one turn overlap."""
    tools: dict[str, ToolCount] = field(default_factory=dict[str, ToolCount])
    """The calls by tool."""

    def count(self, usage: Usage) -> None:
        """Add the tokens of one answer."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.cached_tokens += usage.cached_tokens
        self.images += usage.images

    def count_rejected(self, verdict: Verdict) -> None:
        """Count an answer that was not usable."""
        name = f"{verdict}_answers"
        setattr(self, name, getattr(self, name) + 1)

    def add(self, other: Mapping[str, float]) -> None:
        """Add another count, given as a mapping of the same fields."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + other.get(name, 0))

    def count_tool_call(self, tool: str, seconds: float, size: int, *, is_error: bool) -> None:
        """Count a call that was sent to a server; `size` is that of its result, in bytes."""
        count = self.tools.setdefault(tool, ToolCount())
        count.calls += 1
        count.errors += is_error
        count.seconds += seconds
        count.result_bytes += size
        self.tool_calls += 1
        self.tool_errors += is_error

    def count_refused_tool_call(self, tool: str) -> None:
        """Count a call that was not sent."""
        self.tools.setdefault(tool, ToolCount()).refused += 1

    def to_counts(self) -> dict[str, float]:
        """All totals by name, those of a tool as `tool/<name of the tool>/<field>`."""
        counts: dict[str, float] = {name: getattr(self, name) for name in _SUMS}
        for tool, each in self.tools.items():
            counts |= {f"{_TOOL}{tool}/{name}": n for name, n in asdict(each).items()}
        return counts


_SUMS = tuple(each.name for each in fields(UsageCount) if each.name != "tools")
_TOOL = "tool/"


class UsageLedger:
    """Usage by model alias and column, of one run or of several together.

    Ledgers are values: `+` and `-` make new ones. The counts of each column are a mapping, so that
    counts written by another version of this package survive.
    """

    def __init__(self, counts: UsageByColumn | None = None) -> None:
        self._counts: dict[str, dict[str, dict[str, float]]] = {
            alias: {column: {**count} for column, count in columns.items()}
            for alias, columns in (counts or {}).items()
        }

    @classmethod
    def of(cls, counts: Mapping[str, Mapping[str, UsageCount]]) -> UsageLedger:
        """The ledger of live counts, as they are now."""
        return cls(
            {
                alias: {column: count.to_counts() for column, count in columns.items()}
                for alias, columns in counts.items()
            }
        )

    def __iter__(self) -> Iterator[tuple[str, str, Mapping[str, float]]]:
        """Model alias, column and counts."""
        for alias, columns in self._counts.items():
            for column, count in columns.items():
                yield alias, column, count

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __add__(self, other: UsageLedger) -> UsageLedger:
        return self._plus(other, 1)

    def __sub__(self, other: UsageLedger) -> UsageLedger:
        return self._plus(other, -1)

    def _plus(self, other: UsageLedger, sign: int) -> UsageLedger:
        result = UsageLedger(self._counts)
        for alias, columns in other._counts.items():
            known = result._counts.setdefault(alias, {})
            for column, count in columns.items():
                sums = known.setdefault(column, {})
                for name, value in count.items():
                    sums[name] = sums.get(name, 0) + sign * value
        return result

    def total(self) -> UsageCount:
        """Usage over all models and columns."""
        total = UsageCount()
        for _, _, count in self:
            total.add(count)
        return total

    def by_column(self) -> dict[str, dict[str, float]]:
        """Each column's usage over all models."""
        columns: dict[str, dict[str, float]] = {}
        for _, column, count in self:
            known = columns.setdefault(column, {})
            for name, value in count.items():
                known[name] = known.get(name, 0.0) + value
        return columns

    def by_tool(self) -> dict[str, dict[str, dict[str, float]]]:
        """The fields of `ToolCount` by column and by tool."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for column, count in self.by_column().items():
            for name, value in count.items():
                if name.startswith(_TOOL):
                    tool, _, total = name.removeprefix(_TOOL).rpartition("/")
                    found.setdefault(column, {}).setdefault(tool, {})[total] = value
        return found

    def costs(self, prices: Prices) -> dict[str, float | None]:
        """Dollars by model alias; None where the price is unknown."""
        found: dict[str, float | None] = {}
        for alias, columns in self._counts.items():
            price = prices.get(alias)
            each = [compute_cost(count, price) for count in columns.values()]
            found[alias] = None if price is None else sum(cost or 0.0 for cost in each)
        return found

    def to_dict(self) -> dict[str, dict[str, dict[str, float]]]:
        """The counts as nested dictionaries, as `metadata.json` holds them."""
        return UsageLedger(self._counts)._counts


class BudgetTracker:
    """The requests, tokens and dollars that a dataset has used, earlier runs included.

    A request in flight counts with the average of the answers so far, so that a budget is not
    exceeded while answers are on their way.
    """

    def __init__(
        self, budget: Budget | None, on_exhausted: Callable[[BudgetExhaustedError], None]
    ) -> None:
        self._budget = budget or Budget()
        self._on_exhausted = on_exhausted
        self._in_flight = 0
        self._answers = 0
        self._answered = {"tokens": 0.0, "dollars": 0.0}
        """Usage of this run's answers."""
        self.spent = {"requests": 0.0, "tokens": 0.0, "dollars": 0.0, "tool_calls": 0.0}
        """Usage of the dataset; a slot that holds capacity for a request counts as one."""
        self._conversations = 0
        """Conversations with tool calls that have not ended."""
        self._needs_tool_calls = False
        """Whether a cell waits for tool calls that the budget does not allow."""

    def add_earlier(self, usage: UsageLedger, prices: Prices) -> None:
        """Count the usage of earlier runs or of other processes."""
        for alias, _, count in usage:
            self.spent["requests"] += count.get("requests", 0)
            self.spent["tool_calls"] += count.get("tool_calls", 0)
            self.spent["tokens"] += count.get("input_tokens", 0) + count.get("output_tokens", 0)
            self.spent["dollars"] += compute_cost(count, prices.get(alias)) or 0.0

    def allows_request(self) -> bool:
        """Whether one more request may start.

        If not, and no request is in flight any more, the run is told to stop.
        """
        name = self._exhausted()
        if name is None:
            return True
        self._stop_if_idle(name)
        return False

    def allows_new_cell(self) -> bool:
        """Whether a cell may send its first request."""
        if self._needs_tool_calls:
            self._stop_if_idle("tool_calls")
        return not self._needs_tool_calls

    def open_conversation(self) -> None:
        """Count a conversation that has tool calls, until it is closed."""
        self._conversations += 1

    def close_conversation(self) -> None:
        """Count a conversation out."""
        self._conversations -= 1
        if self._needs_tool_calls:
            self._stop_if_idle("tool_calls")

    def spend_tool_calls(self, count: int) -> bool:
        """Count tool calls that are about to be made; False if the budget does not allow them.

        Then no further cells start, and the run is told to stop when all conversations have ended
        or need more calls as well.
        """
        limit = self._budget.tool_calls
        if limit is not None and self.spent["tool_calls"] + count > limit:
            self._needs_tool_calls = True
            return False
        self.spent["tool_calls"] += count
        return True

    def return_tool_call(self) -> None:
        """Count out a call that was not sent to a server."""
        self.spent["tool_calls"] -= 1

    def _stop_if_idle(self, name: str) -> None:
        # Conversations may go on without tool calls, but not without requests.
        goes_on = self._in_flight + (self._conversations if name == "tool_calls" else 0)
        if not goes_on:
            limit = getattr(self._budget, name)
            reason = BudgetExhaustedError(
                f"the budget of {limit:,g} {name.replace('_', ' ')} is used up "
                f"({self.spent[name]:,.6g} so far); raise RunConfig.budget and resume to continue"
            )
            # Not now: the cell whose request has just ended still has to be stored.
            asyncio.get_running_loop().call_soon(self._on_exhausted, reason)

    def start(self) -> None:
        """Count a slot that was granted for a request."""
        self._in_flight += 1
        self.spent["requests"] += 1

    def count_answer(self, usage: Usage, price: Price | None) -> None:
        """Count the tokens of an answer."""
        self._answers += 1
        counts = {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens,
        }
        taken = {
            "tokens": usage.input_tokens + usage.output_tokens,
            "dollars": compute_cost(counts, price) or 0.0,
        }
        for name, amount in taken.items():
            self._answered[name] += amount
            self.spent[name] += amount

    def finish(self, *, was_sent: bool) -> None:
        """Count a slot out, whether or not its request was sent."""
        self._in_flight -= 1
        self.spent["requests"] -= not was_sent
        if self._needs_tool_calls:
            self._stop_if_idle("tool_calls")

    def _exhausted(self) -> str | None:
        """The limit that one more request would exceed."""
        for name, spent in self.spent.items():
            limit = getattr(self._budget, name)
            if limit is None or name == "tool_calls":
                continue
            expected = spent + 1
            if name != "requests":
                average = self._answered[name] / self._answers if self._answers else 0.0
                expected = spent + average * (self._in_flight + 1)
            if expected > limit or spent >= limit:
                return name
        return None


def describe_rejected(count: Mapping[str, float]) -> str:
    """The answers that were not usable, such as `2 empty, 1 truncated`; empty if all were."""
    numbers = {verdict: count.get(f"{verdict}_answers", 0) for verdict in Verdict}
    parts = [f"{n:,.0f} {verdict.replace('_', ' ')}" for verdict, n in numbers.items() if n]
    if kept := count.get("truncated_values"):
        parts.append(f"{kept:,.0f} truncated but kept")
    return ", ".join(parts)


def compute_cost(count: Mapping[str, float], price: Price | None) -> float | None:
    """The cost of tokens in dollars; None if the price is unknown."""
    if price is None:
        return None
    cached = count.get("cached_tokens", 0)
    fresh = count.get("input_tokens", 0) - cached
    rate = price.input if price.cached is None else price.cached
    total = fresh * price.input + cached * rate + count.get("output_tokens", 0) * price.output
    return total / _MILLION


def sum_costs(costs: Iterable[float | None]) -> float | None:
    """The sum of costs in dollars; None if one of them is unknown."""
    found = [*costs]
    known = [cost for cost in found if cost is not None]
    return sum(known) if len(known) == len(found) else None


def check_budget(budget: Budget | None, models: Mapping[str, ModelConfig]) -> list[Problem]:
    """A budget in dollars needs the prices of all models."""
    if budget is None or budget.dollars is None:
        return []
    return [
        Problem(
            f"model_configs.{alias}.price",
            "is missing, so budget.dollars cannot be enforced; add {input, output} in dollars per "
            "million tokens",
        )
        for alias, model in models.items()
        if model.price is None
    ]
