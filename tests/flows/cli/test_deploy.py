"""`ddflows deploy` creates deployments that workers can run, and says what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from click.testing import CliRunner
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

import dd_core.config as dd
from dd_core import DataDesigner
from flows.cli.main import cli
from tests.datasets import topics
from tests.flows.workers import start_worker

pytestmark = pytest.mark.slow


async def deploy(config: Path, *options: str) -> tuple[int, str]:
    """The exit code and the output of the command, which runs an event loop of its own."""
    command = ["deploy", str(config), *options]
    done = await asyncio.to_thread(CliRunner().invoke, cli, command)
    return done.exit_code, done.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "rows.yaml"
    topics().write_config(path)
    return path


async def _create_pool(client: PrefectClient) -> str:
    pool = f"pool-{uuid4().hex[:8]}"
    await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    return pool


async def test_a_deployment_is_created_updated_and_run_by_a_worker(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tools = {"name": "search", "endpoint": "https://a.test/mcp", "api_key": "SEARCH_API_KEY"}
    Path("servers.yaml").write_text(yaml.safe_dump({"mcp_providers": [tools]}))
    async with get_client() as client:
        pool = await _create_pool(client)
        options = [
            "--providers",
            "servers.yaml",
            "--pool",
            pool,
            "-d",
            pool,
            "--cron",
            "30 2 * * *",
            "--timezone",
            "Asia/Tokyo",
        ]
        for rows in ("5", "7"):
            code, output = await deploy(config, *options, "-n", rows)
            assert code == 0, output
        name = f"generate-dataset/{pool}"
        assert f"prefect deployment run '{name}'" in output
        deployment = await client.read_deployment_by_name(name)
        assert deployment.parameters["num_records"] == 7
        assert deployment.parameters["mcp_providers"] == [tools]
        assert "model_providers" not in deployment.parameters
        assert deployment.parameters["artifact_path"] == str(tmp_path / "artifacts")
        [schedule] = deployment.schedules
        assert getattr(schedule.schedule, "timezone", "") == "Asia/Tokyo"
        run = await client.create_flow_run_from_deployment(
            deployment.id, parameters={"version": "first"}
        )
        worker = await start_worker(pool, "--run-once")
        await worker.wait()
        state = (await client.read_flow_run(run.id)).state
        assert state is not None
        assert state.is_completed(), state
    assert DataDesigner(tmp_path / "artifacts").open(pool, "first").count_records() == 7


async def test_what_cannot_be_deployed_is_refused(config: Path, tmp_path: Path) -> None:
    async with get_client() as client:
        pool = await _create_pool(client)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("columns: [{name: a, column_type: expression, expr: '{{ b }}'}]")
    keyed = tmp_path / "providers.yaml"
    provider = dd.ModelProvider(name="p", endpoint="https://a.test/v1").model_dump(mode="json")
    keyed.write_text(yaml.safe_dump([provider | {"api_key": "sk-0123456789abcdef0123"}]))
    for given, said in (
        ([config, "--pool", "no-such-pool"], "work pool 'no-such-pool' does not exist; create it"),
        ([config, "--pool", pool, "--cron", "nonsense"], "--cron: Invalid cron string"),
        ([config, "--pool", pool, "--timezone", "UTC"], "--timezone needs --cron"),
        ([config, "--pool", pool, "--batches-on", "generate-batch/none"], "it does not exist"),
        ([config, "--pool", pool, "--providers", str(keyed)], "looks like a key"),
        ([wrong, "--pool", pool], "unknown column 'b'"),
    ):
        code, output = await deploy(given[0], *given[1:])  # type: ignore[arg-type]
        assert code != 0
        assert said in " ".join(output.split()), output
