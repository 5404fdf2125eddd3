"""Fifty datasets at once on one Prefect server, with SQLite or PostgreSQL.

    python -m benchmarks.fifty
    python -m benchmarks.fifty --postgres

Starts all datasets at the same moment, ten of them in each of five processes, and checks that every
run ends as Completed, that no row is missing or repeated, and that no request to the model is sent
twice. Prints how often the server responded with an error, and what its log says about locks.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.growth import open_database
from benchmarks.machines import config_of
from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.recorded_batch import ID
from benchmarks.server import BenchServer

_BATCHES, _SIZE, _COLUMNS = 2, 10, 3
_STATUS = re.compile(r'"(\w+ \S+) HTTP/1\.1" (\d{3})')
_LOCKED = re.compile(
    r"database is locked|DatabaseLocked|TimeoutError|QueuePool limit", re.IGNORECASE
)
_RUNS = """
import asyncio, os, sys, time
import dd_core.config as dd
from flows import generate_dataset
config, path, first, count, rows, size, begin = sys.argv[1:8]

async def one(number):
    return await generate_dataset(
        config, num_records=int(rows), dataset_name=f"d{number}", artifact_path=path,
        run_config=dd.RunConfig(seed=number, buffer_size=int(size), max_concurrent_row_groups=2),
        return_state=True,
    )

async def main():
    while not os.path.exists(begin):
        await asyncio.sleep(0.05)
    numbers = range(int(first), int(first) + int(count))
    for ended in await asyncio.gather(*map(one, numbers), return_exceptions=True):
        if isinstance(ended, BaseException):  # Prefect could not create or end the flow run
            print(" ".join(f"{type(ended).__name__}: {ended}".split())[:200])
        else:
            print(ended.name if ended.is_completed() else f"{ended.name}: {ended.message}")

open(f"{begin}-{first}", "w").close()
asyncio.run(main())
"""


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="use PostgreSQL instead of SQLite")
    parser.add_argument("--datasets", type=int, default=50)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--port", type=int, default=4640)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        open_database(Path(name), given.port + 1 if given.postgres else None),
        BenchServer(latency=0.5) as model,
        PrefectProcesses(Path(name), given.port, PREFECT_SERVER_LOGGING_LEVEL="INFO") as prefect,
    ):
        folder = Path(name)
        config = folder / "config.json"
        config.write_text(config_of(model.url, _COLUMNS).model_dump_json())
        began = time.monotonic()
        states = run_all(prefect, config, given.datasets, given.processes)
        print(f"{'PostgreSQL' if given.postgres else 'SQLite'}, {time.monotonic() - began:.0f} s")
        print("states:", dict(states))
        print(f"rows: {count_rows(folder / 'datasets')} of {given.datasets * _BATCHES * _SIZE}")
        expected = given.datasets * _BATCHES * _SIZE * _COLUMNS
        print(
            "requests to the model:",
            _without_checks(model.stats()["requests"], expected, given.datasets),
        )
        print_log(folder / "server.log")


def run_all(prefect: PrefectProcesses, config: Path, datasets: int, processes: int) -> Counter[str]:
    """Generate the datasets; returns the number of runs by final state."""
    begin = prefect.folder / "begin"
    each = -(-datasets // processes)
    running: list[subprocess.Popen[str]] = []
    for first in range(0, datasets, each):
        count = min(each, datasets - first)
        path = prefect.folder / "datasets"
        given = [config, path, first, count, _BATCHES * _SIZE, _SIZE, begin]
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", _RUNS, *map(str, given)],
                env=prefect.environment,
                stdout=subprocess.PIPE,
                stderr=(prefect.folder / f"process-{first}.log").open("wb"),
                text=True,
            )
        )
    try:
        while len([*prefect.folder.glob("begin-*")]) < len(running):
            if any(process.poll() for process in running):
                raise RuntimeError(f"a process failed; see {prefect.folder}")
            time.sleep(0.1)
        begin.touch()
        return Counter(line for each in running for line in each.communicate()[0].splitlines())
    finally:
        for process in running:
            process.kill()


def count_rows(path: Path) -> str:
    """Number of rows in all datasets, and how many of them are different."""
    ids: list[Any] = []
    for part in path.glob("*/parquet-files/*.parquet"):
        ids.extend(pq.read_table(part, columns=["id"])["id"].to_pylist())
    return f"{len(ids)}, {len({*ids})} different,"


def _without_checks(requests: int, expected: int, datasets: int) -> str:
    """Requests without those with which each run checks its model before it starts."""
    return f"{requests - datasets} of {expected}"


def print_log(log: Path) -> None:
    """Print the statuses of responses, and how often the log mentions locks or timeouts."""
    text = log.read_text(errors="replace")
    responses = [(ID.sub("<id>", route), status) for route, status in _STATUS.findall(text)]
    print("responses by status:", dict(Counter(status for _, status in responses)))
    failed = Counter(f"{status} {route}" for route, status in responses if status[0] == "5")
    print("errors of the server:", dict(failed))
    print("locks and timeouts in the log:", dict(Counter(_LOCKED.findall(text))))


if __name__ == "__main__":
    main()
