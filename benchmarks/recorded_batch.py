"""The API calls of one real batch on a worker, as a script that simulated workers replay."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.machines import config_of
from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.recording_proxy import Exchange, RecordingProxy
from benchmarks.server import BenchServer

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
WORKER = "recorded-worker"
READ_LIMITS = "POST /api/concurrency_limits/filter"
POLL = "POST /api/flow_runs/filter"
CREATE = re.compile(r"POST /api/deployments/<id>/create_flow_run")
TASK = "POST /api/task_runs/"
_OF_THE_RUN = re.compile(
    r"POST .*/create_flow_run|POST /api/task_runs/|GET /api/deployments/name/.*"
)
"""What the dataset's run sends once per batch. The rest of its requests depend on time."""
_COLUMNS = 6
_ROWS = 8
_WAITING = 57.0
"""Seconds for which the first column of the recorded batch waits for its model. After a minute, the
requests would be sent again."""
_STEADY_BEGIN, STEADY_SECONDS = 10.0, 40.0
_REFRESH_SECONDS = 12.0
"""How often a run reads its limits if it shares them with 200 runs (flows/limits/keeper.py)."""


@dataclass(frozen=True)
class Script:
    """What the dataset's run, the worker and the batch's process send for one batch, in order."""

    start: list[Exchange]
    steady: list[Exchange]
    """Forty seconds in which the batch only waits for its model; repeated for longer batches."""
    end: list[Exchange]
    poll: Exchange
    """How the dataset's run asks for the states of its batches."""
    static: frozenset[str]
    """IDs that all batches share, such as that of the deployment."""
    greetings: dict[str, list[Exchange]]
    """The first messages of the worker on each of its WebSockets, by path."""
    consumer: str
    """The ID by which the worker introduces itself."""

    def routes(self) -> Counter[str]:
        """Number of requests and messages by client and route, without the steady part."""
        return Counter(f"{each.client:6} {each.route}" for each in [*self.start, *self.end])


def record(prefect: PrefectProcesses, model: BenchServer, port: int) -> Script:
    """Generate three batches on a worker through a proxy, and make a script of the second one.

    The first column of the second batch waits for its model for almost a minute.
    """
    clients = {"run": port, "worker": port + 1, "batch": port + 2}
    proxy = RecordingProxy(int(prefect.api.split(":")[2].split("/")[0]), clients)
    api = {name: f"http://127.0.0.1:{number}/api" for name, number in clients.items()}
    prefect.work_pool("batches")
    prefect.deploy("batches", PREFECT_API_URL=api["batch"])
    prefect.environment |= {
        "PREFECT_API_URL": api["worker"],
        "PREFECT_WORKER_QUERY_SECONDS": "10",  # the default
        "PREFECT_LOGGING_LEVEL": "INFO",  # the default
    }
    worker = prefect.worker("batches", WORKER, limit=1)
    own = {k: v for k, v in prefect.environment.items() if "PREFECT" in k}
    os.environ.update(own | {"PREFECT_API_URL": api["run"]})
    is_over = threading.Event()
    slowing = threading.Thread(
        target=_slow_second_batch, args=(prefect.folder, model, is_over), daemon=True
    )
    slowing.start()
    asyncio.run(_generate(prefect, model.url))
    time.sleep(10)  # until the process of the last batch and its logs have ended
    is_over.set()
    prefect.stop(worker)
    return make_script(sorted(proxy.exchanges, key=lambda each: each.at))


def _slow_second_batch(folder: Path, model: BenchServer, is_over: threading.Event) -> None:
    """Let the requests of the first column of the second batch wait."""
    first = folder / "datasets" / "recorded" / "parquet-files" / "batch_00000.parquet"
    while not first.exists():
        if is_over.wait(0.1):
            return
    model.settings(latency=_WAITING)
    while model.stats()["in_flight"] < _ROWS:
        if is_over.wait(0.1):
            return
    model.settings(latency=0.1)


