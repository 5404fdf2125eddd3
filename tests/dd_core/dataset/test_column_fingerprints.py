"""A column's fingerprint changes with what its values are made from, and with nothing else."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.dataset.compile import compile_plan
from dd_core.declaration.user_code import hash_source
from dd_core.errors import ArtifactStorageError
from dd_core.kinds.columns._custom_function import custom_column_generator
from dd_core.kinds.columns.column import Column
from dd_core.models.providers import Providers, load_default_providers
from tests.scripted import builder, model


def fingerprints(config: dd.DataDesignerConfig, seed: int = 1) -> dict[str, str]:
    plan = compile_plan(config, Providers(load_default_providers()), seed)
    return {name: planned.fingerprint for name, planned in plan.columns.items()}


def changed(before: dd.DataDesignerConfig, after: dd.DataDesignerConfig) -> set[str]:
    old, new = fingerprints(before), fingerprints(after)
    return {name for name in new if old.get(name) != new[name]}


def stories(
    judge: str = "Judge {{ story }}", topics: str = "tea", **fields: Any
) -> dd.DataDesignerConfig:
    other = fields.pop("other", {})
    made = dd.DataDesignerConfigBuilder([model(**fields), model("judge", **other)])
    made.add_column(
        name="topic", column_type="sampler", sampler_type="category", params={"values": [topics]}
    )
    made.add_column(
        name="mood", column_type="sampler", sampler_type="category", params={"values": ["dry"]}
    )
    made.add_column(name="story", column_type="llm-text", model_alias="m", prompt="On {{ topic }}")
    made.add_column(name="song", column_type="llm-text", model_alias="m", prompt="Of {{ mood }}")
    scores = [{"name": "fit", "description": "Fits", "options": {1: "no", 2: "yes"}}]
    made.add_column(
        name="verdict", column_type="llm-judge", model_alias="judge", prompt=judge, scores=scores
    )
    made.add_column(name="end", column_type="expression", expr="{{ verdict.fit.score }}")
    return made.build()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"judge": "Judge again {{ story }}"}, {"verdict", "end"}),
        ({"other": {"temperature": 0.1}}, {"verdict", "end"}),
        ({"other": {"model": "larger"}}, {"verdict", "end"}),
        ({"model": "larger"}, {"story", "song", "verdict", "end"}),
        ({"topics": "rain"}, {"topic", "story", "verdict", "end"}),
        ({"extra_body": {"top_k": 3}}, {"story", "song", "verdict", "end"}),
        ({"max_parallel_requests": 9, "timeout": 1, "requests_per_minute": 4}, set[str]()),
        ({"base_url": "http://elsewhere.test/v1", "skip_health_check": True}, set[str]()),
        ({"price": {"input": 1, "output": 2}}, set[str]()),
        ({"endpoints": [{"base_url": "http://one.test"}]}, set[str]()),
    ],
)
def test_exactly_the_affected_columns_change(fields: dict[str, Any], expected: set[str]) -> None:
    assert changed(stories(), stories(**fields)) == expected


def test_a_column_that_is_added_or_dropped_changes_no_other() -> None:
    fewer = stories()
    more = fewer.columns[2].changed(name="extra")
    shown = [column.changed(drop=column.name == "song") for column in fewer.columns]
    assert changed(fewer, fewer.changed(columns=[*shown, more])) == {"extra"}


def test_the_content_of_a_seed_file_counts_and_its_name_does_not(tmp_path: Path) -> None:
    def seeded(name: str, values: list[str]) -> dd.DataDesignerConfig:
        pd.DataFrame({"word": values}).to_csv(tmp_path / name, index=False)
        made = builder().with_seed_dataset(dd.LocalFileSeedSource(path=str(tmp_path / name)))
        made.add_column(name="echo", column_type="expression", expr="{{ word }}")
        return made.build()

    assert changed(seeded("a.csv", ["x", "y"]), seeded("b.csv", ["x", "y"])) == set()
    before = fingerprints(seeded("a.csv", ["x", "y"]))
    after = fingerprints(seeded("a.csv", ["x", "z"]))
    assert {name for name in after if before[name] != after[name]} == {"word", "echo"}


def test_a_dataset_whose_seed_file_has_changed_is_not_continued(tmp_path: Path) -> None:
    pd.DataFrame({"word": ["x", "y"]}).to_csv(tmp_path / "words.csv", index=False)
    made = builder().with_seed_dataset(dd.LocalFileSeedSource(path=str(tmp_path / "words.csv")))
    designer = DataDesigner(tmp_path / "artifacts")
    first = designer.create(made, num_records=2)
    again = designer.create(made, num_records=2, resume="if_possible")
    assert again.dataset_path == first.dataset_path
    pd.DataFrame({"word": ["z", "y"]}).to_csv(tmp_path / "words.csv", index=False)
    other = designer.create(made, num_records=2, resume="if_possible")
    assert other.dataset_path != first.dataset_path
    assert other.seed == first.seed
    with pytest.raises(ArtifactStorageError, match="seed data or the code"):
        designer.create(made, num_records=2, resume="always")


MODULE = """
    import random
    from dd_core.kinds.columns._custom_function import custom_column_generator

    WORDS = ["a", "b"]
    UNUSED = 1

    def helper(text):
        return inner(text) + WORDS[0]

    def inner(text):
        return text.upper()

    def other(text):
        return text

    @custom_column_generator(required_columns=["topic"])
    def shout(row):
        row["loud"] = helper(row["topic"])
        return row
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """A module of the user's, with parts of its text replaced."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(*replaced: tuple[str, str]) -> ModuleType:
        text = dedent(MODULE)
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "of_the_user.py").write_text(text)
        sys.modules.pop("of_the_user", None)
        importlib.invalidate_caches()
        return importlib.import_module("of_the_user")

    yield load
    sys.modules.pop("of_the_user", None)


def shouting(module: ModuleType) -> dd.DataDesignerConfig:
    made = builder()
    made.add_column(name="loud", column_type="custom", generator_function=module.shout)
    made.add_column(name="after", column_type="expression", expr="{{ loud }}!")
    return made.build()


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('["topic"])\n    return', '["topic"]) * 2\n    return', True),
        ("text.upper()", "text.lower()", True),
        ('["a", "b"]', '["c", "b"]', True),
        ("UNUSED = 1", "UNUSED = 2", False),
        ("    return text\n", "    return text * 2\n", False),
    ],
)
def test_a_function_and_what_it_uses_of_its_file_count(
    module: Callable[..., ModuleType], old: str, new: str, counts: bool
) -> None:
    before = fingerprints(shouting(module()))
    after = fingerprints(shouting(module((old, new))))
    expected = {"loud", "after"} if counts else set[str]()
    assert {name for name in after if before[name] != after[name]} == expected


def test_functions_of_one_factory_differ_by_what_they_were_given() -> None:
    def times(count: int) -> Callable[..., Any]:
        @custom_column_generator()
        def repeat(row: dict[str, Any]) -> dict[str, Any]:
            return {**row, "many": "x" * count}

        return repeat

    assert hash_source(times(2)) == hash_source(times(2)) != hash_source(times(3))


def test_partial_functions_and_objects_that_are_called_have_a_source() -> None:
    class Scale:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            return row

    assert hash_source(Scale(2)) == hash_source(Scale(2)) != hash_source(Scale(3))
    half, third = functools.partial(valid, least=2), functools.partial(valid, least=3)
    assert hash_source(half) != hash_source(third)
    assert hash_source(len) is None


def valid(frame: pd.DataFrame, least: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"is_valid": frame["topic"].str.len() >= least})


def validated(**params: Any) -> dd.DataDesignerConfig:
    made = builder()
    made.add_column(
        name="check", column_type="validation", target_columns=["topic"], validator_params=params
    )
    return made.build()


def test_a_validators_function_counts_and_its_limits_do_not() -> None:
    local = {"validator_type": "local_callable"}
    stricter = functools.partial(valid, least=5)
    functools.update_wrapper(stricter, valid)
    one = validated(**local, validation_function=valid)
    other = validated(**local, validation_function=stricter)
    assert changed(one, other) == {"check"}
    remote = {"validator_type": "remote", "endpoint_url": "http://check.test"}
    quick = {"timeout": 1, "max_retries": 0, "retry_backoff": 3.0, "max_parallel_requests": 1}
    assert changed(validated(**remote), validated(**remote, **quick)) == set()


def test_the_code_of_a_kind_of_ones_own_counts(tmp_path: Path) -> None:
    kinds = dict(Column.all_kinds())
    text = dedent("""
        from typing import Literal
        from dd_core.extend import Column, RowColumn

        class Loud(Column):
            column_type: Literal["loud-test"] = "loud-test"

            def bind(self, binding):
                return Generator()

        class Generator(RowColumn):
            def generate(self, rows):
                return ["x" for _ in rows]
    """)
    found: list[str] = []
    try:
        for letter in ("x", "x", "y"):
            path = tmp_path / f"loud_{len(found)}.py"
            path.write_text(text.replace('"x"', f'"{letter}"'))
            Column.kinds.pop("loud-test", None)
            spec = importlib.util.spec_from_file_location("loud_kind", path)
            assert spec is not None and spec.loader is not None
            loaded = sys.modules["loud_kind"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
            found.append(str(loaded.Loud(name="a").own_code["code"]))
    finally:
        sys.modules.pop("loud_kind", None)
        Column.kinds.clear()
        Column.kinds.update(kinds)
    assert found[0] == found[1] != found[2]
