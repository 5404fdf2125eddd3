"""Vectors are stored as lists of a fixed size wherever their lengths allow it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import BudgetExhaustedError, DataDesignerGenerationError
from dd_core.storage.arrow import to_array
from dd_core.storage.schema import make_vectors, unify_types
from dd_core.storage.unify import unify_folder
from tests.datasets import rewrite_as_earlier
from tests.scripted import Body, ScriptedModel

THIRD = 1 / 3
ROUNDED = struct.unpack("<f", struct.pack("<f", THIRD))[0]


def vectors(body: Body) -> httpx.Response:
    """Two numbers for each text; three for a text with `long` in it."""
    found = [[THIRD, float(len(text))] + [0.5] * ("long" in text) for text in body["input"]]
    data = [{"index": at, "embedding": each} for at, each in enumerate(found)]
    return httpx.Response(200, json={"data": data})


def embedding(texts: list[str], **fields: Any) -> dd.DataDesignerConfigBuilder:
    made = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(
                alias="e",
                model="small",
                provider="openai",
                base_url="http://model.test/v1",
                inference_parameters=dd.EmbeddingInferenceParams(),
            )
        ]
    )
    frame = pa.table({"text": texts}).to_pandas()
    made.with_seed_dataset(dd.DataFrameSeedSource(df=frame))
    made.add_column(
        name="v", column_type="embedding", model_alias="e", target_column="text", **fields
    )
    return made.add_column(
        name="first",
        column_type="expression",
        expr="{{ v.embeddings[0][0] if v.embeddings else 0 }}",
    )


def designer(folder: Path, answer: Any = vectors) -> DataDesigner:
    run_config = dd.RunConfig(buffer_size=2, seed=1, max_conversation_restarts=0)
    return DataDesigner(folder, run_config=run_config, transport=ScriptedModel(answer))


def schemas(folder: Path) -> list[pa.Schema]:
    return [pq.read_schema(path) for path in sorted((folder / "d/parquet-files").iterdir())]


def vector_type(folder: Path) -> str:
    """The type of one cell's vectors, which all files have."""
    found = {str(schema.field("v").type.field("embeddings").type) for schema in schemas(folder)}
    [kind] = found
    return kind.replace("element: ", "").replace("item: ", "")


@pytest.mark.parametrize(
    ("texts", "dtype", "kind"),
    [
        (["a", "b", "c", "d"], "float32", "list<fixed_size_list<float>[2]>"),
        (["a", "b", "c", "d"], "float64", "list<fixed_size_list<double>[2]>"),
        (["a", "[]", "[]", "[]"], "float32", "list<fixed_size_list<float>[2]>"),
        (["[]", "[]", "a", '["b", "c"]'], "float32", "list<fixed_size_list<float>[2]>"),
        (["[]", "[]", "[]", "[]"], "float32", "list<list<float>>"),
        (["a", "b", "long", "long"], "float32", "list<list<float>>"),
        (["a", "long", "b", "c"], "float32", "list<list<float>>"),
    ],
)
def test_the_size_follows_from_the_vectors(
    tmp_path: Path, texts: list[str], dtype: str, kind: str
) -> None:
    made = embedding(texts, dtype=dtype)
    results = designer(tmp_path).create(made, num_records=4, dataset_name="d")
    assert vector_type(tmp_path) == kind
    number = ROUNDED if dtype == "float32" else THIRD
    rows = results.load_dataset().to_dict("records")
    for text, row in zip(texts, rows, strict=True):
        count = row["v"]["num_embeddings"]
        length = 3 if text == "long" else 2
        assert row["v"]["dimension"] == (length if count else 0)
        assert [len(vector) for vector in row["v"]["embeddings"]] == [length] * count
        assert [vector[0] for vector in row["v"]["embeddings"]] == [number] * count
        assert row["first"] == (str(number) if count else "0")
    assert results.load_analysis().num_records == 4
    source = f"'{tmp_path}/d/parquet-files/*.parquet'"
    [[longest]] = duckdb.sql(f"SELECT max(len(v.embeddings)) FROM {source}").fetchall()
    assert longest == max(row["v"]["num_embeddings"] for row in rows)


def test_skipped_cells_are_null(tmp_path: Path) -> None:
    made = embedding(["a", "b", "no", "c"], skip={"when": "{{ text == 'no' }}"})
    designer(tmp_path).create(made, num_records=4, dataset_name="d")
    assert vector_type(tmp_path) == "list<fixed_size_list<float>[2]>"
    cells = pq.read_table(tmp_path / "d/parquet-files").column("v").to_pylist()
    assert [cell is None for cell in cells] == [False, False, True, False]


