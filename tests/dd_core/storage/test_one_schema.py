"""All files of a dataset have one schema, whatever each batch holds, and any reader loads them."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.extend import ProcessorConfig
from tests.datasets import rewrite_as_earlier
from tests.scripted import ScriptedModel, model, prompt_of

ROWS, BATCH = 12, 4
SCRIPT: dict[str, list[Any]] = {}
"""The values of the custom columns, which each test sets."""
HAS_POLARS = importlib.util.find_spec("polars") is not None


@dd.custom_column_generator(required_columns=["i"])
def scripted_a(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "a": SCRIPT["a"][row["i"]]}


@dd.custom_column_generator(required_columns=["i"])
def scripted_b(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "b": SCRIPT["b"][row["i"]]}


def scripted(a: list[Any], b: list[Any]) -> dd.DataDesignerConfigBuilder:
    SCRIPT.update(a=a, b=b)
    config = dd.DataDesignerConfigBuilder([]).with_seed_dataset(rows())
    config.add_column(dd.CustomColumnConfig(name="a", generator_function=scripted_a))
    return config.add_column(dd.CustomColumnConfig(name="b", generator_function=scripted_b))


def rows(count: int = ROWS) -> dd.DataFrameSeedSource:
    return dd.DataFrameSeedSource(df=pd.DataFrame({"i": range(count)}))


def designer(folder: Path, size: int = BATCH, server: Any = None) -> DataDesigner:
    run_config = dd.RunConfig(buffer_size=size, seed=1)
    return DataDesigner(folder, run_config=run_config, transport=server)


def made(folder: Path, first: list[Any], second: list[Any] | None = None) -> Any:
    config = scripted(first, second or first)
    return designer(folder).create(config, num_records=ROWS, dataset_name="d")


def one_schema(folder: Path) -> pa.Schema:
    """The schema that all files of a folder have."""
    paths = sorted(folder.glob("*.parquet"))
    schemas = [pq.read_schema(path) for path in paths]
    assert all(schema.equals(schemas[0]) for schema in schemas), schemas
    assert {*(schemas[0].metadata or {})} == {b"dd.rows"}
    return schemas[0].remove_metadata()


def same(read: Any, value: Any) -> bool:
    """Whether a value that was read is the one that was written, or its text."""
    if isinstance(value, dict):
        found = json.loads(read) if isinstance(read, str) else read
        given = all(same(found.get(name), each) for name, each in value.items())
        return given and all(found[name] is None for name in found.keys() - value.keys())
    if isinstance(value, list):
        found = json.loads(read) if isinstance(read, str) else [*read]
        return len(found) == len(value) and all(map(same, found, value))
    if value is None:
        return read is None or read is pd.NA or read is pd.NaT or read != read
    if isinstance(read, str) and not isinstance(value, str):
        if isinstance(value, bool | int | float):
            found = json.loads(read)
            return isinstance(found, bool) == isinstance(value, bool) and found == value
        return type(value)(read) == value if isinstance(value, Decimal) else str(value) == read
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            not isinstance(read, bool) and int(read) == value
            if isinstance(value, int)
            else read == value
        )
    return bool(read == value)


INTEGERS = st.integers(-(2**63), 2**63 - 1)
SCALARS = {
    "integers": INTEGERS,
    "small": st.integers(-9, 9),
    "floats": st.floats(allow_nan=False, allow_infinity=False),
    "text": st.text("aé1", max_size=3),
    "flags": st.booleans(),
    "decimals": st.decimals(-999, 999, places=2),
    "dates": st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
    "moments": st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),
    "nothing": st.none(),
}
KINDS = SCALARS | {
    "lists": st.lists(st.one_of(SCALARS["small"], SCALARS["floats"]), max_size=3),
    "words": st.lists(SCALARS["text"], max_size=2),
    "objects": st.dictionaries(
        st.sampled_from(["x", "y"]), st.one_of(st.none(), SCALARS["small"], SCALARS["text"])
    ),
    "deep": st.fixed_dictionaries({"x": st.lists(st.fixed_dictionaries({"z": INTEGERS}))}),
}


@st.composite
def columns(draw: st.DrawFn) -> list[Any]:
    """A column whose batches draw from one or two of three kinds of values, or are null."""
    known = draw(st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=3))
    values: list[Any] = []
    for _ in range(ROWS // BATCH):
        chosen = draw(st.lists(st.sampled_from(known), min_size=1, max_size=2))
        kind = st.one_of(*(KINDS[name] for name in chosen))
        values += draw(st.lists(kind, min_size=BATCH, max_size=BATCH))
    return values


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(first=columns(), second=columns())
def test_every_reader_finds_the_values_and_one_schema(first: list[Any], second: list[Any]) -> None:
    with TemporaryDirectory() as name:
        made(Path(name), first, second)
        folder = Path(name, "d", "parquet-files")
        one_schema(folder)
        read = {
            "pyarrow": pyarrow.dataset.dataset(folder).to_table().to_pylist(),
            "pandas": pd.read_parquet(folder, dtype_backend="pyarrow").to_dict("records"),
            "duckdb": read_by_duckdb(folder),
        }
        for reader, found in read.items():
            for row in found:
                for column, values in (("a", first), ("b", second)):
                    value = values[row["i"]]
                    assert same(row[column], value), (reader, column, row[column], value)
        if HAS_POLARS:
            polars: Any = __import__("polars")
            assert polars.read_parquet(folder / "*.parquet").height == ROWS


def read_by_duckdb(folder: Path) -> list[dict[str, Any]]:
    found = duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*.parquet')")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


ENTRY = pa.struct([("a", pa.int8())])
SEED_TYPES: dict[str, Any] = {
    "nanoseconds": pa.array([1_700_000_000_000_000_001, None] * 4, pa.timestamp("ns")),
    "zone": pa.array([1, 2] * 4, pa.timestamp("ns", "Europe/Berlin")),
    "unsigned": pa.array([2**63, 1] * 4, pa.uint64()),
    "tiny": pa.array([1, None] * 4, pa.int8()),
    "single": pa.array([0.1, None] * 4, pa.float32()),
    "map": pa.array([[("a", 1)], None] * 4, pa.map_(pa.string(), pa.int32())),
    "decimal": pa.array([Decimal("1.5"), None] * 4, pa.decimal128(12, 2)),
    "dictionary": pa.array(["x", "y"] * 4).dictionary_encode(),
    "empty": pa.array([[]] * 8, pa.list_(pa.float32())),
    "nulls": pa.nulls(8, pa.string()),
    "late": pa.array([None] * 4 + ["x"] * 4),
    "time": pa.array([1, 2] * 4, pa.time64("ns")),
    "duration": pa.array([1, 2] * 4, pa.duration("ns")),
    "bytes": pa.array([b"\xff", b"a"] * 4, pa.binary(1)),
    "large": pa.array(["a", "b"] * 4, pa.large_string()),
    "vector": pa.array([[1.0, 2.0]] * 8, pa.list_(pa.float32(), 2)),
    "object": pa.array(
        [{"a": None, "b": []}] * 8, pa.struct([("a", pa.int16()), ("b", pa.list_(pa.string()))])
    ),
    "uuid": pa.array([b"0" * 16] * 8, pa.uuid()),
    "maps": pa.array([[[(1, {"a": 1})]], None] * 4, pa.list_(pa.map_(pa.int8(), ENTRY))),
    "view": pa.array([[1], None] * 4, pa.list_view(pa.int8())),
    "short": pa.array([Decimal("1.5"), None] * 4, pa.decimal64(12, 2)),
    "long": pa.array([Decimal("1.5"), None] * 4, pa.decimal256(50, 2)),
    "offset": pa.array([1, None] * 4, pa.timestamp("ms", "+05:30")),
    "json": pa.array(["{}", None] * 4, pa.json_()),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None] * 4, pa.int8())),
    "tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), [2]),
        pa.array([[1.0, 2.0]] * 8, pa.list_(pa.float32(), 2)),
    ),
}
READABLE: dict[str, Any] = {
    "map": pa.list_(pa.struct([("key", pa.string()), ("value", pa.int32())])),
    "uuid": pa.string(),
    "maps": pa.list_(pa.list_(pa.struct([("key", pa.int8()), ("value", ENTRY)]))),
    "view": pa.list_(pa.int8()),
    "short": pa.decimal128(12, 2),
    "long": pa.string(),
    "offset": pa.timestamp("ms", "UTC"),
    "bool8": pa.bool_(),
    "tensor": pa.list_(pa.float32(), 2),
}
"""The types instead of those that some readers do not have."""
READ: dict[str, Any] = {
    "map": lambda entries: [{"key": key, "value": value} for key, value in entries],
    "uuid": str,
    "maps": lambda lists: [READ["map"](entries) for entries in lists],
    "long": str,
}


@pytest.mark.parametrize("changed", [False, True])
def test_seed_columns_keep_their_values_and_readable_types(tmp_path: Path, changed: bool) -> None:
    table = pa.table(SEED_TYPES)
    pq.write_table(table, tmp_path / "seed.parquet")
    source = dd.LocalFileSeedSource(path=str(tmp_path / "seed.parquet"))
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    made.add_column(name="e", column_type="expression", expr="{{ tiny }}-{{ map }}")
    if changed:
        made.add_processor(_Untouched(name="p"))
    designer(tmp_path, 3).create(made, num_records=8, dataset_name="d")
    folder = tmp_path / "d" / "parquet-files"
    schema = one_schema(folder)
    kinds = {each.name: READABLE.get(each.name, each.type) for each in table.schema}
    assert schema == pa.schema(kinds | {"e": pa.string()})
    written = pa.concat_tables([pq.read_table(path) for path in sorted(folder.iterdir())])
    for name in SEED_TYPES:
        read: Any = READ.get(name, lambda value: value)
        values = [None if each is None else read(each) for each in table.column(name).to_pylist()]
        assert written.column(name).to_pylist() == values, name


class _Untouched(ProcessorConfig):
    processor_type: Literal["untouched"] = "untouched"

    def before_batch(self, table: pa.Table) -> pa.Table:
        return table


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
ITEM = {"type": "object", "properties": {"n": {"type": "integer"}, "t": TEXT}}
SCHEMA = {
    "type": "object",
    "properties": {
        "number": NUMBER,
        "whole": {"type": "integer"},
        "maybe": {"anyOf": [{"$ref": "#/$defs/item"}, {"type": "null"}]},
        "list": {"type": "array", "items": TEXT},
        "free": {"type": "object"},
        "any": {},
        "either": {"anyOf": [NUMBER, TEXT]},
        "choice": {"enum": ["a", "b"]},
        "level": {"enum": [1, 2]},
        "map": {"type": "object", "additionalProperties": NUMBER},
        "tree": {"$ref": "#/$defs/tree"},
        "merged": {"allOf": [ITEM, {"type": "object", "properties": {"u": TEXT}}]},
    },
    "$defs": {
        "item": ITEM,
        "tree": {
            "type": "object",
            "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        },
    },
}
STRUCT = pa.struct(
    [
        ("number", pa.float64()),
        ("whole", pa.int64()),
        ("maybe", pa.struct([("n", pa.int64()), ("t", pa.string())])),
        ("list", pa.list_(pa.string())),
        ("free", pa.string()),
        ("any", pa.string()),
        ("either", pa.string()),
        ("choice", pa.string()),
        ("level", pa.int64()),
        ("map", pa.string()),
        ("tree", pa.struct([("children", pa.string())])),
        ("merged", pa.struct([("n", pa.int64()), ("t", pa.string()), ("u", pa.string())])),
    ]
)


def structured(folder: Path, answers: list[Any], schema: Any = SCHEMA) -> pa.Schema:
    server = ScriptedModel(lambda body: json.dumps(answers[int(prompt_of(body).split()[0])]))
    made = dd.DataDesignerConfigBuilder([model(max_parallel_requests=1)])
    made.with_seed_dataset(rows(len(answers)))
    made.add_column(
        name="s",
        column_type="llm-structured",
        model_alias="m",
        prompt="{{ i }}",
        output_format=schema,
    )
    designer(folder, 1, server).create(made, num_records=len(answers), dataset_name="d")
    return one_schema(folder / "d" / "parquet-files")


def test_a_json_schema_declares_the_type(tmp_path: Path) -> None:
    full = {"number": 4.5, "whole": 1, "maybe": {"n": 1}, "list": ["x"], "free": {"z": 1}}
    full |= {"any": [1], "either": "x", "choice": "b", "level": 2, "map": {"k": 1}}
    full |= {"tree": {"children": [{"children": []}]}, "merged": {}}
    assert (
        structured(tmp_path, [{}, full, {"number": 5, "maybe": None, "list": []}]).field("s").type
        == STRUCT
    )
    found = DataDesigner(tmp_path).open("d").load_dataset()["s"].tolist()
    assert len(found) == 3 and found[0] == dict.fromkeys(full)
    assert found[1]["number"] == 4.5 and found[1]["maybe"] == {"n": 1, "t": None}
    assert json.loads(found[1]["free"]) == {"z": 1} and json.loads(found[1]["any"]) == [1]
    assert json.loads(found[1]["tree"]["children"]) == [{"children": []}]


def test_an_integer_beyond_64_bits_turns_its_member_into_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kind = structured(tmp_path, [{"whole": 1}, {"whole": 10**20}]).field("s").type
    assert kind.field("whole").type == pa.string() and kind.field("level").type == pa.int64()
    found = DataDesigner(tmp_path).open("d").load_dataset()["s"].tolist()
    assert [each["whole"] for each in found] == ["1", str(10**20)]
    assert "column 's'" in caplog.text and str(10**20) in caplog.text


UTC = pa.timestamp("us", "UTC")
NESTED_UTC = pa.list_(pa.struct([("t", UTC)]))
JUST_TEXT = pa.struct([("a", pa.string()), ("b", pa.struct([("c", pa.string())]))])
NANOSECONDS = "2024-01-01T00:00:00.000000001"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "kind", "texts"),
    [
        (5, 4.5, pa.float64(), None),
        (2**53 + 1, 4.5, pa.string(), [str(2**53 + 1), "4.5"]),
        (True, 1, pa.string(), ["true", "1"]),
        (1, "one", pa.string(), ["1", "one"]),
        ([1], {"a": 1}, pa.string(), ["[1]", '{"a":1}']),
        ([1], ["a"], pa.string(), ["[1]", '["a"]']),
        ({"a": 1}, {"a": "x"}, pa.struct([("a", pa.string())]), None),
        ({"a": 1}, {"b": 2.5}, pa.struct([("a", pa.int64()), ("b", pa.float64())]), None),
        (Decimal("1.50"), Decimal("120.25"), pa.decimal128(5, 2), None),
        (Decimal("1.5"), 2.5, pa.string(), ["1.5", "2.5"]),
        (
            dt.date(2024, 1, 1),
            dt.datetime(2024, 1, 1, 5),
            pa.string(),
            ["2024-01-01", "2024-01-01 05:00:00"],
        ),
        (None, {"a": 1}, pa.struct([("a", pa.int64())]), None),
        (b"x", "x", pa.string(), None),
        ([], ["a"], pa.list_(pa.string()), None),
        ({}, {"a": 1}, pa.struct([("a", pa.int64())]), None),
        ({}, {}, pa.string(), ["{}", "{}"]),
        (
            {"a": {}},
            {"a": {"b": []}},
            pa.struct([("a", pa.struct([("b", pa.list_(pa.null()))]))]),
            None,
        ),
        ({}, 1, pa.string(), ["{}", "1"]),
        ({}, {"a": {}}, pa.struct([("a", pa.string())]), None),
        ({"a": 1}, {"a": {}, "b": {"c": {}}}, JUST_TEXT, None),
        (
            dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
            dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3))),
            pa.timestamp("us", "UTC"),
            None,
        ),
        (pd.Timestamp(NANOSECONDS), dt.datetime(2024, 1, 1), pa.timestamp("ns"), None),
        (pd.Timedelta("1ns"), dt.timedelta(days=1), pa.duration("ns"), None),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_the_rules(
    tmp_path: Path,
    first: Any,
    second: Any,
    kind: Any,
    texts: Any,
    together: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = [first, second] * 6 if together else [first] * 8 + [second] * 4
    results = made(tmp_path, values)
    schema = one_schema(tmp_path / "d" / "parquet-files")
    assert schema.field("a").type == kind
    assert results.directory.metadata.column_types["parquet-files"]["a"] == str(kind)
    found = results.load_dataset()["a"].tolist()
    if texts is None:
        assert same(found[0], first) and same(found[-1], second)
    elif first != second:
        assert [found[0], found[-1]] == texts
        messages = [
            record.getMessage() for record in caplog.records if "column 'a'" in record.getMessage()
        ]
        assert len(messages) == 1 and repr(first) in messages[0] and repr(second) in messages[0]
    results.export(tmp_path / "out.parquet")
    results.load_analysis()
    source = dd.LocalFileSeedSource(path=str(tmp_path / "d" / "parquet-files" / "*.parquet"))
    assert source.open().num_rows == ROWS


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (dt.time(1, tzinfo=dt.UTC), pa.string()),
        (dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), UTC),
        ([{"t": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))}], NESTED_UTC),
        (pd.Timedelta("1ns"), pa.duration("ns")),
        ({"a\0b": 1, "a\0c": 2}, pa.string()),
    ],
)
def test_a_value_that_some_readers_would_change_or_not_load(
    tmp_path: Path, value: Any, kind: Any
) -> None:
    results = made(tmp_path, [value] * ROWS)
    assert one_schema(tmp_path / "d" / "parquet-files").field("a").type == kind
    assert all(same(each, value) for each in results.load_dataset()["a"])


def test_a_set_in_a_column_of_text_is_a_list(tmp_path: Path) -> None:
    for values in ([{1}] * 4 + [["a"]] * 8, [{1}, ["a"]] * 6):
        found = made(tmp_path, values).load_dataset()["a"].tolist()
        assert [found[0], found[-1]] == ["[1]", '["a"]']


def test_a_dataset_that_was_cut_off_gets_one_schema_too(tmp_path: Path) -> None:
    config = scripted([1] * 5 + [0.5] * 7, [None] * 9 + [{"x": 1}] * 3)
    for size, count in ((2, 4), (4, 7), (3, ROWS)):
        results = designer(tmp_path, size).create(
            config, num_records=count, dataset_name="d", resume="if_possible"
        )
    assert results.load_dataset()["a"].tolist() == SCRIPT["a"]
    parts = results.directory.parts()
    assert [(part.start, part.stop) for part in parts] == [
        (0, 2),
        (2, 4),
        (4, 7),
        (7, 10),
        (10, 12),
    ]
    schema = one_schema(tmp_path / "d" / "parquet-files")
    assert schema.field("a").type == pa.float64()
    assert schema.field("b").type == pa.struct([("x", pa.int64())])


def test_side_tables_dropped_columns_and_processed_rows(tmp_path: Path) -> None:
    config = scripted([1] * 4 + [0.5] * 8, [{"x": 1}] * 4 + [{"y": [2]}] * 8)
    config.add_processor(processor_type="drop_columns", name="drop", column_names=["a"])
    config.add_processor(processor_type="schema_transform", name="side", template={"v": "{{ b }}"})
    config.add_processor(processor_type="filter_rows", name="f", condition="{{ i != 3 }}")
    results = designer(tmp_path, BATCH).create(config, num_records=ROWS, dataset_name="d")
    assert len(results.load_dataset()) == ROWS - 1
    folder = tmp_path / "d"
    for name in ("generated-files", "dropped-columns-parquet-files", "processors-files/side"):
        one_schema(folder / name)
    shown = {*map(str, map(pq.read_schema, (folder / "parquet-files").iterdir()))}
    assert len(shown) == 1
    kinds = results.directory.metadata.column_types
    assert kinds["dropped-columns-parquet-files"] == {"a": "double"}
    assert kinds["parquet-files"]["b"] == "struct<x: int64, y: list<item: int64>>"


class _Records(ProcessorConfig):
    processor_type: Literal["records"] = "records"

    def transformed(self, rows: Any, mode: Any) -> Any:
        """Return what some readers cannot load, in some batches."""
        offset = dt.timezone(dt.timedelta(hours=1))
        odd = {"text": "\ud800", "large": 10**30, "object": {1: {2}}, "empty": {}}
        moment = {"moment": dt.datetime(2024, 1, 1, tzinfo=offset)}
        return iter({0: [], 4: [{}], 8: [odd | moment]}[SCRIPT["a"].pop(0)])

    def after_batch(self, table: pa.Table) -> pa.Table:
        return table.append_column("empty", pa.array([{}] * table.num_rows, pa.struct([])))

    def after_generation(self, tables: Any) -> Any:
        for table in tables:
            uuids = pa.array([b"0" * 16] * table.num_rows, pa.uuid())
            yield table.append_column("uuid", uuids)


def test_processors_may_return_what_some_readers_cannot_load(tmp_path: Path) -> None:
    config = dd.DataDesignerConfigBuilder([]).with_seed_dataset(rows())
    config.add_processor(_Records(name="side"))
    SCRIPT["a"] = [0, 4, 8]
    results = designer(tmp_path).create(config, num_records=ROWS, dataset_name="d")
    found = results.load_processor_dataset("side").to_dict("records")
    moment = dt.datetime(2023, 12, 31, 23, tzinfo=dt.UTC)
    odd = {"text": "\ufffd", "large": str(10**30), "object": {"1": [2]}, "empty": "{}"}
    assert found == [odd | {"moment": moment}]
    rows_schema = pq.read_schema(tmp_path / "d" / "parquet-files" / "batch_00000.parquet")
    assert rows_schema.field("uuid").type == rows_schema.field("empty").type == pa.string()
    assert {*results.load_dataset()["empty"]} == {"{}"}


def test_a_dataset_of_an_earlier_version_is_read_with_one_schema(tmp_path: Path) -> None:
    results = made(tmp_path, [1] * ROWS)
    folder = tmp_path / "d" / "parquet-files"
    for number, values in enumerate([[1, 2, 3, 4], ["a", "b", "c", "d"], [{"z": 1}] * 4]):
        path = folder / f"batch_{number:05d}.parquet"
        changed = pq.read_table(path).set_column(1, "a", pa.array(values))
        rewrite_as_earlier(tmp_path / "d", path, changed)
    opened = DataDesigner(tmp_path).open("d")
    assert opened.load_dataset()["a"].tolist() == [*"1234", *"abcd", *['{"z":1}'] * 4]
    assert opened.load_analysis().num_records == ROWS
    exported = pq.read_table(opened.export(tmp_path / "out.parquet"))
    assert exported.column("a").to_pylist() == [*"1234", *"abcd", *['{"z":1}'] * 4]
    assert results.count_records() == ROWS


SAMPLED: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("gaussian", {"mean": 0, "stddev": 1}, None, "double"),
    ("gaussian", {"mean": 0, "stddev": 1}, "int", "int64"),
    ("poisson", {"mean": 2}, None, "int64"),
    ("scipy", {"dist_name": "poisson", "dist_params": {"mu": 2}}, None, "int64"),
    ("scipy", {"dist_name": "norm", "dist_params": {}}, "str", "string"),
    ("bernoulli", {"p": 0.5}, None, "int64"),
    ("category", {"values": [1, 2.5]}, None, "double"),
    ("category", {"values": ["a", 1]}, None, "string"),
    ("uuid", {}, None, "string"),
    ("datetime", {"start": "2024-01-01", "end": "2024-02-01"}, None, "string"),
]


def test_columns_are_written_with_the_types_that_they_declare(tmp_path: Path) -> None:
    config = dd.DataDesignerConfigBuilder([model()]).with_seed_dataset(rows(3))
    for number, (kind, params, convert_to, _) in enumerate(SAMPLED):
        fields = {"sampler_type": kind, "params": params, "convert_to": convert_to}
        config.add_column(name=f"s{number}", column_type="sampler", **fields)
    config.add_column(
        name="who", column_type="sampler", sampler_type="person_from_faker", params={}
    )
    skipped = {"when": "{{ i < 2 }}"}
    for dtype in ("int", "float", "str", "bool"):
        config.add_column(
            name=dtype, column_type="expression", expr="{{ i }}", dtype=dtype, skip=skipped
        )
    config.add_column(
        name="code", column_type="llm-code", model_alias="m", prompt="x", code_lang="python",
        skip=skipped, with_trace="all_messages", extract_reasoning_content=True,
    )  # fmt: skip
    config.add_column(
        name="check", column_type="validation", target_columns=["code"], propagate_skip=False,
        validator_params={"validator_type": "code", "code_lang": "python"},
    )  # fmt: skip
    score = {"name": "good", "description": "x", "options": {1: "bad", 2: "good"}}
    config.add_column(
        name="judge", column_type="llm-judge", model_alias="m", prompt="j", scores=[score],
        skip=skipped,
    )  # fmt: skip
    server = ScriptedModel(
        lambda body: (
            json.dumps({"good": {"reasoning": "x", "score": 2}})
            if prompt_of(body).startswith("j")
            else "```python\nimport os\nprint(undefined)\n```"
        )
    )
    results = designer(tmp_path, 1, server).create(config, num_records=3, dataset_name="d")
    assert results.count_records() == 3
    schema = one_schema(tmp_path / "d" / "parquet-files")
    kinds = {field.name: str(field.type).replace("<element: ", "<item: ") for field in schema}
    for number, (*_, expected) in enumerate(SAMPLED):
        assert kinds[f"s{number}"] == expected, SAMPLED[number]
    assert [kinds[name] for name in ("int", "float", "str", "bool")] == [
        "int64",
        "double",
        "string",
        "bool",
    ]
    assert kinds["code"] == kinds["code__reasoning_content"] == "string"
    declared = results.plan.types.declared
    assert {name: str(kind) for name, kind in declared.items()} == kinds | {"i": "int64"}


def test_text_that_looks_like_an_object_stays_text(tmp_path: Path) -> None:
    results = made(tmp_path, ["{}"] * BATCH + [{"x": 1}] * BATCH + ["[1]"] * BATCH, ["{}"] * ROWS)
    rows = results.load_dataset()
    assert rows["a"].tolist() == ["{}"] * BATCH + ['{"x":1}'] * BATCH + ["[1]"] * BATCH
    assert rows["b"].tolist() == ["{}"] * ROWS
