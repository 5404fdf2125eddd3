"""`preview` and `create` raise what callers of NeMo Data Designer catch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, DataDesignerGenerationError, DataDesignerProfilingError, errors
from dd_core.designer import designer as designer_module
from dd_core.quality import analysis
from tests.scripted import ScriptedModel, refusal

NOT_OF_A_RUN = {
    *("DataDesignerError", "BuilderConfigurationError", "BuilderSerializationError"),
    *("InvalidColumnTypeError", "DataDesignerProfilingError", "PluginError"),
    *("ArtifactStorageError", "DatasetInUseError", "DatasetDamagedError"),
    *("UnknownFormatError", "AnalysisReportError", "DataDesignerWorkflowError"),
    *("InvalidFilePathError", "InvalidFileFormatError"),
}
Builder = dd.DataDesignerConfigBuilder


def sampled() -> Builder:
    model = dd.ModelConfig(alias="writer", model="m", provider="p")
    builder = Builder([model])
    return builder.add_column(
        name="tone", column_type="sampler", sampler_type="category", params={"values": ["a", "b"]}
    )


def unknown_reference(builder: Builder) -> None:
    builder.add_column(name="x", column_type="expression", expr="{{ nothing }}")


def forbidden_template(builder: Builder) -> None:
    builder.add_column(name="x", column_type="expression", expr="{% set y = 1 %}{{ tone }}")


def unknown_model(builder: Builder) -> None:
    builder.add_column(name="x", column_type="llm-text", prompt="{{ tone }}", model_alias="nobody")


def seed_without_rows(builder: Builder) -> None:
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"x": []})))


def no_rows(builder: Builder) -> None:
    builder.add_column(name="x", column_type="expression", expr="{{ tone }}", dtype="int")


def test_whatever_ends_a_run_is_a_generation_error() -> None:
    found = {name: each for name, each in vars(errors).items() if isinstance(each, type)}
    classes = {name for name, each in found.items() if issubclass(each, errors.DataDesignerError)}
    of_a_run = {
        name for name in classes if issubclass(found[name], errors.DataDesignerGenerationError)
    }
    assert classes - of_a_run == NOT_OF_A_RUN


@pytest.mark.parametrize(
    "spoil", [unknown_reference, forbidden_template, unknown_model, seed_without_rows, no_rows]
)
def test_preview_and_create_raise_generation_errors(
    tmp_path: Path, spoil: Callable[[Builder], None]
) -> None:
    builder = sampled()
    spoil(builder)
    provider = dd.ModelProvider(name="p", endpoint="http://unused.test")
    designer = DataDesigner(tmp_path, model_providers=[provider])
    with pytest.raises(DataDesignerGenerationError):
        designer.preview(builder, num_records=2)
    with pytest.raises(DataDesignerGenerationError):
        designer.create(builder, num_records=2)


def test_a_refused_key_is_a_generation_error(tmp_path: Path) -> None:
    builder = sampled()
    builder.add_column(name="x", column_type="llm-text", prompt="{{ tone }}", model_alias="writer")
    provider = dd.ModelProvider(name="p", endpoint="http://unused.test")
    model = ScriptedModel(refusal(401, "wrong key"), probes=True)
    designer = DataDesigner(tmp_path, model_providers=[provider], transport=model)
    for run in (designer.preview, designer.create):
        with pytest.raises(DataDesignerGenerationError, match="wrong key") as raised:
            run(builder, num_records=2)
        assert isinstance(raised.value.__cause__, errors.ModelAuthenticationError)


def test_errors_of_libraries_are_generation_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(designer_module, "compile_plan", fail)
    with pytest.raises(DataDesignerGenerationError, match="RuntimeError: out of order"):
        DataDesigner(tmp_path).preview(sampled(), num_records=2)


def test_a_dataset_that_cannot_be_opened_is_a_storage_error_alone(tmp_path: Path) -> None:
    with pytest.raises(errors.ArtifactStorageError) as raised:
        DataDesigner(tmp_path).create(sampled(), num_records=2, resume="always")
    assert not isinstance(raised.value, DataDesignerGenerationError)


def test_a_failure_to_profile_is_a_profiling_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = DataDesigner(tmp_path).preview(sampled(), num_records=2)
    monkeypatch.setattr(analysis, "DatasetView", lambda source: 1 / 0)
    with pytest.raises(DataDesignerProfilingError, match="ZeroDivisionError"):
        preview.analysis  # noqa: B018
