"""The dataset flow: what it writes, what it keeps, and what it does not do twice."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.settings import (
    PREFECT_LOCAL_STORAGE_PATH,
    get_current_settings,
    temporary_settings,
)
from prefect.utilities.callables import parameter_schema
from pydantic import SecretStr

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, InvalidConfigError
from dd_core.errors import ArtifactStorageError
from dd_core.kinds.columns.column import Column
from flows import RunSummary, generate_dataset
from tests.conftest import ServerFactory
from tests.datasets import chain, model, topics

pytestmark = pytest.mark.slow


def _rows(summary: RunSummary) -> pd.DataFrame:
    parts = sorted((Path(summary.path) / "parquet-files").glob("*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


async def _collect_task_tags(client: PrefectClient, batches: list[FlowRun]) -> set[str]:
    """The tags of all tasks of batches; each tag costs a task a request for slots."""
    ids = FlowRunFilter(id=FlowRunFilterId(any_=[batch.id for batch in batches]))
    tasks = await client.read_task_runs(flow_run_filter=ids)
    return {tag for task in tasks for tag in task.tags}


async def test_a_run_that_cannot_load_its_configuration_is_found_by_its_dataset(
    tmp_path: Path,
) -> None:
    missing = tmp_path / "none.yaml"
    state = await generate_dataset(str(missing), dataset_name="No Rows", return_state=True)
    assert state.is_failed()
    assert "there is no config file" in str(state.message)
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
    assert sorted(run.tags) == ["No Rows", "data-designer"]


async def test_a_run_writes_the_rows_and_says_what_it_took(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.01)
    summary = await generate_dataset(
        chain(server.url, 2).build(),
        num_records=25,
        dataset_name="walk",
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(buffer_size=10),
    )
    assert (summary.rows_asked, summary.rows_written, summary.rows_dropped) == (25, 25, 0)
    assert summary.requests == 50
    assert summary.output_tokens > 0
    frame = _rows(summary)
    assert [*frame.columns] == ["id", "topic", "c0", "c1"]
    assert frame["c1"].str.startswith("answer").all()
    assert len([*(tmp_path / "walk" / "parquet-files").glob("*.parquet")]) == 3


async def test_the_ui_shows_batches_columns_and_artifacts(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    state = await generate_dataset(
        chain(server.url, 1).build(),
        num_records=6,
        dataset_name="Shown Rows",
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(buffer_size=3),
        version="v1",
        return_state=True,
    )
    run_id = state.state_details.flow_run_id
    async with get_client() as client:
        run = await client.read_flow_run(run_id)
        assert run.name == "Shown Rows v1 (6 rows)"
        assert sorted(run.tags) == ["Shown Rows", "data-designer", "model:m"]
        batches = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id])
            )
        )
        assert sorted(batch.name for batch in batches) == ["Shown Rows v1[0]", "Shown Rows v1[1]"]
        assert {tag for batch in batches for tag in batch.tags} == {
            "Shown Rows",
            "data-designer-batch",
        }
        keys = [f"shown-rows-{what}" for what in ("preview", "progress", "summary")]
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys))
        )
        assert await _collect_task_tags(client, batches) <= {"model:m"}
    by_key = {artifact.key: artifact for artifact in artifacts}
    assert sorted(by_key) == keys
    assert by_key["shown-rows-progress"].data == 100.0
    assert "6 of 6" in str(by_key["shown-rows-summary"].data)


async def test_the_same_seed_is_the_same_rows_with_and_without_prefect(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    config = chain(server.url, 1).build()
    flow = await generate_dataset(
        config,
        num_records=20,
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(seed=7, buffer_size=6),
    )
    library = await DataDesigner(tmp_path, run_config=dd.RunConfig(seed=7, buffer_size=20)).acreate(
        config, num_records=20, dataset_name="library"
    )
    columns = library.load_dataset()
    for name in ("id", "topic", "c0"):
        assert [*_rows(flow)[name]] == [*columns[name]]


async def test_an_edited_column_is_generated_again_and_what_follows_from_it(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(record=True)

    async def requests(last_prompt: str, rows: int = 5) -> int:
        server.reset()
        builder = chain(server.url, 2)
        builder.add_column(
            name="side",
            column_type="llm-text",
            model_alias="m",
            prompt="Aside {{ topic }} {{ id }}",
        )
        builder.add_column(name="end", column_type="llm-text", model_alias="m", prompt=last_prompt)
        builder.add_column(name="tail", column_type="expression", expr="{{ end }}!")
        summary = await generate_dataset(
            builder.build(),
            num_records=rows,
            dataset_name="edited",
            artifact_path=str(tmp_path),
            run_config=dd.RunConfig(seed=11, buffer_size=5),
        )
        assert summary.rows_written == rows
        assert _rows(summary)["tail"].str.endswith("!").all()
        return summary.requests

    assert await requests("End {{ c1 }}") == 20
    assert await requests("End {{ c1 }}") == 0
    assert await requests("The end {{ c1 }}") == 5
    assert await requests("The end {{ c1 }}", rows=10) == 20


async def test_column_values_are_plain_parquet_under_readable_keys(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    await generate_dataset(
        chain(server.url, 1).build(),
        num_records=4,
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(seed=5),
    )
    storage = get_current_settings().results.local_storage_path
    [*files] = storage.glob("c0/*/rows-000000000-000000004.parquet")
    table = pq.read_table(files[-1])
    assert table.num_rows == 4
    assert "c0" in table.column_names


async def test_rows_that_fail_are_named_in_the_state(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_column(
        name="n",
        column_type="expression",
        expr="{{ 'x' if topic == 'tea' else 1 }}",
        dtype="int",
    )
    state = await generate_dataset(
        builder.build(),
        num_records=40,
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(seed=1, disable_early_shutdown=True),
        return_state=True,
    )
    assert state.is_completed()
    assert state.name == "Rows missing"
    assert "of 40 rows" in str(state.message)
    summary = await state.aresult()
    assert summary.rows_written + summary.rows_dropped == 40


async def test_a_column_that_failed_for_a_while_goes_on_with_the_failed_cells(
    tmp_path: Path, bench_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.tasks import generate_column

    monkeypatch.setattr("dd_core.models.model._BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(generate_column, "retry_delay_seconds", 0.2)
    server = bench_server(error_rate=0.6, seed=3, record=True)
    config = chain(server.url, 1, skip_health_check=True).build()
    summary = await generate_dataset(config, num_records=30, artifact_path=str(tmp_path))
    assert summary.rows_written == 30
    asked = sum(count for _, _, count in server.prompts())
    assert asked == server.stats()["requests"] < 30 * 4 * 4


async def test_an_unusable_key_stops_the_run_with_the_providers_words(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    with pytest.raises(InvalidConfigError, match=r"model_configs\.m\.api_key_env_var"):
        await generate_dataset(
            topics(model("http://unused.test", api_key_env_var="NO_SUCH_KEY"))
            .add_column(name="t", column_type="llm-text", model_alias="m", prompt="{{ id }}")
            .build(),
            artifact_path=str(tmp_path),
        )


async def test_a_literal_key_is_refused_because_prefect_stores_parameters(tmp_path: Path) -> None:
    provider = dd.ModelProvider(
        name="p", endpoint="http://unused.test/v1", api_key=SecretStr("sk-marker-123")
    )
    with pytest.raises(DataDesignerGenerationError, match="environment variable") as raised:
        await generate_dataset(
            topics(model("http://unused.test")).build(),
            artifact_path=str(tmp_path),
            model_providers=[provider],
        )
    assert "sk-marker" not in str(raised.value)


async def test_results_that_cannot_be_written_fail_the_run(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way of the storage's folder")
    with (
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: blocked}),
        pytest.raises(ArtifactStorageError, match="not written to Prefect's result storage"),
    ):
        await generate_dataset(
            topics(model("http://unused.test")).build(),
            num_records=2,
            artifact_path=str(tmp_path),
        )


async def test_processors_and_profilers_are_tasks_at_the_end(
    tmp_path: Path, bench_server: ServerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    made = topics(model(bench_server().url))
    made.add_column(
        name="verdict",
        column_type="llm-judge",
        model_alias="m",
        prompt="Judge {{ topic }}",
        scores=[{"name": "fit", "description": "Fits", "options": {1: "no", 2: "yes"}}],
    )
    made.add_processor(dd.DeduplicateProcessorConfig(name="once", column_names=["topic"]))
    made.add_profiler(dd.JudgeScoreProfilerConfig(model_alias="m"))
    state = await generate_dataset(
        made.build(),
        num_records=30,
        dataset_name="end",
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(buffer_size=10),
        return_state=True,
    )
    summary = RunSummary.model_validate(await state.aresult())
    frame = _rows(summary)
    assert frame["topic"].is_unique
    assert (summary.rows_written, summary.rows_in_dataset) == (30, len(frame))
    assert len(frame) < 30
    (profile,) = DataDesigner(tmp_path).open("end").load_analysis().column_profiles or []
    assert sum(profile.scores[0].counts.values()) == len(frame)
    assert profile.scores[0].summary
    assert [each.message for each in caplog.records if each.levelno >= logging.ERROR] == []
    expected, found = {"process-dataset", "profile-dataset"}, set[str]()
    of_run = FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
    deadline = time.monotonic() + 120
    async with get_client() as client:
        while not expected <= found:  # the server records task runs a moment later
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.2)
            runs = await client.read_task_runs(flow_run_filter=of_run)
            found = {run.name.rsplit("-", 1)[0] for run in runs}


def test_the_parameters_are_a_form_with_every_kind() -> None:
    schema = parameter_schema(generate_dataset)
    assert {*schema.properties} >= {"config", "num_records", "run_config", "model_providers"}
    definitions = schema.definitions
    assert "LLMJudgeColumnConfig" in definitions
    columns = definitions["DataDesignerConfig"]["properties"]["columns"]["items"]
    assert columns["discriminator"]["propertyName"] == "column_type"
    assert len(columns["anyOf"]) == len(Column.all_kinds())


def test_deployment_parameters_become_the_same_configuration() -> None:
    config = chain("http://unused.test/v1", 1).build()
    given = {"config": config.to_dict(), "num_records": 3, "resume": "if_possible"}
    validated = generate_dataset.validate_parameters(given)
    assert validated["config"] == config
    assert validated["resume"] is dd.ResumeMode.IF_POSSIBLE
