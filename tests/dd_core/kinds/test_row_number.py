"""Columns with the numbers of rows."""

from __future__ import annotations

from pathlib import Path

import dd_core.config as dd
from dd_core import DataDesigner


def numbered() -> dd.DataDesignerConfigBuilder:
    made = dd.DataDesignerConfigBuilder([])
    made.add_column(name="id", column_type="row-number")
    made.add_column(name="text", column_type="expression", expr="row {{ id }}")
    return made


def test_rows_are_numbered_across_batches_and_continued_runs(tmp_path: Path) -> None:
    for size, rows in ((3, 5), (4, 11)):
        designer = DataDesigner(tmp_path, run_config=dd.RunConfig(buffer_size=size))
        frame = designer.create(numbered(), num_records=rows, resume="if_possible").load_dataset()
        assert frame["id"].tolist() == [*range(rows)]
        assert str(frame["id"].dtype) == "int64"
    assert frame["text"].iloc[-1] == "row 10"


def test_rows_keep_their_numbers_when_others_are_removed() -> None:
    made = numbered()
    made.add_processor(processor_type="filter_rows", name="odd", condition="{{ id % 2 == 1 }}")
    rows = DataDesigner().preview(made, num_records=6).records()
    assert [row["id"] for row in rows] == [1, 3, 5]


def test_rows_can_be_numbered_from_one() -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.add_column(name="id", column_type="row-number", start=1)
    rows = DataDesigner().preview(made, num_records=3).records()
    assert [row["id"] for row in rows] == [1, 2, 3]
