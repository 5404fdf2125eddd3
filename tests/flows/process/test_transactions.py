"""A dataset flow that is called in a task or in a transaction keeps its results at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import flow, task
from prefect.transactions import get_transaction, transaction

from flows import RunSummary, generate_dataset
from tests.conftest import ServerFactory
from tests.datasets import chain

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("place", ["task", "transaction"])
async def test_results_are_written_at_once(
    tmp_path: Path, bench_server: ServerFactory, place: str
) -> None:
    config = chain(bench_server().url, 2).build()

    async def generate() -> RunSummary:
        around = get_transaction()
        summary = await generate_dataset(
            config, num_records=5, dataset_name=place, artifact_path=str(tmp_path)
        )
        assert around is not None
        assert get_transaction() is around
        return summary

    @flow
    async def outer() -> RunSummary:
        if place == "task":
            return await task(generate)()
        with transaction():
            return await generate()

    assert (await outer()).rows_written == 5
