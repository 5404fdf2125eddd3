"""Cost of a batch that runs as its own deployment run, for the Prefect server.

    python -m benchmarks.server_cost

Counts the requests that the dataset's run, the worker and the batches send, the rows and bytes
added to the server's SQLite database, and the server's CPU time. From these figures,
docs/many-machines.md estimates the cost of a large dataset.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.counting_proxy import CountingProxy
from benchmarks.machines import config_of
from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.server import BenchServer

_TABLES = (
    "flow_run",
    "flow_run_state",
    "task_run",
    "task_run_state",
    "log",
    "events",
    "event_resources",
    "artifact",
)
_SETTLING = 10.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """Work done by the server, in total or per unit."""

    requests: float
    """Requests from the process of the batch."""
    worker: float
    """Requests from the worker."""
    parent: float
    """Requests from the dataset's run."""
    megabytes: float
    """Growth of the database."""
    rows: dict[str, float]
    """Rows added to the database, by table."""
    cpu: float
    """CPU seconds of the server."""
    seconds: float

    def less(self, other: Cost, over: float = 1.0) -> Cost:
        """The difference from another cost, divided by `over`."""
        return Cost(
            (self.requests - other.requests) / over,
            (self.worker - other.worker) / over,
            (self.parent - other.parent) / over,
            (self.megabytes - other.megabytes) / over,
            {name: (n - other.rows[name]) / over for name, n in self.rows.items()},
            (self.cpu - other.cpu) / over,
            (self.seconds - other.seconds) / over,
        )

    def __str__(self) -> str:
        rows = ", ".join(f"{name} {n:.1f}" for name, n in self.rows.items() if n)
        return (
            f"{self.requests:.1f} requests of the batch, {self.worker:.1f} of the worker, "
            f"{self.parent:.1f} of the dataset's run; {self.megabytes * 1000:.1f} kB; "
            f"{self.cpu:.2f} s CPU; {self.seconds:.1f} s; rows: {rows}"
        )


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=4570)
    parser.add_argument("--batches", type=int, default=6)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        BenchServer(latency=0.0) as model,
        PrefectProcesses(Path(folder), given.port) as prefect,
    ):
        clients = [CountingProxy(given.port + n, given.port) for n in (1, 2, 3)]
        api = [f"http://127.0.0.1:{given.port + n}/api" for n in (1, 2, 3)]
        prefect.environment["PREFECT_LOGGING_LEVEL"] = "INFO"  # the default
        prefect.work_pool("batches")
        prefect.deploy("batches", PREFECT_API_URL=api[2])
        os.environ.update({k: v for k, v in prefect.environment.items() if "PREFECT" in k})
        os.environ["PREFECT_API_URL"] = api[0]
        prefect.environment["PREFECT_API_URL"] = api[1]
        prefect.environment["PREFECT_WORKER_QUERY_SECONDS"] = "10"  # the default
        worker = prefect.worker("batches", "worker", limit=2)
        measured = Measured(prefect, model, clients)
        measured.run("warm", 1, 2)
        idle = measured.idle(30)
        two = measured.run("two columns", given.batches, 2)
        six = measured.run("six columns", given.batches, 6)
        model.settings(latency=25.0)
        long = measured.run("long", 1, 3)
        prefect.stop(worker)
        column = six.less(two, given.batches * 4)
        print("idle, 30 s:", idle)
        print("per column:", column)
        print("per batch of two columns:", two.less(_NOTHING, given.batches))
        print("a batch of 75 s with three columns:", long)
        for name, client in zip(("parent", "worker", "batch"), clients, strict=True):
            print(name, client.counts.most_common(25))


class Measured:
    """Runs datasets and measures their cost for the server."""

    def __init__(
        self, prefect: PrefectProcesses, model: BenchServer, clients: list[CountingProxy]
    ) -> None:
        self._prefect = prefect
        self._model = model
        self._clients = clients

    def run(self, name: str, batches: int, columns: int) -> Cost:
        """Generate one dataset and return its cost."""
        before = self._now()
        asyncio.run(self._generate(name, batches, columns))
        ended = time.monotonic()
        time.sleep(_SETTLING)
        cost = self._now().less(before)
        cost.seconds = ended - (before.seconds)
        print(f"{name}: {cost}", flush=True)
        return cost

    def idle(self, seconds: float) -> Cost:
        """Cost of an idle worker."""
        before = self._now()
        time.sleep(seconds)
        return self._now().less(before)

    async def _generate(self, name: str, batches: int, columns: int) -> Any:
        import dd_core.config as dd
        from flows import generate_dataset

        return await generate_dataset(
            config_of(self._model.url, columns),
            num_records=batches * 8,
            dataset_name=name,
            artifact_path=str(self._prefect.folder / "datasets"),
            run_config=dd.RunConfig(
                seed=sum(name.encode()), buffer_size=8, max_concurrent_row_groups=batches
            ),
            batches_on="generate-batch/batches",
        )

    def _now(self) -> Cost:
        parent, worker, batch = (client.requests for client in self._clients)
        rows, size = self._database()
        return Cost(batch, worker, parent, size / 1e6, rows, self._cpu(), time.monotonic())

    def _database(self) -> tuple[dict[str, float], float]:
        path = next((self._prefect.folder / "prefect").glob("*.db"))
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30) as connection:

            def number(query: str) -> float:
                return float(connection.execute(query).fetchone()[0])

            rows = {name: number(f"select count(*) from {name}") for name in _TABLES}
            pages = number("pragma page_count") - number("pragma freelist_count")
            return rows, pages * number("pragma page_size")

    def _cpu(self) -> float:
        fields = (
            Path(f"/proc/{self._prefect.server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        )
        return (int(fields[11]) + int(fields[12])) / _TICK


_NOTHING = Cost(0, 0, 0, 0, Counter(), 0, 0)


if __name__ == "__main__":
    main()
