"""DataFrames of results have the types of plain pandas, or those of Arrow on request."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.storage.arrow import to_frame

ROWS: dict[str, Any] = {
    "text": pa.array(["a", None, "c"]),
    "whole": pa.array([1, 2, 3]),
    "gaps": pa.array([1, None, 3]),
    "big": pa.array([2**60 + 1, None, 3]),
    "real": pa.array([0.5, None, 2.5]),
    "flag": pa.array([True, False, True]),
    "flags": pa.array([True, None, False]),
    "moment": pa.array([datetime(2026, 1, 2, 3), None, datetime(9000, 1, 1)]),
    "day": pa.array([date(2026, 1, 2), None, date(2026, 1, 3)]),
    "price": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
    "items": pa.array([[1, 2], None, []]),
    "person": pa.array([{"name": "Ada", "tags": ["x"]}, None, {"name": None, "tags": None}]),
    "nothing": pa.array([None, None, None], pa.null()),
}


@pytest.fixture
def builder(tmp_path: Path) -> dd.DataDesignerConfigBuilder:
    pq.write_table(cast("Any", pa).table(ROWS), tmp_path / "rows.parquet")
    source = dd.LocalFileSeedSource(path=str(tmp_path / "rows.parquet"))
    return dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)


def test_preview_and_dataset_have_the_types_of_plain_pandas(
    tmp_path: Path, builder: dd.DataDesignerConfigBuilder
) -> None:
    designer = DataDesigner(tmp_path)
    results = designer.create(builder, num_records=3)
    preview = designer.preview(builder, num_records=3)
    for frame in (preview.dataset, results.load_dataset(), results.artifact_storage.load_dataset()):
        assert frame["whole"].dtype == "int64"
        assert frame["gaps"].dtype == frame["real"].dtype == "float64"
        assert frame["flag"].dtype == "bool"
        assert frame["moment"].dtype == "datetime64[us]"
        numbers = frame.select_dtypes(include="number").columns
        assert [*numbers] == ["whole", "gaps", "real"]
        assert pd.isna(frame["text"][1]) and pd.isna(frame["moment"][1])
        assert frame["flags"].tolist() == [True, None, False]
        assert frame["price"].tolist() == [Decimal("1.50"), None, Decimal("2.25")]
        assert frame["day"].tolist() == [date(2026, 1, 2), None, date(2026, 1, 3)]
        assert frame["nothing"].tolist() == [None, None, None]


def test_nested_values_are_those_of_python(builder: dd.DataDesignerConfigBuilder) -> None:
    frame = DataDesigner().preview(builder, num_records=3).dataset
    assert frame["items"].tolist() == [[1, 2], None, []]
    assert all(type(value) is list for value in (frame["items"][0], frame["person"][0]["tags"]))
    assert frame["person"].tolist() == ROWS["person"].to_pylist()


def test_integers_that_a_float_would_round_stay_integers(
    builder: dd.DataDesignerConfigBuilder,
) -> None:
    frame = DataDesigner().preview(builder, num_records=3).dataset
    assert frame["big"].tolist() == [2**60 + 1, None, 3]


def test_arrow_types_are_an_option(tmp_path: Path, builder: dd.DataDesignerConfigBuilder) -> None:
    designer = DataDesigner(tmp_path)
    results = designer.create(builder, num_records=3)
    preview = designer.preview(builder, num_records=3)
    for frame in (
        preview.load_dataset(dtype_backend="pyarrow"),
        results.load_dataset(dtype_backend="pyarrow"),
        results.artifact_storage.load_dataset(dtype_backend="pyarrow"),
        results.artifact_storage.load_dataset_with_dropped_columns(dtype_backend="pyarrow"),
    ):
        assert all(isinstance(kind, pd.ArrowDtype) for kind in frame.dtypes)
        assert frame["gaps"].dtype == "int64[pyarrow]"
    with pytest.raises(ValueError, match="'numpy' or 'pyarrow', not 'polars'"):
        preview.load_dataset(dtype_backend=cast("Any", "polars"))


def test_a_builder_made_from_results_keeps_the_types_of_the_files(
    tmp_path: Path, builder: dd.DataDesignerConfigBuilder
) -> None:
    designer = DataDesigner(tmp_path)
    results = designer.create(builder, num_records=3)
    preview = designer.preview(builder, num_records=3)
    for again in (preview.to_config_builder(), results.to_config_builder(["gaps", "big"])):
        assert designer.preview(again, num_records=3).table["gaps"].type == pa.int64()


def test_rows_of_a_preview_as_dictionaries_have_none_for_missing_values(
    builder: dd.DataDesignerConfigBuilder,
) -> None:
    record = DataDesigner().preview(builder, num_records=3).records()[1]
    expected = {name: values[1].as_py() for name, values in ROWS.items()}
    assert record == expected


def test_a_dictionary_column_has_the_type_of_its_values() -> None:
    table = cast("Any", pa).table({"x": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert to_frame(table)["x"].tolist() == ["a", "b", "a"]
    assert to_frame(table)["x"].dtype == pd.Series(["a"]).dtype


def test_rows_without_columns_are_counted() -> None:
    table = cast("Any", pa).table({"x": pa.array([1, 2])}).select([])
    assert to_frame(table).shape == (2, 0)


def test_the_profile_has_all_columns_of_the_dataset(
    tmp_path: Path, builder: dd.DataDesignerConfigBuilder
) -> None:
    builder.add_column(name="more", column_type="expression", expr="{{ whole }}!")
    designer = DataDesigner(tmp_path)
    results = designer.create(builder, num_records=3)
    for analysis in (designer.preview(builder, num_records=3).analysis, results.load_analysis()):
        assert [each.column_name for each in analysis.column_statistics] == [*ROWS, "more"]
        assert analysis.side_effect_column_names == []
