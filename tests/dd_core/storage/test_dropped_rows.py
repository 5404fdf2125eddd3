"""Rows that fail are kept account of, and can be generated again by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import dd_core.config as dd
from dd_core import DataDesigner
from tests.scripted import Body, ScriptedModel, builder, prompt_of, refusal

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SETTINGS = dd.RunConfig(
    seed=3,
    buffer_size=10,
    disable_early_shutdown=True,
    max_conversation_restarts=1,
    max_request_retries=0,
)


def dataset() -> dd.DataDesignerConfigBuilder:
    made = builder()
    made.add_column(
        name="number",
        column_type="sampler",
        sampler_type="category",
        params={"values": [*range(10)]},
        drop=True,
    )
    made.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="Text {{ number }}", drop=True
    )
    return made.add_column(
        name="facts",
        column_type="llm-structured",
        model_alias="m",
        prompt="Facts {{ number }} of {{ text }}",
        output_format=SCHEMA,
    )


class Moody(ScriptedModel):
    """Refuses the text on 1 and gives no JSON on 2, until it is well."""

    def __init__(self) -> None:
        super().__init__(self._said)
        self.is_well = False

    def _said(self, body: Body) -> Any:
        prompt = prompt_of(body)
        if prompt.startswith("Text"):
            return refusal(422, "not that") if "1" in prompt and not self.is_well else "x"
        return "no JSON" if "Facts 2" in prompt and not self.is_well else {"n": 1}


def run(folder: Path, model: ScriptedModel, **options: Any) -> Any:
    designer = DataDesigner(folder, run_config=SETTINGS, transport=model)
    return designer.create(dataset(), num_records=30, dataset_name="d", **options)


def failures(results: Any) -> list[dict[str, Any]]:
    tables = [*results.directory.failed_rows()]
    return pa.concat_tables(tables).to_pylist() if tables else []


def test_a_failed_row_is_kept_with_what_was_asked_and_answered(tmp_path: Path) -> None:
    results = run(tmp_path, Moody())
    found = failures(results)
    assert len(found) == 30 - results.count_records() > 0
    by_error = {row["error"]: row for row in found}
    assert set(by_error) == {"ModelBadRequestError", "ModelGenerationValidationFailureError"}
    refused = by_error["ModelBadRequestError"]
    assert (refused["column"], refused["prompt"]) == ("text", "Text 1")
    assert "not that" in refused["message"]
    unparsed = by_error["ModelGenerationValidationFailureError"]
    assert unparsed["column"] == "facts"
    assert unparsed["prompt"].startswith("Facts 2 of x")
    assert (unparsed["answer"], unparsed["attempts"]) == ("no JSON", 2)


def test_failed_rows_are_generated_again_and_nothing_else(tmp_path: Path) -> None:
    model = Moody()
    first = run(tmp_path, model)
    before, lost = first.load_dataset(), failures(first)
    unchanged = run(tmp_path, model, resume="always")
    assert unchanged.count_records() == first.count_records()
    model.is_well = True
    model.requests.clear()
    second = run(tmp_path, model, resume="always", retry_failed=True)
    assert second.count_records() == 30
    assert failures(second) == []
    assert not [*(second.dataset_path / "failed-rows").glob("*")]
    asked = [prompt_of(body)[:7].strip() for body in model.requests]
    refused = sum(row["column"] == "text" for row in lost)
    assert sorted(asked) == sorted(
        ["Text 1"] * refused + ["Facts 1"] * refused + ["Facts 2"] * (len(lost) - refused)
    )
    assert len(before) + len(lost) == len(second.load_dataset())
    dropped = second.dataset_path / "dropped-columns-parquet-files"
    assert sum(pq.read_metadata(path).num_rows for path in dropped.glob("*.parquet")) == 30
