"""What is done for speed changes neither values nor behaviour."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError
from dd_core.engine.batch_run import BatchRun
from dd_core.kinds.samplers._people.quick_faker import get_faker
from dd_core.storage.batch import ROWS_KEY
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.files.parquet import encode_parquet, read_parquet
from tests.scripted import ScriptedModel, builder


@pytest.mark.parametrize("locale", ["en_US", "fr_FR", "ja_JP"])
def test_quick_ways_to_fakers_texts_draw_what_faker_draws(locale: str) -> None:
    from faker.factory import Factory

    quick, plain = get_faker(locale), Factory.create(locale)
    provider = plain.providers[0]
    for number, text in enumerate(["###-%%$", "!@# 5%", "no digits", "##"]):
        quick.random.seed(number)
        found = quick.numerify(text), quick.numerify(text)
        plain.random.seed(number)
        assert found == (provider.numerify(text), provider.numerify(text))
    for pattern in ["{{last_name}} 5% {{ last_name }}", "plain", "{{ city_suffix }}"]:
        if "city_suffix" in pattern and not hasattr(plain, "city_suffix"):
            continue
        assert "{{" not in quick.parse(pattern)
    with pytest.raises(AttributeError):
        quick.parse("{{ no_such_thing }}")


def test_what_was_there_before_a_run_is_left_alone_only_while_it_lasts() -> None:
    frozen: list[int] = []

    def answer(body: dict[str, Any]) -> str:
        frozen.append(gc.get_freeze_count())
        return "yes"

    made = builder().add_column(name="a", column_type="llm-text", model_alias="m", prompt="Hi")
    DataDesigner(transport=ScriptedModel(answer)).preview(made, num_records=2)
    assert min(frozen) > 0
    assert gc.get_freeze_count() == 0


def test_objects_that_somebody_else_froze_stay_frozen() -> None:
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        made = dd.DataDesignerConfigBuilder([])
        made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
        DataDesigner().preview(made, num_records=2)
        assert gc.get_freeze_count() >= before - 1_000  # some have gone of their own accord
    finally:
        gc.unfreeze()


def test_a_part_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "parquet-files" / "batch_00003.parquet"
    path.parent.mkdir()
    directory = DatasetDirectory(tmp_path)
    for rows in (2, 5):
        facts = b'{"start": 30, "stop": 40, "complete": true, "dropped": []}'
        staged = tmp_path / "staged"
        staged.write_bytes(encode_parquet(pa.table({"x": [*range(rows)]}), {ROWS_KEY: facts}))
        staged.replace(path)
        part = directory.part(3)
        assert part is not None
        assert (part.index, part.start, part.stop, part.rows) == (3, 30, 40, rows)
        assert read_parquet(path).num_rows == rows
    path.unlink()
    assert directory.part(3) is None


def test_more_cells_than_places_are_served_one_after_another(tmp_path: Path) -> None:
    answering = ScriptedModel(lambda body: body["messages"][0]["content"])
    made = builder(max_parallel_requests=3)
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    made.add_column(name="a", column_type="llm-text", model_alias="m", prompt="{{ id }}")
    made.add_column(name="b", column_type="llm-text", model_alias="m", prompt="{{ a }}")
    designer = DataDesigner(tmp_path, transport=answering)
    designer.set_run_config(dd.RunConfig(buffer_size=40))
    rows = designer.create(made, num_records=150).load_dataset()
    assert answering.max_in_flight == 3
    assert len(answering.requests) == 300
    assert rows["id"].tolist() == rows["a"].tolist() == rows["b"].tolist()


def test_a_place_is_not_lost_when_an_answer_is_asked_for_again(tmp_path: Path) -> None:
    """A conversation that goes on must not wait for a cell that took its place."""
    said = iter(["no JSON", '{"x": 1}'] * 10)
    made = builder(max_parallel_requests=1)
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    made.add_column(
        name="a", column_type="llm-structured", model_alias="m", prompt="{{ topic }}",
        output_format=schema,
    )  # fmt: skip
    designer = DataDesigner(tmp_path, transport=ScriptedModel(lambda body: next(said)))
    assert designer.create(made, num_records=10).count_records() == 10


def test_a_quick_column_that_fails_later_stops_the_run(tmp_path: Path) -> None:
    made = dd.DataDesignerConfigBuilder([])
    limits = {"low": 0.0, "high": 1.0}
    made.add_column(name="x", column_type="sampler", sampler_type="uniform", params=limits)
    made.add_column(
        name="far", column_type="sampler", sampler_type="datetime",
        params={"start": "2000-01-01", "end": "2001-01-01"},
    )  # fmt: skip
    made.add_column(
        name="later", column_type="sampler", sampler_type="timedelta",
        params={"dt_min": 0, "dt_max": 3_000_000, "reference_column_name": "far"},
    )  # fmt: skip
    with pytest.raises(DataDesignerGenerationError, match="after the year 9999"):
        DataDesigner(tmp_path).create(made, num_records=2_000)


def test_batches_that_are_written_are_freed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the garbage collector, which comes seldom where memory is text."""
    alive: list[int] = []
    states: list[weakref.ref[Any]] = []
    begin = BatchRun.__init__

    def begun(self: BatchRun, *given: Any) -> None:
        begin(self, *given)
        states.extend(weakref.ref(state) for state in self.states.values())
        alive.append(sum(each() is not None for each in states))

    monkeypatch.setattr(BatchRun, "__init__", begun)
    gc.collect()
    gc.disable()
    try:
        settings = dd.RunConfig(buffer_size=10, max_concurrent_row_groups=2)
        made = builder().add_column(
            name="text", column_type="llm-text", model_alias="m", prompt="On {{ topic }}"
        )
        designer = DataDesigner(tmp_path, run_config=settings, transport=ScriptedModel())
        designer.create(made, num_records=300)
    finally:
        gc.enable()
    assert len(alive) == 30
    assert max(alive) <= 4 * 3  # two batches at work, one begun, one being put away
