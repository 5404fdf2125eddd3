"""Flow runs that generate rows until enough are accepted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from flows import generate_dataset
from tests.conftest import ServerFactory
from tests.datasets import chain

pytestmark = pytest.mark.slow  # flows need the server that slow tests get


def accepting(url: str, **fields: Any) -> dd.DataDesignerConfig:
    made = chain(url, 2)
    made.add_column(
        name="number",
        column_type="sampler",
        sampler_type="category",
        params={"values": [*range(6)]},
        convert_to="int",
    )
    return made.accept_rows("{{ number > 3 }}", at_most=300, **fields).build()


@pytest.mark.slow
@pytest.mark.slow
async def test_a_flow_run_has_the_rows_of_the_library(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.01)
    config = accepting(server.url, per={"number": 5})
    settings = dd.RunConfig(seed=5, buffer_size=16)
    summary = await generate_dataset(
        config,
        num_records=10,
        dataset_name="d",
        artifact_path=str(tmp_path / "flow"),
        run_config=settings,
    )
    assert (summary.rows_asked, summary.rows_written) == (10, 10)
    await DataDesigner(tmp_path / "library", run_config=settings).acreate(
        config, num_records=10, dataset_name="d"
    )
    made, expected = (
        DataDesigner(tmp_path / folder).open("d").load_dataset().to_dict("records")
        for folder in ("flow", "library")
    )
    assert made == expected
    assert Counter(row["number"] for row in made) == {4: 5, 5: 5}
    again = await generate_dataset(
        config,
        num_records=10,
        dataset_name="d",
        artifact_path=str(tmp_path / "flow"),
        run_config=settings,
        resume="always",
    )
    assert (again.rows_written, again.requests) == (10, 0)


async def test_the_ui_tells_accepted_rows_from_generated_ones(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    flow: Any = generate_dataset
    state = await flow(
        accepting(bench_server().url),
        num_records=20,
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(seed=5, buffer_size=8),
        return_state=True,
    )
    async with get_client() as client:
        run = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=run))
    keys = [each.key for each in found if each.key]
    assert len({*keys}) == len(keys)  # one of each, however many rounds
    texts = {str(each.key): f"{each.description} {each.data}" for each in found}
    assert "rows accepted" in texts["dataset-progress"]
    told = re.search(r"\| (\d+), of which (\d+) were accepted", texts["dataset-summary"])
    assert told is not None
    everything, accepted = map(int, told.groups())
    assert everything > accepted >= 20


@pytest.mark.slow
async def test_batches_on_other_machines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="accept: is not available with batches_on"):
        await generate_dataset(
            accepting("http://localhost:1/v1"),
            num_records=20,
            artifact_path=str(tmp_path),
            batches_on="batches/here",
        )
