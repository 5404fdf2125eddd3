"""What is asked again when a dataset's configuration changes, and what comes from the cache."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.filesystems import RemoteFileSystem
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_TASKS_DISABLE_CACHING,
    PREFECT_TASKS_REFRESH_CACHE,
    temporary_settings,
)

import dd_core.config as dd
from benchmarks.server import BenchServer
from flows import RunSummary, generate_dataset
from flows.cache.column_table import _convert_exactly, combine_tables, restore_values
from flows.cache.listing import make_listing
from flows.cache.results import ParquetSerializer
from flows.cache.retention import list_stored, remove
from tests.conftest import ServerFactory
from tests.datasets import model, topics

pytestmark = pytest.mark.slow

Build = Callable[..., dd.DataDesignerConfig]


def stories(url: str, *, judge: str = "Judge {{ story }}", **fields: Any) -> dd.DataDesignerConfig:
    """`title` from the topic, `story` from the title, `verdict` on the story, `side` on its own."""
    made = topics(model(url, **fields))
    for name, prompt in (
        ("title", "Title {{ topic }} {{ id }}"),
        ("story", "Story {{ title }}"),
        ("side", "Side {{ id }}"),
    ):
        made.add_column(name=name, column_type="llm-text", model_alias="m", prompt=prompt)
    made.add_column(
        name="verdict",
        column_type="llm-judge",
        model_alias="m",
        prompt=judge,
        scores=[{"name": "fit", "description": "Fits", "options": {1: "no", 2: "yes"}}],
    )
    made.add_column(name="end", column_type="expression", expr="{{ verdict.fit.score }}!")
    return made.build()


class Runs:
    """Runs of one dataset, each with what it asked the server and what Prefect shows of it."""

    def __init__(self, server: BenchServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.frame = pd.DataFrame()
        self.states: dict[str, Counter[str]] = {}
        self.summary: RunSummary | None = None

    async def __call__(
        self, config: dd.DataDesignerConfig, rows: int = 12, size: int = 4, **options: Any
    ) -> dict[str, int]:
        """Requests by the first word of their prompt; none for what was not asked."""
        self.server.reset()
        seed = options.pop("seed", 5)
        given = {"dataset_name": "tales", "artifact_path": str(self.folder), **options}
        settings = {"seed": seed, "buffer_size": size, **given.pop("settings", {})}
        state = await generate_dataset(
            config,
            num_records=rows,
            run_config=dd.RunConfig(**settings),
            return_state=True,
            **given,
        )
        self.summary = summary = RunSummary.model_validate(await state.aresult())
        assert summary.rows_written == rows
        parts = sorted((Path(summary.path) / "parquet-files").glob("*.parquet"))
        self.frame = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
        assert self.frame["id"].is_unique
        assert state.state_details.flow_run_id is not None
        batches = 1 if "resume" in options else -(-rows // size)
        self.states = await states_of(state.state_details.flow_run_id, batches)
        asked = Counter[str]()
        for _, prompt, count in self.server.prompts():
            asked[prompt.split()[0]] += count
        asked.pop("Say", None)
        assert asked.total() == summary.requests
        return dict(asked)

    def cached(self) -> set[str]:
        """Columns of which every task was Cached."""
        return {name for name, states in self.states.items() if {*states} == {"Cached"}}


async def states_of(flow_run: UUID, batches: int) -> dict[str, Counter[str]]:
    """By column how many of its tasks ended in which state, once Prefect has recorded those of
    so many batches."""
    parent = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run]))
    async with get_client() as client:
        async with asyncio.timeout(120):
            while True:
                runs = await client.read_task_runs(flow_run_filter=parent)
                recorded = Counter(run.name.split("[")[0] for run in runs)
                are_final = all(run.state is not None and run.state.is_final() for run in runs)
                is_whole = recorded["write"] >= batches and len({*recorded.values()}) == 1
                if are_final and is_whole:
                    break
                await asyncio.sleep(0.1)
    found: dict[str, Counter[str]] = {}
    for run in runs:
        assert run.state is not None
        found.setdefault(run.name.split("[")[0], Counter())[run.state.name] += 1
    found.pop("write", None)
    return found


ALL = {"Title": 12, "Story": 12, "Side": 12, "Judge": 12}
COLUMNS = {"id", "topic", "title", "story", "side", "verdict", "end"}


@pytest.fixture
def runs(bench_server: ServerFactory, tmp_path: Path) -> Runs:
    return Runs(bench_server(record=True), tmp_path)


@pytest.fixture(autouse=True)
def _own_storage(tmp_path: Path) -> Any:
    """No test finds what another has stored."""
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "storage"}):
        yield


async def test_a_judge_that_is_edited_judges_again_and_the_rest_is_cached(runs: Runs) -> None:
    build = functools.partial(stories, runs.server.url)
    assert await runs(build()) == ALL
    before = runs.frame
    assert await runs(build(judge="Judge anew {{ story }}")) == {"Judge": 12}
    assert runs.cached() == COLUMNS - {"verdict", "end"}
    assert {*runs.states["verdict"], *runs.states["end"]} == {"Completed"}
    assert runs.frame[["id", "story", "side"]].equals(before[["id", "story", "side"]])


async def test_prefects_own_settings_of_caches_apply(runs: Runs, tmp_path: Path) -> None:
    build = functools.partial(stories, runs.server.url)
    with temporary_settings({PREFECT_TASKS_DISABLE_CACHING: True}):
        assert await runs(build()) == ALL
        assert await runs(build()) == ALL  # nothing was stored
        assert not [*(tmp_path / "storage").rglob("*.parquet")]
    assert await runs(build()) == ALL
    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}):
        assert await runs(build()) == ALL
    assert await runs(build()) == {}
    assert runs.cached() == COLUMNS


async def test_more_candidates_ask_only_for_the_new_ones(runs: Runs) -> None:
    def build(count: int) -> dd.DataDesignerConfig:
        made = topics(model(runs.server.url), model(runs.server.url, "k"))
        given = {"column_type": "llm-text", "model_alias": ["m", "k"], "n": count}
        made.add_column(name="text", prompt="Text {{ id }}", **given)
        return made.add_column(
            name="best",
            column_type="llm-compare",
            candidates="text",
            method="listwise",
            model_alias="m",
            prompt="Best of {{ topic }}?",
        ).build()

    assert await runs(build(1)) == {"Text": 24, "Best": 24}
    assert {*runs.states} == {
        *("id", "topic", "text", "text (m)", "text (k)"),
        *("best", "best (in order)", "best (reversed)"),
    }
    assert {*runs.frame.columns} == {"id", "topic", "text", "best"}
    assert await runs(build(2)) == {"Text": 24, "Best": 24}
    assert runs.cached() == {"id", "topic", "text (m)", "text (k)"}
    aliases = [[each["model"] for each in listed] for listed in runs.frame["text"]]
    assert aliases == [["m", "m", "k", "k"]] * 12
    assert await runs(build(2)) == {}


async def test_an_edited_configuration_has_the_answers_of_batches_that_were_cut_off(
    runs: Runs,
) -> None:
    given = {"num_records": 12, "dataset_name": "tales", "artifact_path": str(runs.folder)}
    settings = dd.RunConfig(buffer_size=12, budget=dd.Budget(requests=24))
    await generate_dataset(
        stories(runs.server.url), run_config=settings, return_state=True, **given
    )
    asked = Counter(prompt for _, prompt, _ in runs.server.prompts())
    edited = stories(runs.server.url, judge="Now judge {{ story }}")
    more = {"seed": None, "resume": "if_possible"}
    found = await runs(edited, size=12, **more)
    words = Counter(prompt.split()[0] for prompt in asked)
    assert words["Title"] > 0
    assert found["Now"] == 12
    for word in ("Title", "Story", "Side"):
        assert found.get(word, 0) == 12 - words[word]


async def test_an_edited_configuration_keeps_the_seed_of_the_dataset_it_stands_beside(
    runs: Runs,
) -> None:
    build = functools.partial(stories, runs.server.url)
    again = {"seed": None, "resume": "if_possible"}
    assert await runs(build(), **again) == ALL
    assert runs.summary is not None
    first = runs.summary
    assert await runs(build(judge="Judge anew {{ story }}"), **again) == {"Judge": 12}
    assert (runs.summary.seed, runs.summary.path) != (first.seed, first.path)
    assert runs.summary.seed == first.seed
    assert await runs(build(), seed=None) == ALL  # resume=never draws a seed of its own


async def test_names_limits_prices_and_addresses_run_nothing_again(
    runs: Runs, bench_server: ServerFactory
) -> None:
    assert await runs(stories(runs.server.url)) == ALL
    moved = bench_server()
    fields = {"price": {"input": 1, "output": 2}, "parallel": 3, "skip_health_check": True}
    settings = {"max_concurrent_row_groups": 1, "max_request_retries": 7, "max_in_flight_tasks": 2}
    config = stories(moved.url, **fields)
    assert await runs(config, dataset_name="renamed", settings=settings) == {}
    assert runs.cached() == COLUMNS
    assert moved.stats()["requests"] == 0
    assert await runs(stories(moved.url), dataset_name="third") == {}
    assert moved.stats()["requests"] == 0  # not even whether it is there


async def test_more_rows_run_new_batches_only(runs: Runs) -> None:
    assert await runs(stories(runs.server.url)) == ALL
    assert await runs(stories(runs.server.url), rows=20) == dict.fromkeys(ALL, 8)
    assert runs.states["story"] == {"Cached": 3, "Completed": 2}


async def test_another_model_asks_again(runs: Runs) -> None:
    config = stories(runs.server.url)
    (before,) = config.model_configs or ()
    assert await runs(config) == ALL
    assert await runs(config.changed(model_configs=[before.changed(model="larger")])) == ALL
    assert runs.cached() == {"id", "topic"}


async def test_values_are_found_whatever_the_size_of_batches(runs: Runs) -> None:
    config = stories(runs.server.url)
    assert await runs(config, size=4) == ALL
    before = runs.frame
    for size in (12, 5, 3):
        assert await runs(config, size=size) == {}
        assert runs.cached() == COLUMNS
        assert runs.frame.equals(before)


async def test_batches_that_are_stored_in_part_ask_for_the_rest(runs: Runs) -> None:
    config = stories(runs.server.url)
    assert await runs(config, rows=5, size=5) == dict.fromkeys(ALL, 5)
    assert await runs(config, rows=12, size=8) == dict.fromkeys(ALL, 7)
    assert await runs(config, rows=12, size=12) == {}


@dd.custom_column_generator(required_columns=["id", "title"])
def noted(row: dict[str, Any]) -> dict[str, Any]:
    """Members that only some rows have, and values of several types."""
    number = int(row["id"][:8], 16)
    facts: dict[str, Any] = {"number": number, "mixed": 1.0 if number % 2 else "one"}
    if number % 3:
        facts["note"] = row["title"]
    return {**row, "facts": facts}


async def test_stored_values_are_what_they_were_when_they_were_made(runs: Runs) -> None:
    made = topics(model(runs.server.url))
    made.add_column(
        name="title", column_type="llm-text", model_alias="m", prompt="Title {{ topic }} {{ id }}"
    )
    made.add_column(name="facts", column_type="custom", generator_function=noted)
    text = "{{ facts }} {{ facts.note is defined }} {{ facts.mixed }}"
    made.add_column(name="seen", column_type="expression", expr=text)
    assert await runs(made.build()) == {"Title": 12}
    first = runs.frame
    assert {"True", "False"} <= {each.split()[-2] for each in first["seen"]}

    made.add_column(name="end", column_type="expression", expr="{{ seen }}!")
    for size in (4, 6):  # batches of another size are put together from several files
        assert await runs(made.build(), size=size) == {}
        assert {"title", "facts"} <= runs.cached()
        assert [*runs.frame["seen"]] == [*first["seen"]]


@pytest.mark.parametrize(
    "values",
    [
        ["a", None],
        [1, 2.5],
        [2**70, 1],
        [{"a": 1}, {"a": 2}],
        [{"a": 1}, {"a": "x"}],
        [{"a": 1}, {"a": 1, "note": "x"}],
        [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
        [{}, {}],
        [None, {"a": []}],
        [[0.5, 1.5], [2.5]],
        [[1, 2.5], [1.0]],
        [[1, "a"], [2]],
        [date(2026, 11, 24), None],
    ],
)
def test_any_values_come_back_from_a_column_as_they_were(values: list[Any]) -> None:
    def stored(given: list[Any]) -> pa.Table:
        array, field = _convert_exactly("x", given, range(len(given)))
        table = pa.table([array], schema=pa.schema([field]))
        return ParquetSerializer().loads(ParquetSerializer().dumps(table))

    assert repr(restore_values(stored(values), "x")) == repr(values)
    together = combine_tables([stored(values), stored(["text"]), stored(values)])
    assert repr(restore_values(together, "x")) == repr([*values, "text", *values])


def files(runs: Runs, column: str) -> list[Path]:
    return sorted((runs.folder / "storage" / column).glob("*/rows-*.parquet"))


async def test_damaged_files_are_as_good_as_none(runs: Runs) -> None:
    config = stories(runs.server.url)
    assert await runs(config) == ALL
    before = runs.frame
    cut, lost, unrecorded = files(runs, "verdict")
    cut.write_bytes(cut.read_bytes()[:100])  # what a kill in the middle of a write leaves
    lost.unlink()
    unrecorded.with_name(f"{unrecorded.name}.json").unlink()
    assert await runs(config) == {"Judge": 8}
    assert runs.states["verdict"] == {"Completed": 3}
    assert runs.states["story"] == {"Cached": 3}
    assert runs.frame.equals(before)
    assert await runs(config) == {}
    assert runs.cached() == COLUMNS


async def test_what_was_made_from_lost_values_is_made_again(runs: Runs) -> None:
    config = stories(runs.server.url)
    assert await runs(config) == ALL
    files(runs, "title")[0].write_bytes(b"PAR1")
    assert await runs(config) == {"Title": 4, "Story": 4, "Judge": 4}
    assert runs.states["side"] == {"Cached": 3}


async def test_two_runs_that_store_the_same_keys_at_once_both_finish(
    runs: Runs, tmp_path: Path
) -> None:
    config = stories(runs.server.url)
    both = await asyncio.gather(
        *(
            generate_dataset(
                config,
                num_records=12,
                dataset_name=name,
                artifact_path=str(tmp_path),
                run_config=dd.RunConfig(seed=5, buffer_size=4),
            )
            for name in ("one", "two")
        )
    )
    assert [summary.rows_written for summary in both] == [12, 12]
    assert await runs(config) == {}
    assert runs.cached() == COLUMNS


async def test_a_storage_behind_fsspec_is_listed_and_others_find_their_own_keys(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = RemoteFileSystem(basepath=f"memory://{runs.folder.name}")
    await block.asave("cache-test", overwrite=True)
    config = stories(runs.server.url)
    with temporary_settings(
        {PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "remote-file-system/cache-test"}
    ):
        assert await runs(config) == ALL
        assert await runs(config, size=6) == {}
        assert runs.cached() == COLUMNS
        monkeypatch.setattr("flows.cache.store.make_listing", lambda _: None)
        assert await runs(config, size=6) == {}
        assert await runs(config, size=12) == ALL
    listing = make_listing(block)
    assert listing is not None
    stored = [each for each in list_stored(listing) if each.column == "story"]
    assert [each.covered() for each in stored] == [[(0, 12)]]
    assert remove(listing, stored[0].ranges) > 0
    assert not [each for each in list_stored(listing) if each.column == "story"]


async def test_values_older_than_cache_days_go_at_the_end_of_a_run(runs: Runs) -> None:
    config = stories(runs.server.url)
    assert await runs(config) == ALL
    (runs.folder / "storage" / "note.txt").write_text("of somebody else")
    old = files(runs, "side")[0]
    record = old.with_name(f"{old.name}.json")
    for path in (old, record):
        os.utime(path, (0, 0))
    assert await runs(config) == {}
    assert old.exists()
    assert await runs(config, settings={"cache_days": 30}) == {}
    assert not old.exists() and not record.exists()
    assert (runs.folder / "storage" / "note.txt").exists()
    assert await runs(config) == {"Side": 4}
