"""What is chosen at random belongs to the row: batch sizes and resumed runs do not change it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import DataDesignerError
from dd_core.extend import Binding, CellColumn, Column, RequestSlot, Row, RowColumn, Template

EIGHT = "['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']|random"


class Dice(Column):
    """A number that no one can compute again."""

    column_type: Literal["test-dice"] = "test-dice"

    def bind(self, binding: Binding) -> RowColumn:
        return _Dice()


class _Dice(RowColumn):
    is_repeatable = False

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        return [random.getrandbits(60) for _ in rows]


class StoppedError(DataDesignerError):
    fatal = True


class Echo(Column):
    """Repeats the rolled number, and stops the first run after some cells."""

    column_type: Literal["test-echo"] = "test-echo"
    cells: ClassVar[int] = 0
    stops_after: ClassVar[int] = 10**9

    @property
    def required_columns(self) -> list[str]:
        return ["dice"]

    def bind(self, binding: Binding) -> CellColumn:
        return _Echo()


class _Echo(CellColumn):
    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        Echo.cells += 1
        if Echo.cells > Echo.stops_after:
            raise StoppedError("enough")
        return {"echo": str(row["dice"])}


class Moody(Column):
    """Renders a template in a kind of its own."""

    column_type: Literal["test-moody"] = "test-moody"

    def bind(self, binding: Binding) -> RowColumn:
        return _Moody()


class _Moody(RowColumn):
    def generate(self, rows: Sequence[Row]) -> list[Any]:
        template = Template.compile("{{ " + EIGHT + " }}")
        return [template.render(row) for row in rows]


@pytest.fixture
def designer(tmp_path: Path) -> Iterator[DataDesigner]:
    Echo.cells, Echo.stops_after = 0, 10**9
    yield DataDesigner(tmp_path, run_config=dd.RunConfig(seed=3, buffer_size=100))


def test_values_that_cannot_be_computed_again_come_from_the_journal(
    designer: DataDesigner,
) -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.add_column(Dice(name="dice"))
    made.add_column(Echo(name="echo"))
    Echo.stops_after = 20
    with pytest.raises(DataDesignerError, match="enough"):
        designer.create(made, num_records=40, dataset_name="d")
    Echo.stops_after = 10**9
    again = designer.create(made, num_records=40, dataset_name="d", resume="always")
    table = again.load_dataset()
    assert len(table) == 40
    assert [*map(str, table["dice"])] == [*table["echo"]]
    assert Echo.cells < 60, "finished cells were taken from the journal"


def choose(folder: Path, seed: int, buffer_size: int) -> pd.DataFrame:
    made = dd.DataDesignerConfigBuilder([])
    made.add_column(
        name="base", column_type="sampler", sampler_type="category", params={"values": [1, 2]}
    )
    made.add_column(
        name="size",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["small"]},
        conditional_params={f"base and {EIGHT} < 'e'": {"values": ["large"]}},
    )
    made.add_column(name="mood", column_type="expression", expr="{{ " + EIGHT + " }}{{ base }}")
    made.add_column(Moody(name="own"))
    made.add_column(
        name="skipped",
        column_type="expression",
        expr="{{ base }}",
        skip={"when": "{{ base and " + EIGHT + " < 'e' }}", "value": "-"},
    )
    made.add_processor(
        dd.SchemaTransformProcessorConfig(
            name="side", template={"x": "{{ mood }} {{ " + EIGHT + " }}"}
        )
    )
    made.add_processor(
        dd.FilterRowsProcessorConfig(name="some", condition="{{ base and " + EIGHT + " < 'e' }}")
    )
    run = dd.RunConfig(seed=seed, buffer_size=buffer_size)
    results = DataDesigner(folder, run_config=run).create(made, num_records=60, dataset_name="d")
    table = results.load_dataset()
    side = results.load_processor_dataset("side")
    assert 10 < len(table) < 50, "about half of the rows are kept"
    return pd.concat([table, side.rename(columns={"x": "side"})], axis=1)


def test_all_templates_choose_by_seed_and_row(tmp_path: Path) -> None:
    first = choose(tmp_path / "1", seed=1, buffer_size=60)
    pd.testing.assert_frame_equal(choose(tmp_path / "2", seed=1, buffer_size=7), first)
    assert not choose(tmp_path / "3", seed=2, buffer_size=60).equals(first)
    for name in ("size", "mood", "own", "skipped", "side"):
        assert first[name].nunique() > 1, name
