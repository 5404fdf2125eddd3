"""What Prefect costs: a dataset through `flows` and through `dd_core`, and what batches cost.

    python -m benchmarks.overhead

Twenty batches, five columns in a chain, 200 ms a request, 64 in parallel, on a Prefect server
process; `--rows 1000` is the full size and takes a quarter of an hour. Then twenty short batches,
one at a time and three at a time: a batch whose flow run is created while the one before is still
at work hides what an SQLite server makes it wait. `--database` takes another database than SQLite.
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200, help="rows a batch")
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
    """Batches that take one second of requests each."""
    for batches in (1, 3):
        core = _seconds(prefect, _CORE, config, f"core-{batches}", _PARALLEL, batches)
        flows = _seconds(prefect, _FLOWS, config, f"flows-{batches}", _PARALLEL, batches)
        print(
            f"{_BATCHES} batches of one second, {batches} at a time: dd_core {core:.1f} s, "
            f"flows {flows:.1f} s: {(flows - core) / _BATCHES:.2f} s more a batch",
            flush=True,
        )


def _seconds(
    prefect: PrefectProcesses, code: str, config: Path, name: str, rows: int, batches: int
) -> float:
    arguments = [str(config), str(prefect.folder / "datasets"), name, str(_BATCHES * rows)]
    # A storage of its own: nothing is taken from the cache.
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
