"""Processors that choose rows of the whole dataset: `select`, `decontaminate` and `balance`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.designer.results import DatasetCreationResults
from dd_core.errors import DataDesignerGenerationError


def build(columns: dict[str, Any], *processors: Any) -> dd.DataDesignerConfigBuilder:
    """A dataset whose rows are given, with their number in `n`."""
    builder = dd.DataDesignerConfigBuilder([])
    rows = len(next(iter(columns.values())))
    frame = pd.DataFrame({"n": range(rows), **columns})
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=frame))
    for processor in processors:
        builder.add_processor(processor)
    return builder


def choose(columns: dict[str, Any], *processors: Any, seed: int = 1) -> list[int]:
    """The numbers of the rows that a preview keeps."""
    rows = len(next(iter(columns.values())))
    designer = DataDesigner(run_config=dd.RunConfig(seed=seed))
    results = designer.preview(build(columns, *processors), num_records=rows)
    return [row["n"] for row in results.records()]


def create(
    folder: Path, columns: dict[str, Any], *processors: Any, size: int = 4, **options: Any
) -> DatasetCreationResults:
    rows = options.pop("rows", len(next(iter(columns.values()))))
    designer = DataDesigner(folder, run_config=dd.RunConfig(seed=1, buffer_size=size))
    return designer.create(
        build(columns, *processors), num_records=rows, dataset_name="d", **options
    )


def steps(results: DatasetCreationResults) -> list[dict[str, Any]]:
    return results.directory.metadata.processed["steps"]


def select(**fields: Any) -> dd.SelectProcessorConfig:
    return dd.SelectProcessorConfig(name="best", **fields)


SCORES = st.lists(st.sampled_from([0.0, 1.0, 2.5, -3.0, 7.0]), min_size=1, max_size=30)


@settings(max_examples=40)
@given(
    scores=SCORES,
    groups=st.lists(st.sampled_from(["a", "b", None]), min_size=30, max_size=30),
    top=st.integers(1, 6),
    order=st.sampled_from(["descending", "ascending"]),
    per=st.booleans(),
)
def test_the_best_rows_of_each_group_are_those_of_sorting(
    scores: list[float], groups: list[str | None], top: int, order: str, per: bool
) -> None:
    columns = {"score": scores, "group": groups[: len(scores)]}
    kept = choose(columns, select(by="score", top=top, order=order, per=["group"] if per else None))
    by_group: dict[Any, list[int]] = defaultdict(list)
    sign = -1 if order == "descending" else 1
    for row in sorted(range(len(scores)), key=lambda row: (sign * scores[row], row)):
        by_group[columns["group"][row] if per else None].append(row)
    assert kept == sorted(row for rows in by_group.values() for row in rows[:top])


def test_a_share_is_rounded_and_leaves_a_row_of_each_group() -> None:
    columns = {"score": [*range(10)], "group": ["a"] * 7 + ["b"] * 2 + ["c"]}
    assert choose(columns, select(by="score", top_share=0.5, per=["group"])) == [3, 4, 5, 6, 8, 9]
    assert choose(columns, select(by="score", top_share=0.01)) == [9]


def test_scores_are_numbers_or_expressions_and_rows_without_one_are_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"verdict": [{"score": 3}, {"score": 4}, None, {"score": None}, {"score": 1}]}
    results = create(tmp_path, columns, select(by="{{ verdict.score * 10 }}", top=2))
    assert results.load_dataset()["n"].tolist() == [0, 1]
    score = "its score '{{ verdict.score * 10 }}' is not a number"
    assert steps(results) == [
        {"name": "best", "rows": 2, "removed": {score: 2, "not among the top 2": 1}}
    ]
    assert "'best': 2 rows were removed because their score is not a number" in caplog.text
    removed = pd.read_parquet(results.dataset_path / "removed-rows" / "best.parquet")
    assert removed["row"].tolist() == [2, 3, 4]
    assert removed["reason"].tolist() == [score, score, "not among the top 2"]
    texts = {"score": ["2", "10", "many", ""]}
    assert choose(texts, select(by="score", top=1)) == [1]


def choose_naively(vectors: Any, scores: list[float], most: float, top: int | None) -> list[int]:
    unit = np.asarray(vectors, np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    kept: list[int] = []
    for row in sorted(range(len(unit)), key=lambda row: (-scores[row], row)):
        if len(kept) != top and all(unit[row] @ unit[other] <= most for other in kept):
            kept.append(row)
    return sorted(kept)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), top=st.sampled_from([None, 1, 5]))
def test_diverse_rows_are_those_of_comparing_all_pairs(
    seed: int, rows: int, top: int | None
) -> None:
    numbers = np.random.default_rng(seed)
    vectors = numbers.normal(size=(rows, 4)).astype(np.float32)
    scores: list[float] = numbers.integers(0, 5, rows).tolist()
    differ = {"column": "vector", "min_distance": 0.3}
    kept = choose(
        {"score": scores, "vector": vectors.tolist()}, select(by="score", top=top, diverse=differ)
    )
    assert kept == choose_naively(vectors, scores, 0.7, top)


@pytest.mark.slow
def test_more_rows_than_one_product_of_matrices_has() -> None:
    numbers = np.random.default_rng(1)
    vectors = numbers.normal(size=(2500, 8)).astype(np.float32)
    scores: list[float] = numbers.permutation(2500).tolist()
    differ = {"column": "vector", "min_distance": 0.08}
    kept = choose({"score": scores, "vector": vectors.tolist()}, select(by="score", diverse=differ))
    assert kept == choose_naively(vectors, scores, 0.92, None)
    assert 1024 < len(kept) < 2500


def test_a_pair_exactly_at_the_limit_may_stay() -> None:
    vectors = [[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [-3.0, 0.0]]
    assert choose({"v": vectors}, select(diverse={"column": "v", "min_distance": 1.0})) == [0, 1, 3]
    assert choose({"v": vectors}, select(diverse={"column": "v", "min_distance": 1.01})) == [0, 3]


def test_embedding_columns_are_compared_by_their_mean_and_rows_without_a_vector_are_removed(
    tmp_path: Path,
) -> None:
    def embedding(*vectors: list[float]) -> dict[str, Any]:
        return {"embeddings": [*vectors], "num_embeddings": len(vectors), "dimension": 2}

    values = [
        embedding(),
        None,
        embedding([1.0, 0.0]),
        embedding([0.0, 1.0], [2.0, -1.0]),
        embedding([0.0, 1.0]),
        embedding([0.0, 0.0]),
        embedding([float("nan"), 1.0]),
        embedding([0.0, 1e-30]),
    ]
    for size in (1, 1000):
        results = create(
            tmp_path / str(size),
            {"v": values},
            select(diverse={"column": "v", "min_distance": 0.1}),
            size=size,
        )
        assert results.load_dataset()["n"].tolist() == [2, 4]
        removed = {"'v' has no vector": 4, "closer than 0.1 to a selected row": 2}
        assert steps(results) == [{"name": "best", "rows": 2, "removed": removed}]


def test_vectors_that_cannot_be_compared_stop_the_run() -> None:
    differ = select(diverse={"column": "v", "min_distance": 0.1})
    with pytest.raises(DataDesignerGenerationError, match="vectors of 1 and of 2 numbers"):
        choose({"v": [[1.0], [1.0, 2.0]]}, differ)
    with pytest.raises(DataDesignerGenerationError, match=r"has values of type .*string, not"):
        choose({"v": ["a", "b"]}, differ)


KETTLE = "The kettle boils water in two minutes and switches itself off when it is done"


def test_similar_texts_lose_against_better_ones() -> None:
    texts = [KETTLE, KETTLE + " quietly", "A lamp for the desk with a warm light", None, ""]
    columns = {"text": texts, "score": [1, 2, 0, 0, 3]}
    differ = {"column": "text", "max_similarity": 0.7}
    assert choose(columns, select(by="score", diverse=differ)) == [1, 2, 4]
    assert choose(columns, select(by="score", top=2, diverse=differ)) == [1, 4]
    strict = {"column": "text", "max_similarity": 0.99}
    assert choose(columns, select(by="score", diverse=strict)) == [0, 1, 2, 4]


GSM = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
    " How many clips did Natalia sell altogether in April and May?"
)


def write_benchmarks(folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    lines = [
        {"question": GSM, "answer": "72"},
        {"question": "What is two plus two?", "answer": "4"},
    ]
    (folder / "gsm.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "lines.txt").write_text(f"Name a red fruit.\nWhat is two plus two?\n\n{KETTLE}")
    pq.write_table(pa.table({"q": ["Who wrote Faust?"], "id": [7]}), folder / "quiz.parquet")
    (folder / "trivia.csv").write_text("question\nWhere is Bonn?\n")
    return [str(folder / name) for name in ("gsm.jsonl", "lines.txt", "quiz.parquet", "trivia.csv")]


def clean(paths: list[Any], **fields: Any) -> dd.DecontaminateProcessorConfig:
    return dd.DecontaminateProcessorConfig(name="clean", columns=["text"], against=paths, **fields)


def test_rows_that_share_words_with_a_benchmark_are_removed(tmp_path: Path) -> None:
    paths = write_benchmarks(tmp_path / "benchmarks")
    texts = [
        "a first row",
        "Solve this: NATALIA SOLD clips -- to 48 of her friends, in april and then she ran away",
        "natalia sold clips to 48 of her friends and then she ran away from all of them",
        "what is TWO plus two",
        "Tell me: what is two plus two?",  # as short as the question, but not equal
        "name a red fruit",
        "Well, the kettle boils water in two minutes and switches itself off when it is dead",
        "who wrote faust",
        "72 7 question",
        "where is Bonn",
        None,
        "...",
    ]
    results = create(tmp_path / "data", {"text": texts}, clean(paths))
    assert results.load_dataset()["n"].tolist() == [0, 2, 4, 8, 10, 11]
    removed = pd.read_parquet(results.dataset_path / "removed-rows" / "clean.parquet")
    reasons = [each.rsplit(" ", 1)[1] for each in removed["reason"]]
    assert dict(zip(removed["row"], reasons, strict=True)) == {
        1: "gsm.jsonl", 3: "gsm.jsonl", 5: "lines.txt", 6: "lines.txt", 7: "quiz.parquet",
        9: "trivia.csv",
    }  # fmt: skip
    assert steps(results)[0]["removed"]["repeats 13 words or a whole text of gsm.jsonl"] == 2


WORDS = st.lists(st.sampled_from(["red", "tea", "cup", "hot", "茶"]), max_size=12)


@settings(max_examples=40)
@given(rows=st.lists(WORDS, min_size=1, max_size=8), known=st.lists(WORDS, min_size=1, max_size=4),
       size=st.integers(1, 4))  # fmt: skip
def test_removed_rows_are_those_of_comparing_all_sequences(
    rows: list[list[str]], known: list[list[str]], size: int, tmp_path_factory: Any
) -> None:
    def cut(words: list[str]) -> set[tuple[str, ...]]:
        last = len(words) - size
        whole = {("", *words)} if 0 < len(words) < size else set[tuple[str, ...]]()
        return whole | {tuple(words[at : at + size]) for at in range(last + 1)}

    path = tmp_path_factory.mktemp("known") / "known.jsonl"
    path.write_text("\n".join(json.dumps({"t": [" ".join(words)]}) for words in known))
    taken = set[tuple[str, ...]]().union(*map(cut, known))
    texts = [{"said": [" ".join(words).upper() + "?"]} for words in rows]
    kept = choose({"text": texts}, clean([str(path)], ngram=size))
    assert kept == [row for row, words in enumerate(rows) if not cut(words) & taken]


def test_columns_of_a_benchmark_are_chosen_by_name(tmp_path: Path) -> None:
    paths = write_benchmarks(tmp_path)
    source = {"seed_type": "local", "path": paths[0]}
    texts = ["What is two plus two?", "72"]
    assert choose({"text": texts}, clean([{"source": source}])) == []
    assert choose({"text": texts}, clean([{"source": source, "columns": ["question"]}])) == [1]


def test_faults_of_benchmarks_are_found_before_the_run(tmp_path: Path) -> None:
    paths = write_benchmarks(tmp_path)
    wrong = {"source": {"seed_type": "local", "path": paths[0]}, "columns": ["qestion"]}
    builder = build({"text": ["a"]}, clean([str(tmp_path / "none.jsonl"), wrong]))
    with pytest.raises(InvalidConfigError) as caught:
        DataDesigner().validate(builder)
    first, second = map(str, caught.value.problems)
    assert first.startswith("processors.clean.against.0.source.path: there is no file")
    assert second == (
        "processors.clean.against.1.columns: gsm.jsonl has no column 'qestion'; "
        "did you mean 'question'?"
    )


def test_paths_of_benchmarks_are_made_absolute_and_need_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dd_core.declaration.trust import observe_uses

    write_benchmarks(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = build({"text": ["a"]}, clean(["gsm.jsonl", "lines.txt"])).build()
    resolved = config.resolve_paths().to_dict()["processors"][0]["against"]
    assert [Path(each["source"]["path"]) for each in resolved] == [
        tmp_path / "gsm.jsonl",
        tmp_path / "lines.txt",
    ]
    with observe_uses(trusted=False), pytest.raises(ValueError, match="only a trusted config"):
        clean(["gsm.jsonl"])


def test_a_changed_benchmark_is_applied_to_the_rows_that_exist(tmp_path: Path) -> None:
    paths = write_benchmarks(tmp_path / "benchmarks")
    columns = {"text": ["Where is Bonn?", "Where is Rome?"]}
    assert create(tmp_path, columns, clean(paths)).load_dataset()["n"].tolist() == [1]
    Path(paths[3]).write_text("question\nWhere is Rome?\n")
    again = create(tmp_path, columns, clean(paths), resume="always")
    assert again.load_dataset()["n"].tolist() == [0]
    assert again.directory.metadata.is_settled
    unchanged = create(tmp_path, columns, clean(paths), resume="always")
    assert unchanged.directory.metadata.started_at == again.directory.metadata.started_at


def balance(**fields: Any) -> dd.BalanceProcessorConfig:
    return dd.BalanceProcessorConfig(name="even", column="kind", **fields)


KINDS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=60)


@settings(max_examples=40)
@given(kinds=KINDS, parts=st.lists(st.integers(1, 9), min_size=3, max_size=3))
@pytest.mark.slow
def test_shares_hold_with_as_many_rows_as_possible(
    kinds: list[str | None], parts: list[int]
) -> None:
    shares = {name: part / sum(parts) for name, part in zip("abc", parts, strict=True)}
    kept = choose({"kind": kinds}, balance(target=shares))
    found = Counter(kinds[row] for row in kept)
    available = Counter(kind for kind in kinds if kind is not None)
    whole = sum(Fraction(str(shares[name])) for name in available)
    relative = {name: Fraction(str(shares[name])) / whole for name in available}
    for name, share in relative.items():
        assert abs(found[name] - share * len(kept)) < 1
    assert None not in found
    # With one row more, some value would not have enough rows.
    assert not relative or any(
        available[name] < share * (len(kept) + 1) for name, share in relative.items()
    )
    even = Counter(kinds[row] for row in choose({"kind": kinds}, balance(target="equal")))
    assert set(even.values()) <= {min(available.values(), default=0)}
    capped = Counter(kinds[row] for row in choose({"kind": kinds}, balance(at_most=3)))
    assert capped == {name: min(count, 3) for name, count in available.items()}


def test_values_that_are_not_text_and_those_outside_the_target(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = create(
        tmp_path,
        {"kind": [1, 2, 2, 2, 3]},
        balance(target={1: 0.25, 2: 0.5, 9: 0.25}),  # type: ignore[dict-item]
    )
    assert sorted(results.load_dataset()["kind"]) == [1, 2, 2]
    removed = {"more than 2 rows of '2'": 1, "'3' is not in the target": 1}
    assert steps(results) == [{"name": "even", "rows": 3, "removed": removed}]
    assert "no row of column 'kind' has the value '9'" in caplog.text


def test_removed_rows_are_random_but_depend_only_on_the_seed_and_their_numbers() -> None:
    columns = {"kind": ["a"] * 200, "n2": [*range(200)]}
    kept = choose(columns, balance(at_most=50))
    assert kept == choose(columns, balance(at_most=50))
    assert kept != choose(columns, balance(at_most=50), seed=2)
    assert 60 < sum(kept) / 50 < 140
    # Without the rows that were not kept anyway, the same rows are kept.
    gone = next(row for row in range(200) if row not in kept)
    fewer = dd.FilterRowsProcessorConfig(name="f", condition=f"{{{{ n2 != {gone} }}}}")
    assert choose(columns, fewer, balance(at_most=50)) == kept


def make_chain(folder: Path) -> tuple[dict[str, Any], list[Any]]:
    numbers = np.random.default_rng(3)
    columns = {
        "kind": [["a", "b", "c"][number] for number in numbers.integers(0, 3, 60)],
        "score": numbers.integers(0, 9, 60).tolist(),
        "v": numbers.normal(size=(60, 3)).tolist(),
        "text": [f"row {number} of many" for number in numbers.integers(0, 40, 60)],
    }
    (folder / "known.txt").write_text("row 7 of many\nrow 8 of many\n")
    differ = {"column": "v", "min_distance": 0.02}
    chain = [
        clean([str(folder / "known.txt")]),
        balance(target={"a": 0.5, "b": 0.25, "c": 0.25}),
        select(by="score", top_share=0.7, per=["kind"], diverse=differ),
    ]
    return columns, chain


@pytest.mark.slow
def test_rows_do_not_depend_on_the_size_of_batches_or_on_earlier_runs(tmp_path: Path) -> None:
    columns, chain = make_chain(tmp_path)
    kept = [
        create(tmp_path / str(size), columns, *chain, size=size).load_dataset()["n"].tolist()
        for size in (1, 7, 1000)
    ]
    assert kept[0] == kept[1] == kept[2] == choose(columns, *chain)
    assert 10 < len(kept[0]) < 60
    create(tmp_path / "twice", columns, *chain, size=7, rows=20)
    continued = create(tmp_path / "twice", columns, *chain, size=7, resume="always")
    assert continued.load_dataset()["n"].tolist() == kept[0]


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Literal
from dd_core.extend import ProcessorConfig
from tests.dd_core.kinds.test_row_selection import create, make_chain

class Kill(ProcessorConfig):
    processor_type: Literal["test-kill"] = "test-kill"

    def after_generation(self, tables):
        for table in tables:
            yield table
            if os.environ.get("KILL"):
                os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
columns, chain = make_chain(folder)
results = create(folder, columns, *chain, Kill(name="kill"), size=7, resume="if_possible")
print(*results.load_dataset()["n"])
"""


