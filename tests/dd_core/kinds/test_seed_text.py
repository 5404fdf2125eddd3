"""CSV and JSON seeds as people have them: right, or refused with the place that is wrong."""

from __future__ import annotations

import json
import logging
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import InvalidConfigError, SeedDatasetError
from tests.hub import running_hub


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **options: Any) -> dict[str, list[Any]]:
    """The columns of a seed."""
    table = dd.LocalFileSeedSource(path=str(path), **options).open()
    return {name: [*table.take(name, np.arange(table.num_rows))] for name in table.columns}


def values(folder: Path, *fields: str) -> list[Any]:
    """The values of a CSV column, written as given."""
    return read(write(folder, "seed.csv", "\n".join(["n,x", *(f"{f},x" for f in fields)])))["n"]


@pytest.mark.parametrize(
    "fields",
    [
        ["02116", "00501"],
        ["12345678901234567891", "12345678901234567892"],  # beyond 64 bits
        ["9223372036854775808", "1"],
        ["+4915112345", "+4915112346"],
        ["1.10", "1.9"],
        ["1", "1.0"],
        ["1e5", "2e5"],
        ["1_000", "2_000"],
        ["12:30", "07:05"],
        ["nan", "1.5"],
        ["inf", "1.5"],
        ["-0", "1"],
        ["0x1F", "10"],
        [" 5", "6"],
        ["0.1000000000000000055511151231257827", "0.5"],
        ["9007199254740993", "0.5"],
        ["NO", "on"],
    ],
)
def test_what_no_number_prints_stays_text(tmp_path: Path, fields: list[str]) -> None:
    assert values(tmp_path, *fields) == fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["1", "-20", "", "0"], [1, -20, None, 0]),
        (["9223372036854775807"], [9223372036854775807]),
        (["0.5", "", "2.0"], [0.5, None, 2.0]),
        (["30", "45.5", "", "-3"], [30, 45.5, None, -3]),
        (["1e-07", "0.5"], [1e-07, 0.5]),
        (["true", "False", ""], [True, False, None]),
        (["2024-01-31", ""], [date(2024, 1, 31), None]),
        (["2024-01-31 10:00:01"], [datetime(2024, 1, 31, 10, 0, 1)]),
        (["2024-01-31T10:00:01"], [datetime(2024, 1, 31, 10, 0, 1)]),
        (["12:30:15"], [time(12, 30, 15)]),
        (["a", ""], ["a", None]),
        (['""', "a"], ["", "a"]),
        (["", ""], [None, None]),
    ],
)
def test_numbers_and_times_that_print_as_written_are_read_as_such(
    tmp_path: Path, fields: list[str], expected: list[Any]
) -> None:
    found = values(tmp_path, *fields)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_a_whole_number_among_fractions_prints_as_written(tmp_path: Path) -> None:
    path = write(tmp_path, "seed.csv", "price\n30\n45.5\n")
    config = {
        "seed_config": {"source": {"seed_type": "local", "path": str(path)}},
        "columns": [
            {"name": "said", "column_type": "expression", "expr": "{{ price }}"},
            {"name": "twice", "column_type": "expression", "expr": "{{ price * 2 }}"},
        ],
    }
    rows = DataDesigner().preview(config, num_records=2).records()
    assert [(row["said"], row["twice"]) for row in rows] == [("30", "60"), ("45.5", "91.0")]


