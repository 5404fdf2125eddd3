"""Flows and tasks survive being pickled for another process, as `serve` and task runners do it."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect import Flow, Task, get_client
from prefect.utilities.importtools import import_object

from flows import RunSummary, batch, dataset, entry, tasks
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.flows.workers import environment

_LOAD = """
import base64, sys
import cloudpickle
from prefect.utilities.callables import parameter_schema
loaded = cloudpickle.loads(base64.b64decode(sys.stdin.read()))
print(sorted(parameter_schema(loaded.fn).properties))
if loaded.name == "served":
    print(loaded.validate_parameters({"config": "made.yaml"})["num_records"])
"""
_SERVE = """
from flows import generate_dataset
generate_dataset.with_options(name="served").serve(name="here")
"""
PUBLIC: list[Any] = [
    found
    for module in (dataset, batch, entry, tasks)
    for found in vars(module).values()
    if isinstance(found, Flow | Task) and found.__module__ == module.__name__
]


def load_elsewhere(item: Any) -> str:
    """What another process says about the parameters of a pickled flow or task."""
    pickled = base64.b64encode(cloudpickle.dumps(item)).decode()
    command = [sys.executable, "-c", _LOAD]
    done = subprocess.run(command, input=pickled, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("item", PUBLIC, ids=lambda item: item.name)
def test_every_flow_and_task_can_be_loaded_by_another_process(item: Any) -> None:
    said = load_elsewhere(item)
    assert all(repr(name) in said for name in item.fn.__annotations__ if name != "return")


@pytest.mark.slow
def test_a_renamed_flow_checks_its_parameters_in_another_process() -> None:
    assert load_elsewhere(dataset.generate_dataset.with_options(name="served")).endswith("10\n")


@pytest.mark.parametrize("own", [dataset.generate_dataset, batch.generate_batch])
async def test_deployments_refer_to_modules(own: Any) -> None:
    """Prefect would load a file a second time, with all modules that it imports."""
    expected = f"prefect_data_designer.{own.__module__.split('.')[-1]}.{own.fn.__name__}"
    renamed = own.with_options(name="renamed", retries=1)
    made = [await each.ato_deployment("made") for each in (own, renamed)]
    made += [await asyncio.to_thread(each.to_deployment, "made") for each in (own, renamed)]
    assert {each.entrypoint for each in made} == {expected}
    assert import_object(expected) is own


@pytest.mark.slow
async def test_a_served_deployment_generates(tmp_path: Path, bench_server: ServerFactory) -> None:
    config = tmp_path / "chain.yaml"
    chain(bench_server().url, 2).write_config(config)
    output = (tmp_path / "served.log").open("wb")
    serving = subprocess.Popen(
        [sys.executable, "-c", _SERVE], env=environment(), stdout=output, stderr=output
    )
    try:
        async with get_client() as client:
            deployment = await _wait_for_deployment(client, serving)
            given = {"config": str(config), "num_records": 5, "artifact_path": str(tmp_path)}
            run = await client.create_flow_run_from_deployment(deployment.id, parameters=given)
            while run.state is None or not run.state.is_final():
                assert serving.poll() is None, (tmp_path / "served.log").read_text()
                time.sleep(0.5)
                run = await client.read_flow_run(run.id)
            assert run.state.is_completed(), run.state.message
            summary: Any = await run.state.aresult()
            assert isinstance(summary, RunSummary)  # and no copy of it under another name
            assert summary.rows_written == 5
            assert (tmp_path / "dataset" / "metadata.json").exists()
    finally:
        serving.terminate()
        serving.wait()
        output.close()


async def _wait_for_deployment(client: Any, serving: subprocess.Popen[bytes]) -> Any:
    while serving.poll() is None:
        found = await client.read_deployments()
        if found := [each for each in found if each.name == "here"]:
            return found[0]
        time.sleep(0.5)
    raise AssertionError("serving has ended")
