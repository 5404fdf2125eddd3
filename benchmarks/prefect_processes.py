"""A Prefect server and workers as child processes, with all their data in one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

_STARTING = 120.0
_SERVER = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "DO_NOT_TRACK": "1",
}
_CONTENT = Path(__file__).resolve().parents[1]


class PrefectProcesses:
    """`with PrefectProcesses(folder, port) as prefect: prefect.work_pool("batches")`."""

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        self.api = f"http://127.0.0.1:{port}/api"
        self.folder = folder
        self.environment = {
            **os.environ,
            **_SERVER,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PYTHONPATH": str(_CONTENT),
            **settings,
        }
        self._children: list[subprocess.Popen[bytes]] = []
        self._port = str(port)
        self.server = self._start("server", "server", "start", "--port", self._port)

    def restart(self) -> None:
        """Restart the server after it was killed."""
        self.server = self._start("server", "server", "start", "--port", self._port)
        self.__enter__()

    def __enter__(self) -> Self:
        until = time.monotonic() + _STARTING
        while not self._is_up():
            if self.server.poll() is not None or time.monotonic() > until:
                self.close()
                raise RuntimeError(f"the Prefect server did not start; see {self.folder}")
            time.sleep(0.2)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all child processes."""
        for child in reversed(self._children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in reversed(self._children):
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                kill_tree(child.pid)
                child.wait()

    def work_pool(self, name: str) -> None:
        """Create a process work pool."""
        self.ask("/work_pools/", {"name": name, "type": "process"})

    def deploy(self, pool: str, **environment: str) -> str:
        """Deploy `generate-batch` to a pool; returns the deployment's name."""
        flow = self.ask("/flows/", {"name": "generate-batch"})
        names = ("dataset", "index", "start", "size", "folder", "attempt")
        self.ask(
            "/deployments/",
            {
                "name": pool,
                "flow_id": flow["id"],
                "entrypoint": "flows.batch.generate_batch",
                "work_pool_name": pool,
                "job_variables": {"env": environment},
                "parameter_openapi_schema": {"properties": {name: {} for name in names}},
            },
        )
        return f"generate-batch/{pool}"

    def deploy_dataset(self, pool: str) -> str:
        """Deploy `generate-dataset` to a pool; returns the deployment's ID."""
        flow = self.ask("/flows/", {"name": "generate-dataset"})
        deployment = {
            "name": pool,
            "flow_id": flow["id"],
            "entrypoint": "flows.dataset.generate_dataset",
            "work_pool_name": pool,
            "parameter_openapi_schema": {},
        }
        return str(self.ask("/deployments/", deployment)["id"])

    def run_dataset(self, deployment: str, **parameters: Any) -> str:
        """Create a run of a `generate-dataset` deployment; returns the run's ID."""
        wanted = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask(f"/deployments/{deployment}/create_flow_run", wanted)["id"])

    def worker(self, pool: str, name: str, limit: int = 1) -> subprocess.Popen[bytes]:
        """Start a worker that runs at most `limit` flow runs at a time."""
        options = ["--type", "process", "--pool", pool, "--name", name, "--limit", str(limit)]
        return self._start(name, "worker", "start", *options)

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        """Stop a worker with SIGTERM, as an operator would."""
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=60)

    def ask(self, path: str, content: Any = None, method: str | None = None) -> Any:
        """Send one request to the server's API and return the response."""
        data = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.api + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def _is_up(self) -> bool:
        try:
            return bool(self.ask("/health"))
        except (urllib.error.URLError, OSError):
            return False

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                env=self.environment,
                cwd=_CONTENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._children.append(child)
        return child


def kill_tree(pid: int) -> list[int]:
    """Send SIGKILL to a process and all its descendants; returns their process IDs."""
    family = [pid]
    for each in family:
        tasks = Path(f"/proc/{each}/task").glob("*/children")
        for children in tasks:
            family.extend(int(child) for child in children.read_text().split())
    for each in family:  # parents first, so that they cannot report that their children ended
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return family
