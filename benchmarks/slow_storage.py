"""Batches on four workers that write to an S3 bucket which is slow and rejects requests.

    python -m benchmarks.slow_storage --batches 200

Starts a Prefect server, four process workers, an S3 server (moto) and a proxy in front of it. The
proxy delays all requests. In the second run, it also responds to a share of them with 503 SlowDown,
as S3 does to clients that send too many. Prints how long both runs took and whether rows are lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from benchmarks.machines import config_of
from benchmarks.prefect_processes import PrefectProcesses
from benchmarks.server import BenchServer

_ROWS, _COLUMNS, _WORKERS = 8, 2, 4
_SLOW_DOWN = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    "<Message>Please reduce your request rate.</Message></Error>"
)
_KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_DROPPED = {"transfer-encoding", "connection", "content-length", "content-encoding"}


class ThrottlingProxy:
    """Forwards requests to an S3 server after a delay, and rejects a share of them."""

    def __init__(self, port: int, target: int, latency: float) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.rejected = 0.0
        """Share of the requests that are rejected."""
        self.counts: Counter[int] = Counter()
        """Responses by status."""
        self._port, self._target, self._latency = port, target, latency
        self._random = random.Random(7)
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            app = web.Application(client_max_size=2**30)
            app["session"] = session
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            self._ready.set()
            await asyncio.Event().wait()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(self._latency)
        if self._random.random() < self.rejected:
            self.counts[503] += 1
            return web.Response(status=503, text=_SLOW_DOWN, content_type="application/xml")
        session: aiohttp.ClientSession = request.app["session"]
        url = f"http://127.0.0.1:{self._target}{request.raw_path}"
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
        async with session.request(
            request.method, URL(url, encoded=True), data=body, headers=headers
        ) as response:
            answer = await response.read()
        self.counts[response.status] += 1
        kept = {k: v for k, v in response.headers.items() if k.lower() not in _DROPPED}
        if request.method == "HEAD":
            kept["Content-Length"] = response.headers.get("Content-Length", "0")
        return web.Response(status=response.status, body=answer, headers=kept)


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--rejected", type=float, default=0.1)
    parser.add_argument("--port", type=int, default=4660)
    given = parser.parse_args()
    bucket = start_bucket(given.port + 2)
    try:
        proxy = ThrottlingProxy(given.port + 1, given.port + 2, given.latency)
        os.environ.update(_KEYS, AWS_ENDPOINT_URL=proxy.url)
        with (
            tempfile.TemporaryDirectory() as folder,
            BenchServer(latency=1.0) as model,
            PrefectProcesses(Path(folder), given.port) as prefect,
        ):
            os.environ.update({k: v for k, v in prefect.environment.items() if "PREFECT" in k})
            prefect.work_pool("batches")
            prefect.deploy("batches", **_KEYS, AWS_ENDPOINT_URL=proxy.url)
            workers = [prefect.worker("batches", f"worker-{n}") for n in range(_WORKERS)]
            plain = run("plain", model, given.batches, proxy, rejected=0.0)
            throttled = run("throttled", model, given.batches, proxy, rejected=given.rejected)
            print(f"the throttled run takes {throttled / plain:.2f} of the time of the other")
            for worker in workers:
                prefect.stop(worker)
    finally:
        bucket.terminate()
        bucket.wait()


def run(
    name: str, model: BenchServer, batches: int, proxy: ThrottlingProxy, *, rejected: float
) -> float:
    """Generate the dataset and print the results; returns the seconds that it took."""
    model.reset()
    proxy.counts.clear()
    proxy.rejected = rejected
    began = time.monotonic()
    summary = asyncio.run(_generate(name, model.url, batches))
    seconds = time.monotonic() - began
    proxy.rejected = 0.0
    requests = sum(proxy.counts.values())
    print(
        f"{name}: {seconds:.0f} s, {count_rows(summary.path)} of {batches * _ROWS} rows, "
        f"{requests} requests to the storage ({requests / batches:.0f} per batch), "
        f"{proxy.counts[503]} rejected; requests to the model: {model.stats()['requests']} "
        f"of {batches * _ROWS * _COLUMNS} and a check",
        flush=True,
    )
    return seconds


async def _generate(name: str, url: str, batches: int) -> Any:
    import dd_core.config as dd
    from flows import generate_dataset

    return await generate_dataset(
        config_of(url, _COLUMNS),
        num_records=batches * _ROWS,
        dataset_name=name,
        artifact_path="s3://datasets/runs",
        run_config=dd.RunConfig(
            seed=sum(name.encode()), buffer_size=_ROWS, max_concurrent_row_groups=_WORKERS + 1
        ),
        batches_on="generate-batch/batches",
    )


def count_rows(path: str) -> str:
    """Number of rows of a dataset, and how many of them are different."""
    from dd_core import DataDesigner

    folder, _, name = path.rpartition("/")
    frame = DataDesigner(folder).open(name).load_dataset()
    return f"{len(frame)} rows, {frame['id'].nunique()} different,"


def start_bucket(port: int) -> subprocess.Popen[bytes]:
    """Start an S3 server with the bucket `datasets`."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, **quiet)
    until = time.monotonic() + 120
    request = urllib.request.Request(f"http://127.0.0.1:{port}/datasets", method="PUT")
    while True:
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return server
        except OSError as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the S3 server does not start") from error
            time.sleep(0.2)


if __name__ == "__main__":
    main()
