"""Any valid configuration comes back as it was: from YAML, JSON, pickle, Prefect's parameters."""

from __future__ import annotations

import json
import pickle
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st
from prefect.utilities.callables import parameter_schema

import dd_core.config as dd
from dd_core import DataDesigner
from flows import generate_dataset

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="{}#%"),
    min_size=1,
    max_size=12,
)
WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
NUMBER = st.integers(-1000, 1000) | st.floats(-1e6, 1e6, allow_nan=False)
SHARE = st.floats(0, 1, allow_nan=False)
MODELS = ("writer", "judge")

Fields = dict[str, Any]


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def fields(**given: st.SearchStrategy[Any] | Any) -> st.SearchStrategy[Fields]:
    """Mappings with these fields; what is no strategy is the value itself."""
    return st.fixed_dictionaries(
        {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in given.items()}
    )


@st.composite
def between(draw: st.DrawFn) -> tuple[float, float]:
    low = draw(NUMBER)
    return low, low + draw(st.floats(0.1, 100))


@st.composite
def samplers(draw: st.DrawFn) -> Fields:
    """The fields of a sampler column."""
    low, high = draw(between())
    values = draw(
        st.lists(TEXT, min_size=1, max_size=4, unique=True)
        | st.lists(st.integers(), min_size=1, max_size=4, unique=True)
        | st.lists(st.floats(-10, 10, allow_nan=False), min_size=1, max_size=3, unique=True)
    )
    weights = [*range(1, len(values) + 1)]
    kind, params = draw(
        st.sampled_from(
            [
                ("category", {"values": values}),
                ("category", {"values": values, "weights": weights}),
                ("uniform", {"low": low, "high": high, "decimal_places": 2}),
                ("gaussian", {"mean": low, "stddev": 2.5}),
                ("bernoulli", {"p": draw(SHARE)}),
                ("binomial", {"n": 5, "p": draw(SHARE)}),
                ("poisson", {"mean": abs(low)}),
                ("uuid", {"prefix": draw(optional(TEXT)), "short_form": draw(st.booleans())}),
                ("datetime", {"start": "2024-01-01", "end": "2024-06-01", "unit": "h"}),
                ("person_from_faker", {"locale": "de_DE", "age_range": [20, 40]}),
                ("scipy", {"dist_name": "norm", "dist_params": {"loc": low, "scale": 1.5}}),
            ]
        )
    )
    return {"column_type": "sampler", "sampler_type": kind, "params": params}


