"""Wall time over the ideal time for two dataset shapes, with and without Prefect.

    python -m benchmarks.shapes

A local server responds after 200 ms. The ideal is the time that the models alone need: cells of the
busiest model x latency / parallel requests. Each figure is the median of three runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

import dd_core.config as dd
from benchmarks.server import BenchServer
from dd_core import DataDesigner

ROWS = 200
LATENCY = 0.2
PARALLEL = 16
RUNS = 3

Run = Callable[[dd.DataDesignerConfig], float]


def chain(url: str) -> tuple[dd.DataDesignerConfig, float]:
    """Four LLM columns of one model that each depend on the previous one."""
    builder = _begun(url, "m")
    before = "topic"
    for number in range(4):
        builder.add_column(
            name=f"c{number}",
            column_type="llm-text",
            model_alias="m",
            prompt=f"{{{{ {before} }}}} goes on",
        )
        before = f"c{number}"
    return builder.build(), 4 * ROWS * LATENCY / PARALLEL


def two_models(url: str) -> tuple[dd.DataDesignerConfig, float]:
    """Three text columns of one model, each with a judge column of another model."""
    builder = _begun(url, "writer", "judge")
    scale = {1: "bad", 2: "good"}
    for number in range(3):
        builder.add_column(
            name=f"text{number}",
            column_type="llm-text",
            model_alias="writer",
            prompt=f"Text {number} on {{{{ topic }}}}",
        )
        builder.add_column(
            name=f"verdict{number}",
            column_type="llm-judge",
            model_alias="judge",
            prompt=f"Judge {{{{ text{number} }}}}",
            scores=[dd.Score(name="quality", description="Quality", options=scale)],
        )
    return builder.build(), 3 * ROWS * LATENCY / PARALLEL


def _begun(url: str, *aliases: str) -> dd.DataDesignerConfigBuilder:
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=PARALLEL)
    builder = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(
                alias=alias,
                model=alias,
                provider="openai",
                base_url=url,
                inference_parameters=parameters,
            )
            for alias in aliases
        ]
    )
    return builder.add_column(
        name="topic",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["tea", "rain", "trains", "chess"]},
    )


def through_library(config: dd.DataDesignerConfig) -> float:
    """Run `dd_core`; returns the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        DataDesigner(folder).create(config, num_records=ROWS)
        return time.perf_counter() - began


def through_flows(config: dd.DataDesignerConfig) -> float:
    """Run the Prefect flow; returns the seconds."""
    from flows import generate_dataset

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        asyncio.run(generate_dataset(config, num_records=ROWS, artifact_path=folder))
        return time.perf_counter() - began


@contextmanager
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server (SQLite) that this process uses."""
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = os.environ | {
            "PREFECT_HOME": home,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        }
        environment.pop("PREFECT_API_URL", None)
        prefect = str(Path(sys.executable).with_name("prefect"))
        server = subprocess.Popen(
            [prefect, "server", "start", "--port", str(port)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.environ |= {
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_HOME": home,
            "PREFECT_LOGGING_LEVEL": "WARNING",
        }
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/health")
            yield
        finally:
            server.terminate()
            server.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(f"no answer from {url}")


def medians_by_shape() -> dict[str, tuple[float, float]]:
    """Median seconds through the library and through the flows, for both shapes."""
    with BenchServer(latency=LATENCY) as server, prefect_server():
        return {
            label: tuple(  # pyright: ignore[reportReturnType]
                statistics.median(run(config) for _ in range(RUNS))
                for run in (through_library, through_flows)
            )
            for label, (config, _) in (
                ("chain of four columns", chain(server.url)),
                ("three generators, three judges, two models", two_models(server.url)),
            )
        }


def main() -> None:
    """Run the benchmark and print the table."""
    table = Table(title=f"Wall time over ideal, {ROWS} rows, {LATENCY * 1000:.0f} ms")
    for heading in ("shape", "through", "first run", "median", "busiest model in flight"):
        table.add_column(heading)
    with BenchServer(latency=LATENCY) as server, prefect_server():
        for shape in (chain, two_models):
            config, ideal = shape(server.url)
            for run in (through_library, through_flows):
                seconds: list[float] = []
                for _ in range(RUNS):
                    server.reset()
                    seconds.append(run(config))
                models = server.stats()["models"].values()
                busiest = max(track["mean_in_flight"] for track in models)
                table.add_row(
                    shape.__name__,
                    "dd_core" if run is through_library else "flows",
                    f"{seconds[0] / ideal:.2f}",
                    f"{statistics.median(seconds) / ideal:.2f}",
                    f"{busiest:.1f} of {PARALLEL}",
                )
    Console().print(table)


if __name__ == "__main__":
    main()
