"""Columns that functions of the user's generate."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, InvalidConfigError
from tests.scripted import ScriptedModel, builder, chat_response


class Style(BaseModel):
    end: str = "!"


@dd.custom_column_generator(required_columns=["topic"])
def loud(row: dict[str, Any], generator_params: Style) -> dict[str, Any]:
    return {**row, "out": row["topic"].upper() + generator_params.end}


@dd.custom_column_generator(required_columns=["topic"], side_effect_columns=["length"])
async def measured(row: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {**row, "out": row["topic"], "length": len(row["topic"]), "unasked": 1}


@dd.custom_column_generator(required_columns=["number"], side_effect_columns=["rank"])
def ranked(df: pd.DataFrame) -> pd.DataFrame:
    return df.assign(out=df["number"] - df["number"].min(), rank=df["number"].rank())


@dd.custom_column_generator(required_columns=["topic"], model_aliases=["m"])
def asked(row: dict[str, Any], generator_params: None, models: Any) -> dict[str, Any]:
    assert threading.current_thread() is not threading.main_thread()
    value, talk = models["m"].generate(
        f"On {row['topic']}.", parser=int, max_correction_steps=1, system_prompt="Be brief."
    )
    return {**row, "out": value + len(talk)}


@dd.custom_column_generator(required_columns=["topic"], model_aliases=["m"])
async def asked_twice(row: dict[str, Any], generator_params: None, models: Any) -> dict[str, Any]:
    first, _ = await models["m"].agenerate("One?", temperature=0.1, nonsense=True)
    second, _ = await models["m"].agenerate(f"Two after {first}?")
    return {**row, "out": f"{first} {second}"}


def with_function(function: Any, **fields: Any) -> dd.DataDesignerConfigBuilder:
    made = builder().add_column(
        name="number", column_type="sampler", sampler_type="uniform", params={"low": 0, "high": 9}
    )
    return made.add_column(name="out", column_type="custom", generator_function=function, **fields)


def preview(made: Any, script: Any = None, rows: int = 3) -> list[dict[str, Any]]:
    return DataDesigner(transport=ScriptedModel(script)).preview(made, num_records=rows).records()


def test_a_function_makes_a_cell_from_its_row_and_parameters() -> None:
    assert preview(with_function(loud, generator_params=Style(end="?")))[0]["out"] == "TEA?"
    assert preview(with_function(loud, generator_params={}))[0]["out"] == "TEA!"


def test_an_async_function_gives_side_effects_and_nothing_that_it_did_not_declare(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = preview(with_function(measured))
    assert [(row["out"], row["length"]) for row in rows] == [("tea", 3)] * 3
    assert "unasked" not in rows[0]
    assert sum("also returned 'unasked'" in text for text in caplog.messages) == 1


def test_a_function_takes_a_whole_batch_as_a_data_frame() -> None:
    rows = preview(with_function(ranked, generation_strategy="full_column"), rows=5)
    assert min(row["out"] for row in rows) == 0
    assert sorted(row["rank"] for row in rows) == [1, 2, 3, 4, 5]


def test_a_data_frame_holds_only_rows_that_are_still_there() -> None:
    made = builder()
    made.add_column(
        name="number", column_type="sampler", sampler_type="category", params={"values": [1, 2]}
    )
    made.add_column(name="gone", column_type="expression", expr="{{ 'x' if number == 1 else '' }}")
    made.add_column(
        name="out",
        column_type="custom",
        generator_function=left_over,
        generation_strategy="full_column",
        skip={"when": "{{ topic == 'coffee' }}"},
    )
    rows = DataDesigner(run_config=dd.RunConfig(seed=1, disable_early_shutdown=True)).preview(
        made, num_records=20
    )
    assert 0 < len(rows.dataset) < 20
    assert {row["out"] for row in rows.records()} == {len(rows.dataset)}


@dd.custom_column_generator(required_columns=["gone"])
def left_over(df: pd.DataFrame) -> pd.DataFrame:
    return df.assign(out=len(df))


def test_a_plain_function_asks_a_model_from_its_thread() -> None:
    script = ["no number", "41"]
    scripted = ScriptedModel(script)
    found = DataDesigner(transport=scripted).preview(with_function(asked), num_records=1)
    assert found.records()[0]["out"] == 41 + 5
    assert [message["role"] for message in scripted.requests[1]["messages"]] == [
        "system", "user", "assistant", "user"
    ]  # fmt: skip
    assert found.usage["m"]["out"]["requests"] == 2


def test_an_async_function_asks_a_model_several_times() -> None:
    scripted = ScriptedModel(["a", "b"])
    found = DataDesigner(transport=scripted).preview(with_function(asked_twice), num_records=1)
    assert found.records()[0]["out"] == "a b"
    assert scripted.requests[0]["temperature"] == 0.1
    assert "nonsense" not in scripted.requests[0]


def test_requests_of_functions_keep_to_the_limit_of_the_model() -> None:
    made = with_function(asked_twice)
    made.delete_model_config("m")
    made.add_model_config(
        dd.ModelConfig(
            alias="m",
            model="tiny",
            base_url="http://model.test/v1",
            inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=3),
        )
    )
    scripted = ScriptedModel(lambda body: chat_response("x"), latency=0.01)
    DataDesigner(transport=scripted).preview(made, num_records=20)
    assert scripted.max_in_flight == 3


@dd.custom_column_generator()
async def wrong_bridge(row: Any, generator_params: Any, models: Any) -> Any:
    return models["m"].generate("?")


@dd.custom_column_generator()
def returns_a_list(row: Any) -> Any:
    return [row]


@dd.custom_column_generator()
def returns_nothing_new(row: Any) -> Any:
    return row


@dd.custom_column_generator(required_columns=["topic"])
def loses_a_column(row: Any) -> Any:
    return {"out": 1}


@dd.custom_column_generator()
def looks_elsewhere(row: Any) -> Any:
    return {"out": row["topic"]}


@dd.custom_column_generator(required_columns=["number"])
def loses_rows(df: pd.DataFrame) -> pd.DataFrame:
    return df.head(1).assign(out=1)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (returns_a_list, "it returned list, not a dict"),
        (returns_nothing_new, "it did not return 'out'"),
        (loses_a_column, "it removed 'topic'"),
        (looks_elsewhere, "add it to required_columns"),
        (loses_rows, "it received 3 rows and returned 1"),
    ],
)
def test_a_function_that_breaks_its_word_drops_the_rows_and_says_why(
    function: Any, complaint: str
) -> None:
    fields = {"generation_strategy": "full_column"} if function is loses_rows else {}
    with pytest.raises(Exception, match=complaint):
        preview(with_function(function, **fields))


def test_generate_in_an_async_function_does_not_hang() -> None:
    with pytest.raises(Exception, match=r"use `await models\[...\].agenerate"):
        preview(with_function(dd.custom_column_generator(model_aliases=["m"])(wrong_bridge)))


def test_functions_are_checked_when_they_are_declared() -> None:
    with pytest.raises(TypeError, match="has a parameter 'x'"):
        dd.custom_column_generator()(lambda x: x)
    with pytest.raises(TypeError, match="takes 0 parameters"):
        dd.custom_column_generator()(lambda: 1)
    with pytest.raises(ValidationError, match="is not decorated"):
        dd.CustomColumnConfig(name="out", generator_function=len)
    with pytest.raises(ValidationError, match="first parameter is 'row'"):
        dd.CustomColumnConfig(
            name="out",
            generator_function=loud,
            generation_strategy=dd.GenerationStrategy.FULL_COLUMN,
        )


def test_missing_columns_and_models_are_found_before_the_run() -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.add_column(name="out", column_type="custom", generator_function=asked)
    with pytest.raises(InvalidConfigError) as raised:
        DataDesigner().validate(made)
    assert "refers to unknown column 'topic'" in str(raised.value)
    assert "no model has the alias 'm'" in str(raised.value)


def test_a_file_names_the_function_and_finds_it_again() -> None:
    config = with_function(loud, generator_params=Style(end="?")).build()
    written = config.to_yaml() or ""
    assert "generator_function: tests.dd_core.kinds.test_custom_columns:loud" in written
    again = dd.load_config(written)
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert preview(again)[0]["out"] == "TEA?"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("loud", "must have the form"),
        ("no.such.module:f", "cannot be imported"),
        ("os:system", "is not decorated"),
        ("tests.dd_core.kinds.test_custom_columns:nothing", "cannot be imported"),
    ],
)
def test_a_name_that_leads_to_no_generator_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        dd.CustomColumnConfig(name="out", generator_function=name)


def test_an_edited_function_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    head = "import dd_core.config as dd\n@dd.custom_column_generator()\ndef made(row):\n"
    hashes: set[str] = set()
    for number in (1, 2):
        (tmp_path / f"edited{number}.py").write_text(
            f"{head}    return row | {{'out': {number}}}\n"
        )
        module = __import__(f"edited{number}")
        module.made.__module__ = "edited"  # as if both were versions of one file
        column = dd.CustomColumnConfig(name="out", generator_function=module.made)
        hashes.add(str(dd.DataDesignerConfig(columns=[column]).fingerprint()["config_hash"]))
    assert len(hashes) == 2


def test_another_function_gives_another_fingerprint() -> None:
    fingerprints = {
        str(with_function(function).build().fingerprint()) for function in (loud, measured, asked)
    }
    assert len(fingerprints) == 3


@dd.custom_column_generator(required_columns=["number"])
def twice(df: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([df.assign(out=1), pd.DataFrame({"out": [2] * len(df)})], axis=1)


def test_a_column_that_is_returned_twice_is_named(tmp_path: Path) -> None:
    made = with_function(twice, generation_strategy="full_column")
    with pytest.raises(DataDesignerGenerationError, match="more than one column 'out'"):
        DataDesigner(artifact_path=tmp_path, transport=ScriptedModel("x")).create(
            made, num_records=2
        )
