"""Datasets of scripts, opened where their code cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.designer.verification import verify_dataset
from dd_core.storage.directory import DatasetDirectory

SCRIPT = """
import sys
from typing import Literal

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.extend import Column, RowColumn

@dd.custom_column_generator(required_columns=["x"], side_effect_columns=["half"])
def double(row):
    return {**row, "y": row["x"] * 2, "half": row["x"] / 2}

@dd.validation_function
def check(df):
    return df.assign(is_valid=True)

class TripleColumnConfig(Column):
    column_type: Literal["script-triple"] = "script-triple"

    def bind(self, binding):
        return Triple()

class Triple(RowColumn):
    def generate(self, rows):
        return [3 for row in rows]

made = dd.DataDesignerConfigBuilder([])
made.add_column(
    name="x", column_type="sampler", sampler_type="uniform", params={"low": 1, "high": 2}
)
made.add_column(name="y", column_type="custom", generator_function=double)
made.add_column(TripleColumnConfig(name="z"))
made.add_column(
    name="ok",
    column_type="validation",
    target_columns=["x"],
    validator_type="local_callable",
    validator_params={"validation_function": check},
)
DataDesigner(sys.argv[1]).create(made, num_records=3, dataset_name="d")
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("script")
    (folder / "script.py").write_text(SCRIPT)
    program = [sys.executable, str(folder / "script.py"), str(folder)]
    subprocess.run(program, check=True)
    return folder / "d"


def test_it_can_be_opened_and_analyzed(dataset: Path) -> None:
    results = DataDesigner(dataset.parent).open("d")
    frame = results.load_dataset()
    assert frame["z"].tolist() == [3, 3, 3]
    assert frame["y"].tolist() == (frame["x"] * 2).tolist()
    analysis = results.load_analysis()
    assert {each.column_name for each in analysis.column_statistics} >= {"x", "y", "z", "ok"}


def test_it_is_not_damaged(dataset: Path) -> None:
    found = verify_dataset(DatasetDirectory(dataset))
    assert [*found.problems] == []


def test_its_configuration_cannot_run_here(dataset: Path) -> None:
    with pytest.raises(InvalidConfigError, match="'double' must have the form"):
        dd.load_config(dataset / "builder_config.json")
