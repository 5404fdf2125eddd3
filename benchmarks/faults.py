"""Runs against servers that reject requests, fail, die or gain capacity.

    python -m benchmarks.faults

Every figure is a ratio: wall time over the time that the server's capacity alone requires, or
requests over the number of unavoidable requests.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

import dd_core.config as dd
from benchmarks.server import BenchServer
from dd_core import DataDesigner

_LATENCY = 0.1
_CAPACITY = 16


@dataclass(frozen=True)
class Figures:
    """Results of a scenario."""

    wall_over_ideal: float | None
    requests_over_needed: float
    rows_lost: int
    remark: str = ""


def dataset(
    *urls: str, parallel: int = 64, structured: bool = False, **parameters: Any
) -> dd.DataDesignerConfig:
    """A dataset with one LLM column, whose model is on one or more servers."""
    model: dict[str, Any] = (
        {"base_url": urls[0]} if len(urls) == 1 else {"endpoints": [{"base_url": u} for u in urls]}
    )
    inference = {"max_parallel_requests": parallel, **parameters}
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="m", inference_parameters=inference, **model)]  # type: ignore[arg-type]
    )
    builder.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    column: dict[str, Any] = {"model_alias": "m", "prompt": "On {{ id }}"}
    if structured:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        builder.add_column(
            name="text", column_type="llm-structured", output_format=schema, **column
        )
    else:
        builder.add_column(name="text", column_type="llm-text", **column)
    return builder.build()


def generate(config: dd.DataDesignerConfig, rows: int) -> tuple[float, int, dict[str, float]]:
    """Generate a dataset; returns the seconds, rows and usage of the run."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        results = DataDesigner(folder).create(config, num_records=rows)
        return time.perf_counter() - began, results.count_records(), results.usage["m"]["text"]


def refusing(retry_after: str) -> Figures:
    """The client may send more parallel requests than the server accepts."""
    rows = 2000
    with BenchServer(latency=_LATENCY, capacity=_CAPACITY, retry_after=retry_after) as server:
        seconds, count, usage = generate(dataset(server.url), rows)
    ideal = rows * _LATENCY / _CAPACITY
    return Figures(seconds / ideal, usage["requests"] / rows, rows - count)


def failing(**rates: float) -> Figures:
    """A share of the requests fails; every failure makes one more request unavoidable."""
    rows = 2000
    with BenchServer(latency=0.02, **rates) as server:
        _, count, usage = generate(dataset(server.url, structured=True), rows)
    needed = rows / (1 - sum(rates.values()))
    return Figures(None, usage["requests"] / needed, rows - count)


def dying() -> Figures:
    """One of two servers is killed halfway."""
    rows = 2000
    with BenchServer(latency=_LATENCY) as one, BenchServer(latency=_LATENCY) as other:
        config = dataset(one.url, other.url, parallel=32)
        killer = threading.Timer(3.0, other.close)
        killer.start()
        seconds, count, usage = generate(config, rows)
        killer.join()
    ideal = rows * _LATENCY / 32
    return Figures(seconds / ideal, usage["requests"] / rows, rows - count)


def growing() -> Figures:
    """The server's capacity doubles after 10 s; measures the time until 90% of it is used."""
    used_after: list[float] = []
    with BenchServer(latency=_LATENCY, capacity=_CAPACITY, retry_after="1") as server:

        def grow_and_watch() -> None:
            time.sleep(10)
            server.settings(capacity=2 * _CAPACITY)
            grown = time.perf_counter()
            while time.perf_counter() - grown < 30 and not used_after:
                before = server.stats()["models"]["m"]["requests"]
                time.sleep(1)
                done = server.stats()["models"]["m"]["requests"] - before
                if done >= 0.9 * 2 * _CAPACITY / _LATENCY:
                    used_after.append(time.perf_counter() - grown)

        watcher = threading.Thread(target=grow_and_watch)
        watcher.start()
        _, count, usage = generate(dataset(server.url), 6000)
        watcher.join()
    remark = f"90% used after {used_after[0]:.0f} s" if used_after else "90% never used"
    return Figures(None, usage["requests"] / 6000, 6000 - count, remark)


def rated() -> Figures:
    """60,000 tokens per minute, about 30 per request; measures the share of the limit in use."""
    rows, per_minute = 1500, 60_000
    with BenchServer(latency=0.05, output_tokens=20) as server:
        seconds, count, usage = generate(dataset(server.url, tokens_per_minute=per_minute), rows)
    tokens = usage["input_tokens"] + usage["output_tokens"]
    rate = tokens / seconds * 60
    return Figures(None, usage["requests"] / rows, rows - count, f"{rate / per_minute:.3f} used")


SCENARIOS: dict[str, Callable[[], Figures]] = {
    "429 for more than 16 requests, Retry-After: 1": lambda: refusing("1"),
    "429 for more than 16 requests, no Retry-After": lambda: refusing("none"),
    "5% of responses with status 500": lambda: failing(error_rate=0.05),
    "5% of responses truncated": lambda: failing(broken_rate=0.05),
    "5% of responses violate the schema": lambda: failing(malformed_rate=0.05),
    "all three": lambda: failing(error_rate=0.05, broken_rate=0.05, malformed_rate=0.05),
    "one of two servers dies": dying,
    "capacity doubles": growing,
    "tokens per minute": rated,
}


def main() -> None:
    """Measure and print the table."""
    table = Table(title="Servers that reject requests, fail, die or gain capacity")
    for heading in ("scenario", "wall time / ideal", "requests / needed", "rows lost", ""):
        table.add_column(heading)
    for name, scenario in SCENARIOS.items():
        figures = scenario()
        wall = "" if figures.wall_over_ideal is None else f"{figures.wall_over_ideal:.2f}"
        requests = f"{figures.requests_over_needed:.2f}"
        table.add_row(name, wall, requests, str(figures.rows_lost), figures.remark)
    Console().print(table)


if __name__ == "__main__":
    main()
