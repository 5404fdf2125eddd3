"""A request limit shared by several processes, and small limits with long chains.

    python -m benchmarks.limits

Starts a Prefect server (SQLite), process workers and a model server. Three deployments of
`generate-dataset`, each on its own worker, use one alias with a limit of 12. Then one run uses an
alias with a limit of 1, and one an alias with a limit of 2. Both have six columns in a chain and
three batches at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.server import BenchServer

_LATENCY = 0.3
_LIMIT = 12
_WATCHED = 60.0
_ROWS, _COLUMNS = 60, 6

_RUN = """
import asyncio, sys
import dd_core.config as dd
from flows import generate_dataset
config, path, name, rows, size = sys.argv[1:6]
summary = asyncio.run(generate_dataset(
    config, num_records=int(rows), dataset_name=name, artifact_path=path,
    run_config=dd.RunConfig(buffer_size=int(size)),
))
print(summary.seconds)
"""


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=4575)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        PrefectProcesses(Path(folder), given.port) as prefect,
    ):
        _three_runs(prefect)
        for limit in (1, 2):
            _small_limit(prefect, limit)


def _three_runs(prefect: PrefectProcesses) -> None:
    with BenchServer(latency=_LATENCY) as model:
        config = chain_config(prefect.folder, model.url, "shared", 3)
        _set_limit(prefect, "shared", _LIMIT)
        runs: list[str] = []
        for number in range(3):
            pool = f"pool-{number}"
            prefect.work_pool(pool)
            deployment = prefect.deploy_dataset(pool)
            prefect.worker(pool, pool)
            run = prefect.run_dataset(
                deployment,
                config=str(config),
                num_records=5000,
                dataset_name=f"run-{number}",
                artifact_path=str(prefect.folder / "datasets"),
            )
            runs.append(run)
        _until_all_hold(prefect, runs)
        model.reset()
        shares = _watched(prefect)
        stats = model.stats()
        total = sum(shares.values())
        least = min(shares.values()) / total
        print(
            f"three runs, limit {_LIMIT}: at most {stats['max_in_flight']} in flight, "
            f"{stats['mean_in_flight']:.2f} on average over {_WATCHED:.0f} s; "
            f"smallest share of a run {least:.0%}"
        )
        for run in runs:
            prefect.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        _until_ended(prefect, runs)


def _small_limit(prefect: PrefectProcesses, limit: int) -> None:
    alias = f"small-{limit}"
    with BenchServer(latency=_LATENCY) as model:
        config = chain_config(prefect.folder, model.url, alias, _COLUMNS)
        _set_limit(prefect, alias, limit)
        arguments = [str(config), str(prefect.folder / "datasets"), alias, str(_ROWS), "20"]
        run = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            env=prefect.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        ideal = _ROWS * _COLUMNS * _LATENCY / limit
        seconds = float(run.stdout.split()[-1])
        print(
            f"limit {limit}, {_COLUMNS} columns in a chain, three batches at once: "
            f"{seconds:.1f} s, {seconds / ideal:.3f} times the ideal; "
            f"at most {model.stats()['max_in_flight']} in flight"
        )


def chain_config(folder: Path, url: str, alias: str, length: int, parallel: int = 16) -> Path:
    """Write a configuration with an ID and LLM columns that each depend on the previous one."""
    parameters = {"max_parallel_requests": parallel}
    model = {"alias": alias, "model": alias, "provider": "openai", "base_url": url}
    columns: list[dict[str, Any]] = [
        {"name": "id", "column_type": "sampler", "sampler_type": "uuid", "params": {}}
    ]
    for number in range(length):
        prompt = f"Go on ({number}): {{{{ {columns[-1]['name']} }}}}"
        column = {"name": f"c{number}", "column_type": "llm-text", "model_alias": alias}
        columns.append({**column, "prompt": prompt})
    config = {"model_configs": [{**model, "inference_parameters": parameters}], "columns": columns}
    path = folder / f"{alias}.json"
    path.write_text(json.dumps(config))
    return path


def _set_limit(prefect: PrefectProcesses, alias: str, limit: int) -> None:
    named = {"name": f"tag:model:{alias}", "limit": limit, "slot_decay_per_second": 0}
    prefect.ask("/v2/concurrency_limits/", named)


def _held(prefect: PrefectProcesses) -> Counter[str]:
    """Slots by run, read from the holder IDs of the leases."""
    limit = prefect.ask("/concurrency_limits/tag/model:shared")
    held: Counter[str] = Counter()
    for holder in limit["active_slots"]:
        content = UUID(holder).bytes
        held[content[4:].hex()] += int.from_bytes(content[2:4], "big")
    return held


def _until_all_hold(prefect: PrefectProcesses, runs: list[str]) -> None:
    deadline = time.monotonic() + 180
    while len(_held(prefect)) < len(runs):
        assert time.monotonic() < deadline, "not all runs have started"
        time.sleep(0.5)
    time.sleep(5)


def _watched(prefect: PrefectProcesses) -> Counter[str]:
    total: Counter[str] = Counter()
    until = time.monotonic() + _WATCHED
    while time.monotonic() < until:
        total += _held(prefect)
        time.sleep(1)
    return total


def _until_ended(prefect: PrefectProcesses, runs: list[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        states = [prefect.ask(f"/flow_runs/{run}")["state"]["type"] for run in runs]
        if all(state in ("CANCELLED", "CRASHED", "COMPLETED", "FAILED") for state in states):
            return
        time.sleep(1)


if __name__ == "__main__":
    main()