async def _generate(prefect: PrefectProcesses, url: str) -> None:
    import dd_core.config as dd
    from flows import generate_dataset

    await generate_dataset(
        config_of(url, _COLUMNS),
        num_records=3 * _ROWS,
        dataset_name="recorded",
        artifact_path=str(prefect.folder / "datasets"),
        run_config=dd.RunConfig(seed=1, buffer_size=_ROWS, max_concurrent_row_groups=1),
        batches_on="generate-batch/batches",
    )


def make_script(exchanges: list[Exchange]) -> Script:
    """The script of the second of three recorded batches."""
    created = [each for each in exchanges if CREATE.fullmatch(each.route)]
    runs = [str(each.response["id"]) for each in created]
    # A worker with one slot takes the next run when the process of the previous one has ended.
    taken = [_find(exchanges, lambda each, run=run: _is_taken(each, run)) for run in runs]
    # The parent task run of a batch is created just before its flow run.
    tasks = [each for each in exchanges if each.client == "run" and each.route == TASK]
    begins = [[each.at for each in tasks if each.at <= made.at][-1] for made in created]
    windows = [
        [
            each
            for each in exchanges
            if begins[n] <= each.at < taken[n + 1].at
            and (each.client != "run" or _OF_THE_RUN.fullmatch(each.route))
            and (each.client == "run" or each.at >= taken[n].at or "get_scheduled" in each.route)
            and (each.client != "run" or each.at < begins[n + 1])
        ]
        for n in (0, 1)
    ]
    sockets = [each for each in exchanges if each.client == "worker" and each.method == "WS"]
    greetings: dict[str, list[Exchange]] = {}
    for each in sockets:
        if str(each.content.get("type", "")) in ("auth", "filter", "worker.hello.v1"):
            known = greetings.setdefault(each.path, [])
            if each.content.get("type") not in [other.content.get("type") for other in known]:
                known.append(each)
    hello = _find(sockets, lambda each: each.content.get("type") == "worker.hello.v1")
    # A worker that polls sees a run before it takes it, so only what is older than the second batch
    # can belong to both.
    older = [each for each in windows[0] if each.at < begins[1]]
    static = _ids(older) & _ids(windows[1])
    first = windows[1][0].at
    second = [replace(each, at=each.at - first) for each in windows[1]]
    lease = _find(second, lambda each: "increment-with-lease" in each.route)
    begin = lease.at + _STEADY_BEGIN
    stop = begin + STEADY_SECONDS
    waiting = [each for each in second if begin <= each.at < stop]
    # The columns are tagged once, half a minute after they began (flows/process/task_tags.py).
    once = [each for each in waiting if each.path == "/api/events/in" and each.client == "batch"]
    return Script(
        start=[each for each in second if each.at < begin] + once,
        steady=_thin([each for each in waiting if each not in once]),
        end=_thin([each for each in second if each.at >= stop]),
        poll=_find(exchanges, lambda each: each.route == POLL),
        static=frozenset(static),
        greetings=greetings,
        consumer=str(hello.content["payload"]["consumer_id"]),
    )


def _is_taken(each: Exchange, run: str) -> bool:
    return each.client == "worker" and each.method != "WS" and run in each.path


def _find(exchanges: Iterable[Exchange], wanted: Callable[[Exchange], bool]) -> Exchange:
    return next(each for each in exchanges if wanted(each))


def _ids(exchanges: Iterable[Exchange]) -> set[str]:
    texts = (f"{e.path} {json.dumps(e.content)} {json.dumps(e.response)}" for e in exchanges)
    return {each for text in texts for each in ID.findall(text)}


def _thin(exchanges: list[Exchange]) -> list[Exchange]:
    """Without the reads of limits that a run leaves out when it shares them with many others."""
    kept: list[Exchange] = []
    last = -_REFRESH_SECONDS
    for each in exchanges:
        if each.route == READ_LIMITS:
            if each.at - last < _REFRESH_SECONDS:
                continue
            last = each.at
        kept.append(each)
    return kept


def describe_minute(script: Script) -> dict[str, float]:
    """Number of requests per minute of waiting, by client and route."""
    counts = Counter(f"{each.client:6} {each.route}" for each in script.steady)
    return {route: count * 60 / STEADY_SECONDS for route, count in counts.items()}
