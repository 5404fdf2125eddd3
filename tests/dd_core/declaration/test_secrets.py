"""Where keys come from, and trying models outside a run."""

from __future__ import annotations

from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.declaration.secrets import (
    CompositeResolver,
    EnvironmentResolver,
    PlaintextResolver,
    SecretsFileResolver,
)
from dd_core.errors import ModelAuthenticationError, ModelInternalServerError, SecretResolutionError
from tests.conftest import ServerFactory
from tests.scripted import ScriptedModel, chat_response, refusal


def ours(key: str) -> dd.ModelProvider:
    return dd.ModelProvider(name="ours", endpoint="http://model.test/v1", api_key=key)


def asking() -> dd.DataDesignerConfigBuilder:
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="m", model="x", provider="ours")])
    return made.add_column(name="t", column_type="llm-text", model_alias="m", prompt="Hi.")


def test_a_resolver_finds_the_keys_of_providers(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text('{"ours": "k-123"}')
    scripted = ScriptedModel("hi")
    designer = DataDesigner(
        model_providers=[ours("ours")],
        secret_resolver=CompositeResolver([EnvironmentResolver(), SecretsFileResolver(secrets)]),
        transport=scripted,
    )
    designer.preview(asking(), num_records=1)
    assert scripted.headers[0]["authorization"] == "Bearer k-123"


def test_a_key_that_nobody_knows_is_named_nowhere(tmp_path: Path) -> None:
    resolver = CompositeResolver(
        [EnvironmentResolver(), SecretsFileResolver(tmp_path / "missing.json")]
    )
    with pytest.raises(SecretResolutionError) as raised:
        resolver.resolve("sk-abc-secret")
    assert "sk-abc" not in str(raised.value)
    assert "cannot be read (FileNotFoundError)" in str(raised.value)
    assert PlaintextResolver().resolve("k") == "k"


def test_the_check_of_models_is_patient_with_what_may_pass() -> None:
    answers = [refusal(500), refusal(503), chat_response("hello")]
    designer = DataDesigner(
        model_providers=[ours("k")], transport=ScriptedModel(answers, probes=True)
    )
    designer.check_models(asking(), max_attempts=3)
    for status, error in ((401, ModelAuthenticationError), (500, ModelInternalServerError)):
        scripted = ScriptedModel([refusal(status)] * 2, probes=True)
        designer = DataDesigner(model_providers=[ours("k")], transport=scripted)
        with pytest.raises(error):
            designer.check_models(asking(), max_attempts=2)
        assert len(scripted.requests) == (1 if error is ModelAuthenticationError else 2)
    with pytest.raises(ValueError, match="max_attempts"):
        designer.check_models(asking(), max_attempts=0)


def test_a_function_can_be_tried_with_default_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench_server: ServerFactory
) -> None:
    monkeypatch.setenv("DATA_DESIGNER_HOME", str(tmp_path))
    (tmp_path / "model_configs.yaml").write_text(
        f"model_configs: [{{alias: mine, model: tiny, base_url: '{bench_server().url}'}}]"
    )
    with DataDesigner().get_models(["mine"]) as models:
        value, talk = models["mine"].generate("Hello?", parser=str.upper)
        assert models["mine"].model_name == "tiny"
    assert value.startswith("ANSWER")
    assert [message.role for message in talk] == ["user", "assistant"]
    with pytest.raises(Exception, match="no default model has the alias 'other'"):
        DataDesigner().get_models(["other"])
