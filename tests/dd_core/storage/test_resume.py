"""Nothing that was paid for is asked for again, and the same seed gives the same rows."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ArtifactStorageError
from tests.conftest import ServerFactory
from tests.datasets import chain, model, topics

_CHILD = """
import sys
import dd_core.config as dd
from dd_core import DataDesigner
from tests.datasets import chain

run_config = dd.RunConfig(seed=3, buffer_size=int(sys.argv[3]))
DataDesigner(sys.argv[2], run_config=run_config).create(
    chain(sys.argv[1], 2, parallel=16), num_records=600, dataset_name="d", resume="if_possible"
)
"""


def _start(url: str, path: Path, buffer_size: int = 600) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _CHILD, url, str(path), str(buffer_size)])


def _kill_after(process: subprocess.Popen[bytes], requests: int, server: object) -> None:
    deadline = time.monotonic() + 300
    while server.stats()["requests"] < requests:  # type: ignore[attr-defined]
        assert process.poll() is None, "the run ended before it was to be killed"
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.02)
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("second_buffer_size", [600, 250])
def test_a_killed_run_repeats_only_the_last_moment(
    tmp_path: Path, bench_server: ServerFactory, second_buffer_size: int
) -> None:
    server = bench_server(latency=0.05, record=True)
    _kill_after(_start(server.url, tmp_path), 500, server)
    assert _start(server.url, tmp_path, second_buffer_size).wait() == 0
    repeated = [count for _, prompt, count in server.prompts() if count > 1 and "Go on" in prompt]
    # 16 in flight, and what was answered in the tenth of a second before the kill.
    assert len(repeated) <= 16 + 2 * 16 * 2
    assert max(repeated, default=1) == 2
    frame = (
        DataDesigner(tmp_path)
        .create(
            chain(server.url, 2, parallel=16), num_records=600, dataset_name="d", resume="always"
        )
        .load_dataset()
    )
    assert len(frame) == 600
    assert frame["id"].is_unique
    assert not list((tmp_path / "d").glob("journal/*"))


def test_a_finished_dataset_is_not_generated_again(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    designer = DataDesigner(tmp_path)
    first = designer.create(chain(server.url, 1), num_records=10, dataset_name="d")
    server.reset()
    again = designer.create(chain(server.url, 1), num_records=10, dataset_name="d", resume="always")
    assert again.dataset_path == first.dataset_path
    assert server.stats()["requests"] == 0


def test_a_dataset_can_grow(tmp_path: Path, bench_server: ServerFactory) -> None:
    server = bench_server()
    designer = DataDesigner(tmp_path, run_config=dd.RunConfig(buffer_size=4))
    first = designer.create(chain(server.url, 1), num_records=6, dataset_name="d")
    before = first.load_dataset()
    server.reset()
    grown = designer.create(
        chain(server.url, 1), num_records=9, dataset_name="d", resume="if_possible"
    )
    after = grown.load_dataset()
    assert server.stats()["requests"] == 3, "the model has just answered: it is not checked again"
    assert after[:6].equals(before)
    whole = designer.create(chain(server.url, 1), num_records=9, dataset_name="other")
    assert whole.seed != grown.seed
    usage = grown.directory.metadata.usage["m"]["c0"]
    assert usage["requests"] == 9


def test_the_usage_of_a_resumed_dataset_is_the_sum(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    designer = DataDesigner(tmp_path)
    for rows in (5, 8):
        designer.create(chain(server.url, 1), num_records=rows, dataset_name="d",
                        resume="if_possible")  # fmt: skip
    results = designer.create(
        chain(server.url, 1), num_records=8, dataset_name="d", resume="always"
    )
    assert results.directory.metadata.usage["m"]["c0"]["requests"] == 8


def test_another_configuration_makes_another_dataset(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    designer = DataDesigner(tmp_path)
    builder = topics(model("http://unused.test"))
    first = designer.create(builder, num_records=3, dataset_name="d")
    builder.add_column(name="more", column_type="expression", expr="{{ topic }}")
    second = designer.create(builder, num_records=3, dataset_name="d", resume="if_possible")
    assert second.dataset_path != first.dataset_path
    with pytest.raises(ArtifactStorageError, match="different configuration"):
        designer.create(builder, num_records=3, dataset_name="d", resume="always")


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ArtifactStorageError, match="nothing to resume"):
        DataDesigner(tmp_path).create(
            topics(model("http://unused.test")), num_records=3, resume="always"
        )


def test_a_dataset_does_not_shrink(tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path)
    builder = topics(model("http://unused.test"))
    designer.create(builder, num_records=5, dataset_name="d")
    with pytest.raises(ArtifactStorageError, match="at least as many"):
        designer.create(builder, num_records=3, dataset_name="d", resume="always")


@pytest.mark.parametrize("name", ["a/b", "..", "", "a:b", "x\\y"])
def test_a_dataset_stays_below_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactStorageError, match="cannot be a folder"):
        DataDesigner(tmp_path).create(
            topics(model("http://unused.test")), num_records=1, dataset_name=name
        )
    assert not list(tmp_path.iterdir())


def test_the_same_seed_gives_the_same_rows_whatever_the_batches(tmp_path: Path) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_column(
        name="n", column_type="sampler", sampler_type="gaussian", params={"mean": 5, "stddev": 2}
    )
    builder.add_column(
        name="who", column_type="sampler", sampler_type="person_from_faker", params={}
    )
    frames = [
        DataDesigner(
            tmp_path,
            run_config=dd.RunConfig(seed=7, buffer_size=size, max_concurrent_row_groups=groups),
        )
        .create(builder, num_records=100, dataset_name=f"d{size}")
        .load_dataset()
        for size, groups in ((100, 1), (7, 5), (33, 2))
    ]
    assert frames[0].equals(frames[1])
    assert frames[0].equals(frames[2])
    other = DataDesigner(tmp_path, run_config=dd.RunConfig(seed=8))
    assert not other.preview(builder, num_records=100).dataset.equals(frames[0])


def test_a_damaged_part_is_generated_again(tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path, run_config=dd.RunConfig(seed=1, buffer_size=4))
    builder = topics(model("http://unused.test"))
    first = designer.create(builder, num_records=12, dataset_name="d")
    frame = first.load_dataset()
    part = first.dataset_path / "parquet-files" / "batch_00001.parquet"
    part.write_bytes(part.read_bytes()[:100])
    again = designer.create(builder, num_records=12, dataset_name="d", resume="always")
    assert again.load_dataset().equals(frame)


@dd.custom_column_generator(required_columns=["id"])
def dated(row: dict[str, Any]) -> dict[str, Any]:
    number = int(row["id"][:8], 16)
    day = date(2026, 1, 1) + timedelta(days=number % 300)
    return {**row, "day": {"of": day, "large": 2**65 + number, "share": Decimal("0.1")}}


def test_cells_that_were_journalled_are_what_they_were(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    made = topics(model(bench_server().url)).add_column(
        name="day", column_type="custom", generator_function=dated
    )
    made.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="{{ day.of }} {{ id }}"
    )
    made.add_column(name="seen", column_type="expression", expr="{{ day }}")
    frames = []
    for name, budget in (("whole", None), ("cut", dd.Budget(requests=20))):
        settings = dd.RunConfig(seed=4, budget=budget)
        designer = DataDesigner(tmp_path, run_config=settings)
        if budget is not None:
            designer.create(made, num_records=40, dataset_name=name)
            assert [*(tmp_path / name).glob("journal/*")]
            designer = DataDesigner(tmp_path, run_config=dd.RunConfig(seed=4))
        result = designer.create(made, num_records=40, dataset_name=name, resume="if_possible")
        frames.append(result.load_dataset())
    pd.testing.assert_frame_equal(frames[0], frames[1])
