"""Datasets that earlier versions wrote can be opened and continued.

They are in `written_before/`. When a format changes, add a dataset of the version before:

- `begun` has neither checksums nor file records: one complete part, one that a budget cut off after
  two of four rows, and a journal with one more answer.
- `sealed` has checksums, file records, a failed row, a dropped column and processors. A budget cut
  it off in the second batch.
- `versioned` has two accepted versions, which the Prefect flow wrote.
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


def _make_sealed() -> dd.DataDesignerConfigBuilder:
    made = asking(max_parallel_requests=1, skip_health_check=True)
    made.add_column(
        name="n",
        column_type="sampler",
        sampler_type="gaussian",
        params={"mean": 0, "stddev": 1, "decimal_places": 2},
        drop=True,
    )
    made.add_column(name="e", column_type="expression", expr="{{ text }} {{ n }}")
    made.add_processor(dd.FilterRowsProcessorConfig(name="high", condition="{{ n > -0.5 }}"))
    return made.add_processor(
        dd.SchemaTransformProcessorConfig(name="chat", template={"said": "{{ text }}"})
    )


def test_a_dataset_with_checksums_is_opened_and_intact(folder: Path) -> None:
    results = DataDesigner(folder).open("sealed")
    assert results.verify().is_intact
    assert results.load_dataset()["text"].tolist() == ["said before"] * 4
    assert results.load_processor_dataset("chat")["said"].tolist() == ["said before"] * 5
    assert results.load_analysis().num_records == 4


def test_a_dataset_with_checksums_is_continued(folder: Path) -> None:
    script = ScriptedModel("said now")
    settings = dd.RunConfig(seed=1, buffer_size=4)
    designer = DataDesigner(folder, run_config=settings, transport=script)
    results = designer.create(
        _make_sealed(), num_records=12, dataset_name="sealed", resume="always"
    )
    assert len(script.requests) == 12 - 6 - 1
    said = results.load_processor_dataset("chat")["said"].tolist()
    assert sorted(said) == ["said before"] * 6 + ["said now"] * 5
    assert results.verify().is_intact


def test_accepted_versions_are_opened(folder: Path) -> None:
    designer = DataDesigner(folder)
    assert designer.open("versioned").directory.version == "v2"
    for version in ("v1", "v2"):
        results = designer.open("versioned", version)
        assert results.verify().is_intact
        assert results.count_records() == 4
