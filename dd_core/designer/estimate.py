"""Estimates what a dataset will cost in time, tokens and dollars, from a few rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from dd_core.engine.engine import Engine
from dd_core.engine.outcome import BatchOutcome
from dd_core.models.config import ModelConfig
from dd_core.models.tools.providers import ToolProvider
from dd_core.models.usage import UsageCount, UsageLedger, compute_cost, sum_costs


@dataclass(frozen=True)
class ModelEstimate:
    """What one model will have to do for a dataset."""

    alias: str
    requests: float
    input_tokens: float
    output_tokens: float
    seconds: float
    """Wall time that this model alone needs, within its limits."""
    dollars: float | None
    """Cost in dollars; None if the price is unknown."""


@dataclass(frozen=True)
class ToolEstimate:
    """What one tool will have to do for a dataset."""

    name: str
    calls: float
    seconds: float
    """Wall time that this tool alone needs, within the limits of its server."""


@dataclass(frozen=True)
class Estimate:
    """What a dataset will cost. The probe has few rows, so expect orders of magnitude only."""

    num_records: int
    probe_rows: int
    """Rows that were generated for the estimate."""
    models: tuple[ModelEstimate, ...] = field(default_factory=tuple)
    tools: tuple[ToolEstimate, ...] = field(default_factory=tuple)

    @property
    def seconds(self) -> float:
        """Wall time. Models and tools work concurrently, so the slowest one decides."""
        return max((each.seconds for each in (*self.models, *self.tools)), default=0.0)

    @property
    def tokens(self) -> float:
        """Tokens sent and received, for all models."""
        return sum(model.input_tokens + model.output_tokens for model in self.models)

    @property
    def dollars(self) -> float | None:
        """Cost in dollars for all models; None if a price is unknown."""
        return sum_costs(model.dollars for model in self.models)


def make_estimate(engine: Engine, probe: BatchOutcome, num_records: int) -> Estimate:
    """Scale the usage of an engine that generated a few rows up to `num_records`.

    If only some rows are accepted, as many more are needed, but never more than may be generated.
    """
    probe_rows = probe.batch.size
    factor = num_records / probe_rows
    if (accept := engine.plan.config.accept) is not None:
        most = accept.at_most / probe_rows
        factor = min(most, num_records / len(probe.rows)) if probe.rows else most
    return scale_usage(engine, probe_rows, num_records, factor)


def scale_usage(engine: Engine, probe_rows: int, num_records: int, factor: float) -> Estimate:
    """Scale the usage of an engine by a factor."""
    models: list[ModelEstimate] = []
    for alias, model in engine.models.items():
        total = UsageLedger.of({alias: model.usage}).total()
        if total.requests:
            models.append(_scale_model(model.config, total, factor))
    tools = _scale_tools(engine, factor)
    return Estimate(num_records, probe_rows, tuple(models), tuple(tools))


def _scale_tools(engine: Engine, factor: float) -> Iterator[ToolEstimate]:
    servers: dict[str, ToolProvider] = {}
    for toolbox in engine.toolboxes.values():
        servers |= toolbox.providers
    used: dict[str, Counter[str]] = {}
    for tools in engine.usage().by_tool().values():
        for name, counts in tools.items():
            used.setdefault(name, Counter()).update(counts)
    for name, server in servers.items():
        if not (count := used.get(name, Counter[str]()))["calls"]:
            continue
        calls, busy = count["calls"] * factor, count["seconds"] * factor
        per_minute = server.calls_per_minute
        by_rate = calls / per_minute * 60 if per_minute else 0.0
        yield ToolEstimate(name, calls, max(busy / server.max_parallel_calls, by_rate))


def _scale_model(config: ModelConfig, count: UsageCount, factor: float) -> ModelEstimate:
    requests = count.requests * factor
    sent, received = count.input_tokens * factor, count.output_tokens * factor
    counts = {
        "input_tokens": sent,
        "output_tokens": received,
        "cached_tokens": count.cached_tokens * factor,
    }
    parameters = config.inference_parameters
    amounts = {
        "requests": requests,
        "tokens": sent + received,
        "input_tokens": sent,
        "output_tokens": received,
    }
    by_rates = [
        amounts[name] / per_minute * 60
        for name, per_minute in parameters.rates().items()
        if per_minute is not None
    ]
    by_latency = count.seconds * factor / parameters.max_parallel_requests
    return ModelEstimate(
        alias=config.alias,
        requests=requests,
        input_tokens=sent,
        output_tokens=received,
        seconds=max([by_latency, *by_rates]),
        dollars=compute_cost(counts, config.price),
    )
