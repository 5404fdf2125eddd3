"""Seed datasets: what is read from where, and which seed row stands behind which row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import InvalidConfigError, SeedDatasetError
from dd_core.kinds.seeds.seed import SeedRows, SeedSource
from dd_core.storage.batch import Batch
from tests.datasets import binding

FRAME = pd.DataFrame({"n": [1, 2, 3], "text": ["a", None, "ü\nx"], "score": [0.5, None, 2.0]})
RECORDS = [
    {"n": 1, "text": "a", "score": 0.5},
    {"n": 2, "text": None, "score": None},
    {"n": 3, "text": "ü\nx", "score": 2.0},
]


def write(path: Path) -> Path:
    """The records in the form that the suffix says."""
    if path.suffix == ".parquet":
        FRAME.to_parquet(path)  # pyright: ignore[reportUnknownMemberType]
    elif path.suffix == ".csv":
        FRAME.to_csv(path, index=False)  # pyright: ignore[reportUnknownMemberType]
    elif path.suffix == ".json":
        path.write_text(json.dumps(RECORDS))
    else:
        path.write_text("\n".join(json.dumps(record) for record in RECORDS) + "\n")
    return path


def records(source: SeedSource) -> list[dict[str, Any]]:
    table = source.open()
    everything = np.arange(table.num_rows)
    columns = {name: table.take(name, everything) for name in table.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def seed_rows(
    total: int,
    start: int,
    size: int,
    strategy: str = "ordered",
    selection: dd.IndexRange | dd.PartitionBlock | None = None,
    seed: int = 3,
) -> list[int]:
    config = dd.SeedConfig(
        source=dd.DataFrameSeedSource(df=pd.DataFrame({"n": range(total)})),
        sampling_strategy=dd.SamplingStrategy(strategy),
        selection_strategy=selection,
    )
    rows = SeedRows(config, config.source.open(), seed)
    return rows.indexes(Batch(0, start, size)).tolist()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".jsonl"])
def test_every_format_gives_the_same_records(tmp_path: Path, suffix: str) -> None:
    source = dd.LocalFileSeedSource(path=str(write(tmp_path / f"seed{suffix}")))
    found = records(source)
    assert found == RECORDS
    assert [type(record["n"]) for record in found] == [int, int, int]


def test_a_json_file_may_also_hold_one_object_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "seed.jsonl").rename(tmp_path / "seed.json")
    assert records(dd.LocalFileSeedSource(path=str(path))) == RECORDS


def test_json_records_may_lack_fields_and_have_nested_ones(tmp_path: Path) -> None:
    path = tmp_path / "seed.jsonl"
    path.write_text('{"a": 1}\n{"b": {"c": [1, 2]}}\n')
    expected = [{"a": 1, "b": None}, {"a": None, "b": {"c": [1, 2]}}]
    assert records(dd.LocalFileSeedSource(path=str(path))) == expected


def test_types_of_a_csv_file_come_from_all_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "seed.csv"
    path.write_text("n,day\n" + "1,2024-01-31\n" * 200_000 + "1.5,2024-02-01\n")
    table = dd.LocalFileSeedSource(path=str(path)).open()
    assert table.take("n", np.array([0, 200_000])) == [1.0, 1.5]
    assert table.take("day", np.array([200_000])) == [date(2024, 2, 1)]


def test_a_wildcard_takes_the_files_in_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(f"name\n{name}\n")
    (tmp_path / "c.json").write_text("[]")
    source = dd.LocalFileSeedSource(path=str(tmp_path / "*.csv"))
    assert records(source) == [{"name": "a"}, {"name": "b"}]


def test_a_relative_path_stays_relative_where_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "seed.csv")
    monkeypatch.chdir(tmp_path)
    builder = dd.DataDesignerConfigBuilder([])
    builder.with_seed_dataset(dd.LocalFileSeedSource(path="seed.csv"))
    config = builder.build()
    assert config.to_dict()["seed_config"]["source"]["path"] == "seed.csv"
    builder.write_config("config.yaml")
    builder.write_config("config.json")
    for name in ("config.yaml", "config.json"):
        assert str(tmp_path) not in Path(name).read_text()
        assert dd.load_config(name) == config
    results = DataDesigner("artifacts").create(builder, num_records=2)
    assert str(tmp_path) not in (results.dataset_path / "builder_config.json").read_text()
    assert str(tmp_path) not in (results.dataset_path / "metadata.json").read_text()


def test_a_relative_path_is_read_from_where_it_was_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "seed.csv")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("bees")
    monkeypatch.chdir(tmp_path)
    table = dd.LocalFileSeedSource(path="seed.csv")
    folder = dd.DirectorySeedSource(path="notes")
    monkeypatch.chdir("/")
    assert records(table) == RECORDS
    assert records(folder)[0]["file_name"] == "a.txt"
    assert table.resolve_paths().path == str(tmp_path / "seed.csv")
    assert folder.resolve_paths().path == str(tmp_path / "notes")


def test_the_fingerprint_does_not_depend_on_how_the_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hashes: set[Any] = set()
    for path in ("seed.csv", str(tmp_path / "seed.csv")):
        builder = dd.DataDesignerConfigBuilder([])
        builder.with_seed_dataset(dd.LocalFileSeedSource(path=path))
        hashes.add(builder.build().fingerprint()["config_hash"])
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            dd.LocalFileSeedSource(path="/elsewhere/rows.csv"),
            "there is no file '/elsewhere/rows.csv'; check the path",
        ),
        (
            dd.LocalFileSeedSource(path="/elsewhere/*.csv"),
            r"no file matches '/elsewhere/\*.csv'; check the path",
        ),
        (
            dd.DirectorySeedSource(path="/elsewhere/notes"),
            "there is no folder '/elsewhere/notes'; check the path",
        ),
        (
            dd.FileContentsSeedSource(path="/elsewhere/notes"),
            "there is no folder '/elsewhere/notes'; check the path",
        ),
        (
            dd.AgentRolloutSeedSource(path="/elsewhere", format=dd.AgentRolloutFormat.CODEX),
            "there is no folder '/elsewhere'; set path",
        ),
        (dd.LocalFileSeedSource(path=f"{'x' * 300}.csv"), "there is no file"),
        (dd.DirectorySeedSource(path="x" * 300), "there is no folder"),
    ],
)
def test_a_seed_must_exist_when_it_is_read_and_not_before(
    tmp_path: Path, source: SeedSource, message: str
) -> None:
    builder = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    builder.write_config(tmp_path / "config.yaml")
    loaded = dd.DataDesignerConfigBuilder.from_config(tmp_path / "config.yaml")
    assert loaded.build() == builder.build()
    designer = DataDesigner(tmp_path)
    for check in (designer.validate, designer.preview, designer.create):
        with pytest.raises(InvalidConfigError, match=message):
            check(loaded)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a*.csv", "'a.*.csv' may use a wildcard only as the file name, as in"),
        ("*/seed.csv", "may use a wildcard only as the file name"),
        ("seed.xlsx", "'seed.xlsx' must end in one of .parquet, .csv, .json, .jsonl"),
    ],
)
def test_a_path_that_cannot_lead_anywhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValidationError, match=message):
        dd.LocalFileSeedSource(path=path)


@pytest.mark.parametrize("content", ['{"a": 1', "[1, 2]", '{"a": 1}\n{"a": {"b": 1}}'])
def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "seed.json"
    path.write_text(content)
    with pytest.raises(SeedDatasetError, match=r"seed file '.*seed.json' cannot be read"):
        dd.LocalFileSeedSource(path=str(path)).open()


def test_a_file_that_has_gone_is_an_error_that_names_it(tmp_path: Path) -> None:
    source = dd.LocalFileSeedSource(path=str(write(tmp_path / "seed.csv")))
    (tmp_path / "seed.csv").unlink()
    with pytest.raises(SeedDatasetError, match=r"there is no file at '.*seed.csv'"):
        source.open()


def test_a_data_frame_can_be_written_to_a_file_or_used_as_it_is(tmp_path: Path) -> None:
    assert records(dd.LocalFileSeedSource.from_dataframe(FRAME, tmp_path / "x.parquet")) == RECORDS
    assert records(dd.DataFrameSeedSource(df=FRAME)) == RECORDS


def test_a_data_frame_is_not_part_of_a_dump() -> None:
    assert dd.DataFrameSeedSource(df=FRAME).model_dump(mode="json") == {"seed_type": "df"}
    with pytest.raises(ValidationError, match="df must be a pandas DataFrame, not list"):
        dd.DataFrameSeedSource(df=[1])


def from_frame(path: Path, frame: pd.DataFrame) -> SeedSource:
    return dd.DataFrameSeedSource(df=frame)


def from_file(path: Path, frame: pd.DataFrame) -> SeedSource:
    return dd.LocalFileSeedSource.from_dataframe(frame, path)


@pytest.mark.parametrize("source", [from_frame, from_file])
def test_the_hash_follows_the_content_and_nothing_else(
    tmp_path: Path, source: Callable[[Path, pd.DataFrame], SeedSource]
) -> None:
    def content(name: str, frame: pd.DataFrame) -> str:
        return source(tmp_path / name, frame).open().content_hash()

    first = content("a.parquet", FRAME)
    assert content("b.parquet", FRAME.copy()) == first
    assert content("a.parquet", FRAME.head(2)) != first


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "seed.csv"
    path.write_text("n\n1\n")
    source = dd.LocalFileSeedSource(path=str(path))
    before = source.open()
    path.write_text("n\n2\n")
    os.utime(path, ns=(1, 1))
    after = source.open()
    assert (before.take("n", np.array([0])), after.take("n", np.array([0]))) == ([1], [2])
    assert before.content_hash() != after.content_hash()


def test_a_seed_column_reads_the_rows_of_its_batch() -> None:
    config = dd.SeedConfig(source=dd.DataFrameSeedSource(df=FRAME))
    rows = SeedRows(config, config.source.open(), seed=0)
    bound = binding(seed_rows=rows)
    column = dd.SeedDatasetColumnConfig(name="n").bind(bound)
    assert column.generate(Batch(1, 2, 4), {}) == [3, 1, 2, 3]  # pyright: ignore
    with pytest.raises(SeedDatasetError, match="no column 'm'; its columns are 'n', 'text', 'sco"):
        dd.SeedDatasetColumnConfig(name="m").bind(bound)
    with pytest.raises(SeedDatasetError, match="add a seed_config"):
        dd.SeedDatasetColumnConfig(name="n").bind(binding())


def test_a_seed_column_is_never_skipped() -> None:
    with pytest.raises(ValidationError, match="seed column 'n' cannot be skipped; remove skip"):
        dd.SeedDatasetColumnConfig(name="n", skip=dd.SkipConfig(when="{{ m }}"))


def test_ordered_rows_go_round_and_round() -> None:
    assert seed_rows(3, 0, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert seed_rows(3, 5, 2) == [2, 0]


def test_shuffled_rows_come_once_a_cycle_each_in_a_new_order() -> None:
    rows = seed_rows(50, 0, 150, "shuffle")
    cycles = [rows[start : start + 50] for start in (0, 50, 100)]
    assert [sorted(cycle) for cycle in cycles] == [[*range(50)]] * 3
    assert len({tuple(cycle) for cycle in cycles}) == 3
    assert seed_rows(50, 0, 150, "shuffle", seed=4) != rows


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 90), max_size=4),
    start=st.integers(0, 1_000),
    total=st.integers(1, 40),
    strategy=st.sampled_from(["ordered", "shuffle"]),
)
def test_seed_rows_do_not_depend_on_the_size_of_batches(
    cuts: list[int], start: int, total: int, strategy: str
) -> None:
    edges = [start, *sorted(start + cut for cut in cuts), start + 90]
    parts = [seed_rows(total, a, b - a, strategy) for a, b in pairwise(edges)]
    assert [row for part in parts for row in part] == seed_rows(total, start, 90, strategy)


@pytest.mark.parametrize("strategy", ["ordered", "shuffle"])
@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (dd.IndexRange(start=2, end=4), [2, 3, 4]),
        (dd.PartitionBlock(index=0, num_partitions=3), [0, 1, 2]),
        (dd.PartitionBlock(index=2, num_partitions=3), [6, 7, 8, 9]),
    ],
)
def test_only_selected_rows_are_used(strategy: str, selection: Any, selected: list[int]) -> None:
    rows = seed_rows(10, 0, len(selected) * 2, strategy, selection)
    assert sorted(rows[: len(selected)]) == selected
    assert sorted(rows[len(selected) :]) == selected


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (dd.IndexRange(start=2, end=10), r"ends at row 10, but the seed dataset has 10 rows"),
        (dd.PartitionBlock(num_partitions=11), "11 partitions, but the seed dataset has only 10"),
    ],
)
def test_a_selection_beyond_the_data_is_an_error(selection: Any, message: str) -> None:
    with pytest.raises(SeedDatasetError, match=message):
        seed_rows(10, 0, 1, selection=selection)


def test_a_seed_dataset_without_rows_is_an_error() -> None:
    with pytest.raises(SeedDatasetError, match="the seed dataset has no rows"):
        seed_rows(0, 0, 1)


def test_a_seed_config_reads_back_from_its_dump(tmp_path: Path) -> None:
    config = dd.SeedConfig(
        source=dd.LocalFileSeedSource(path=str(write(tmp_path / "seed.csv"))),
        sampling_strategy=dd.SamplingStrategy.SHUFFLE,
        selection_strategy=dd.PartitionBlock(index=1, num_partitions=2),
    )
    assert dd.SeedConfig.model_validate_json(config.model_dump_json()) == config


def objects(*values: Any) -> dd.DataFrameSeedSource:
    return dd.DataFrameSeedSource(df=pd.DataFrame({"s": pd.Series([*values], dtype=object)}))


def test_objects_in_a_data_frame_take_the_form_of_any_other_value() -> None:
    assert records(objects("half \ud83d", "b")) == [{"s": "half \ufffd"}, {"s": "b"}]
    assert records(objects({"k\ud83d": "\ud83d"})) == [{"s": {"k\ufffd": "\ufffd"}}]


def test_an_object_that_a_data_frame_cannot_hold_is_named() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    endless: list[Any] = []
    endless.append(endless)
    for value, reason in (
        (endless, "contains itself"),
        (Mute(), "cannot be converted"),
        (10**5000, "4,300 digits"),
        (10**30, "too large"),
    ):
        with pytest.raises(SeedDatasetError, match=rf"column 's' .*{reason}"):
            objects(value, value).open()
    with pytest.raises(SeedDatasetError, match=r"column 's' .*astype\(str\)"):
        objects(1, "a").open()


def test_half_of_a_surrogate_pair_in_the_name_of_a_column_is_refused() -> None:
    frame = pd.DataFrame([[1]], columns=pd.Index(["a\ud83d"], dtype=object))
    with pytest.raises(SeedDatasetError, match=r"name of column 1, .*rename"):
        dd.DataFrameSeedSource(df=frame).open()
