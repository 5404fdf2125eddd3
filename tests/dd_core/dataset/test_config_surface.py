"""The names, the builder's help, tools and scripts: what is not about a kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.dataset.files import run_script
from dd_core.errors import BuilderConfigurationError

NAMES = [
    "DataDesignerConfigBuilder",
    "DataDesignerConfig",
    "DataDesignerScriptParams",
    "get_library_version",
    "SamplerColumnConfig",
    "LLMTextColumnConfig",
    "LLMCodeColumnConfig",
    "LLMStructuredColumnConfig",
    "LLMJudgeColumnConfig",
    "EmbeddingColumnConfig",
    "ImageColumnConfig",
    "ExpressionColumnConfig",
    "ValidationColumnConfig",
    "CustomColumnConfig",
    "SeedDatasetColumnConfig",
    "custom_column_generator",
    "GenerationStrategy",
    "SkipConfig",
    "Score",
    "CodeLang",
    "TraceType",
    "DataDesignerColumnType",
    "ImageContext",
    "ImageFormat",
    "AudioContext",
    "AudioFormat",
    "VideoContext",
    "VideoFormat",
    "Modality",
    "ModalityContext",
    "ModalityDataType",
    "SamplerType",
    "BernoulliSamplerParams",
    "BernoulliMixtureSamplerParams",
    "BinomialSamplerParams",
    "CategorySamplerParams",
    "DatetimeSamplerParams",
    "GaussianSamplerParams",
    "PersonSamplerParams",
    "PersonFromFakerSamplerParams",
    "PoissonSamplerParams",
    "ScipySamplerParams",
    "SubcategorySamplerParams",
    "TimeDeltaSamplerParams",
    "UniformSamplerParams",
    "UUIDSamplerParams",
    "ScalarInequalityConstraint",
    "ColumnInequalityConstraint",
    "ConstraintType",
    "InequalityOperator",
    "ModelConfig",
    "ModelProvider",
    "GenerationType",
    "ChatCompletionInferenceParams",
    "EmbeddingInferenceParams",
    "ImageInferenceParams",
    "UniformDistribution",
    "UniformDistributionParams",
    "ManualDistribution",
    "ManualDistributionParams",
    "SeedConfig",
    "SamplingStrategy",
    "IndexRange",
    "PartitionBlock",
    "LocalFileSeedSource",
    "HuggingFaceSeedSource",
    "DataFrameSeedSource",
    "DirectorySeedSource",
    "FileContentsSeedSource",
    "AgentRolloutSeedSource",
    "AgentRolloutFormat",
    "ValidatorType",
    "CodeValidatorParams",
    "LocalCallableValidatorParams",
    "RemoteValidatorParams",
    "ProcessorType",
    "DropColumnsProcessorConfig",
    "SchemaTransformProcessorConfig",
    "JudgeScoreProfilerConfig",
    "MCPProvider",
    "LocalStdioMCPProvider",
    "ToolConfig",
    "RunConfig",
    "ResumeMode",
    "JinjaRenderingEngine",
    "RequestAdmissionTuningConfig",
    "ThrottleConfig",
    "SchedulingMetadata",
    "SchedulingMetadataError",
    "InfoType",
]


def test_every_name_that_users_bring_along_is_there() -> None:
    assert len(NAMES) == 90
    assert [name for name in NAMES if not hasattr(dd, name)] == []
    assert {*NAMES} <= {*dd.__all__}


def test_the_built_in_column_types_are_all_named() -> None:
    from dd_core.kinds.columns.column import Column

    assert {each.value for each in dd.DataDesignerColumnType} <= {*Column.kinds}


def test_tools_are_read_and_written_and_unknown_ones_are_named() -> None:
    tools = dd.ToolConfig(tool_alias="search", providers=["web"])
    assert (tools.max_tool_call_turns, tools.timeout_sec, tools.allow_tools) == (5, None, None)
    made = dd.DataDesignerConfigBuilder(tool_configs=[tools])
    assert made.get_tool_config("search") is tools
    with pytest.raises(BuilderConfigurationError, match="'search'"):
        made.add_tool_config(tools)
    again = dd.DataDesignerConfigBuilder.from_config(made.get_builder_config())
    assert again.tool_configs == [tools]
    made.add_column(
        name="x",
        column_type="llm-text",
        model_alias="nvidia-text",
        prompt="Hi",
        tool_alias="search",
    )
    with pytest.raises(InvalidConfigError, match=r"tool_configs\.search\.providers: .* 'web'"):
        DataDesigner(mcp_providers=[]).validate(made)
    made.delete_tool_config("search").delete_tool_config("search")
    with pytest.raises(KeyError):
        made.get_tool_config("search")
    with pytest.raises(InvalidConfigError, match=r"columns\.x\.tool_alias: no tool configuration"):
        DataDesigner(mcp_providers=[]).validate(made)


def test_a_servers_key_is_never_written() -> None:
    found = dd.MCPProvider.model_validate({"name": "a", "endpoint": "http://x", "api_key": "sk-1"})
    assert "sk-1" not in repr(found) + found.model_dump_json()
    assert dd.LocalStdioMCPProvider(name="b", command="run").args == []
    with pytest.raises(ValueError, match="lists 'x' more than once"):
        dd.ToolConfig(tool_alias="t", providers=[], allow_tools=["x", "x"])


@pytest.mark.parametrize(
    "fields", [{"kind": "other"}, {"identity": ()}, {"identity": ("",)}, {"weight": 0}]
)
def test_scheduling_hints_are_checked(fields: dict[str, Any]) -> None:
    assert dd.SchedulingMetadata().identity == ("local", "default")
    with pytest.raises(dd.SchedulingMetadataError):
        dd.SchedulingMetadata(**fields)


def test_help_is_displayed(capsys: pytest.CaptureFixture[str]) -> None:
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="mine", model="some/model")])
    made.info.display("samplers", sampler_type="gaussian")
    shown = capsys.readouterr().out
    assert "gaussian" in shown
    assert "stddev" in shown
    assert "category" not in shown
    made.info.display(dd.InfoType.SAMPLERS)
    assert "category" in capsys.readouterr().out
    made.info.display("model_configs")
    assert "some/model" in capsys.readouterr().out
    provider = dd.ModelProvider.model_validate(
        {"name": "here", "endpoint": "http://x", "api_key": "sk-secret"}
    )
    DataDesigner(model_providers=[provider]).info.display("model_providers")
    shown = capsys.readouterr().out
    assert "here" in shown
    assert "sk-secret" not in shown
    with pytest.raises(ValueError, match="'nothing'"):
        made.info.display("nothing")
    with pytest.raises(ValueError, match="sampler 'nothing' does not exist"):
        made.info.display("samplers", sampler_type="nothing")


SCRIPT = """
import dd_core.config as dd

def load_config_builder({parameters}):
    values = {values}
    made = dd.DataDesignerConfigBuilder([])
    return made.add_column(
        name="a", column_type="sampler", sampler_type="category", params={{"values": values}}
    )
"""


def test_a_script_builds_a_configuration_with_or_without_arguments(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(SCRIPT.format(parameters="", values=["x"]))
    assert run_script(path).columns[0].name == "a"
    path.write_text(SCRIPT.format(parameters="params", values="list(params.argv)"))
    assert run_script(path, ["y", "z"]).columns[0].params.values == ["y", "z"]
    path.write_text("x = 1")
    with pytest.raises(InvalidConfigError, match="defines no function load_config_builder"):
        run_script(path)
    path.write_text("def load_config_builder(): return 3")
    with pytest.raises(InvalidConfigError, match="must return a builder, not int"):
        run_script(path)


def test_readers_of_persons_are_refused_with_the_way_to_go() -> None:
    with pytest.raises(BuilderConfigurationError, match=r"docs/own-kinds\.md"):
        DataDesigner(person_reader=object())  # pyright: ignore[reportArgumentType]
    DataDesigner(auto_configure_logging=False, mcp_providers=[])
