"""A dataset as a task, without `await`, and as what others read."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_client, unmapped

from dd_core.errors import ArtifactStorageError, InvalidConfigError
from flows import RunSummary, generate_dataset, generate_dataset_sync, generate_dataset_task
from flows.entry import AcceptedDataset, load_latest
from flows.versions import resolve_version
from tests.datasets import topics


def given(folder: Path, name: str = "rows", **more: Any) -> dict[str, Any]:
    rows = {"config": topics().build(), "num_records": 3}
    return rows | {"dataset_name": name, "artifact_path": str(folder)} | more


@pytest.mark.slow
def test_a_flow_without_async_generates(tmp_path: Path) -> None:
    @flow
    def outer() -> RunSummary:
        return generate_dataset_sync(**given(tmp_path))

    assert outer().rows_written == 3


@pytest.mark.slow
async def test_a_notebook_generates_without_await(tmp_path: Path) -> None:
    asyncio.get_running_loop()
    assert generate_dataset_sync(**given(tmp_path)).rows_written == 3


@pytest.mark.slow
def test_a_task_generates_several_datasets(tmp_path: Path) -> None:
    names = ["one", "two"]

    @flow
    def outer() -> list[RunSummary]:
        rest = {name: unmapped(value) for name, value in given(tmp_path).items()}
        return generate_dataset_task.map(**rest | {"dataset_name": names}).result()

    summaries = outer()
    assert [Path(each.path).name for each in summaries] == names
    assert [each.rows_written for each in summaries] == [3, 3]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["builder", "file", "content"])
async def test_a_flow_takes_what_the_library_takes(tmp_path: Path, form: str) -> None:
    topics().write_config(path := tmp_path / "topics.json")
    config = {"builder": topics(), "file": path, "content": json.loads(path.read_text())}[form]
    assert form != "content" or "data_designer" in config
    options: Any = given(tmp_path, config=config, artifact_path=tmp_path / "datasets")
    call: Any = generate_dataset
    state = await call(**options, return_state=True)
    assert state.is_completed(), state.message
    assert (tmp_path / "datasets" / "rows").is_dir()
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
    stored = run.parameters["config"]
    assert stored == str(path) or stored["columns"] == topics().build().to_dict()["columns"]
    assert run.state is not None
    summary: Any = await run.state.aresult()
    assert isinstance(summary, RunSummary)


@pytest.mark.slow
def test_what_was_accepted_last_is_found(tmp_path: Path) -> None:
    @flow
    def find() -> AcceptedDataset:
        return load_latest("rows", str(tmp_path))

    @flow
    async def find_in_a_loop() -> AcceptedDataset:
        return load_latest("rows", str(tmp_path))

    with pytest.raises(ArtifactStorageError):
        find()
    for version in ("2026-11-01", "2026-11-02"):
        generate_dataset_sync(**given(tmp_path, version=version))
    for latest in (find(), asyncio.run(find_in_a_loop())):
        assert (latest.version, latest.rows) == ("2026-11-02", 3)
        assert latest.path.endswith("rows/versions/2026-11-02")
        assert len(latest.open().load_dataset()) == 3


def test_hooks_of_ones_own_do_not_replace_ours() -> None:
    def mine(flow: Any, flow_run: Any, state: Any) -> None: ...

    ours = generate_dataset.on_cancellation_hooks
    assert ours
    renamed = generate_dataset.with_options(name="own", on_cancellation=[mine])
    assert renamed.on_cancellation_hooks == [*ours, mine]
    assert renamed.with_options(retries=1).on_cancellation_hooks == [*ours, mine]


async def test_a_version_may_have_a_format() -> None:
    year = str(datetime.now().year)
    assert await resolve_version("scheduled:%Y-x") == f"{year}-x"
    assert (await resolve_version("scheduled") or "").startswith(f"{year}-")
    assert await resolve_version("v1:%Y") == "v1:%Y"
    with pytest.raises(InvalidConfigError, match="version: 'scheduled:x' is the same for all"):
        await resolve_version("scheduled:x")
