"""Processors that filter, deduplicate or change rows: before a batch, after it, at the end."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
import pyarrow as pa
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, InvalidConfigError
from dd_core.designer.results import DatasetCreationResults
from dd_core.kinds.processors.processor import ProcessorConfig


class Shout(ProcessorConfig):
    """Changes values at both ends of a batch."""

    processor_type: Literal["test-shout"] = "test-shout"

    def before_batch(self, table: pa.Table) -> pa.Table:
        words: Any = table.column("word").to_pylist()
        at = table.column_names.index("word")
        return table.set_column(at, "word", pa.array([word.upper() for word in words]))

    def after_batch(self, table: pa.Table) -> pa.Table:
        said: Any = table.column("said").to_pylist()
        at = table.column_names.index("said")
        return table.set_column(at, "said", pa.array([f"{text}!" for text in said]))


class Faulty(ProcessorConfig):
    """Loses a row where it must not, or fails at the end."""

    processor_type: Literal["test-faulty"] = "test-faulty"
    fails_at_end: bool = False

    def after_batch(self, table: pa.Table) -> pa.Table:
        return table if self.fails_at_end else table.slice(1)

    def after_generation(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        yield from tables
        if self.fails_at_end:
            raise KeyError("no such thing")


def words(values: list[Any]) -> dd.DataDesignerConfigBuilder:
    """A dataset of the given words, and what an expression says of them."""
    made = dd.DataDesignerConfigBuilder([])
    made.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"word": values})))
    made.add_column(name="said", column_type="expression", expr="<{{ word }}>")
    made.add_column(name="letters", column_type="expression", expr="{{ word|length }}", dtype="int")
    return made


def create(
    made: dd.DataDesignerConfigBuilder, rows: int, folder: Path, **given: Any
) -> DatasetCreationResults:
    designer = DataDesigner(folder, run_config=dd.RunConfig(buffer_size=4, seed=1))
    return designer.create(made, num_records=rows, dataset_name="words", **given)


def test_rows_are_filtered_by_a_condition_and_what_was_generated_stays(tmp_path: Path) -> None:
    made = words(["a", "bb", "ccc", "dddd"]).add_processor(
        processor_type="filter_rows", name="long", condition="{{ letters > 2 }}"
    )
    results = create(made, 10, tmp_path)
    assert results.load_dataset()["word"].tolist() == ["ccc", "dddd"] * 2
    assert results.count_records() == 4
    generated = sorted((results.dataset_path / "generated-files").glob("*.parquet"))
    assert sum(len(pd.read_parquet(path)) for path in generated) == 10
    metadata = results.directory.metadata
    assert (metadata.actual_num_records, metadata.generated_num_records) == (4, 10)
    removed = {"the condition is false": 6}
    assert metadata.processed["steps"] == [{"name": "long", "rows": 4, "removed": removed}]

    more = create(made, 12, tmp_path, resume="always")  # generates two rows more
    assert more.load_dataset()["word"].tolist() == ["ccc", "dddd"] * 3
    assert not [*results.dataset_path.glob(".processing-*")]


def test_a_condition_may_look_at_a_dropped_column(tmp_path: Path) -> None:
    made = words(["a", "bb", "ccc"])
    made.add_processor(dd.FilterRowsProcessorConfig(name="f", condition="{{ letters == 2 }}"))
    made.add_processor(dd.DropColumnsProcessorConfig(name="d", column_names=["letters"]))
    results = create(made, 6, tmp_path)
    assert results.load_dataset().to_dict("list") == {"word": ["bb"] * 2, "said": ["<bb>"] * 2}
    preview = DataDesigner().preview(made, num_records=6).records()
    assert preview == [{"word": "bb", "said": "<bb>"}] * 2


def test_rows_whose_condition_fails_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = words(["a", "bb"]).add_processor(
        dd.FilterRowsProcessorConfig(name="f", condition="{{ 4 // (letters - 1) > 0 }}")
    )
    assert create(made, 2, tmp_path).load_dataset()["word"].tolist() == ["bb"]
    assert "processor 'f': 1 rows were removed" in caplog.text


def test_no_row_left_is_a_dataset_with_columns(tmp_path: Path) -> None:
    made = words(["a"]).add_processor(
        dd.FilterRowsProcessorConfig(name="f", condition="{{ letters > 9 }}")
    )
    results = create(made, 5, tmp_path)
    assert (results.count_records(), [*results.load_dataset().columns]) == (
        0,
        ["word", "said", "letters"],
    )


def test_of_equal_rows_the_first_is_kept_across_batches(tmp_path: Path) -> None:
    made = words(["a", "bb", "a", "cc", "dd", "bb"])
    made.add_processor(dd.DeduplicateProcessorConfig(name="once"))
    assert create(made, 12, tmp_path).load_dataset()["word"].tolist() == ["a", "bb", "cc", "dd"]
    made.add_processor(dd.DeduplicateProcessorConfig(name="once", column_names=["letters"]))
    assert DataDesigner().preview(made, num_records=12).dataset["word"].tolist() == ["a", "bb"]


TEXT = (
    "The kettle boils water in two minutes and switches itself off when it is done, "
    "and its handle stays cool even after a dozen cups of tea for the whole family"
)


def test_texts_that_are_nearly_the_same_count_once(tmp_path: Path) -> None:
    other = "A lamp for the desk with a warm light that can be dimmed by turning its head"
    near = [TEXT, TEXT.replace("dozen", "score"), other, TEXT.upper() + "!", TEXT]
    made = words([*near, "", "short", "Short."])
    made.add_processor(
        dd.DeduplicateProcessorConfig(name="near", column_names=["word"], similarity=0.7)
    )
    kept = create(made, 8, tmp_path).load_dataset()["word"].tolist()
    assert kept == [TEXT, other, "", "short"]


@pytest.mark.parametrize(("similarity", "expected"), [(0.5, 1), (0.95, 2)])
def test_similarity_is_the_share_of_common_word_sequences(
    similarity: float, expected: int, tmp_path: Path
) -> None:
    made = words([TEXT, TEXT.replace("dozen", "score")])  # 25 of 31 sequences in common: 0.81
    made.add_processor(dd.DeduplicateProcessorConfig(name="n", column_names=["word"],
                                                     similarity=similarity))  # fmt: skip
    assert create(made, 2, tmp_path).count_records() == expected


def test_processors_follow_each_other_in_their_order(tmp_path: Path) -> None:
    made = words(["a", "a", "bb", "bb", "ccc"])
    made.add_processor(dd.DeduplicateProcessorConfig(name="first"))
    made.add_processor(dd.FilterRowsProcessorConfig(name="then", condition="{{ letters > 1 }}"))
    steps = create(made, 5, tmp_path).directory.metadata.processed["steps"]
    assert steps == [
        {"name": "first", "rows": 3, "removed": {"equal to an earlier row": 2}},
        {"name": "then", "rows": 2, "removed": {"the condition is false": 1}},
    ]


def test_draws_are_changed_before_anything_uses_them_and_rows_when_they_are_done(
    tmp_path: Path,
) -> None:
    made = words(["a", "bb"]).add_processor(Shout(name="shout"))
    results = create(made, 5, tmp_path)
    assert results.load_dataset()["word"].tolist() == ["A", "BB", "A", "BB", "A"]
    assert results.load_dataset()["said"].tolist()[:2] == ["<A>!", "<BB>!"]
    plain = words(["a", "bb"])
    before = DataDesigner(run_config=dd.RunConfig(seed=1)).preview(plain).plan
    assert before.columns["word"].fingerprint != results.plan.columns["word"].fingerprint


def test_draws_that_depend_on_each_other_are_changed_together() -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.add_column(
        name="word", column_type="sampler", sampler_type="category", params={"values": ["a"]}
    )
    made.add_column(
        name="said",
        column_type="sampler",
        sampler_type="subcategory",
        params={"category": "word", "values": {"a": ["x"]}},
    )
    made.add_processor(Shout(name="shout"))
    rows = DataDesigner().preview(made, num_records=2).records()
    assert rows == [{"word": "A", "said": "x!"}] * 2


def test_a_processor_that_loses_rows_of_a_batch_stops_the_run(tmp_path: Path) -> None:
    made = words(["a"]).add_processor(Faulty(name="f"))
    with pytest.raises(DataDesignerGenerationError, match=r"processor 'f' received \d rows"):
        create(made, 5, tmp_path)


def test_a_processor_that_fails_at_the_end_leaves_what_was_generated(tmp_path: Path) -> None:
    made = words(["a"]).add_processor(Faulty(name="f", fails_at_end=True))
    with pytest.raises(DataDesignerGenerationError, match="processor 'f' failed: KeyError"):
        create(made, 5, tmp_path)
    assert len([*(tmp_path / "words" / "generated-files").glob("*.parquet")]) == 2


@pytest.mark.parametrize(
    "processor",
    [
        {"processor_type": "filter_rows", "condition": "{{ lettres > 2 }}"},
        {"processor_type": "deduplicate", "column_names": ["lettres"]},
    ],
)
def test_unknown_columns_are_found_before_the_run(processor: dict[str, Any]) -> None:
    made = words(["a"]).add_processor(name="p", **processor)
    with pytest.raises(InvalidConfigError, match=r"processors\.p.*'lettres'.*'letters'"):
        DataDesigner().validate(made)


class Returning(ProcessorConfig):
    """Returns what a test says, after each batch or after generation."""

    processor_type: Literal["test-returning"] = "test-returning"
    stage: str
    result: ClassVar[Any] = None

    def after_batch(self, table: pa.Table) -> pa.Table:
        return Returning.result(table) if self.stage == "batch" else table

    def after_generation(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            if self.stage == "empty":
                return
            yield Returning.result(table) if self.stage == "generation" else table


def with_interval(table: pa.Table) -> pa.Table:
    moments = pa.array([(1, 2, 3)] * table.num_rows, pa.month_day_nano_interval())
    return table.append_column("odd", moments)


@pytest.mark.parametrize("stage", ["batch", "generation"])
@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (with_interval, r"cannot be stored, in columns 'odd' \(month_day_nano_interval\)"),
        (lambda table: table.select([]), r"without columns; keep at least one"),
        (lambda table: table.to_pylist(), r"list; return a pyarrow.Table"),
    ],
)
def test_a_table_that_cannot_be_stored_names_its_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, result: Any, reason: str
) -> None:
    monkeypatch.setattr(Returning, "result", staticmethod(result))
    config = dd.DataDesignerConfigBuilder([])
    config.add_column(name="u", column_type="sampler", sampler_type="uuid", params={})
    config.add_processor(Returning(name="p", stage=stage))
    for make in (DataDesigner(tmp_path).create, DataDesigner(tmp_path).preview):
        with pytest.raises(DataDesignerGenerationError, match=f"processor 'p' returned .*{reason}"):
            make(config, num_records=2)


def test_a_processor_that_returns_no_table_leaves_no_rows(tmp_path: Path) -> None:
    config = dd.DataDesignerConfigBuilder([])
    config.add_column(name="u", column_type="sampler", sampler_type="uuid", params={})
    config.add_processor(Returning(name="p", stage="empty"))
    results = DataDesigner(tmp_path).create(config, num_records=2)
    assert results.count_records() == 0
    assert [*results.load_dataset()] == ["u"]
    assert results.load_analysis().num_records == 0


LATE = """
from typing import Literal
from dd_core.extend import ProcessorConfig

class Late(ProcessorConfig):
    processor_type: Literal["test-late"] = "test-late"

    def after_generation(self, tables):
        for table in tables:
            yield table.slice({start})
"""


def test_rows_are_processed_again_by_changed_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept: list[list[str]] = []
    for start in (1, 2):
        (tmp_path / "late_kind.py").write_text(LATE.format(start=start))
        sys.modules.pop("late_kind", None)
        module = importlib.import_module("late_kind")
        made = words(["a", "bb", "ccc"]).add_processor(module.Late(name="late"))
        results = create(made, 3, tmp_path / "data", resume="if_possible")
        kept.append(results.load_dataset()["word"].tolist())
        assert results.dataset_path.name == "words"
    assert kept == [["bb", "ccc"], ["ccc"]]
