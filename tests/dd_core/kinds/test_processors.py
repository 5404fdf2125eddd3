"""What becomes of rows when they are all there: columns dropped, records in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import ArtifactStorageError, BuilderConfigurationError
from tests.scripted import ScriptedModel, asking

CHAT = {
    "messages": [
        {"role": "user", "content": "On {{ topic }}, {{ stars }} stars"},
        {"role": "assistant", "content": "{{ text }}"},
    ],
    "meta": {"score": "{{ stars }}", "secret": "{{ hidden }}", "fixed": 7, "plain": "as it is"},
}


def dataset(**fields: Any) -> dd.DataDesignerConfigBuilder:
    made = asking(**fields)
    made.add_column(
        name="stars", column_type="sampler", sampler_type="category", params={"values": [5]}
    )
    return made.add_column(name="hidden", column_type="expression", expr="h{{ stars }}", drop=True)


def run(folder: Path, made: Any, rows: int = 5, answer: str = 'He said "hi"\n{{ x }}') -> Any:
    settings = dd.RunConfig(seed=1, buffer_size=2)
    designer = DataDesigner(folder, run_config=settings, transport=ScriptedModel(answer))
    return designer.create(made, num_records=rows)


def test_rows_are_written_in_another_form_beside_the_dataset(tmp_path: Path) -> None:
    made = dataset().add_processor(processor_type="schema_transform", name="chat", template=CHAT)
    results = run(tmp_path, made)
    records = results.load_processor_dataset("chat").to_dict("records")
    assert len(records) == 5
    first, second = records[0]["messages"]
    assert (first["role"], first["content"]) == ("user", "On tea, 5 stars")
    assert second["content"] == 'He said "hi"\n{{ x }}', "what a model wrote is no template"
    meta = records[0]["meta"]
    assert meta == {"score": "5", "secret": "h5", "fixed": 7, "plain": "as it is"}
    assert [*results.load_dataset().columns] == ["topic", "text", "stars"]
    folder = results.get_path_to_processor_artifacts("chat")
    assert len([*folder.glob("batch_*.parquet")]) == 3
    with pytest.raises(ArtifactStorageError, match="'other' has no artifacts"):
        results.load_processor_dataset("other")


def test_values_that_are_no_text_are_printed_as_json(tmp_path: Path) -> None:
    import pandas as pd

    made = dd.DataDesignerConfigBuilder([])
    frame = pd.DataFrame({"o": [{"a": [1, None]}], "b": [True], "n": [None]})
    made.with_seed_dataset(dd.DataFrameSeedSource(df=frame))
    made.add_column(name="x", column_type="expression", expr="1")
    template = {"o": "{{ o }}", "in": "{{ o.a[0] }}", "b": "{{ b }}", "n": "{{ n }}",
                "if": "{{ 'yes' if b else 'no' }}"}  # fmt: skip
    made.add_processor(dd.SchemaTransformProcessorConfig(name="p", template=template))
    found = DataDesigner().preview(made, num_records=1)
    assert found.processor_artifacts == {
        "p": [{"o": '{"a":[1,null]}', "in": "1", "b": "true", "n": "null", "if": "yes"}]
    }


def test_columns_are_dropped_by_name_and_by_pattern(tmp_path: Path) -> None:
    made = dataset().add_processor(
        dd.DropColumnsProcessorConfig(name="d", column_names=["to*", "text"])
    )
    results = run(tmp_path, made)
    assert [*results.load_dataset().columns] == ["stars"]
    [part, *_] = sorted((results.dataset_path / "dropped-columns-parquet-files").glob("*"))
    import pyarrow.parquet as pq

    assert set(pq.read_table(part).column_names) == {"topic", "text", "hidden"}


def test_a_trace_can_be_dropped_by_itself() -> None:
    made = dataset()
    made.add_column(
        made.get_column_config("text").changed(with_trace="all_messages")
    ).add_processor(processor_type="drop_columns", name="d", column_names=["*__trace"])
    found = DataDesigner(transport=ScriptedModel("x")).preview(made, num_records=1)
    assert [*found.dataset.columns] == ["topic", "text", "stars"]


def test_mistakes_are_found_before_the_run() -> None:
    made = dataset()
    made.add_processor(processor_type="drop_columns", name="d", column_names=["topics"])
    made.add_processor(processor_type="schema_transform", name="s", template={"a": "{{ tpoic }}"})
    with pytest.raises(InvalidConfigError) as raised:
        DataDesigner().validate(made)
    assert "processors.d.column_names: refers to unknown column 'topics'" in str(raised.value)
    assert "processors.s.template: refers to unknown column 'tpoic'" in str(raised.value)
    everything = dataset().add_processor(
        processor_type="drop_columns", name="d", column_names=["*"]
    )
    with pytest.raises(InvalidConfigError, match="all columns are dropped"):
        DataDesigner().validate(everything)
    for name in ("../x", "a/b", ".hidden", ""):
        with pytest.raises(ValidationError):
            dd.DropColumnsProcessorConfig(name=name, column_names=["a"])
    with pytest.raises(InvalidConfigError, match="must contain only JSON types"):
        dd.SchemaTransformProcessorConfig(name="t", template={"tags": {"a", "b"}})
    with pytest.raises(BuilderConfigurationError, match="requires a processor"):
        dataset().add_processor(name="x")


def test_a_processor_of_the_same_name_is_replaced_and_comes_last() -> None:
    made = dataset()
    made.add_processor(processor_type="drop_columns", name="a", column_names=["topic"])
    made.add_processor(processor_type="schema_transform", name="b", template={"x": "1"})
    made.add_processor(processor_type="drop_columns", name="a", column_names=["text"])
    assert [each.name for each in made.get_processor_configs()] == ["b", "a"]
    config = made.build()
    assert dd.load_config(config.to_yaml() or "") == config
    again = dd.DataDesignerConfigBuilder.from_config(config)
    assert again.get_processor_configs() == made.get_processor_configs()
