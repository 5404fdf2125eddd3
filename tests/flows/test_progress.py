"""How often the artifacts of a running dataset are updated, and that they are updated in place."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

import dd_core.config as dd
from flows import generate_dataset
from flows.artifacts.progress import choose_refresh_seconds
from tests.conftest import ServerFactory
from tests.datasets import chain

_HOUR = 3600.0
_KEYS = ["in-place-columns", "in-place-progress"]


def test_artifacts_are_updated_less_often_as_a_run_gets_older() -> None:
    ages = [0.0]
    while ages[-1] < 12 * _HOUR:
        ages.append(ages[-1] + choose_refresh_seconds(ages[-1]))
    pauses = [choose_refresh_seconds(age) for age in ages]
    assert pauses[0] == 3.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60.0
    assert len(ages) < 1200  # 14,400 at a fixed pause of three seconds


async def _artifacts() -> list[Any]:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=_KEYS))
    async with get_client() as client:
        return [*await client.read_artifacts(artifact_filter=wanted)]


@pytest.mark.slow
async def test_progress_is_updated_in_place(
    tmp_path: Path, bench_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key has one artifact, not one for every update."""
    monkeypatch.setattr("flows.artifacts.progress._REFRESH_SECONDS", 0.05)
    server = bench_server(latency=2.0)
    run = asyncio.create_task(
        generate_dataset(
            chain(server.url, 3).build(),
            num_records=4,
            dataset_name="In place",
            artifact_path=str(tmp_path),
            run_config=dd.RunConfig(buffer_size=2),
        )
    )
    seen: set[Any] = set()
    while not run.done():
        seen.update(str(each.data) for each in await _artifacts())
        await asyncio.sleep(0.05)
    await run
    assert len(seen) > 4  # the artifacts changed while they were watched
    kept = await _artifacts()
    assert Counter(each.key for each in kept) == dict.fromkeys(_KEYS, 1)
    assert {each.key: each.data for each in kept}["in-place-progress"] == 100.0
