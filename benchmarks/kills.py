"""Kill a flow's process, its worker or the Prefect server at random during a dataset run.

    python -m benchmarks.kills

The dataset of twenty batches must be identical to that of an undisturbed run with the same seed.
Only requests that were in flight at a kill, or answered in the second before it, may be repeated.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.limits import chain_config
from benchmarks.prefect_processes import PrefectProcesses, kill_tree
from benchmarks.server import BenchServer

_BATCHES, _ROWS, _COLUMNS, _PARALLEL = 20, 100, 3, 16
_LATENCY = 0.5
_ENDED = ("CRASHED", "FAILED", "CANCELLED")


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=4577)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        BenchServer(latency=_LATENCY, record=True) as model,
        PrefectProcesses(Path(folder), given.port) as prefect,
    ):
        Hunted(prefect, model, random.Random(given.seed)).run(given.kills)


class Hunted:
    """A dataset run that is killed repeatedly."""

    def __init__(
        self, prefect: PrefectProcesses, model: BenchServer, chance: random.Random
    ) -> None:
        self._prefect = prefect
        self._model = model
        self._chance = chance
        self._config = chain_config(prefect.folder, model.url, "m", _COLUMNS)
        prefect.work_pool("pool")
        self._run = prefect.run_dataset(
            prefect.deploy_dataset("pool"),
            config=str(self._config),
            num_records=_BATCHES * _ROWS,
            dataset_name="killed",
            artifact_path=str(prefect.folder / "datasets"),
            run_config={"seed": 7, "buffer_size": _ROWS},
        )
        self._workers = 0
        self._worker = self._new_worker()
        self._may_be_repeated = 0

    def run(self, kills: int) -> None:
        """Kill processes `kills` times, let the run finish, and compare its dataset."""
        done = 0
        while self._state() != "COMPLETED":
            if self._state() in _ENDED:
                self._resume()
            if not self._gets_on():
                self._resume()
                continue
            if done < kills:
                time.sleep(self._chance.uniform(0.2, 3.0))
                done += self._kill()
            else:
                time.sleep(1)
        self._compare(done)

    def _kill(self) -> bool:
        """Kill one of the three processes; False if it is not running at the moment."""
        victim = self._chance.choice(["flow", "worker", "server"])
        stats = self._model.stats()
        if victim == "flow":
            children = _children(self._worker.pid)
            for child in children:
                kill_tree(child)
            if not children:
                return False
        elif victim == "worker":
            kill_tree(self._worker.pid)
            self._worker.wait()
            self._worker = self._new_worker()
        else:
            kill_tree(self._prefect.server.pid)
            self._prefect.server.wait()
            time.sleep(self._chance.uniform(0.0, 3.0))
            self._prefect.restart()
        print(f"killed the {victim} after {stats['requests']} requests", flush=True)
        if victim != "server":
            self._may_be_repeated += stats["in_flight"] + round(_PARALLEL / _LATENCY)
            time.sleep(8)
            if self._state() != "COMPLETED":
                self._resume()
        return True

    def _compare(self, kills: int) -> None:
        folder = self._prefect.folder / "datasets" / "killed" / "parquet-files"
        found = _frame(folder)
        calm = _frame(self._undisturbed())
        same = found.astype(str).equals(calm.astype(str))
        again = sum(count - 1 for _, prompt, count in self._model.prompts() if "Go on" in prompt)
        again -= _BATCHES * _ROWS * _COLUMNS  # the undisturbed run sends every request once more
        print(
            f"{kills} kills: {len(found)} rows, {found['id'].nunique()} distinct, "
            f"{'identical to' if same else 'DIFFERENT from'} an undisturbed run; {again} requests "
            f"repeated, at most {self._may_be_repeated} allowed"
        )

    def _undisturbed(self) -> Path:
        import dd_core.config as dd
        from dd_core import DataDesigner

        designer = DataDesigner(
            self._prefect.folder / "calm", run_config=dd.RunConfig(seed=7, buffer_size=_ROWS)
        )
        self._model.settings(latency=0.0)
        made = designer.create(str(self._config), num_records=_BATCHES * _ROWS, dataset_name="calm")
        return Path(str(made.dataset_path)) / "parquet-files"

    def _state(self) -> str:
        try:
            return str(self._prefect.ask(f"/flow_runs/{self._run}")["state"]["type"])
        except OSError:
            return "(no answer)"

    def _gets_on(self) -> bool:
        """Whether the run sends requests within a minute."""
        before, until = self._model.stats()["requests"], time.monotonic() + 60
        while time.monotonic() < until:
            if self._state() == "COMPLETED" or self._model.stats()["requests"] > before + 3:
                return True
            if self._state() in _ENDED:
                return False
            time.sleep(0.3)
        return False

    def _resume(self) -> None:
        command = [str(Path(sys.executable).parent / "ddflows"), "resume", self._run]
        subprocess.run(command, env=self._prefect.environment, capture_output=True, check=False)
        time.sleep(1)

    def _new_worker(self) -> Any:
        self._workers += 1
        return self._prefect.worker("pool", f"worker-{self._workers}")


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in tasks for child in children.read_text().split()]


def _frame(folder: Path) -> pd.DataFrame:
    found = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("batch_*.parquet")))
    return found.sort_values("id").reset_index(drop=True)


if __name__ == "__main__":
    main()