def test_values_are_the_same_after_a_resume(tmp_path: Path) -> None:
    """A budget cuts the second batch off, and it goes on from the journal."""
    texts = ["a", "bb", "ccc", "dddd"]
    whole = designer(tmp_path / "whole").create(embedding(texts), num_records=4, dataset_name="d")
    settings = dd.RunConfig(buffer_size=4, seed=1, budget=dd.Budget(requests=3))
    script = ScriptedModel(vectors)
    cut = DataDesigner(tmp_path, run_config=settings, transport=script)
    with pytest.raises(BudgetExhaustedError):
        cut.create(embedding(texts), num_records=4, dataset_name="d")
    assert [*(tmp_path / "d").glob("journal/*")]
    script = ScriptedModel(vectors)
    settings = dd.RunConfig(buffer_size=4, seed=1)
    resumed = DataDesigner(tmp_path, run_config=settings, transport=script).create(
        embedding(texts), num_records=4, dataset_name="d", resume="always"
    )
    assert len(script.requests) == 1
    assert resumed.load_dataset().equals(whole.load_dataset())
    preview = designer(tmp_path).preview(embedding(texts), num_records=4)
    assert str(preview.records()) == str(whole.load_dataset().to_dict("records"))


def test_parts_with_numbers_of_float64_are_continued(tmp_path: Path) -> None:
    """Earlier versions stored lists of float64, and their columns had no `dtype`."""
    texts = ["a", "bb", "ccc", "dddd"]
    made = embedding(texts)
    designer(tmp_path).create(made, num_records=2, dataset_name="d")
    path = tmp_path / "d/parquet-files/batch_00000.parquet"
    table = pq.read_table(path)
    cells = [{"embeddings": [[THIRD, 1.0]], "num_embeddings": 1, "dimension": 2}] * 2
    old: Any = pa.array(cells)
    assert str(old.type.field("embeddings").type) == "list<item: list<item: double>>"
    table = table.set_column(table.schema.names.index("v"), "v", old)
    rewrite_as_earlier(tmp_path / "d", path, table)
    script = ScriptedModel(vectors)
    run_config = dd.RunConfig(buffer_size=2, seed=1)
    results = DataDesigner(tmp_path, run_config=run_config, transport=script).create(
        made, num_records=4, dataset_name="d", resume="always"
    )
    assert len(script.requests) == 2
    assert vector_type(tmp_path) == "list<list<double>>"
    numbers = [value["embeddings"][0][0] for value in results.load_dataset()["v"]]
    assert numbers == [THIRD, THIRD, ROUNDED, ROUNDED]


def test_the_default_type_leaves_the_identity_as_it_was() -> None:
    fields = {"name": "v", "model_alias": "e", "target_column": "text"}
    assert "dtype" not in dd.EmbeddingColumnConfig(**fields).identity()
    assert dd.EmbeddingColumnConfig(**fields, dtype="float64").identity()["dtype"] == "float64"


def test_a_number_beyond_float32_fails_its_row(tmp_path: Path) -> None:
    answer = httpx.Response(200, json={"data": [{"embedding": [1e39, 1.0]}]})
    with pytest.raises(DataDesignerGenerationError, match="set dtype to float64"):
        designer(tmp_path, answer).create(embedding(["a"]), num_records=1, dataset_name="d")
    made = embedding(["a"], dtype="float64")
    results = designer(tmp_path / "wide", answer).create(made, num_records=1, dataset_name="d")
    assert [*results.load_dataset()["v"][0]["embeddings"][0]] == [1e39, 1.0]


def test_lists_with_the_fixed_size_of_other_parts_join_them(tmp_path: Path) -> None:
    fixed = pa.list_(pa.float32(), 2)
    parts = [
        pa.array([[1, 2], None], fixed),
        pa.array([[3, 4]], pa.list_(pa.float32())),
        pa.array([None, None], pa.list_(pa.null())),
    ]
    for number, part in enumerate(parts):
        pq.write_table(pa.table({"v": part}), tmp_path / f"batch_{number:05d}.parquet")
    assert unify_folder(tmp_path) == {"v": "fixed_size_list<item: float>[2]"}
    read = pq.read_table(tmp_path, partitioning=None).column("v").to_pylist()
    assert read == [[1, 2], None, [3, 4], None, None]
    pq.write_table(
        pa.table({"v": pa.array([[]], pa.list_(pa.null()))}), tmp_path / "batch_00003.parquet"
    )
    assert unify_folder(tmp_path) == {"v": "list<item: float>"}
    read = pq.read_table(tmp_path, partitioning=None).column("v").to_pylist()
    assert read == [[1, 2], None, [3, 4], None, None, []]


def test_types_of_lists_are_unified_in_any_order() -> None:
    numbers = pa.float32()
    kinds = [pa.list_(numbers, 2), pa.list_(numbers), pa.list_(pa.float64()), pa.list_(numbers, 3)]
    for first in kinds:
        for second in kinds:
            assert unify_types(first, second) == unify_types(second, first)
    assert unify_types(kinds[0], kinds[1]) == kinds[0]
    assert unify_types(kinds[0], kinds[2]) == kinds[2]
    assert unify_types(kinds[0], kinds[3]) == kinds[1]


def test_a_declared_float32_never_changes_a_value() -> None:
    declared = make_vectors(pa.float32())
    assert to_array([[0.5, 1.0]], declared=declared).type == pa.list_(pa.float32(), 2)
    assert to_array([[THIRD, 1.0]], declared=declared).type == pa.list_(pa.float64(), 2)
    assert to_array([[], []], declared=declared).type == pa.list_(pa.float32())
    assert to_array([None], declared=declared).type == pa.list_(pa.float32())
    large = to_array([[float(np.float32(THIRD))], ["a"]], declared=declared)
    assert large.type == pa.string()
