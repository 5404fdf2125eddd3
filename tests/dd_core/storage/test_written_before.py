"""Datasets that earlier versions wrote can be opened and continued.

`written_before/begun` comes from a version without packages: one complete part, one that a budget
cut off after two of four rows, and a journal with one more answer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from tests.scripted import ScriptedModel, asking

BEFORE = Path(__file__).parent / "written_before"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_dataset_is_opened(folder: Path) -> None:
    results = DataDesigner(folder).open("begun")
    assert results.count_records() == 6
    assert results.load_dataset()["text"].tolist() == ["said before"] * 6
    assert results.load_analysis().num_records == 6
    assert results.usage_of_all_runs["m"]["text"]["requests"] == 7


def test_a_dataset_is_continued_and_no_answer_is_requested_again(folder: Path) -> None:
    made = asking(max_parallel_requests=2)
    made.add_column(
        name="n",
        column_type="sampler",
        sampler_type="gaussian",
        params={"mean": 0, "stddev": 1, "decimal_places": 2},
    )
    made.add_column(name="e", column_type="expression", expr="{{ text }} {{ n }}")
    known = json.loads((folder / "begun" / "metadata.json").read_text()) | {"of a newer one": [1]}
    (folder / "begun" / "metadata.json").write_text(json.dumps(known))
    script = ScriptedModel("said now")
    designer = DataDesigner(
        folder, run_config=dd.RunConfig(seed=1, buffer_size=4), transport=script
    )
    results = designer.create(made, num_records=12, dataset_name="begun", resume="always")
    texts = results.load_dataset()["text"].tolist()
    assert texts == ["said before"] * 7 + ["said now"] * 5
    assert len(script.requests) == 5
    written = json.loads((folder / "begun" / "metadata.json").read_text())
    assert written["of a newer one"] == [1]
    assert written["usage"]["m"]["text"]["requests"] == 12
    assert written["column_fingerprints"] == known["column_fingerprints"]
