"""What an upload puts on the hub, and what a second one leaves there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dd_core import DataDesigner
from dd_core.designer.results import DatasetCreationResults
from dd_core.errors import ArtifactStorageError
from tests.hub import Hub, running_hub

READERS = os.environ.get("READERS", "")
"""The Python of an environment with `datasets`."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as made:
        yield made


def create(
    folder: Path, rows: int, *processors: str, name: str = "d", resume: str = "never"
) -> DatasetCreationResults:
    topic = {"name": "topic", "column_type": "sampler", "sampler_type": "category"}
    config: dict[str, Any] = {"columns": [{**topic, "params": {"values": ["NO", "on"]}}]}
    config["processors"] = [
        {"name": each, "processor_type": "schema_transform", "template": {"other": "{{ topic }}"}}
        for each in processors
    ]
    return DataDesigner(artifact_path=folder).create(
        config, num_records=rows, dataset_name=name, resume=resume
    )


def push(results: DatasetCreationResults, hub: Hub) -> dict[str, bytes]:
    results.push_to_hub("ann/d", "Topics.", endpoint=hub.url)
    return hub.repositories["ann/d"]


def read_card(content: bytes | str) -> dict[str, Any]:
    text = content if isinstance(content, str) else content.decode()
    return yaml.safe_load(text.split("---\n")[1])


def test_a_processors_table_never_replaces_our_files(tmp_path: Path, hub: Hub) -> None:
    names = ("data", "default", "images", "README.md", "metadata.json", "a[1]", "data-processor")
    files = push(create(tmp_path, 4, *names), hub)
    part = "batch_00000.parquet"
    assert {path for path in files if path.endswith(".parquet")} == {
        f"data/{part}",
        f"data-processor-1/{part}",
        f"images-processor/{part}",
        f"README.md-processor/{part}",
        f"metadata.json-processor/{part}",
        f"a_1_-processor/{part}",
        f"data-processor/{part}",
        f"default-processor/{part}",
    }
    configs = read_card(files["README.md"])["configs"]
    assert configs[0] == {
        "config_name": "data",
        "data_files": [{"split": "train", "path": "data/*.parquet"}],
        "default": True,
    }
    assert len({each["config_name"] for each in configs}) == len(configs) == 8
    for each in configs:
        [listed] = each["data_files"]
        assert listed["path"].replace("*.parquet", part) in files
    assert b"builder_config.json" in files["README.md"]


def test_a_second_upload_removes_what_the_first_left(tmp_path: Path, hub: Hub) -> None:
    files = push(create(tmp_path, 4, "chat", "data", name="first"), hub)
    image = "images/photo/0b0f6f3e-3f67-4d1e-9f0d-3a3f6c1f2b11.png"
    for path in ("data/batch_00001.parquet", image):
        files[path] = b"left by an earlier upload"
    kept = {"LICENSE": b"x", "images/banner.png": b"x", "data/notes.csv": b"x"}
    files |= kept
    hub.repositories["ann/d"] = files
    after = push(create(tmp_path, 2, name="second"), hub)
    assert {*after} == {
        *kept,
        "data/batch_00000.parquet",
        "README.md",
        "metadata.json",
        "builder_config.json",
    }
    assert len(read_card(after["README.md"])["configs"]) == 1


def test_the_folder_itself_has_a_card(tmp_path: Path) -> None:
    results = create(tmp_path, 4)
    card = Path(str(results.dataset_path)) / "README.md"
    [config] = read_card(card.read_text())["configs"]
    assert config["data_files"] == [{"split": "train", "path": "parquet-files/*.parquet"}]
    card.write_text("mine")
    create(tmp_path, 4, resume="always")
    assert card.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.skipif(not Path(READERS).is_file(), reason="READERS names no Python with `datasets`")
def test_datasets_loads_what_was_uploaded_and_the_folder(tmp_path: Path, hub: Hub) -> None:
    results = create(tmp_path, 4, "data")
    for path, content in push(results, hub).items():
        (tmp_path / "pushed" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pushed" / path).write_bytes(content)
    code = (
        "import datasets, sys; d = datasets.load_dataset(*sys.argv[1:], cache_dir='cache');"
        "print(d['train'].column_names, len(d['train']))"
    )
    for arguments, column in (
        ([results.dataset_path], "topic"),
        (["pushed"], "topic"),
        (["pushed", "data"], "topic"),
        (["pushed", "data-processor"], "other"),
    ):
        done = subprocess.run(
            [READERS, "-c", code, *map(str, arguments)], cwd=tmp_path, capture_output=True,
            text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "hf"},
        )  # fmt: skip
        assert done.stdout.strip() == f"['{column}'] 4", done.stderr


def test_an_upload_without_the_extra_names_it(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = create(tmp_path, 2)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ArtifactStorageError, match=r"install prefect-data-designer\[hub\]"):
        push(results, hub)
    assert hub.repositories == {}
