"""Load of many workers on a Prefect server with PostgreSQL, from the recorded calls of one batch.

    python -m benchmarks.scale

Generates three batches on a real worker and records what the dataset's run, the worker and the
batch's process send. Then simulated workers replay the second batch, more of them in each step. For
each step, the benchmark prints what the server needed and whether it kept up.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from benchmarks.growth import Database, open_database
from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.recorded_batch import Script, describe_minute, record
from benchmarks.server import BenchServer
from benchmarks.simulated_workers import Measured, simulate

_TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 50, 100, 200])
    parser.add_argument("--waits", type=int, default=1, help="how often a batch waits for 40 s")
    parser.add_argument("--seconds", type=float, default=300.0, help="duration of a step")
    parser.add_argument("--port", type=int, default=4620)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_database(Path(folder), given.port + 9) as database,
        BenchServer(latency=0.1) as model,
        PrefectProcesses(Path(folder), given.port) as prefect,
    ):
        script = record(prefect, model, given.port + 1)
        describe(script)
        allow_slots(prefect, max(given.workers))
        steps = Steps(prefect, database, script, given.waits, given.seconds)
        print(f"idle: {steps.idle():.2f} CPU s per minute", flush=True)
        for workers in given.workers:
            steps.run(workers)
        print(errors_of(Path(folder) / "server.log"))


class Steps:
    """Steps with different numbers of workers, and the CPU time of the server and PostgreSQL."""

    def __init__(
        self,
        prefect: PrefectProcesses,
        database: Database,
        script: Script,
        waits: int,
        seconds: float,
    ) -> None:
        self._prefect = prefect
        self._database = database
        self._script = script
        self._waits = waits
        self._seconds = seconds

    def idle(self, seconds: float = 30.0) -> float:
        """CPU seconds per minute without any client."""
        before = self._cpu()
        time.sleep(seconds)
        return (sum(self._cpu()) - sum(before)) * 60 / seconds

    def run(self, workers: int) -> None:
        """Run one step and print the results."""
        before, began = self._cpu(), time.monotonic()
        api = self._prefect.api
        measured = asyncio.run(simulate(api, self._script, workers, self._seconds, self._waits))
        ended = time.monotonic() - began
        backlog = self._settle()
        api_cpu, database_cpu = (now - then for now, then in zip(self._cpu(), before, strict=True))
        print(format_step(workers, measured, ended, (api_cpu, database_cpu), backlog), flush=True)

    def _settle(self) -> float:
        """Seconds until the server has recorded everything that it received."""
        began = time.monotonic()
        self._database.settled()
        return time.monotonic() - began

    def _cpu(self) -> tuple[float, float]:
        postgres = self._database.postgres
        assert postgres is not None
        return cpu_seconds(self._prefect.server.pid), cpu_seconds(postgres.server.pid)


def describe(script: Script) -> None:
    """Print what was recorded."""
    print("one batch, without the time in which it waits:")
    for route, count in script.routes().most_common():
        print(f"  {count:4} {route}")
    print("each minute in which it waits:")
    for route, count in describe_minute(script).items():
        print(f"  {count:4.1f} {route}", flush=True)


def allow_slots(prefect: PrefectProcesses, workers: int) -> None:
    """Raise the limit of the model, so that every simulated worker gets its slots."""
    limit = {"limit": 64 * (workers + 1)}
    prefect.ask("/v2/concurrency_limits/tag:model:m", limit, method="PATCH")


def format_step(
    workers: int, measured: Measured, seconds: float, cpu: tuple[float, float], backlog: float
) -> str:
    """One line about a step, and one for each kind of failure."""
    latencies = sorted(measured.latencies) or [0.0]
    lateness = sorted(measured.lateness) or [0.0]
    half, most = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    batches = max(1, measured.batches)
    lines = [
        f"{workers} workers: {measured.batches} batches in {seconds:.0f} s, "
        f"{measured.requests / seconds:.1f} requests/s and {measured.messages / seconds:.1f} "
        f"messages/s; CPU s per batch: server {cpu[0] / batches:.2f}, "
        f"PostgreSQL {cpu[1] / batches:.2f}; cores: {cpu[0] / seconds:.2f} and "
        f"{cpu[1] / seconds:.2f}; latency {1000 * half:.0f} ms (p99 {1000 * most:.0f} ms); "
        f"batches late by {lateness[len(lateness) // 2]:.1f} s (most {lateness[-1]:.1f} s); "
        f"recorded {backlog:.0f} s after the end"
    ]
    return "\n    ".join(lines + [f"{n} x {what}" for what, n in measured.failures.most_common(8)])


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, and of its children, including those that have ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return 0.0
    own = sum(int(field) for field in stat[11:15]) / _TICK
    return own + sum(cpu_seconds(int(child)) for text in lists for child in text.split())


def errors_of(log: Path) -> str:
    """The errors in the log of the server, each once, with their number."""
    counts: dict[str, int] = {}
    for line in log.read_text(errors="replace").splitlines():
        if "Error" in line or "ERROR" in line:
            what = line.split("|", 2)[-1].strip()[:150]
            counts[what] = counts.get(what, 0) + 1
    return (
        "\n".join(f"{n} x {what}" for what, n in counts.items()) or "no errors in the server's log"
    )


if __name__ == "__main__":
    main()
