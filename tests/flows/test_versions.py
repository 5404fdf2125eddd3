"""Nights: a version of a dataset each, gates, the latest one, and what Prefect is told."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.events.schemas.events import Event
from prefect.flow_engine import run_flow
from prefect.server.events.schemas import automations as server_automations
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.states import Scheduled
from prefect.utilities.callables import parameter_schema

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.dataset.files import load_config
from dd_core.engine.run import check_plan
from dd_core.errors import GatesFailedError, InvalidConfigError
from dd_core.models.providers import Providers
from flows import RunSummary, generate_dataset
from flows.versions import FAILED, SCHEDULED
from tests.conftest import ServerFactory
from tests.datasets import chain, model, topics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
LAX = dd.Gates(min_rows=10)
STRICT = dd.Gates(columns={"topic": dd.ColumnGates(max_duplicate_share=0.1)})


async def night(
    folder: Path, version: str, gates: dd.Gates | None = None, **settings: Any
) -> RunSummary:
    return await generate_dataset(**given(folder, version, gates, **settings))


def given(
    folder: Path, version: str, gates: dd.Gates | None = None, **settings: Any
) -> dict[str, Any]:
    """The parameters of a night's run."""
    return {
        "config": topics(model("http://unused.test")).build(),
        "num_records": 20,
        "dataset_name": "nights",
        "artifact_path": str(folder),
        "version": version,
        "run_config": dd.RunConfig(gates=gates, **settings),
    }


def latest(folder: Path) -> str:
    return str(json.loads((folder / "nights" / "latest.json").read_text())["version"])


async def test_a_night_that_passes_becomes_the_latest_and_old_ones_go(tmp_path: Path) -> None:
    for day in ("2026-11-01", "2026-11-02", "2026-11-03"):
        summary = await night(tmp_path, day, LAX, keep_versions=2)
        assert summary.path.endswith(f"nights/versions/{day}")
        assert latest(tmp_path) == day
    folders = sorted(path.name for path in (tmp_path / "nights" / "versions").iterdir())
    assert folders == ["2026-11-02", "2026-11-03"]
    [run_before] = DataDesigner(tmp_path).open("nights", "2026-11-02").directory.metadata.flow_runs
    async with get_client() as client:
        named = ArtifactFilter(key=ArtifactFilterKey(any_=["nights-summary"]))
        [shown] = await client.read_latest_artifacts(artifact_filter=named)
    assert f"| [2026-11-02](../../runs/flow-run/{run_before}) |" in str(shown.data)
    await night(tmp_path, "2026-10-31", LAX, keep_versions=2)
    assert latest(tmp_path) == "2026-11-03", "a back-fill moves nothing, and removes nothing"
    assert (tmp_path / "nights" / "versions" / "2026-10-31").is_dir()
    metadata = DataDesigner(tmp_path).open("nights").directory.metadata
    assert metadata.accepted is True
    written = metadata.to_json()
    assert written.keys() >= {"config_hash", "column_fingerprints", "library_version", "models"}
    assert metadata.profile["topic"]["unique"] <= 4


async def test_a_night_that_fails_is_kept_aside_with_its_reasons(tmp_path: Path) -> None:
    await night(tmp_path, "2026-11-01", LAX)
    state = await generate_dataset(**given(tmp_path, "2026-11-02", STRICT), return_state=True)
    assert state.is_failed()
    assert state.message is not None
    assert "failed: topic, duplicate share: found 0." in state.message
    assert "passed: run: found finished" in state.message
    with pytest.raises(GatesFailedError, match="version '2026-11-02', failed 1 of 2 gates"):
        await state.aresult()
    assert latest(tmp_path) == "2026-11-01"
    aside = DataDesigner(tmp_path).open("nights", "2026-11-02")
    assert aside.count_records() == 20
    assert aside.directory.accepted is False
    async with get_client() as client:
        named = ArtifactFilter(key=ArtifactFilterKey(any_=["nights-gates"]))
        [artifact] = await client.read_latest_artifacts(artifact_filter=named)
    assert "| topic, duplicate share | 0." in str(artifact.data)
    assert "**failed**" in str(artifact.data)


