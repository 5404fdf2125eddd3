"""What is wrong with a configuration is said before anything is asked, all of it at once."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import ArtifactStorageError
from tests.scripted import ScriptedModel

Raw = dict[str, Any]

SOUND: Raw = {
    "columns": [
        {
            "name": "tone",
            "column_type": "sampler",
            "sampler_type": "category",
            "params": {"values": ["calm", "angry"]},
        },
        {
            "name": "score",
            "column_type": "sampler",
            "sampler_type": "uniform",
            "params": {"low": 0, "high": 9},
        },
        {"name": "label", "column_type": "expression", "expr": "{{ tone }}!"},
        {
            "name": "note",
            "column_type": "llm-text",
            "model_alias": "m",
            "prompt": "A {{ tone }} note.",
        },
        {
            "name": "facts",
            "column_type": "llm-structured",
            "model_alias": "m",
            "prompt": "Facts of {{ note }}",
            "output_format": {"type": "object", "properties": {"x": {"type": "integer"}}},
        },
    ],
    "model_configs": [
        {"alias": "m", "model": "tiny", "provider": "openai", "base_url": "http://model.test/v1"}
    ],
}


def sound() -> Raw:
    return copy.deepcopy(SOUND)


def column(raw: Raw, name: str) -> Raw:
    return next(each for each in raw["columns"] if each["name"] == name)


def changed(name: str, **fields: Any) -> Callable[[Raw], None]:
    """Gives a column other fields."""
    return lambda raw: column(raw, name).update(fields)


def on_top(**fields: Any) -> Callable[[Raw], None]:
    """Gives the config other fields."""
    return lambda raw: raw.update(fields)


def circular(raw: Raw) -> None:
    column(raw, "label")["expr"] = "{{ facts }}"
    column(raw, "note")["prompt"] = "On {{ label }}"


def twice(raw: Raw) -> None:
    raw["columns"].append(dict(column(raw, "label")))


def all_dropped(raw: Raw) -> None:
    for each in raw["columns"]:
        each["drop"] = True


def of_model(**fields: Any) -> Callable[[Raw], None]:
    return lambda raw: raw["model_configs"][0].update(fields)


CONSTRAINT = {"target_column": "label", "operator": "lt", "rhs": 3}

MISTAKES: dict[str, tuple[Callable[[Raw], None], list[str]]] = {
    "unknown reference": (
        changed("note", prompt="A {{ tune }} note"),
        ["columns.note.prompt", "'tune'", "did you mean 'tone'?"],
    ),
    "a number in place of text": (
        changed("label", expr=2),
        ["columns.label.expr", "but it is 2; put it in quotes"],
    ),
    "unknown reference in the system prompt": (
        changed("note", system_prompt="Be {{ mood_of_day }}"),
        ["columns.note.system_prompt", "'mood_of_day'", "known columns: 'facts', 'label'"],
    ),
    "unknown reference in an expression": (
        changed("label", expr="{{ ton }}"),
        ["columns.label.expr", "'ton'", "did you mean 'tone'?"],
    ),
    "unknown reference in a skip condition": (
        changed("note", skip={"when": "{{ scores > 3 }}"}),
        ["columns.note.skip.when", "'scores'", "did you mean 'score'?"],
    ),
    "a circle": (circular, ["depends on itself", "label -> note", "remove one of these"]),
    "unknown alias": (
        changed("note", model_alias="big"),
        ["columns.note.model_alias", "'big'", "known aliases: 'm'"],
    ),
    "bounds the wrong way round": (
        changed("score", params={"low": 9, "high": 0}),
        ["columns.score.params", "low (9.0) must not be greater than high (0.0)", "swap them"],
    ),
    "no values to pick from": (
        changed("tone", params={"values": []}),
        ["columns.tone.params.values", "at least 1"],
    ),
    "missing seed file": (
        on_top(seed_config={"source": {"seed_type": "local", "path": "/no/such/rows.csv"}}),
        ["seed_config.source", "/no/such/rows.csv", "check the path"],
    ),
    "unknown field": (
        changed("note", promt="x"),
        ["columns.note.promt", "this field does not exist; remove it or correct its name"],
    ),
    "missing field": (
        lambda raw: column(raw, "note").pop("prompt"),
        ["columns.note.prompt", "is missing; add it"],
    ),
    "unknown kind of column": (
        changed("note", column_type="llm-txt"),
        ["columns.note", "'llm-txt'", "'llm-text'"],
    ),
    "unknown kind of sampler": (
        changed("tone", sampler_type="categories"),
        ["columns.tone", "'categories' does not exist", "'category'"],
    ),
    "broken template": (
        changed("note", prompt="A {{ tone } note"),
        ["columns.note.prompt", "syntax error in line 1", "check its braces"],
    ),
    "template rule": (
        changed("label", expr="{{ tone | pprint }}"),
        ["columns.label.expr", "'pprint' is not allowed; use one of"],
    ),
    "unknown provider": (
        of_model(provider="opnai"),
        ["model_configs.m.provider", "'opnai'", "use one of", "'openai'"],
    ),
    "missing key": (
        of_model(api_key_env_var="NO_SUCH_KEY"),
        ["model_configs.m.api_key_env_var", "'NO_SUCH_KEY'", "set it or remove the field"],
    ),
    "key instead of its name": (
        of_model(api_key_env_var="gsk_a1b2c3d4e5f6g7h8"),
        ["model_configs.m.api_key_env_var", "must be the name of an environment variable"],
    ),
    "temperature": (
        of_model(inference_parameters={"temperature": 3}),
        ["model_configs.m.inference_parameters", "temperature must be between 0 and 2"],
    ),
    "duplicate names": (twice, ["columns", "more than one column is named 'label'", "rename"]),
    "all dropped": (all_dropped, ["columns", "all columns are dropped", "set drop to false"]),
    "constraint on another kind": (
        on_top(constraints=[CONSTRAINT]),
        ["constraints.label", "'label' is not a sampler column", "sampler columns only"],
    ),
    "blank expression": (
        changed("label", expr="  "),
        ["columns.label.expr", "must not be blank; write a template such as {{ a }}"],
    ),
    "not a JSON schema": (
        changed("facts", output_format={"type": "objekt"}),
        ["columns.facts.output_format", "not a valid JSON schema", "objekt"],
    ),
    "a skip condition about itself": (
        changed("note", skip={"when": "{{ note }}"}),
        ["columns.note", "refers to the column itself", "generated before it"],
    ),
    "a skip condition without braces": (
        changed("note", skip={"when": "score > 3"}),
        ["columns.note.skip.when", "write it in braces"],
    ),
    "a sampler that is skipped": (
        changed("score", skip={"when": "{{ tone == 'calm' }}"}),
        ["columns.score", "cannot be skipped; remove skip"],
    ),
}


def complaint_about(config: Any) -> InvalidConfigError:
    """The error of a run that must not ask anything."""
    model = ScriptedModel("never asked", probes=True)
    with pytest.raises(InvalidConfigError) as raised:
        DataDesigner(transport=model).preview(config, num_records=100_000)
    assert model.requests == []
    return raised.value


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_with_its_place_and_its_remedy(mistake: str) -> None:
    spoil, words = MISTAKES[mistake]
    raw = sound()
    spoil(raw)
    error = complaint_about(raw)
    assert [word for word in words if word not in str(error)] == [], str(error)
    assert "Value error" not in str(error)
    assert len(error.problems) == 1, str(error)


def test_without_a_mistake_there_is_no_complaint() -> None:
    DataDesigner().validate(sound())


def test_a_seed_column_and_a_declared_one_cannot_have_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("city,tone\nOslo,calm\n")
    raw = sound() | {"seed_config": {"source": {"seed_type": "local", "path": str(path)}}}
    error = complaint_about(raw)
    assert "columns.tone: the seed dataset also has a column with this name" in str(error)


def test_side_effects_of_columns_have_names_of_their_own() -> None:
    raw = sound()
    column(raw, "note")["with_trace"] = "all_messages"
    column(raw, "label")["name"] = "note__trace"
    assert "'note__trace' clashes with column 'note__trace'; rename one" in str(
        complaint_about(raw)
    )


def test_a_config_without_columns_says_so() -> None:
    assert "declare at least one column" in str(complaint_about({"columns": []}))


def test_all_mistakes_in_references_are_listed() -> None:
    raw = sound()
    column(raw, "note").update(prompt="{{ tune }}", model_alias="big")
    column(raw, "label")["expr"] = "{{ ton }}"
    raw["constraints"] = [{**CONSTRAINT, "target_column": "facts"}]
    error = complaint_about(raw)
    places = {problem.where for problem in error.problems}
    assert places == {
        "columns.note.prompt",
        "columns.note.model_alias",
        "columns.label.expr",
        "constraints.facts",
    }
    assert "has 4 problems" in str(error)


def test_mistakes_of_form_do_not_hide_mistakes_of_meaning() -> None:
    raw = sound()
    column(raw, "score")["params"] = {"low": 9, "high": 0}  # of form
    column(raw, "facts")["promt"] = "x"  # of form
    column(raw, "label")["expr"] = "{{ ton }}"  # of meaning
    column(raw, "note")["model_alias"] = "big"  # of meaning
    places = sorted(problem.where for problem in complaint_about(raw).problems)
    assert len(places) == 4, places
    for name in ("score", "facts", "label", "note"):
        assert any(place.startswith(f"columns.{name}") for place in places), places


def test_a_column_that_cannot_be_read_still_counts_as_known() -> None:
    raw = sound()
    column(raw, "tone")["params"] = {"values": []}
    error = complaint_about(raw)
    assert [problem.where for problem in error.problems] == ["columns.tone.params.values"]


def test_what_else_is_wrong_is_judged_with_the_providers_of_the_run() -> None:
    raw = sound()
    raw["model_configs"] = [{"alias": "m", "model": "tiny", "provider": "ours"}]
    column(raw, "score")["params"] = {"low": 9, "high": 0}
    ours = dd.ModelProvider(name="ours", endpoint="http://model.test/v1")
    with pytest.raises(InvalidConfigError) as raised:
        DataDesigner(model_providers=[ours]).validate(raw)
    assert [problem.where for problem in raised.value.problems] == ["columns.score.params"]


def test_a_builder_is_checked_like_a_file() -> None:
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig.model_validate(SOUND["model_configs"][0])]
    )
    builder.add_column(name="a", column_type="expression", expr="{{ b }}")
    builder.add_column(name="b", column_type="expression", expr="{{ a }}")
    message = str(complaint_about(builder))
    assert re.search(r"depends on itself: (a -> b -> a|b -> a -> b);", message)


HALF = "half \ud83d"


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("columns.note.prompt", lambda raw: column(raw, "note").update(prompt=HALF)),
        ("columns.note.system_prompt", lambda raw: column(raw, "note").update(system_prompt=HALF)),
        ("columns.label.expr", lambda raw: column(raw, "label").update(expr=HALF)),
        (
            "columns.tone.params.values.1",
            lambda raw: column(raw, "tone")["params"].update(values=["a", HALF]),
        ),
        ("model_configs.m.model", lambda raw: raw["model_configs"][0].update(model=HALF)),
        (
            "model_configs.m.inference_parameters.extra_body.x",
            lambda raw: raw["model_configs"][0].update(
                inference_parameters={"extra_body": {"x": {HALF: 1}}}
            ),
        ),
    ],
)
def test_half_of_a_surrogate_pair_is_named_before_anything_is_asked(
    place: str, change: Callable[[Raw], None], tmp_path: Path
) -> None:
    raw, script = sound(), ScriptedModel("x")
    change(raw)
    designer = DataDesigner(artifact_path=tmp_path, transport=script)
    with pytest.raises(InvalidConfigError, match="half of a surrogate pair") as raised:
        designer.create(raw, num_records=1)
    assert place in {problem.where for problem in raised.value.problems}
    str(raised.value).encode()
    assert not script.requests and not [*tmp_path.iterdir()]


def test_aliases_that_multiply_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(InvalidConfigError, match="counting aliases"):
        DataDesigner().preview("\n".join([*lines, "columns: [*a9]"]))


def test_a_value_that_contradicts_its_tag_is_reported() -> None:
    with pytest.raises(InvalidConfigError, match="form of its tag"):
        DataDesigner().preview("columns: [!!timestamp x]\n")


def test_an_object_without_text_is_reported() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(InvalidConfigError, match="object without text"):
        DataDesigner().preview({"columns": [Mute()]})


@pytest.mark.parametrize("name", [5, None])
def test_a_dataset_name_is_text(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactStorageError, match="must be text"):
        DataDesigner(artifact_path=tmp_path, transport=ScriptedModel("x")).create(
            sound(), num_records=1, dataset_name=name
        )


def test_integers_of_numpy_are_numbers_of_rows(tmp_path: Path) -> None:
    raw = sound() | {"columns": sound()["columns"][:2]}
    results = DataDesigner(artifact_path=tmp_path).create(raw, num_records=np.int64(2))  # pyright: ignore[reportArgumentType]
    assert results.count_records() == 2
