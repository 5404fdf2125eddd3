"""Names of NeMo Data Designer with which existing scripts call the library."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ArtifactStorageError
from tests.datasets import model, topics
from tests.scripted import ScriptedModel


def _builder() -> dd.DataDesignerConfigBuilder:
    return topics(model("http://x"))


def test_configurations_and_aliases_have_second_names(tmp_path: Path) -> None:
    designer, builder = DataDesigner(tmp_path), _builder()
    designer.validate(config_builder=builder)
    assert len(designer.preview(config_builder=builder, num_records=3).dataset) == 3
    made = designer.create(config_builder=builder, num_records=3, dataset_name="a")
    assert made.count_records() == 3
    made = asyncio.run(designer.acreate(config_builder=builder, num_records=3, dataset_name="b"))
    assert made.count_records() == 3
    with pytest.raises(TypeError, match="not both"):
        designer.validate(config=builder, config_builder=builder)
    with pytest.raises(TypeError):
        designer.validate()


def test_models_are_checked_and_found_by_second_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-test")
    scripted = ScriptedModel("hello", probes=True)
    designer = DataDesigner(tmp_path, transport=scripted)
    builder = _builder()
    builder.add_column(name="text", column_type="llm-text", model_alias="m", prompt="Hi")
    designer.check_models(config_builder=builder)
    assert len(scripted.requests) == 1
    [alias, *_] = [each.alias for each in designer.get_default_model_configs()]
    models = designer.get_models(model_aliases=[alias])
    assert alias in models
    models.close()


def test_the_files_of_a_dataset_have_familiar_names(tmp_path: Path) -> None:
    builder = _builder()
    builder.add_column(name="twice", column_type="expression", expr="{{ topic }}{{ topic }}")
    builder.add_processor(dd.DropColumnsProcessorConfig(name="drop", column_names=["twice"]))
    storage = DataDesigner(tmp_path).create(builder, num_records=5).artifact_storage
    folder = tmp_path / "dataset"
    assert storage.artifact_path == tmp_path
    assert (storage.dataset_name, storage.resolved_dataset_name) == ("dataset", "dataset")
    assert storage.base_dataset_path == folder
    assert storage.metadata_file_path.is_file()
    assert [*storage.final_dataset_path.glob("*.parquet")]
    assert [*storage.dropped_columns_dataset_path.glob("*.parquet")]
    assert storage.processors_outputs_path == folder / "processors-files"
    assert storage.list_processor_names() == []
    assert storage.read_metadata()["target_num_records"] == 5
    rows = storage.load_dataset()
    assert "twice" not in rows
    everything = storage.load_dataset_with_dropped_columns()
    assert [*everything.columns] == [*rows.columns, "twice"]
    assert everything["twice"].tolist() == [2 * topic for topic in rows["topic"]]
    with pytest.raises(AttributeError):
        storage.base_dataset_path = folder  # type: ignore[misc]


def test_dropped_columns_of_removed_rows_are_not_joined(tmp_path: Path) -> None:
    builder = _builder()
    builder.add_column(name="twice", column_type="expression", expr="{{ topic }}{{ topic }}")
    builder.add_processor(dd.DropColumnsProcessorConfig(name="drop", column_names=["twice"]))
    builder.add_processor(dd.DeduplicateProcessorConfig(name="once", column_names=["topic"]))
    storage = DataDesigner(tmp_path).create(builder, num_records=30).artifact_storage
    with pytest.raises(ArtifactStorageError, match="because a processor removed rows"):
        storage.load_dataset_with_dropped_columns()


def test_a_version_belongs_to_its_dataset(tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path)
    made = designer.create(_builder(), num_records=2, dataset_name="nights")
    made.directory.path.rename(tmp_path / "moved")
    folder = tmp_path / "nights" / "versions" / "1"
    folder.parent.mkdir(parents=True)
    (tmp_path / "moved").rename(folder)
    storage = designer.open("nights", "1").artifact_storage
    assert (storage.dataset_name, storage.base_dataset_path) == ("nights", folder)
    assert storage.artifact_path == tmp_path


def test_a_folder_may_be_called_versions(tmp_path: Path) -> None:
    storage = DataDesigner(tmp_path / "versions").create(_builder(), num_records=2).artifact_storage
    assert storage.dataset_name == "dataset"
    assert storage.artifact_path == tmp_path / "versions"
