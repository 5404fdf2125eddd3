"""Twenty latency-bound batches on one worker, on two, and with one that is killed.

    python -m benchmarks.machines

Starts a Prefect server (SQLite), process workers and a model server, and prints how long each
dataset took. A batch has three columns that each depend on the previous one. All of its rows fit
into the model's slots, so a batch takes three times the latency plus the start of a process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.prefect_processes import PrefectProcesses, kill_tree
from benchmarks.server import BenchServer

_COLUMNS = 3
_ROWS = 8


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--latency", type=float, default=3.0)
    parser.add_argument("--port", type=int, default=4565)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        BenchServer(latency=given.latency, record=True) as model,
        PrefectProcesses(Path(folder), given.port) as prefect,
    ):
        os.environ.update({k: v for k, v in prefect.environment.items() if "PREFECT" in k})
        prefect.work_pool("batches")
        deployment = prefect.deploy("batches")
        run = Measured(prefect, model, deployment, given.batches)
        one = run.with_workers("one", 1)
        two = run.with_workers("two", 2)
        print(f"two workers take {two / one:.2f} of the time of one")
        run.with_workers("killed", 2, kill=True)


class Measured:
    """Runs the same dataset with different workers."""

    def __init__(
        self, prefect: PrefectProcesses, model: BenchServer, deployment: str, batches: int
    ) -> None:
        self._prefect = prefect
        self._model = model
        self._deployment = deployment
        self._batches = batches

    def with_workers(self, name: str, count: int, *, kill: bool = False) -> float:
        """Generate the dataset with `count` workers; returns the seconds that it took."""
        self._model.reset()
        workers = [self._prefect.worker("batches", f"{name}-{n}") for n in range(count)]
        began = time.monotonic()
        arguments = (workers[0],)
        killer = threading.Thread(target=self._kill, args=arguments, daemon=True) if kill else None
        if killer is not None:
            killer.start()
        summary = asyncio.run(self._generate(name, open_batches=2 * count + 1))
        seconds = time.monotonic() - began
        if killer is not None:
            killer.join()
        for worker in workers:
            if worker.poll() is None:
                self._prefect.stop(worker)
        self._report(name, summary, seconds)
        return seconds

    async def _generate(self, name: str, open_batches: int) -> Any:
        import dd_core.config as dd
        from flows import generate_dataset

        return await generate_dataset(
            config_of(self._model.url, _COLUMNS),
            num_records=self._batches * _ROWS,
            dataset_name=name,
            artifact_path=str(self._prefect.folder / "datasets"),
            run_config=dd.RunConfig(
                seed=sum(name.encode()),  # otherwise the second run would reuse cached columns
                buffer_size=_ROWS,
                # Hardly more than can run: the server writes once for every run that waits.
                max_concurrent_row_groups=open_batches,
                batch_silence=60,
            ),
            batches_on=self._deployment,
        )

    def _kill(self, worker: Any) -> None:
        """Kill a worker and its batch after a quarter of all requests."""
        enough = self._batches * _ROWS * _COLUMNS / 4
        while self._model.stats()["requests"] < enough:
            time.sleep(0.2)
        print(f"killed: {len(kill_tree(worker.pid))} processes")
        worker.wait()

    def _report(self, name: str, summary: Any, seconds: float) -> None:
        frame = pd.concat(
            pd.read_parquet(path) for path in sorted(Path(summary.path).glob("*/batch_*.parquet"))
        )
        again = sum(count - 1 for _, prompt, count in self._model.prompts() if "Go on" in prompt)
        records = [*(Path(summary.path) / "batches").glob("batch_*.json")]
        print(
            f"{name}: {seconds:.0f} s, {len(frame)} rows of {self._batches * _ROWS}, "
            f"{frame['id'].nunique()} different, {len(records)} tries at {self._batches} batches, "
            f"{again} requests repeated"
        )


def config_of(url: str, columns: int) -> Any:
    """A chain of LLM columns of this length."""
    import dd_core.config as dd

    builder = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(
                alias="m",
                model="m",
                provider="openai",
                base_url=url,
                inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=64),
            )
        ]
    )
    builder.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    before = "id"
    for number in range(columns):
        builder.add_column(
            name=f"c{number}",
            column_type="llm-text",
            model_alias="m",
            prompt=f"Go on ({number}): {{{{ {before} }}}}",
        )
        before = f"c{number}"
    return builder.build()


if __name__ == "__main__":
    main()
