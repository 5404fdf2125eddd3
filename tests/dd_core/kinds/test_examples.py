"""The column kind `examples`: rows of another table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.dataset.compile import compile_plan
from dd_core.kinds.columns._chosen_rows import choose_distinct, choose_in_passes
from dd_core.kinds.draws import Draws
from dd_core.kinds.seeds.seed import SeedSource
from dd_core.models.providers import Providers

POOL = pd.DataFrame({"topic": ["tea", "rain"] * 6, "number": range(12)})


def column(source: SeedSource | None = None, **fields: Any) -> dd.ExamplesColumnConfig:
    given = source or dd.DataFrameSeedSource(df=POOL)
    return dd.ExamplesColumnConfig(name="shots", source=given, **fields)


def preview(shots: dd.ExamplesColumnConfig, rows: int = 8) -> list[dict[str, Any]]:
    builder = dd.DataDesignerConfigBuilder([])
    topics = dd.CategorySamplerParams(values=["tea", "rain", "snow"])
    builder.add_column(name="topic", column_type="sampler", sampler_type="category", params=topics)
    builder.add_column(shots)
    designer = DataDesigner()
    designer.set_run_config(dd.RunConfig(seed=4))
    return designer.preview(builder, num_records=rows).records()


def numbers(rows: Sequence[dict[str, Any]]) -> list[list[int]]:
    return [[shot["number"] for shot in row["shots"]] for row in rows]


SIZES = st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(0, 5), st.integers(1, 30))
def test_every_example_is_used_once_before_one_is_used_again(
    sizes: tuple[int, int], seed: int, cut: int
) -> None:
    size, count = sizes
    rows = np.arange(60)
    chosen = choose_in_passes(seed, "shots", rows, size, count)
    assert all(len(set(line)) == count for line in chosen.tolist())
    assert chosen.min() >= 0
    assert chosen.max() < size
    if size >= 2 * count - 1:
        flat: list[int] = chosen.ravel().tolist()
        for start in range(0, len(flat) - size + 1, size):
            assert sorted(flat[start : start + size]) == list(range(size))
    parts = [
        choose_in_passes(seed, "shots", rows[i : i + cut], size, count) for i in range(0, 60, cut)
    ]
    assert (np.concatenate(parts) == chosen).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 6), st.integers(0, 29))
def test_drawn_examples_differ_whatever_the_batch(sizes: list[int], count: int, cut: int) -> None:
    limits = np.array(sizes)
    draws = Draws(3, "shots", 5, len(sizes))
    chosen = choose_distinct(draws, limits, count)
    for size, line in zip(sizes, chosen.tolist(), strict=True):
        found = [index for index in line if index >= 0]
        assert len(found) == len(set(found)) == min(size, count)
        assert all(index < size for index in found)
    cut = min(cut, len(sizes) - 1)
    later = choose_distinct(draws.between(cut, len(sizes)), limits[cut:], count)
    assert (later == chosen[cut:]).all()


def test_drawn_orders_are_equally_likely() -> None:
    sizes = np.full(6000, 3)
    chosen = choose_distinct(Draws(1, "shots", 0, 6000), sizes, 2)
    _, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(counts) == 6
    assert (abs(counts - 1000) < 150).all()


def test_conditions_and_columns_select_examples() -> None:
    rows = preview(column(k=2, where="{{ number >= 8 }}", columns=["number"]), rows=2)
    assert sorted(number for line in numbers(rows) for number in line) == [8, 9, 10, 11]
    assert all([*shot] == ["number"] for row in rows for shot in row["shots"])


def test_examples_match_the_row_as_far_as_there_are_any() -> None:
    rows = preview(column(k=5, where="{{ number < 8 }}", match={"topic": "topic"}), rows=20)
    assert {row["topic"] for row in rows} == {"tea", "rain", "snow"}
    for row in rows:
        assert all(shot["topic"] == row["topic"] for shot in row["shots"])
        assert len(row["shots"]) == (0 if row["topic"] == "snow" else 4)


def test_with_replacement_only_the_examples_of_a_row_differ() -> None:
    found = numbers(preview(column(k=6, without_replacement=False), rows=2))
    assert all(len(set(line)) == 6 for line in found)
    assert set(found[0]) & set(found[1])


def test_skipped_rows_do_not_move_the_others() -> None:
    skip = dd.SkipConfig(when="{{ topic == 'rain' }}")
    pairs = [*zip(preview(column()), preview(column(skip=skip)), strict=True)]
    assert any(row["topic"] == "rain" for row, _ in pairs)
    for full, skipped in pairs:
        assert skipped["shots"] == (None if full["topic"] == "rain" else full["shots"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": ["numbr"]}, "columns.shots.columns.*did you mean 'number'"),
        ({"where": "{{ numbr > 1 }}"}, "columns.shots.where.*did you mean 'number'"),
        ({"match": {"topik": "topic"}}, "columns.shots.match.*did you mean 'topic'"),
        ({"match": {"topic": "topik"}}, "columns.shots.match.*did you mean 'topic'"),
        ({"where": "{{ number > 99 }}"}, "columns.shots.where.*no row"),
        ({"k": 13}, "columns.shots.k.*at most 12"),
    ],
)
def test_mistakes_are_found_before_the_run(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        preview(column(**fields))


def test_a_missing_file_is_found_before_the_run() -> None:
    with pytest.raises(InvalidConfigError, match=r"columns.shots.source"):
        preview(column(dd.LocalFileSeedSource(path="nowhere.csv")))


def test_a_source_without_rows_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("topic,number\n")
    with pytest.raises(InvalidConfigError, match=r"columns.shots.source: has no rows"):
        preview(column(dd.LocalFileSeedSource(path=str(tmp_path / "empty.csv"))))


def test_the_content_of_the_source_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    def fingerprint(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        config = dd.DataDesignerConfig(
            columns=[column(dd.LocalFileSeedSource(path=str(path)), k=1)]
        )
        return compile_plan(config, Providers([]), seed=1).columns["shots"].fingerprint

    first = fingerprint("a.csv", "x\n1\n")
    assert fingerprint("b.csv", "x\n1\n") == first
    assert fingerprint("a.csv", "x\n2\n") != first


def test_configurations_that_differ_in_the_source_have_different_hashes() -> None:
    sources = [dd.LocalFileSeedSource(path=path) for path in ("a.csv", "b.csv")]
    configs = [dd.DataDesignerConfig(columns=[column(source)]) for source in sources]
    assert configs[0].fingerprint() != configs[1].fingerprint()
