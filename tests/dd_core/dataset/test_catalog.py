"""What can be declared is listed completely, and the JSON schema accepts what the library does."""

from __future__ import annotations

import json
from typing import Any, Literal

import jsonschema_rs
import pytest

from dd_core.dataset.catalog import list_kinds, make_schema
from dd_core.declaration.yaml_text import load_yaml
from dd_core.extend import SamplerParams, ValidatorParams
from tests.test_docs import CONFIGS


def test_every_kind_is_listed_with_a_sentence_and_all_fields_described() -> None:
    found = [kind for kind in list_kinds() if not kind.is_custom]
    assert len(found) > 40
    for kind in found:
        assert kind.summary, kind.name
        fields = [*kind.fields, *(field for part in kind.parts.values() for field in part)]
        undescribed = {field.name for field in fields if not field.description}
        assert {name for name in undescribed if not name.endswith("_type")} == set(), kind.name
        assert {field.name for field in fields if field.type == "any"} <= {"df"}, kind.name
    json.dumps([vars(field) for kind in found for field in kind.fields])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llm-text", ["llm-text"]),
        ("LLMTextColumnConfig", ["llm-text"]),
        ("column/image", ["image"]),
        ("image", ["image", "image"]),
        ("validators", sorted(ValidatorParams.all_kinds())),
        ("media", ["audio", "image", "video"]),
        ("RunConfig", ["RunConfig"]),
    ],
)
def test_kinds_are_found_by_family_tag_and_class(name: str, expected: list[str]) -> None:
    assert [kind.name for kind in list_kinds(name)] == expected


def test_fields_are_told_in_words() -> None:
    [judge] = list_kinds("llm-judge")
    fields = {field.name: field for field in judge.fields}
    assert "column_type" not in fields
    assert (fields["scores"].type, fields["scores"].required) == ("list of Score, not empty", True)
    assert fields["with_trace"].type == "none | last_message | all_messages"
    assert fields["with_trace"].default == "none"
    assert fields["multi_modal_context"].type == "list of media (a kind)"
    assert [field.name for field in judge.parts["Score"]] == ["name", "description", "options"]
    [sampler] = list_kinds("column/sampler")
    assert {"SkipConfig"} == {*sampler.parts}  # and not the parameters of all samplers
    [bernoulli] = list_kinds("bernoulli")
    assert bernoulli.fields[0].type == "number, at least 0, at most 1"


def test_what_does_not_exist_is_refused_with_what_does() -> None:
    with pytest.raises(ValueError, match="did you mean 'llm-text'"):
        list_kinds("lm-text")
    with pytest.raises(ValueError, match="use one of column/image, media/image"):
        make_schema("image")


def test_every_declaration_has_a_schema() -> None:
    for kind in list_kinds():
        schema = make_schema(f"{kind.family}/{kind.name}")
        assert schema["title"] == kind.class_name
        jsonschema_rs.validator_for(schema)


@pytest.mark.parametrize(("name", "text"), CONFIGS, ids=[name for name, _ in CONFIGS])
def test_the_schema_accepts_the_configurations_of_the_docs(name: str, text: str) -> None:
    written = json.loads(json.dumps(load_yaml(text)))  # an editor sees the keys as strings
    jsonschema_rs.validate(make_schema(), written)


def test_the_schema_refuses_what_the_library_refuses() -> None:
    check = jsonschema_rs.validator_for(make_schema())
    column: dict[str, Any] = {"name": "a", "column_type": "llm-text", "prompt": "x"}
    assert check.is_valid({"columns": [{**column, "model_alias": "m"}]})
    assert not check.is_valid({"columns": [column]})
    assert not check.is_valid({"columns": [{**column, "model_alias": "m", "promt": "x"}]})


class Sevens(SamplerParams):
    """Always seven.

    More on this.
    """

    sampler_type: Literal["test-catalog-sevens"] = "test-catalog-sevens"
    bonus: int = 0
    """Number that is added."""

    def draw(self, draws: Any, inputs: Any) -> Any:
        raise NotImplementedError


def test_a_custom_kind_is_listed_and_marked() -> None:
    [kind] = list_kinds("test-catalog-sevens")
    assert (kind.family, kind.is_custom, kind.module) == ("sampler", True, __name__)
    assert (kind.summary, kind.description) == ("Always seven.", "Always seven.\n\nMore on this.")
    [bonus] = kind.fields
    assert (bonus.name, bonus.default, bonus.description) == ("bonus", 0, "Number that is added.")
    assert "test-catalog-sevens" in [each.name for each in list_kinds("sampler")]
