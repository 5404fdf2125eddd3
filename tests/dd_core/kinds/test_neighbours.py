"""The column kind `neighbours`: other rows of the seed dataset."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.kinds.generators import RowColumn
from dd_core.kinds.seeds.seed import SeedConfig, SeedRows
from dd_core.storage.batch import Batch, NumberedRow
from tests.datasets import binding


def generate(
    frame: pd.DataFrame, rows: range, seed: int = 3, shuffle: bool = True, **fields: Any
) -> tuple[list[int], list[list[int]]]:
    """The seed row of each row, and the numbers of its neighbours."""
    strategy = dd.SamplingStrategy.SHUFFLE if shuffle else dd.SamplingStrategy.ORDERED
    source = dd.DataFrameSeedSource(df=frame)
    table = SeedRows(SeedConfig(source=source, sampling_strategy=strategy), source.open(), seed)
    config = dd.NeighboursColumnConfig(name="others", columns=["id"], **fields)
    generator = config.bind(binding(seed=seed, seed_rows=table))
    assert isinstance(generator, RowColumn)
    values = generator.generate([NumberedRow({}, seed, "others", number) for number in rows])
    own = [int(table.indexes(Batch(0, number, 1))[0]) for number in rows]
    return own, [[other["id"] for other in line] for line in values]


GROUPS = st.lists(st.integers(0, 3), min_size=2, max_size=25)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(1, 6), st.sampled_from(["random", "group", "different"]), st.data())
def test_neighbours_are_distinct_other_rows_whatever_the_batch(
    groups: list[int], k: int, how: str, data: st.DataObject
) -> None:
    frame = pd.DataFrame({"id": range(len(groups)), "group": groups})
    fields: dict[str, Any] = {"k": k, "by": "random"}
    if how != "random":
        fields |= {"by": "group", "column": "group", "different": how == "different"}
    own, found = generate(frame, range(40), **fields)
    for row, others in zip(own, found, strict=True):
        allowed = {
            other
            for other in range(len(groups))
            if other != row
            and (how == "random" or (groups[other] == groups[row]) == (how == "group"))
        }
        assert set(others) <= allowed
        assert len(others) == len(set(others)) == min(k, len(allowed))
    cut = data.draw(st.integers(1, 39))
    assert generate(frame, range(cut, 40), **fields)[1] == found[cut:]
    assert [generate(frame, range(cut, cut + 1), **fields)[1][0]] == found[cut : cut + 1]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 90), st.integers(1, 5), st.integers(0, 1000))
def test_embeddings_give_the_most_similar_other_rows(size: int, k: int, seed: int) -> None:
    vectors = np.random.RandomState(seed).randint(-3, 4, (size, 3)) + 0.5
    frame = pd.DataFrame({"id": range(size), "vector": vectors.tolist()})
    k = min(k, size - 1)
    own, found = generate(frame, range(size), by="embedding", column="vector", k=k)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = units @ units.T
    for row, others in zip(own, found, strict=True):
        assert row not in others
        assert len(set(others)) == k
        best = np.sort(np.delete(similar[row], row))[::-1][:k]
        assert np.allclose(similar[row][others], best, atol=2e-5)
    assert generate(frame, range(1, 2), by="embedding", column="vector", k=k)[1] == found[1:2]


def test_equally_similar_rows_come_in_their_order() -> None:
    frame = pd.DataFrame({"id": range(9), "vector": [[1.0, 2.0]] * 9})
    found = generate(frame, range(2), shuffle=False, by="embedding", column="vector", k=3)[1]
    assert found == [[1, 2, 3], [0, 2, 3]]


def test_all_other_rows_are_equally_likely() -> None:
    frame = pd.DataFrame({"id": range(4)})
    own, found = generate(frame, range(8000), shuffle=False, k=1)
    pairs = list(zip(own, [others[0] for others in found], strict=True))
    counts = [pairs.count((a, b)) for a in range(4) for b in range(4) if a != b]
    assert all(abs(count - 8000 / 12) < 130 for count in counts)


SEED = pd.DataFrame({"id": range(6), "group": list("aabbcc"), "vector": [[1.0, 2.0]] * 6})


def preview(frame: pd.DataFrame | None, selection: Any = None, **fields: Any) -> list[Any]:
    builder = dd.DataDesignerConfigBuilder([])
    if frame is not None:
        source = dd.DataFrameSeedSource(df=frame)
        builder.with_seed_dataset(source, selection_strategy=selection)
    builder.add_column(name="one", column_type="expression", expr="1")
    builder.add_column(name="others", column_type="neighbours", **fields)
    return DataDesigner().preview(builder, num_records=4).records()


def test_neighbours_are_among_the_selected_rows_and_have_no_vectors() -> None:
    selection = dd.IndexRange(start=2, end=4)
    rows = preview(SEED, selection, k=2, by="embedding", column="vector")
    assert [[other["id"] for other in row["others"]] for row in rows[:2]] == [[3, 4], [2, 4]]
    assert [*rows[0]["others"][0]] == ["id", "group"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": ["idd"]}, "columns.others.columns.*did you mean 'id'"),
        ({"by": "group", "column": "groop"}, "columns.others.column.*did you mean 'group'"),
        ({"k": 6}, "columns.others.k.*at most 5"),
        ({"by": "embedding", "column": "group"}, "columns.others.column.*list of numbers"),
    ],
)
def test_mistakes_are_found_before_the_run(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        preview(SEED, **fields)


def test_a_row_without_a_vector_is_found_before_the_run() -> None:
    frame = SEED.assign(vector=pd.Series([[1.0, 2.0]] * 5 + [None]))
    with pytest.raises(InvalidConfigError, match="list of numbers in every row"):
        preview(frame, by="embedding", column="vector")


def test_a_seed_dataset_is_required() -> None:
    with pytest.raises(InvalidConfigError, match=r"columns.others.*add a seed_config"):
        preview(None)


@pytest.mark.parametrize("fields", [{"by": "group"}, {"column": "id"}, {"different": True}])
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"by|column"):
        dd.NeighboursColumnConfig(name="others", **fields)


def test_columns_of_other_rows_have_the_types_of_their_table(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "id": pa.array([1, 2, 3, 4]),
            "day": pa.array([date(2026, 1, n) for n in (1, 2, 3, 4)]),
            "price": pa.array([Decimal("1.50"), None, None, None], pa.decimal128(8, 2)),
        }
    )
    pq.write_table(rows, tmp_path / "rows.parquet")
    source = dd.LocalFileSeedSource(path=str(tmp_path / "rows.parquet"))
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    made.add_column(name="others", column_type="neighbours", k=1)
    made.add_column(name="shots", column_type="examples", source=source, k=1, columns=["price"])
    designer = DataDesigner(tmp_path / "out", run_config=dd.RunConfig(buffer_size=1))
    designer.create(made, num_records=4)
    parts = [*(tmp_path / "out").rglob("*.parquet")]
    schemas = {str(pq.read_schema(part).remove_metadata()) for part in parts}
    assert len(parts) > 1 and len(schemas) == 1
    schema = pq.read_schema(parts[0])
    assert schema.field("others").type.value_type == pa.struct(list(rows.schema))
    assert schema.field("shots").type.value_type == pa.struct([rows.schema.field("price")])