PROMPT = TEXT.map(lambda text: f"{text} {{{{ first }}}}")
ASKING = {"prompt": PROMPT, "model_alias": st.sampled_from(MODELS)}
SCORE = fields(
    name=WORD,
    description=TEXT,
    options=st.dictionaries(st.integers(0, 9), TEXT, min_size=1, max_size=3)
    | st.dictionaries(WORD, TEXT, min_size=1, max_size=3),
)
SCHEMA = st.sampled_from(
    [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
)
OTHERS = st.one_of(
    samplers(),
    fields(
        column_type="llm-text",
        **ASKING,
        system_prompt=optional(TEXT),
        with_trace=st.sampled_from(["none", "last_message", "all_messages"]),
        extract_reasoning_content=st.booleans(),
        skip=optional(fields(when="{{ first == 'x' }}", value=optional(NUMBER | TEXT))),
    ),
    fields(column_type="llm-code", **ASKING, code_lang=st.sampled_from([*dd.CodeLang]).map(str)),
    fields(column_type="llm-structured", **ASKING, output_format=SCHEMA),
    fields(
        column_type="llm-judge",
        **ASKING,
        scores=st.lists(SCORE, min_size=1, max_size=2, unique_by=lambda each: each["name"]),
    ),
    fields(column_type="expression", expr=PROMPT, dtype=st.sampled_from(["str", "int", "float"])),
    fields(
        column_type="validation",
        target_columns=["first"],
        validator_type="remote",
        validator_params=fields(endpoint_url="http://localhost:9/check", timeout=st.floats(1, 9)),
        batch_size=st.integers(1, 50),
    ),
    fields(
        column_type="validation",
        target_columns=["first"],
        validator_params=fields(validator_type="code", code_lang="sql:postgres"),
    ),
)
DISTRIBUTION = st.one_of(
    st.floats(0, 1),
    between().map(
        lambda pair: {
            "distribution_type": "uniform",
            "params": {"low": 0.1, "high": 0.1 + min(0.8, abs(pair[1] - pair[0]))},
        }
    ),
    st.just({"distribution_type": "manual", "params": {"values": [0.1, 0.9], "weights": [1, 3]}}),
)
PARAMETERS = fields(
    temperature=optional(DISTRIBUTION),
    top_p=optional(SHARE),
    max_tokens=optional(st.integers(1, 4096)),
    max_parallel_requests=st.integers(1, 64),
    timeout=optional(st.integers(1, 600)),
    extra_body=optional(st.dictionaries(WORD, NUMBER | TEXT, max_size=2)),
)
PROCESSORS = st.lists(
    st.one_of(
        fields(processor_type="drop_columns", name=WORD, column_names=["first"]),
        fields(
            processor_type="schema_transform",
            name=WORD,
            template=st.dictionaries(WORD, PROMPT | st.lists(PROMPT, max_size=2), max_size=2),
        ),
        fields(processor_type="filter_rows", name=WORD, condition="{{ first != 'x' }}"),
        fields(processor_type="deduplicate", name=WORD, similarity=optional(st.floats(0.1, 0.9))),
        fields(
            processor_type="select",
            name=WORD,
            by=optional(st.sampled_from(["first", "{{ first }}"])),
            top=st.integers(1, 9),
            diverse=optional(fields(column="first", max_similarity=st.floats(0.1, 0.9))),
        ),
        fields(
            processor_type="balance",
            name=WORD,
            column="first",
            target=st.just("equal") | st.just({"a": 0.25, "b": 0.75}),
        ),
    ),
    max_size=2,
    unique_by=lambda each: each["name"],
)


@st.composite
def configs(draw: st.DrawFn) -> Fields:
    """The content of a configuration file."""
    columns = [{"name": "first", **draw(samplers())}]
    for name in draw(st.lists(WORD, max_size=4, unique=True)):
        if name != "first":
            more = {"name": name, "drop": draw(st.booleans())}
            columns.append({**more, "propagate_skip": draw(st.booleans()), **draw(OTHERS)})
    models = [
        {"alias": alias, "model": draw(TEXT), "provider": "openai",
         "inference_parameters": draw(PARAMETERS)}
        for alias in MODELS
    ]  # fmt: skip
    profiler = fields(model_alias="judge", summary_score_sample_size=optional(st.integers(1, 50)))
    return {
        "columns": columns,
        "model_configs": models,
        "processors": draw(PROCESSORS) or None,
        "profilers": draw(optional(st.lists(profiler, min_size=1, max_size=1))),
    }


_SCHEMA = jsonschema_rs.validator_for(
    json.loads(json.dumps(parameter_schema(generate_dataset).model_dump()))
)
SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@pytest.mark.slow
@given(configs())
@SETTINGS
def test_a_configuration_comes_back_as_it_was(content: Fields) -> None:
    config = dd.DataDesignerConfig.model_validate(content)
    written = config.to_dict()
    for again in (
        dd.load_config(yaml.safe_load(config.to_yaml() or "")),
        dd.load_config(json.loads(config.to_json() or "")),
        dd.load_config(json.loads(dd.BuilderConfig.of(config).to_json() or "")),
        dd.DataDesignerConfigBuilder.from_config(config).build(),
        pickle.loads(pickle.dumps(config)),
    ):
        assert again.to_dict() == written | {"tool_configs": again.to_dict()["tool_configs"]}
        assert again.fingerprint() == config.fingerprint()
    sampled = [each["params"] for each in content["columns"] if "params" in each]
    kept = [each["params"] for each in written["columns"] if "params" in each]
    for before, after in zip(sampled, kept, strict=True):
        if "values" in before:
            assert [type(value) for value in after["values"]] == [
                type(value) for value in before["values"]
            ]


@pytest.mark.slow
@given(configs())
@SETTINGS
def test_a_configuration_fits_prefects_form(content: Fields) -> None:
    config = dd.DataDesignerConfig.model_validate(content)
    for parameters in ({"config": content}, {"config": config.to_dict(), "num_records": 3}):
        assert [*_SCHEMA.iter_errors(json.loads(json.dumps(parameters)))] == []
        found = generate_dataset.validate_parameters(parameters)["config"]
        assert found.fingerprint() == config.fingerprint()


@pytest.mark.slow
@given(configs())
@SETTINGS
def test_a_valid_configuration_has_no_problem_but_its_key(content: Fields) -> None:
    for model in content["model_configs"]:
        model["base_url"] = "http://localhost:9/v1"
    content["processors"] = [
        each for each in content["processors"] or [] if each["processor_type"] != "drop_columns"
    ]
    for column in content["columns"]:
        column["drop"] = False
    DataDesigner().validate(dd.DataDesignerConfig.model_validate(content))
