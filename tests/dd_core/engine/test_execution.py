"""A batch at work: every cell starts when its own row is ready, and nothing idles."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerEarlyShutdownError, DataDesignerGenerationError
from dd_core.dataset.compile import compile_plan
from dd_core.designer.results import DatasetCreationResults
from dd_core.engine.engine import Engine
from dd_core.errors import ColumnIncompleteError
from dd_core.models.providers import Providers
from dd_core.storage.batch import Batch
from tests.conftest import ServerFactory
from tests.datasets import chain, model, topics
from tests.full_house import FullHouse
from tests.scripted import Answer, Body, ScriptedModel, prompt_of, refusal


def test_a_row_goes_on_while_others_are_still_in_the_column_before(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.05, record=True)
    builder = topics(model(server.url, "first", parallel=2), model(server.url, "second"))
    builder.add_column(name="a", column_type="llm-text", model_alias="first", prompt="A {{ id }}")
    builder.add_column(name="b", column_type="llm-text", model_alias="second", prompt="B {{ a }}")
    results = DataDesigner(tmp_path).create(builder, num_records=20)
    assert results.count_records() == 20
    asked = [name for name, _, _ in server.prompts()]  # in the order of their first asking
    assert len(asked) == 40 + 2, "and two readiness checks"
    # With a column barrier, all twenty of the first model's come before the second's.
    assert asked[2:].index("second") < 10


def test_all_places_are_taken_while_there_is_work(tmp_path: Path) -> None:
    full = FullHouse(8, lambda: {"m": 80 - full.answered["Go on (2)"]})
    builder = chain("http://full.test", 3, parallel=8)
    results = DataDesigner(tmp_path, transport=full).create(builder, num_records=80)
    assert results.count_records() == 80
    assert not full.idled
    assert full.max_in_flight == 8


def test_two_models_are_busy_together(tmp_path: Path) -> None:
    full = FullHouse(8, lambda: {
        "writer": 3 * 40 - full.answered["writer"],
        "judge": full.answered["writer"] - full.answered["judge"],
    })  # fmt: skip
    url = "http://full.test"
    builder = topics(model(url, "writer"), model(url, "judge"))
    for number in range(3):
        builder.add_column(
            name=f"text{number}",
            column_type="llm-text",
            model_alias="writer",
            prompt=f"Write {number} {{{{ topic }}}} {{{{ id }}}}",
        )
        builder.add_column(
            name=f"verdict{number}",
            column_type="llm-judge",
            model_alias="judge",
            prompt=f"Judge {{{{ text{number} }}}}",
            scores=[dd.Score(name="good", description="how good", options={1: "bad", 2: "good"})],
        )
    results = DataDesigner(tmp_path, transport=full).create(builder, num_records=40)
    assert results.count_records() == 40
    assert not full.idled
    assert full.max_in_flight == 16


def test_columns_come_out_in_the_order_in_which_they_are_declared(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    builder = dd.DataDesignerConfigBuilder([model(server.url)])
    builder.add_column(name="last", column_type="expression", expr="{{ text }}!")
    builder.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="On {{ topic }}",
        with_trace="all_messages",
    )  # fmt: skip
    builder.add_column(
        name="topic", column_type="sampler", sampler_type="category", params={"values": ["tea"]}
    )
    frame = DataDesigner(tmp_path).create(builder, num_records=3).load_dataset()
    assert [*frame.columns] == ["last", "text", "text__trace", "topic"]


def test_dropped_columns_are_used_but_kept_beside_the_dataset(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_column(name="label", column_type="expression", expr="on {{ topic }}")
    builder.add_column(builder.get_column_config("topic").changed(drop=True))
    results = DataDesigner(tmp_path).create(builder, num_records=4)
    assert [*results.load_dataset().columns] == ["id", "label"]
    dropped = results.dataset_path / "dropped-columns-parquet-files" / "batch_00000.parquet"
    assert dropped.is_file()


def test_skipped_cells_ask_no_model_and_skip_what_depends_on_them(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    builder = topics(model(server.url))
    builder.add_column(
        name="note",
        column_type="llm-text",
        model_alias="m",
        prompt="Note {{ topic }} {{ id }}",
        skip=dd.SkipConfig(when="{{ topic == 'rain' }}", value="none"),
    )
    builder.add_column(name="reply", column_type="llm-text", model_alias="m", prompt="{{ note }}")
    builder.add_column(
        name="line", column_type="expression", expr="{{ reply }}", propagate_skip=False
    )
    results = DataDesigner(tmp_path, run_config=dd.RunConfig(seed=1)).create(
        builder, num_records=40
    )
    frame = results.load_dataset()
    rain = frame["topic"] == "rain"
    assert 0 < rain.sum() < 40
    assert set(frame["note"][rain]) == {"none"}
    assert frame["reply"][rain].isna().all()
    assert set(frame["line"][rain]) == {"None"}
    assert frame["reply"][~rain].notna().all()
    assert server.stats()["requests"] == 2 * int((~rain).sum()) + 1  # and the readiness check


def test_a_row_that_cannot_be_computed_is_dropped_and_reported(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_column(
        name="number",
        column_type="expression",
        expr="{{ 'none' if topic == 'tea' else 7 }}",
        dtype="int",
    )
    run_config = dd.RunConfig(seed=1, disable_early_shutdown=True)
    results = DataDesigner(tmp_path, run_config=run_config).create(builder, num_records=40)
    frame = results.load_dataset()
    assert "tea" not in set(frame["topic"])
    assert len(frame) + len(results.dropped) == 40
    assert {row.column for row in results.dropped} == {"number"}
    assert "cannot be converted to 'int'" in results.dropped[0].message


def test_a_column_that_mostly_fails_stops_the_run_early(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(answer_text="no JSON here", malformed_rate=1.0)
    builder = topics(model(server.url))
    builder.add_column(
        name="facts",
        column_type="llm-structured",
        model_alias="m",
        prompt="{{ id }}",
        output_format={"type": "object", "properties": {"x": {"type": "integer"}}},
    )
    run_config = dd.RunConfig(
        max_conversation_restarts=0, shutdown_error_rate=0.5, shutdown_error_window=10
    )
    with pytest.raises(DataDesignerEarlyShutdownError, match="'facts' failed"):
        DataDesigner(tmp_path, run_config=run_config).create(builder, num_records=400)
    assert 10 <= server.stats()["requests"] < 60


def test_an_expression_that_fails_now_and_then_costs_only_its_rows() -> None:
    builder = dd.DataDesignerConfigBuilder([])
    builder.add_column(
        name="n", column_type="sampler", sampler_type="uniform", params={"low": 0, "high": 100}
    )
    text = "{{ n if n < 95 else 'many' }}"
    builder.add_column(name="number", column_type="expression", expr=text, dtype="float")
    results = DataDesigner(run_config=dd.RunConfig(seed=1)).preview(builder, num_records=1000)
    assert 10 < len(results.dropped) < 100
    assert len(results.records()) + len(results.dropped) == 1000


def test_restored_cells_count_when_failed_ones_are_tried_again(tmp_path: Path) -> None:
    """In a resumed batch, the cells that failed before may be the first to finish."""
    allowed = 60

    def answer(body: Body) -> Answer:
        nonlocal allowed
        allowed -= 1
        if allowed < 0:
            return refusal(401)
        return refusal(400, "this prompt is not allowed") if "tea" in prompt_of(body) else "fine"

    builder = topics(model("http://m/v1", parallel=1))
    builder.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="On {{ topic }}, {{ id }}."
    )
    designer = DataDesigner(
        tmp_path, run_config=dd.RunConfig(seed=1), transport=ScriptedModel(answer)
    )

    def create() -> DatasetCreationResults:
        return designer.create(builder, num_records=64, dataset_name="d", resume="if_possible")

    with pytest.raises(DataDesignerGenerationError, match="401"):
        create()
    allowed = 1000
    results = create()
    assert len(results.dropped) > 10
    assert results.count_records() + len(results.dropped) == 64


def test_without_early_shutdown_everything_is_tried(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(malformed_rate=1.0)
    builder = topics(model(server.url, structured_output="prompt"))
    builder.add_column(
        name="facts",
        column_type="llm-structured",
        model_alias="m",
        prompt="{{ id }}",
        output_format={"type": "object", "properties": {"x": {"type": "integer"}}},
    )
    run_config = dd.RunConfig(max_conversation_restarts=2, disable_early_shutdown=True)
    with pytest.raises(DataDesignerGenerationError, match="no rows"):
        DataDesigner(tmp_path, run_config=run_config).create(builder, num_records=30)
    assert server.stats()["requests"] == 30 * 3 + 1


def test_a_server_that_fails_now_and_then_costs_no_rows(
    tmp_path: Path, bench_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dd_core.models.model._BACKOFF_SECONDS", 0.01)
    server = bench_server(error_rate=0.05, broken_rate=0.05, seed=4)
    results = DataDesigner(tmp_path).create(chain(server.url, 2), num_records=200)
    assert results.count_records() == 200
    assert server.stats()["requests"] < 1.25 * 400


def test_a_rate_limit_costs_no_rows(tmp_path: Path, bench_server: ServerFactory) -> None:
    server = bench_server(latency=0.02, capacity=4, retry_after="0.1")
    results = DataDesigner(tmp_path).create(chain(server.url, 1, parallel=16), num_records=100)
    assert results.count_records() == 100
    assert server.stats()["by_status"]["429"] > 0


def test_non_model_work_uses_as_many_threads_as_asked_for(tmp_path: Path) -> None:
    for workers in (1, 6):
        builder = dd.DataDesignerConfigBuilder([model("http://unused.test")])
        for number in range(6):
            builder.add_column(
                name=f"n{number}",
                column_type="sampler",
                sampler_type="category",
                params={"values": [1, 2]},
            )
        seen = _threads_during(
            lambda workers=workers, builder=builder: DataDesigner(
                tmp_path,
                run_config=dd.RunConfig(non_inference_max_parallel_workers=workers),
            ).create(builder, num_records=50_000, dataset_name=f"w{workers}")
        )
        assert seen <= workers
        assert seen == 1 or workers > 1


def _threads_during(work: Any) -> int:
    """Most compute threads alive at once while `work` runs."""
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            names = [thread.name for thread in threading.enumerate()]
            most = max(most, sum(name.startswith("dd-compute") for name in names))
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return most


def test_a_callback_gets_every_file_and_its_failure_ends_the_run(tmp_path: Path) -> None:
    builder = topics(model("http://unused.test"))
    written: list[str] = []
    designer = DataDesigner(tmp_path, run_config=dd.RunConfig(buffer_size=5))
    designer.create(
        builder, num_records=12, on_batch_complete=lambda path: written.append(path.name)
    )
    assert sorted(written) == [f"batch_0000{index}.parquet" for index in range(3)]

    def refuse(path: Path) -> None:
        raise OSError("the disk of the archive is full")

    with pytest.raises(DataDesignerGenerationError, match=r"on_batch_complete failed: .*archive"):
        designer.create(builder, num_records=12, dataset_name="second", on_batch_complete=refuse)


def test_preview_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    import asyncio

    async def notebook() -> int:
        return len(
            DataDesigner(tmp_path).preview(topics(model("http://x.test")), num_records=3).dataset
        )

    assert asyncio.run(notebook()) == 3


async def test_cells_that_failed_before_their_column_was_awaited_have_had_one_try(
    bench_server: ServerFactory,
) -> None:
    server, providers = bench_server(error_rate=1.0), Providers()
    plan = compile_plan(chain(server.url, 1).build(), providers, seed=1)
    settings = dd.RunConfig(max_request_retries=0, disable_early_shutdown=True)
    async with Engine(plan, providers, settings) as engine:
        run = engine.batch_run(Batch(0, 0, 6))
        run.start()
        await run.states["c0"].settled()
        for tries in (1, 2):
            with pytest.raises(ColumnIncompleteError, match="6 cells"):
                await run.column("c0")
            assert server.stats()["requests"] == 6 * tries
        await run.close()
