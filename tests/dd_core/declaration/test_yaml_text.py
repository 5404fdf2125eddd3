"""YAML means what it looks like, wherever a configuration is read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

import dd_core.config as dd
from dd_core.declaration.yaml_text import dump_yaml, load_yaml, load_yaml_file
from dd_core.errors import InvalidConfigError
from dd_core.models.providers import load_default_models, load_default_providers

TEXT = [
    *("NO", "no", "on", "Off", "y", "yes", "tRUE", "02116", "007.5", "12:30", "190:20:30", "1_000"),
    *(
        "0b1",
        "0o8",
        "0x",
        "1e",
        ".e5",
        "1.2.3",
        "2024-01-31",
        "2024-01-31T10:00:00Z",
        "=",
        "+",
        "-",
    ),
]


@pytest.mark.parametrize("text", TEXT)
def test_text_stays_what_was_written(text: str) -> None:
    assert load_yaml(f"[{text}]") == [text]
    assert load_yaml(f"{text}: 1") == {text: 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("TRUE", True), ("~", None), ("null", None), ("", None),
        ("0", 0), ("-12", -12), ("+12", 12), ("0x1f", 31), ("0o17", 15), ("1e3", 1000.0),
        ("1.50", 1.5), (".5", 0.5), ("5.", 5.0), ("-1E-2", -0.01), (".inf", math.inf),
        ("-.INF", -math.inf), ("'1'", "1"), ("!!str 1", "1"), ("!!int 7", 7), ("!!float 1", 1.0),
        ("1" * 60, int("1" * 60)),
    ],
)  # fmt: skip
def test_values_follow_version_1_2(text: str, value: Any) -> None:
    found = load_yaml(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_anchors_and_merges_still_work() -> None:
    found = load_yaml("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\nc: *x\n")
    assert found == {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}, "c": {"k": 1, "l": 2}}
    assert math.isnan(load_yaml(".nan"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1"),
        (f"a: 1\nb: {'9' * 5000}", "line 2: an integer has 5000 digits"),
        ("[" * 5000, "nested too deeply"),
        ("a: {b: 1,\n  c: 2,\n  b: 3}", "line 3: key 'b' is already in line 1"),
        ("a: !!int x", "'x' is not an integer"),
        ("a: !!float x", "'x' is not a number"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
    ],
)
def test_what_is_not_yaml_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_yaml(text)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InvalidConfigError, match=r"a.yaml' cannot be read"):
        load_yaml_file(tmp_path / "a.yaml")
    with pytest.raises(InvalidConfigError, match=r"a.yaml cannot be read"):
        dd.load_config(tmp_path / "a.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.sampled_from(TEXT) | st.from_regex(r"[-+0-9.oxeE_:]{1,8}", fullmatch=True)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("abNO1", max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@given(content=JSON)
def test_what_is_written_reads_back_by_either_version(content: Any) -> None:
    text = dump_yaml(content)
    assert load_yaml(text) == content
    if not any(mark in json.dumps(content) for mark in "eE"):  # 1.1 does not know 1e+30
        assert yaml.safe_load(text) == content


def category(*values: str) -> str:
    listed = ", ".join(values)
    return (
        "columns:\n- {name: c, column_type: sampler, sampler_type: category, "
        f"params: {{values: [{listed}]}}}}\n"
    )


def test_a_configuration_keeps_its_values(tmp_path: Path) -> None:
    text = category("NO", "on", "02116", "12:30", "1_000", "2024-01-31", "12345678901234567890123")
    expected = ["NO", "on", "02116", "12:30", "1_000", "2024-01-31", 12345678901234567890123]
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    for source in (text, tmp_path / "c.yaml"):
        config = dd.load_config(source)
        assert config.to_dict()["columns"][0]["params"]["values"] == expected
        assert dd.load_config(config.to_yaml() or "") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must contain a mapping with `columns`, not list"),
        ("columns: 5\n", "input should be a valid list, but it is 5"),
        ("columns: &a [*a]\n", "cannot be represented as JSON"),
        ("columns: [5]\n", "columns.0"),
    ],
)
def test_a_configuration_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        dd.load_config(text)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"columns: [caf\xe9]")
    with pytest.raises(InvalidConfigError, match=r"c.yaml' cannot be read: 'utf-8' codec"):
        dd.load_config(tmp_path / "c.yaml")
    with pytest.raises(FileNotFoundError, match="there is no config file"):
        dd.load_config("x" * 300)


def test_an_empty_mapping_of_parameters_is_a_problem_with_a_place() -> None:
    text = category("a") + "model_configs:\n- {alias: w, model: m, inference_parameters: }\n"
    with pytest.raises(InvalidConfigError, match=r"model_configs.w.inference_parameters"):
        dd.load_config(text)


def test_default_models_and_providers_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DESIGNER_HOME", str(tmp_path))
    (tmp_path / "model_configs.yaml").write_text("model_configs:\n- {alias: NO, model: 02116}\n")
    (tmp_path / "model_providers.yaml").write_text(
        "providers:\n- {name: on, endpoint: 'http://a', api_key: 1_000}\n"
    )
    [model] = load_default_models()
    assert (model.alias, model.model) == ("NO", "02116")
    assert load_default_providers()[0].name == "on"
    [listed] = dd.DataDesignerConfigBuilder(tmp_path / "model_configs.yaml").model_configs
    assert listed == model
    (tmp_path / "model_configs.yaml").write_text("- a\n")
    with pytest.raises(InvalidConfigError, match="has no top-level list `model_configs`; add it"):
        load_default_models()
