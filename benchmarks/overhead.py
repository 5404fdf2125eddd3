"""Overhead of Prefect: a dataset through `flows` and `dd_core`, and the cost per batch.

    python -m benchmarks.overhead

Generates twenty batches with five columns in a chain, 200 ms per request and 64 parallel requests,
using a Prefect server process. `--rows 1000` is the full size and takes 15 minutes. Then generates
twenty short batches, one at a time and three at a time. With three, a flow run is created while
other batches are running, which hides the time spent waiting for an SQLite server. `--database`
selects a database other than SQLite.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.limits import chain_config
from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.server import BenchServer

_BATCHES, _COLUMNS, _PARALLEL, _LATENCY = 20, 5, 64, 0.2

_CORE = """
import sys, time
import dd_core.config as dd
from dd_core import DataDesigner
config, path, name, rows, size, batches = sys.argv[1:7]
run_config = dd.RunConfig(seed=7, buffer_size=int(size), max_concurrent_row_groups=int(batches))
designer = DataDesigner(path, run_config=run_config)
began = time.monotonic()
designer.create(config, num_records=int(rows), dataset_name=name)
print(time.monotonic() - began)
"""
_FLOWS = """
import asyncio, sys, time
import dd_core.config as dd
from flows import generate_dataset
config, path, name, rows, size, batches = sys.argv[1:7]
run_config = dd.RunConfig(seed=7, buffer_size=int(size), max_concurrent_row_groups=int(batches))
began = time.monotonic()
asyncio.run(generate_dataset(
    config, num_records=int(rows), dataset_name=name, artifact_path=path, run_config=run_config
))
print(time.monotonic() - began)
"""


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200, help="rows per batch")
    parser.add_argument("--database", help="PREFECT_API_DATABASE_CONNECTION_URL of the server")
    parser.add_argument("--port", type=int, default=4578)
    given = parser.parse_args()
    if given.database:
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = given.database
    with (
        tempfile.TemporaryDirectory() as folder,
        BenchServer(latency=_LATENCY) as model,
        PrefectProcesses(Path(folder), given.port) as prefect,
    ):
        config = chain_config(prefect.folder, model.url, "m", _COLUMNS, _PARALLEL)
        _compare(prefect, config, given.rows)
        _starting(prefect, config)


def _compare(prefect: PrefectProcesses, config: Path, rows: int) -> None:
    ideal = _BATCHES * rows * _COLUMNS * _LATENCY / _PARALLEL
    core = _seconds(prefect, _CORE, config, "core", rows, 3)
    flows = _seconds(prefect, _FLOWS, config, "flows", rows, 3)
    print(
        f"{_BATCHES} batches of {rows} rows, {_COLUMNS} columns: dd_core {core:.1f} s, flows "
        f"{flows:.1f} s, ideal {ideal:.1f} s; flows over dd_core {flows / core:.3f}",
        flush=True,
    )


def _starting(prefect: PrefectProcesses, config: Path) -> None:
    """Compare batches that take one second each."""
    for batches in (1, 3):
        core = _seconds(prefect, _CORE, config, f"core-{batches}", _PARALLEL, batches)
        flows = _seconds(prefect, _FLOWS, config, f"flows-{batches}", _PARALLEL, batches)
        print(
            f"{_BATCHES} batches of one second, {batches} at a time: dd_core {core:.1f} s, "
            f"flows {flows:.1f} s: {(flows - core) / _BATCHES:.2f} s more per batch",
            flush=True,
        )


def _seconds(
    prefect: PrefectProcesses, code: str, config: Path, name: str, rows: int, batches: int
) -> float:
    arguments = [str(config), str(prefect.folder / "datasets"), name, str(_BATCHES * rows)]
    # Each run has its own result storage, so nothing comes from the cache.
    own = {"PREFECT_LOCAL_STORAGE_PATH": str(prefect.folder / "results" / name)}
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments, str(rows), str(batches)],
        env=prefect.environment | own,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(run.stdout.split()[-1])


if __name__ == "__main__":
    main()