@settings(max_examples=60, deadline=None)
@given(
    fields=st.lists(
        st.one_of(
            st.integers().map(str),
            st.floats(allow_nan=False).map(repr),
            st.from_regex(r"[-+0]?[0-9]{1,20}(\.[0-9]{1,3})?", fullmatch=True),
        ),
        min_size=1,
        max_size=5,
    ),
    quoted=st.booleans(),
)
def test_every_field_prints_as_written(
    tmp_path_factory: pytest.TempPathFactory, fields: list[str], quoted: bool
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    given_fields = [f'"{field}"' if quoted else field for field in fields]
    found = values(folder, *given_fields)
    assert [str(value) for value in found] == fields
    assert not quoted or all(isinstance(value, str) for value in found)


def test_a_number_in_quotes_is_text_and_other_quotes_do_not_matter(tmp_path: Path) -> None:
    rows = ['"007",1,"2024-01-31","say ""5"",6"', '"8",2,"2024-02-01",","']
    found = read(write(tmp_path, "seed.csv", 'id,n,day,"2020"\n' + "\n".join(rows)))
    assert found == {
        "id": ["007", "8"],
        "n": [1, 2],
        "day": [date(2024, 1, 31), date(2024, 2, 1)],
        "2020": ['say "5",6', ","],
    }


def test_text_that_looks_like_amounts_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dd_core"):
        assert values(tmp_path, "19.90", "5.00") == ["19.90", "5.00"]
    assert "'n' is text" in caplog.text
    assert "set types: {n: float}" in caplog.text


def test_types_can_be_declared(tmp_path: Path) -> None:
    path = write(tmp_path, "s.csv", "a,b,c,d,e,f\n19.90,7,1,01,2024-01-31,2024-01-31T10:00:00Z\n")
    types = {"a": "float", "b": "str", "c": "bool", "d": "int", "e": "date", "f": "datetime"}
    found = {name: column[0] for name, column in read(path, types=types).items()}
    assert found.pop("f").isoformat() == "2024-01-31T10:00:00+00:00"
    expected = {"a": 19.9, "b": "7", "c": True, "d": 1, "e": date(2024, 1, 31)}
    assert found == expected
    lines = write(tmp_path, "s.jsonl", '{"n": 1}\n{"n": "Bob"}\n{"n": {"a": [1]}}\n{}\n')
    assert read(lines, types={"n": "str"}) == {"n": ["1", "Bob", '{"a": [1]}', None]}


@pytest.mark.parametrize(
    ("name", "content", "options", "place"),
    [
        ("a.csv", 'n,x\n"a\nb",1\n2,two\n', {"types": {"x": "int"}}, "line 4, column 'x': 'two'"),
        ("a.jsonl", '{"x": 1}\n\n{"x": "y"}\n', {"types": {"x": "int"}}, "line 3, column 'x': 'y'"),
        ("a.csv", "n\n1\n", {"types": {"m": "int"}}, "unknown column 'm'; known columns: 'n'"),
        ("a.csv", "name,n\nJosé,1\n".encode("latin-1"), {}, "line 2, character 4: byte 0xe9"),
        ("a.jsonl", '{"n": "é"}'.encode("latin-1"), {}, "line 1, character 8: byte 0xe9"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", {}, "line 3: it has 3 fields, but the header has 2"),
        ("a.csv", 'a,b\n"x\ny",2\n1\n', {}, "line 4: it has 1 field, but the header has 2"),
        ("a.csv", 'a,b\n1,"x\n2,y\n', {}, "line 2: a quote is opened and never closed"),
        ("a.csv", 'a,b\n1,"x"y\n', {}, "line 2: ',' expected after"),
        ("a.csv", 'a,"b\n', {}, "line 1: a quote is opened and never closed"),
        ("a.csv", ",n\n0,1\n", {}, "line 1: column 1 has no name"),
        ("a.csv", "n,n\n0,1\n", {}, "line 1: two columns are named 'n'"),
        ("a.csv", "a;b\n1;2\n", {}, "the only column is 'a;b'; set delimiter: ';'"),
        ("a.csv", "a\tb\n1\t2\n", {}, "set delimiter"),
        ("a.csv", "", {}, "it is empty"),
        ("a.csv", "\n\n", {}, "it is empty"),
        ("a.jsonl", '{"a": 1}\n{"a": ', {}, "line 2, character 7"),
        ("a.json", '[{"a": 1},\n {"a" 2}]', {}, "line 2, character 7"),
        ("a.jsonl", '{"a": {"b": 1}}\n{"a": {"b": "x"}}\n', {}, "line 2, column 'a'"),
        ("a.jsonl", '{"a": 1}\n{"a": true}\n', {}, "line 2, column 'a': the value is true or"),
        ("a.json", '[{"a": 1}, 5]', {}, "record 2: every record must be a JSON object, not a nu"),
        ("a.jsonl", '{"a": 1}\n{"\\ud800": 1}\n', {}, "line 2: a key contains half of a surrogate"),
        (
            "a.jsonl",
            '{"a": {}}\n' + '{"a": ' * 45 + "1" + "}" * 45 + "\n",
            {},
            "line 2, column 'a': the value at ['a']['a']['a']",
        ),
        ("a.csv", b"\xef\xbb\xbf", {}, "it is empty; the first line must name columns"),
        ("a.jsonl", '{"a": [1]}\n{"a": [100000000000000000000]}\n', {}, "line 2, column 'a'"),
        ("a.jsonl", '{"": 1}\n', {}, "line 1: a key is empty"),
        ("a.jsonl", "[" * 100_000, {}, "line 1"),
        ("a.parquet", b"PAR1 not", {}, "cannot be read"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_nothing_else(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], place: str
) -> None:
    path = write(tmp_path, name, content)
    config = {
        "seed_config": {"source": {"seed_type": "local", "path": str(path), **options}},
        "columns": [{"name": "e", "column_type": "expression", "expr": "{{ name }}"}],
        "processors": [{"name": "p", "processor_type": "drop_columns", "column_names": ["n"]}],
    }
    with pytest.raises(InvalidConfigError) as caught:
        DataDesigner().create(config, num_records=2, artifact_path=tmp_path / "out")
    [problem] = caught.value.problems
    assert problem.where == "seed_config"
    assert place in problem.message
    assert options.get("types") == {"m": "int"} or str(path) in problem.message
    assert not (tmp_path / "out").exists()


def test_a_missing_seed_file_is_the_only_problem(tmp_path: Path) -> None:
    config = {
        "seed_config": {"source": {"seed_type": "local", "path": str(tmp_path / "no.csv")}},
        "columns": [{"name": "e", "column_type": "expression", "expr": "{{ name }}"}],
    }
    with pytest.raises(InvalidConfigError) as caught:
        DataDesigner().validate(config)
    assert [problem.where for problem in caught.value.problems] == ["seed_config.source.path"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_a_byte_order_mark_names_the_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    text = {
        "a.csv": "name,n\nJosé,1\n",
        "a.jsonl": '{"name": "José", "n": 1}\n',
        "a.json": '[{"name": "José", "n": 1}]',
    }[name]
    assert read(write(tmp_path, name, text.encode(encoding))) == {"name": ["José"], "n": [1]}


def test_encoding_and_delimiter_are_options(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'name;n\nJosé;"1"\n"a;b";2\n'.encode("cp1252"))
    found = read(path, encoding="cp1252", delimiter=";")
    assert found == {"name": ["José", "a;b"], "n": ["1", "2"]}
    assert read(write(tmp_path, "b.csv", "a;b\n1;2\n"), delimiter=",") == {"a;b": ["1;2"]}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.parquet", {"encoding": "utf-8"}, "encoding does not apply to .parquet files"),
        ("a.jsonl", {"delimiter": ";"}, "delimiter does not apply to .jsonl files"),
        ("a.csv", {"delimiter": ";;"}, "must be one ASCII character"),
        ("a.csv", {"encoding": "latin-99"}, "encoding 'latin-99' is unknown"),
        ("a.csv", {"types": {"n": "number"}}, "types"),
    ],
)
def test_options_that_cannot_apply_are_refused(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        read(write(tmp_path, name, "n\n1\n"), **options)


def test_options_count_only_if_they_are_set(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "n\n1\n")
    plain = dd.LocalFileSeedSource(path=str(path))
    typed = dd.LocalFileSeedSource(path=str(path), types={"n": "str"})
    assert plain.model_dump(mode="json") == {"seed_type": "local", "path": str(path)}
    assert dd.LocalFileSeedSource.model_validate(typed.model_dump(mode="json")) == typed
    assert plain.open().content_hash() != typed.open().content_hash()
    config = dd.DataDesignerConfig.model_validate({"seed_config": {"source": typed}, "columns": []})
    assert dd.load_config({"columns": [], **config.to_dict()}) == config


def test_a_file_whose_values_changed_with_the_rules_is_another_seed(tmp_path: Path) -> None:
    import hashlib

    def fingerprint(content: str) -> tuple[str, str]:
        path = write(tmp_path, "a.csv", content)
        before = hashlib.blake2b(hashlib.blake2b(content.encode()).digest(), digest_size=16)
        source = dd.LocalFileSeedSource(path=str(path))
        return source.open().content_hash(), before.hexdigest()

    now, before = fingerprint("n,t,f\n1,a,0.5\n2,b,2.0\n")
    assert now == before  # journals and caches of earlier releases stay valid
    for content in ("zip\n02116\n", "n\n1\n2.5\n", 'n\n"5"\n'):
        now, before = fingerprint(content)
        assert now != before


def test_a_json_object_may_span_lines(tmp_path: Path) -> None:
    records = [{"a": 1, "b": {"c": [1]}}, {"a": 2, "b": None}]
    text = "\n".join(json.dumps(record, indent=2) for record in records)
    assert read(write(tmp_path, "a.json", text)) == {"a": [1, 2], "b": [{"c": [1]}, None]}
    with pytest.raises(SeedDatasetError, match="line 3, character 7"):
        read(write(tmp_path, "b.json", '{\n "a": 1,\n "b": x}'))


def test_json_as_python_writes_it(tmp_path: Path) -> None:
    records = [{"v": float("nan"), "w": float("-inf")}, {"v": 1.5, "w": 2.0}]
    text = "\r\n".join(map(json.dumps, records)) + "\r\n\r\n"
    assert read(write(tmp_path, "a.jsonl", text))["v"] == [None, 1.5]
    separators = json.dumps({"t": "a\u2028b\x85c"}, ensure_ascii=False)
    assert read(write(tmp_path, "b.jsonl", separators)) == {"t": ["a\u2028b\x85c"]}


def test_integers_of_any_length_stay_what_they_are(tmp_path: Path) -> None:
    long = 123456789012345678901234
    path = write(tmp_path, "a.jsonl", f'{{"id": {long}, "n": 1}}\n{{"id": 2, "n": 2.5}}\n')
    assert read(path) == {"id": [str(long), "2"], "n": [1, 2.5]}
    fits = write(tmp_path, "b.jsonl", f'{{"id": {2**63 - 1}}}\n{{"id": {-(2**63) + 1}}}\n')
    assert read(fits) == {"id": [2**63 - 1, -(2**63) + 1]}
    beyond = write(tmp_path, "c.json", f'[{{"id": {2**53 + 1}}}, {{"id": 0.5}}]')
    assert read(beyond) == {"id": [str(2**53 + 1), "0.5"]}
    unsigned = write(tmp_path, "c.jsonl", f'{{"id": {2**63}}}\n{{"id": null}}\n{{"id": 7}}\n')
    assert read(unsigned) == {"id": [2**63, None, 7]}


@pytest.mark.parametrize("text", ['{"n": 1e400}\n', '[\n{"n": 1e400}]', '{\n"n": 1e400\n}'])
def test_a_number_that_would_become_infinite_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SeedDatasetError, match=r"n\.json.*line 1: 1e400 is too large"):
        read(write(tmp_path, "n.json", text))


def test_files_are_unified_by_their_values(tmp_path: Path) -> None:
    write(tmp_path, "a.csv", "n,zip,only_a\n1,10115,x\n")
    write(tmp_path, "b.csv", "zip,n\n02116,two\n")
    found = read(tmp_path / "*.csv")
    assert found == {"n": ["1", "two"], "zip": ["10115", "02116"], "only_a": ["x", None]}
    write(tmp_path, "a.jsonl", '{"n": 1}\n')
    write(tmp_path, "b.jsonl", '{"n": 2.5}\n')
    assert read(tmp_path / "*.jsonl") == {"n": [1, 2.5]}
    write(tmp_path, "b.jsonl", '{"n": "x"}\n')
    with pytest.raises(SeedDatasetError, match=r"b.jsonl.*line 1, column 'n'.*line 1 of '.*a.js"):
        read(tmp_path / "*.jsonl")


def test_parquet_files_are_unified_or_refused_by_name(tmp_path: Path) -> None:
    def files(*arrays: Any) -> Path:
        for number, array in enumerate(arrays):
            pq.write_table(pa.table({"n": array}), tmp_path / f"{number}.parquet")
        return tmp_path / "*.parquet"

    assert read(files(pa.array([1], pa.int32()), pa.array([None, 2**40]))) == {
        "n": [1, None, 2**40]
    }
    assert read(files(pa.nulls(1), pa.array(["x"]))) == {"n": [None, "x"]}
    with pytest.raises(SeedDatasetError, match=r"1.parquet' .*'n' is string, but int64 in '.*0.pa"):
        read(files(pa.array([1]), pa.array(["x"])))
    with pytest.raises(
        SeedDatasetError, match=r"0.parquet' .*'n' is int64, which other files make"
    ):
        read(files(pa.array([2**53 + 1]), pa.array([0.5])))


def test_types_of_a_parquet_file_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([2**63], pa.uint64()),
            "at": pa.array([1], pa.timestamp("ns", "UTC")),
            "price": pa.array([None], pa.decimal128(12, 2)),
            "tags": pa.array([[]], pa.list_(pa.large_string())),
            "kind": pa.array(["a"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    source = dd.LocalFileSeedSource(path=str(tmp_path / "a.parquet")).open()
    assert {name: source.column_type(name) for name in source.columns} == dict(
        zip(table.column_names, table.schema.types, strict=True)
    )


def test_data_frames_without_usable_names_are_refused() -> None:
    for names in (["a", "a"], ["a", ""]):
        frame = pd.DataFrame([[1, 2]], columns=names)
        with pytest.raises(SeedDatasetError, match=r"two columns are named|has no name"):
            dd.DataFrameSeedSource(df=frame).open()


def test_a_column_may_have_a_long_name(tmp_path: Path) -> None:
    name = "How satisfied are you? " * 15
    path = write(tmp_path, "a.csv", f"{name},n\nvery,1\n")
    results = DataDesigner(artifact_path=tmp_path).create(
        {"seed_config": {"source": {"seed_type": "local", "path": str(path)}}, "columns": []},
        num_records=1,
    )
    assert results.load_dataset()[name].tolist() == ["very"]


def test_files_on_the_hub_have_the_same_options() -> None:
    with running_hub() as hub:
        hub.repositories["a/b"] = {"x.csv": "zip;n\n02116;1\n".encode("utf-16")}
        source = dd.HuggingFaceSeedSource(
            path="datasets/a/b/x.csv", endpoint=hub.url, delimiter=";", types={"n": "str"}
        )
        table = source.open()
        assert [[*table.take(name, np.arange(1))] for name in table.columns] == [["02116"], ["1"]]
    plain = dd.HuggingFaceSeedSource(path="datasets/a/b/x.csv").model_dump()
    assert not {"encoding", "delimiter", "types"} & {*plain}


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**62], pa.timestamp("us")),
        pa.array([1], pa.timestamp("us", "+25:00")),
        pa.array([2**30], pa.date32()),
    ],
)
def test_values_in_parquet_that_python_cannot_hold_are_named(values: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": values}), tmp_path / "a.parquet")
    with pytest.raises(SeedDatasetError, match=r"column 'a' .*cannot be read"):
        dd.LocalFileSeedSource(path=str(tmp_path / "a.parquet")).open()


NOT_UTF8 = pa.array([b"ok", b"ok", b"ok\xff"]).view(pa.string())
DEEP: Any = [None, None, "x"]
for _ in range(45):
    DEEP[2] = {"a": DEEP[2]}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (NOT_UTF8, "the value has bytes that are not UTF-8"),
        (NOT_UTF8.dictionary_encode(), "the value has bytes that are not UTF-8"),
        (pa.StructArray.from_arrays([NOT_UTF8], ["m"]), "the value has bytes that are not UTF-8"),
        (pa.array([None, [], [2**62]], pa.list_(pa.timestamp("us"))), "date value out of range"),
        (pa.array(DEEP), "is nested deeper than 40 levels"),
    ],
)
def test_values_that_cannot_be_stored_are_refused_before_the_run(
    values: Any, reason: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"n": range(3)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": range(3), "a": values}), tmp_path / "b.parquet")
    config = {
        "seed_config": {"source": {"seed_type": "local", "path": str(tmp_path / "*.parquet")}}
    }
    with pytest.raises(InvalidConfigError) as caught:
        DataDesigner().preview({**config, "columns": []}, num_records=1)
    [problem] = caught.value.problems
    assert "b.parquet' cannot be read: column 'a', row 2: " in problem.message
    assert problem.message.endswith(f"{reason}; change or remove it")
    frame = pd.DataFrame({"a": pd.Series(pd.arrays.ArrowExtensionArray(values))})
    with pytest.raises(SeedDatasetError, match=r"seed dataset cannot be used: column 'a', row 2: "):
        dd.DataFrameSeedSource(df=frame).open()


def test_half_surrogate_pairs_are_replaced_in_every_seed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"a": "x\\ud83d", "b": {"\\ud83d": ["\\ud83d\\ude00"]}}\n')
    frame = pd.DataFrame(
        {"a": pd.Series(["x\ud83d"], dtype=object), "b": [{"\ud83d": ["\ud83d\ude00"]}]}
    )
    for source in (dd.LocalFileSeedSource(path=str(path)), dd.DataFrameSeedSource(df=frame)):
        table = source.open()
        assert [*table.take("a", np.arange(1))] == ["x\ufffd"]
        assert [*table.take("b", np.arange(1))] == [{"\ufffd": ["\U0001f600"]}]


@pytest.mark.parametrize("content", ["a,b", "a,b\n", "\ufeffa,b", 'a,"b"', "a,b\r\n\r\n"])
def test_a_header_alone_is_a_table_without_rows(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "a.csv", content)
    assert dd.LocalFileSeedSource(path=str(path)).open().columns == ["a", "b"]
    config = {"seed_config": {"source": {"seed_type": "local", "path": str(path)}}, "columns": []}
    with pytest.raises(InvalidConfigError) as caught:
        DataDesigner().preview(config, num_records=1)
    [problem] = caught.value.problems
    assert problem.message == "the seed dataset has no rows; check its source"