@pytest.mark.slow
def test_a_run_that_was_killed_while_it_chose_rows_chooses_the_same_rows(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED)

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        path = str(Path(__file__).parents[3])
        return subprocess.run(
            [sys.executable, str(script), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True, text=True,
        )  # fmt: skip

    assert run(KILL="1").returncode == -signal.SIGKILL
    assert [*(tmp_path / "d" / "generated-files").glob("*.parquet")]
    assert not (tmp_path / "d" / "parquet-files").exists()
    columns, chain = make_chain(tmp_path)
    assert [int(each) for each in run().stdout.split()] == choose(columns, *chain)


def test_the_report_says_what_was_removed_and_why(tmp_path: Path) -> None:
    columns = {"kind": ["a", "a", "b"]}
    results = create(tmp_path, columns, balance(target="equal"))
    analysis = results.load_analysis()
    assert analysis.processing is not None
    assert analysis.processing[0].removed == {"more than 1 rows of 'a'": 1}
    analysis.to_report(tmp_path / "report.html")
    assert "more than 1 rows of" in (tmp_path / "report.html").read_text()
    preview = DataDesigner().preview(build(columns, balance(target="equal")), num_records=3)
    assert preview.analysis.processing == analysis.processing


YAML = """
columns:
  - {name: level, column_type: sampler, sampler_type: category, params: {values: [1, 2]}}
  - {name: text, column_type: expression, expr: "Question {{ level }} of many"}
processors:
  - {name: clean, processor_type: decontaminate, columns: [text], against: [known.txt], ngram: 3}
  - {name: even, processor_type: balance, column: level, target: {2: 1.0}, at_most: 9}
  - {name: best, processor_type: select, by: "{{ level }}", top: 4, per: [level]}
"""


def test_processors_in_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("known.txt").write_text("This is question 1 of many.")
    designer = DataDesigner(tmp_path, run_config=dd.RunConfig(seed=1))
    results = designer.create(dd.load_config(YAML), num_records=30, dataset_name="d")
    assert results.load_dataset()["level"].tolist() == [2] * 4
    first, second, third = steps(results)
    assert first["removed"] == {"repeats 3 words or a whole text of known.txt": 30 - first["rows"]}
    assert second["removed"] == {"more than 9 rows of '2'": first["rows"] - 9}
    assert third["removed"] == {"not among the top 4 of its group": 5}
    written = results.directory.config()["data_designer"]["processors"][0]["against"][0]
    assert written["source"] == {**written["source"], "seed_type": "documents", "path": "known.txt"}


def test_lists_of_removed_rows_are_replaced(tmp_path: Path) -> None:
    columns = {"kind": ["a", "a", "b"]}
    first = dd.FilterRowsProcessorConfig(name="f", condition="{{ kind == 'a' }}")
    results = create(tmp_path, columns, first, balance(at_most=1), rows=2)
    folder = results.dataset_path / "removed-rows"
    assert [path.name for path in folder.iterdir()] == ["even.parquet"]
    create(tmp_path, columns, first, balance(at_most=1), resume="always")
    assert sorted(path.name for path in folder.iterdir()) == ["even.parquet", "f.parquet"]
    assert pd.read_parquet(folder / "f.parquet")["row"].tolist() == [2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"processor_type": "select", "by": "scor", "top": 1}, "'scor'.*'score'"),
        ({"processor_type": "select", "by": "kind.score", "top": 1}, r"write \{\{ kind.score \}\}"),
        ({"processor_type": "select", "by": "{{ scor }}", "top": 1}, "by.*'scor'.*'score'"),
        ({"processor_type": "select", "top": 1, "per": ["knd"]}, "per.*'knd'.*'kind'"),
        ({"processor_type": "select", "diverse": {"column": "knd", "min_distance": 0.1}}, "'kind'"),
        ({"processor_type": "balance", "column": "knd", "target": "equal"}, "'knd'.*'kind'"),
        ({"processor_type": "decontaminate", "columns": ["knd"], "against": ["known.txt"]},
         "'kind'"),
    ],
)  # fmt: skip
def test_unknown_columns_are_found_before_the_run(
    fields: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("known.txt").write_text("text")
    builder = build({"kind": ["a"], "score": [1]}).add_processor(name="p", **fields)
    with pytest.raises(InvalidConfigError, match=rf"processors\.p\..*{message}"):
        DataDesigner().validate(builder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"processor_type": "select"}, "set top, top_share or diverse"),
        ({"processor_type": "select", "top": 1, "top_share": 0.1}, "exclude each other"),
        ({"processor_type": "select", "per": ["a"], "diverse": {"column": "a", "min_distance": 1}},
         "per applies to top"),
        ({"processor_type": "select", "diverse": {"column": "a"}}, "set either min_distance"),
        ({"processor_type": "balance", "column": "a"}, "set target or at_most"),
        ({"processor_type": "balance", "column": "a", "target": {"x": 0.5}}, "add up to 0.5"),
        ({"processor_type": "balance", "column": "a", "target": {"x": 1.5, "y": -0.5}}, "above 0"),
    ],
)  # fmt: skip
def test_settings_that_exclude_each_other_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dd.DataDesignerConfig.model_validate(
            {"columns": [], "processors": [{"name": "p", **fields}]}
        )


def test_text_is_not_compared_as_vectors_nor_vectors_as_text() -> None:
    writer = dd.ModelConfig(alias="m", model="m", base_url="http://localhost:1/v1")
    vectors = dd.ModelConfig(
        alias="e", model="e", base_url="http://localhost:1/v1",
        inference_parameters=dd.EmbeddingInferenceParams(),
    )  # fmt: skip
    builder = dd.DataDesignerConfigBuilder([writer, vectors])
    builder.add_column(name="text", column_type="llm-text", model_alias="m", prompt="Say a word.")
    builder.add_column(name="v", column_type="embedding", model_alias="e", target_column="text")
    builder.add_processor(select(diverse={"column": "text", "min_distance": 0.1}))
    builder.add_processor(
        dd.SelectProcessorConfig(name="p", diverse={"column": "v", "max_similarity": 0.1})
    )
    with pytest.raises(InvalidConfigError) as caught:
        DataDesigner().validate(builder)
    first, second = map(str, caught.value.problems)
    assert "'text' is text; use max_similarity" in first
    assert "'v' has vectors; use min_distance" in second