async def events_of(folder: Path, *nights: dd.Gates) -> list[Event]:
    """What Prefect's event stream hears of our events while some nights run."""
    names = EventFilter(event=EventNameFilter(prefix=["data-designer."]))
    found: list[Event] = []
    async with get_events_subscriber(filter=names) as subscriber:
        for number, gates in enumerate(nights):
            await generate_dataset(**given(folder, f"{number}", gates), return_state=True)
        while len(found) < len(nights):
            found.append(await asyncio.wait_for(anext(subscriber), timeout=120))
    return found


async def test_prefect_is_told_of_both_outcomes(tmp_path: Path) -> None:
    accepted, failed = await events_of(tmp_path, LAX, STRICT)
    assert accepted.event == "data-designer.dataset.accepted"
    assert accepted.payload["rows"] == 20
    assert failed.event == "data-designer.dataset.gates-failed"
    assert failed.resource.id == "data-designer.dataset.nights"
    assert failed.payload["version"] == "1"
    assert failed.payload["reason"].startswith("topic, duplicate share: found 0.")
    roles = [related.role for related in failed.related]
    assert "flow-run" in roles
    alert = yaml.safe_load((ROOT / "deployments" / "gates_alert.yaml").read_text())
    assert _fires(alert, failed)
    assert not _fires(alert, accepted)
    page = (ROOT / "docs" / "deploying.md").read_text()
    [consumer] = re.findall(r"```yaml\n# accepted.yaml\n(.*?)```", page, re.DOTALL)
    consumer = yaml.safe_load(consumer.replace("dataset.reviews", "dataset.nights"))
    assert _fires(consumer, accepted)
    assert not _fires(consumer, failed)


def _fires(automation: dict[str, Any], event: Event) -> bool:
    """Whether an automation is triggered by an event, as a Prefect server decides it."""
    trigger = server_automations.AutomationCore.model_validate(automation).trigger
    assert isinstance(trigger, server_automations.EventTrigger)
    return trigger.covers(ReceivedEvent.model_validate(event.model_dump()))


async def test_an_accepted_version_is_an_asset(tmp_path: Path) -> None:
    names = EventFilter(event=EventNameFilter(prefix=["prefect.asset.materialization"]))
    async with get_events_subscriber(filter=names) as subscriber:
        await generate_dataset(**given(tmp_path, "1", STRICT), return_state=True)
        await generate_dataset(**given(tmp_path, "2", LAX), return_state=True)
        event = await asyncio.wait_for(anext(subscriber), timeout=120)
    assert event.resource.id == f"file://{tmp_path}/nights".replace("[", "_").replace("]", "_")
    assert event.payload["version"] == "2", "only what was accepted counts"
    assert event.payload["rows"] == 20


async def scheduled_run(when: datetime, parameters: dict[str, Any]) -> FlowRun:
    async with get_client() as client:
        return await client.create_flow_run(
            generate_dataset, parameters=parameters, state=Scheduled(scheduled_time=when)
        )


async def again(flow_run: FlowRun) -> FlowRun:
    """What a retry from the UI does."""
    async with get_client() as client:
        await client.set_flow_run_state(flow_run.id, Scheduled(), force=True)
        return await client.read_flow_run(flow_run.id)


async def test_a_night_that_is_complete_is_left_alone(tmp_path: Path) -> None:
    async def run(gates: dd.Gates) -> Any:
        return await generate_dataset(**given(tmp_path, "1", gates), return_state=True)

    def files() -> dict[Path, tuple[int, bytes]]:
        found = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}

    summary = await (await run(LAX)).aresult()
    before = files()
    again = await run(LAX)
    assert (again.is_completed(), again.name) == (True, "Nothing to do")
    assert files() == before
    assert (await again.aresult()).rows_written == summary.rows_written
    assert len(await events_of(tmp_path / "own", LAX, LAX)) == 2
    assert (await run(STRICT)).is_failed(), "other gates are evaluated"


