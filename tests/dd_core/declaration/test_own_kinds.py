"""Kinds that users declare in files and packages of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError
from dd_core.extend import Batch, Binding, Column, Row, RowColumn, Values, WholeColumn


def test_a_kind_that_is_declared_late_works_at_once() -> None:
    assert dd.DataDesignerConfig.model_validate({"columns": []}).columns == []  # is in use

    class Backwards(Column):
        column_type: Literal["test-backwards"] = "test-backwards"
        of: str

        @property
        def required_columns(self) -> list[str]:
            return [self.of]

        def bind(self, binding: Binding) -> RowColumn:
            of = self.of

            class Reversed(RowColumn):
                def generate(self, rows: Sequence[Row]) -> list[Any]:
                    return [row[of][::-1] for row in rows]

            return Reversed()

    text = """
columns:
  - {name: word, column_type: sampler, sampler_type: category, params: {values: [stressed]}}
  - {name: back, column_type: test-backwards, of: word}
"""
    config = dd.load_config(text)
    rows = DataDesigner().preview(config, num_records=1).records()
    assert rows == [{"word": "stressed", "back": "desserts"}]
    assert dd.load_config(config.to_yaml() or "") == config
    wrapped = dd.BuilderConfig.of(config)
    assert isinstance(wrapped.data_designer.columns[1], Backwards)
    made = dd.DataDesignerConfigBuilder([]).add_column(
        name="back", column_type="test-backwards", of="word"
    )
    assert made.get_column_config("back") == config.columns[1]


PROGRAM = """
import dd_core.config as dd
from dd_core import DataDesigner
text = "columns: [{name: n, column_type: sampler, sampler_type: test-constant, params: {value: 7}}]"
print(DataDesigner().preview(dd.load_config(text), num_records=2).records())
import flows
print("test-constant" in str(flows.generate_dataset.parameters.model_dump()))
"""

KIND = """
from typing import Any, Literal

import numpy as np

from dd_core.extend import Draws, SamplerParams, Values


class ConstantParams(SamplerParams):
    sampler_type: Literal["test-constant"] = "test-constant"
    value: int

    def draw(self, draws: Draws, inputs: Any) -> Values:
        return np.full(draws.size, self.value)
"""


def outcome(program: str = PROGRAM, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, **variables},
        check=False,
    )


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own_kinds_of_a_test.py"
    path.write_text(KIND)
    return path


@pytest.mark.slow
def test_a_file_of_own_kinds_is_named_by_a_variable(own_file: Path) -> None:
    done = outcome(DD_KINDS=str(own_file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[{'n': 7}, {'n': 7}]", "True"]


@pytest.mark.slow
def test_a_package_offers_kinds_by_an_entry_point(own_file: Path) -> None:
    info = own_file.parent / "own_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-package\nVersion: 1.0\n")
    points = f"[dd_core.kinds]\nown = {own_file.stem}\nbroken = no_such_module_at_all\n"
    (info / "entry_points.txt").write_text(points)
    done = outcome(PYTHONPATH=str(own_file.parent))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[{'n': 7}, {'n': 7}]"
    assert "the kinds of 'no_such_module_at_all' were skipped" in done.stderr


def test_a_named_file_that_is_broken_stops_everything(tmp_path: Path) -> None:
    broken = tmp_path / "broken_kinds.py"
    broken.write_text("1 / 0\n")
    done = outcome("import dd_core.config", DD_KINDS=str(broken))
    assert done.returncode != 0
    assert "cannot be imported: ZeroDivisionError" in done.stderr


def test_two_kinds_cannot_share_a_name() -> None:
    with pytest.raises(TypeError, match="'uuid' is declared twice, by dd_core"):

        class Mine(dd.UUIDSamplerParams):
            sampler_type: Literal["uuid"] = "uuid"


def test_a_tag_is_a_literal_with_one_value() -> None:
    for annotation in (str, Literal["one", "two"]):
        with pytest.raises(TypeError, match="must declare column_type as a Literal with one value"):
            type("Mine", (Column,), {"__annotations__": {"column_type": annotation}})


@pytest.fixture
def counting() -> Iterator[type[Column]]:
    """A column kind that returns as many values as it is told."""

    class Counting(Column):
        column_type: Literal["counting-test"] = "counting-test"
        # Schemas that are built with the kind keep it, so its field is described like any other.
        values: int = Field(description="Number of values.")

        def bind(self, binding: Binding) -> WholeColumn:
            return CountedValues(self.values)

    yield Counting
    del Column.kinds["counting-test"]


class CountedValues(WholeColumn):
    def __init__(self, count: int) -> None:
        self._count = count

    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        if not self._count:
            return [{}["nothing"]]
        return [1] * self._count


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (2, "column 'n' was asked for 3 values and returned 2"),
        (4, "column 'n' was asked for 3 values and returned 4"),
        (0, "column 'n': KeyError: 'nothing'; is a column missing from required_columns"),
    ],
)
def test_a_kind_that_fails_is_named_by_its_column(
    counting: Any, values: int, complaint: str
) -> None:
    made = dd.DataDesignerConfigBuilder()
    made.add_column(counting(name="n", values=values))
    with pytest.raises(DataDesignerGenerationError, match=complaint.replace("?", ".")):
        DataDesigner().preview(made, num_records=3)
