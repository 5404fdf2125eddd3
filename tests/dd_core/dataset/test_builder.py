"""Configurations are built, written, read back and recognised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import yaml

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import (
    BuilderConfigurationError,
    BuilderSerializationError,
    InvalidColumnTypeError,
)
from tests.scripted import ScriptedModel, model

FACTS: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}}


def full(seed: Path | None = None) -> dd.DataDesignerConfigBuilder:
    """A builder with every kind of column, a model and a constraint."""
    builder = dd.DataDesignerConfigBuilder([model(temperature=0.5, max_parallel_requests=9)])
    builder.add_column(
        dd.SamplerColumnConfig(
            name="stars",
            sampler_type="category",
            params={"values": [1, 2, 3], "weights": [2, 1, 1]},
        )
    )
    builder.add_column(
        name="price",
        column_type="sampler",
        sampler_type="uniform",
        params={"low": 0, "high": 10, "decimal_places": 2},
        conditional_params={"stars == 3": {"low": 5, "high": 20}},
    )
    builder.add_column(
        name="label",
        column_type="expression",
        expr="{{ stars }} stars",
        skip=dd.SkipConfig(when="{{ stars == 1 }}", value="none"),
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="review",
            prompt="A review with {{ label }}",
            model_alias="m",
            with_trace=dd.TraceType.ALL_MESSAGES,
            extract_reasoning_content=True,
        )
    )
    builder.add_column(
        name="facts",
        column_type="llm-structured",
        model_alias="m",
        prompt="Facts of {{ review }}",
        output_format=FACTS,
    )
    builder.add_column(
        dd.LLMJudgeColumnConfig(
            name="verdict",
            prompt="Judge {{ review }}",
            model_alias="m",
            scores=[dd.Score(name="good", description="how good", options={1: "bad", 2: "fine"})],
        )
    )
    builder.add_constraint(
        constraint_type="scalar_inequality", target_column="price", operator="lt", rhs=9
    )
    if seed is not None:
        builder.with_seed_dataset(
            dd.LocalFileSeedSource(path=str(seed)),
            sampling_strategy=dd.SamplingStrategy.SHUFFLE,
            selection_strategy=dd.IndexRange(start=0, end=1),
        )
    return builder


@pytest.fixture
def seed_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("city,people\nOslo,7\nRome,9\n")
    return path


def test_an_added_column_can_be_found_by_name_and_type() -> None:
    builder = full()
    names = ["stars", "price", "label", "review", "facts", "verdict"]
    assert [column.name for column in builder.get_column_configs()] == names
    assert builder.get_column_config("label").kind == "expression"
    assert [each.name for each in builder.get_columns_of_type("sampler")] == ["stars", "price"]
    assert builder.num_columns_of_type("llm-judge") == 1
    assert len(builder.get_columns_excluding_type("sampler")) == 4
    with pytest.raises(KeyError):
        builder.get_column_config("nothing")


def test_side_effects_may_be_referred_to() -> None:
    assert full().allowed_references == [
        *("stars", "price", "label", "review", "review__trace", "review__reasoning_content"),
        *("facts", "verdict"),
    ]


def test_a_column_of_the_same_name_takes_the_place_of_the_first() -> None:
    builder = full()
    builder.add_column(name="price", column_type="expression", expr="{{ stars }}")
    assert [column.name for column in builder.get_column_configs()][:2] == ["stars", "price"]
    assert builder.get_column_config("price").kind == "expression"


def test_every_change_returns_the_builder() -> None:
    builder = full()
    assert builder.delete_column("facts") is builder
    assert builder.delete_column("facts") is builder, "what is not there is ignored"
    assert builder.delete_constraints("price").delete_constraints("price") is builder
    assert builder.delete_model_config("m").delete_model_config("m") is builder
    assert builder.add_model_config(model("other")) is builder
    assert builder.get_constraints("price") == []
    assert builder.build().constraints is None
    assert [each.alias for each in builder.model_configs] == ["other"]


def test_columns_may_be_added_in_any_order() -> None:
    builder = dd.DataDesignerConfigBuilder([model()])
    builder.add_column(name="b", column_type="expression", expr="{{ a }}!")
    builder.add_column(name="a", column_type="expression", expr="x")
    assert DataDesigner().preview(builder, num_records=2).dataset["b"].tolist() == ["x!", "x!"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "a"}, BuilderConfigurationError, "both name and column_type"),
        ({"column_type": "expression"}, BuilderConfigurationError, "both name and column_type"),
        (
            {"column_config": {"name": "a"}},
            InvalidColumnTypeError,
            "known column types: conversation",
        ),
        ({"name": "a", "column_type": "poem"}, ValueError, "'poem' is unknown; use one of"),
        ({"name": "a", "column_type": "expression", "exp": "x"}, ValueError, "exp"),
        ({"name": "a", "column_type": "expression", "expr": "{{ x"}, ValueError, "syntax error"),
    ],
)
def test_what_is_no_column_is_not_added(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    builder = dd.DataDesignerConfigBuilder([model()])
    with pytest.raises(error, match=words):
        builder.add_column(**arguments)
    assert builder.get_column_configs() == []


@pytest.mark.parametrize(
    "arguments", [{}, {"constraint_type": "equality"}, {"constraint_type": "scalar_inequality"}]
)
def test_what_is_no_constraint_is_not_added(arguments: dict[str, Any]) -> None:
    with pytest.raises(BuilderConfigurationError):
        full().add_constraint(**arguments)


def test_an_alias_is_taken_once() -> None:
    with pytest.raises(BuilderConfigurationError, match="alias 'm'; choose another"):
        full().add_model_config(model())


def test_without_models_the_default_ones_are_there() -> None:
    for given in (None, []):
        aliases = [each.alias for each in dd.DataDesignerConfigBuilder(given).model_configs]
        assert "openai-text" in aliases
        assert len(aliases) == 12


def test_models_can_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("model_configs:\n- {alias: a, model: x, provider: openai}\n")
    for source in (path, str(path)):
        [found] = dd.DataDesignerConfigBuilder(source).model_configs
        assert (found.alias, found.model) == ("a", "x")
    path.write_text("models: []\n")
    with pytest.raises(InvalidConfigError, match="no top-level list `model_configs`"):
        dd.DataDesignerConfigBuilder(path)
    with pytest.raises(FileNotFoundError, match="no model config file"):
        dd.DataDesignerConfigBuilder(tmp_path / "none.yaml")


def test_the_repr_names_the_columns_by_type(seed_file: Path) -> None:
    assert repr(dd.DataDesignerConfigBuilder([model()])) == "DataDesignerConfigBuilder()"
    shown = repr(full(seed_file))
    for line in ("seed_dataset: local seed", "sampler: stars, price", "llm-judge: verdict"):
        assert f"    {line}\n" in shown


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
@pytest.mark.parametrize("short", [False, True])
def test_a_written_config_reads_back_as_the_same(
    suffix: str, short: bool, tmp_path: Path, seed_file: Path
) -> None:
    builder = full(seed_file)
    path = tmp_path / f"config{suffix}"
    builder.write_config(path)
    if short:
        inner = yaml.safe_load(path.read_text())["data_designer"]
        path.write_text(json.dumps(inner) if suffix == ".json" else yaml.safe_dump(inner))
    for source in (path, str(path), path.read_text(), yaml.safe_load(path.read_text())):
        read = dd.DataDesignerConfigBuilder.from_config(source)
        assert read.build() == builder.build()
        assert read.build().fingerprint() == builder.build().fingerprint()
        assert read.get_column_configs()[0].name == "stars"


def test_a_written_config_names_its_version_and_sorts_its_keys() -> None:
    text = full().get_builder_config().to_yaml()
    assert text is not None
    assert [*yaml.safe_load(text)] == ["data_designer", "library_version"]


def test_integers_stay_integers_in_files_and_in_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    full().write_config(path)
    builder = dd.DataDesignerConfigBuilder.from_config(path)
    config = builder.build()
    verdict = builder.get_column_config("verdict")
    assert isinstance(verdict, dd.LLMJudgeColumnConfig)
    assert [*verdict.scores[0].options] == [1, 2]
    assert config.model_dump()["columns"][0]["params"]["values"] == [1, 2, 3]
    frame = DataDesigner(transport=ScriptedModel()).preview(builder, num_records=20).dataset
    assert {type(value) for value in frame["stars"].tolist()} == {int}
    scores = [value["good"]["score"] for value in frame["verdict"].dropna()]
    assert {type(score) for score in scores} == {int}


@pytest.mark.parametrize("name", ["config.txt", "config"])
def test_a_config_is_written_as_yaml_or_json_only(name: str, tmp_path: Path) -> None:
    with pytest.raises(BuilderConfigurationError, match=r"must end with \.yaml, \.yml or \.json"):
        full().write_config(tmp_path / name)


def test_a_data_frame_cannot_be_written(tmp_path: Path) -> None:
    builder = full().with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"city": ["Oslo"]})))
    with pytest.raises(BuilderSerializationError, match=r"save it with .*from_dataframe"):
        builder.write_config(tmp_path / "config.yaml")
    assert not (tmp_path / "config.yaml").exists()


def test_a_missing_file_and_a_file_of_another_form_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config file .*none\.yaml"):
        dd.load_config(tmp_path / "none.yaml")
    with pytest.raises(InvalidConfigError, match="neither `columns` nor `data_designer`"):
        dd.load_config("rows: 3\nname: x\n")
    with pytest.raises(InvalidConfigError, match="cannot be read"):
        dd.load_config("columns: [\n")


def test_an_object_that_is_not_a_constraint_is_refused() -> None:
    with pytest.raises(BuilderConfigurationError, match="'str' is not a constraint; use Scalar"):
        dd.DataDesignerConfigBuilder([model()]).add_constraint(cast("Any", "age > 3"))


def test_a_list_of_models_is_loaded_as_it_is() -> None:
    models = [model()]
    assert dd.load_model_configs(models) is models