async def test_a_night_has_the_date_it_was_scheduled_for_also_when_it_is_retried(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(record=True)
    parameters = given(tmp_path, "scheduled", STRICT)
    parameters["config"] = chain(server.url, 1, skip_health_check=True).build()
    when = datetime(2026, 11, 5, 12, tzinfo=UTC)
    flow_run = await scheduled_run(when, {})
    with pytest.raises(GatesFailedError, match="2026-11-05"):
        await run_flow(generate_dataset, flow_run=flow_run, parameters=parameters)
    parameters["run_config"] = dd.RunConfig(gates=LAX)
    flow_run = await again(flow_run)
    summary = await run_flow(generate_dataset, flow_run=flow_run, parameters=parameters)
    assert summary.path.endswith("versions/2026-11-05")
    assert latest(tmp_path) == "2026-11-05"
    assert server.stats()["requests"] == 20, "nothing is generated twice"
    assert len([*(tmp_path / "nights" / "versions").iterdir()]) == 1


async def test_the_date_is_that_of_the_schedules_time_zone(tmp_path: Path) -> None:
    schedule = CronSchedule(cron="30 0 * * *", timezone="Europe/Berlin")
    async with get_client() as client:
        flow_id = await client.create_flow(generate_dataset)
        deployment_id = await client.create_deployment(
            flow_id, "berlin", schedules=[DeploymentScheduleCreate(schedule=schedule)]
        )
        url = f"/deployments/{deployment_id}/schedule"
        period = {"start_time": "2026-11-09T22:00:00Z", "end_time": "2026-11-10T22:00:00Z"}
        response = await client._client.post(url, json={**period, "min_runs": 1, "max_runs": 1})
        response.raise_for_status()
        [flow_run, *_] = await client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )
    assert flow_run.expected_start_time is not None
    assert flow_run.expected_start_time.astimezone(UTC).hour == 23, "a day before Berlin's"
    flow_run = await again(flow_run)
    summary = await run_flow(
        generate_dataset, flow_run=flow_run, parameters=given(tmp_path, "scheduled")
    )
    assert summary.path.endswith("versions/2026-11-10")


async def test_gates_are_checked_before_anything_is_spent(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    parameters = given(tmp_path, "1", dd.Gates(columns={"topik": dd.ColumnGates()}))
    parameters["config"] = chain(server.url, 1).build()
    with pytest.raises(InvalidConfigError, match="did you mean 'topic'"):
        await generate_dataset(**parameters)
    assert server.stats()["requests"] == 0
    assert not (tmp_path / "nights").exists()


async def test_gates_work_without_versions(tmp_path: Path) -> None:
    parameters = {**given(tmp_path, "", STRICT), "version": None}
    state = await generate_dataset(**parameters, return_state=True)
    assert state.is_failed()
    assert not (tmp_path / "nights" / "latest.json").exists()
    assert DataDesigner(tmp_path).open("nights").count_records() == 20


def test_gates_and_the_version_are_part_of_the_form() -> None:
    schema = parameter_schema(generate_dataset)
    assert "version" in schema.properties
    fields = schema.definitions["ColumnGates"]["properties"]
    assert "Kolmogorov-Smirnov" in fields["max_drift"]["description"]
    written = {
        "config": "reviews.yaml",
        "version": "2026-11-01",
        "run_config": {"gates": {"columns": {"topic": {"max_duplicate_share": 0.1}}}},
    }
    validated = generate_dataset.validate_parameters(written)
    assert validated["run_config"].gates == STRICT


def test_the_nightly_deployment_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    [written] = [each for each in project["deployments"] if each["name"] == "nightly"]
    parameters = generate_dataset.validate_parameters(written["parameters"])
    assert parameters["version"] == SCHEDULED
    config = load_config(parameters["config"])
    rows, settings = parameters["num_records"], parameters["run_config"]
    check_plan(config, Providers(), settings, rows, has_versions=True)


@pytest.mark.parametrize("name", ["gates_alert", "crashed_runs"])
def test_the_automations_are_valid(name: str) -> None:
    written = yaml.safe_load((ROOT / "deployments" / f"{name}.yaml").read_text())
    trigger = AutomationCore.model_validate(written).trigger
    assert isinstance(trigger, EventTrigger)
    assert name != "gates_alert" or trigger.expect == {FAILED}


def test_what_the_docs_show_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench_server: ServerFactory
) -> None:
    page = (ROOT / "docs" / "nightly.md").read_text()
    [script] = re.findall(r"<!-- run in tests/flows -->\n```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    script = script.replace("http://localhost:8000/v1", bench_server().url)
    exec(compile(script, "docs/nightly.md", "exec", dont_inherit=True), {})
