"""Numbers of rows and places that cannot be are refused before a request is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ArtifactStorageError, InvalidConfigError

CONFIG: dict[str, Any] = {
    "columns": [{"name": "id", "column_type": "sampler", "sampler_type": "uuid", "params": {}}]
}


@pytest.mark.parametrize("rows", [0, -1, 10**30, 2.5, "3", None, True])
def test_a_number_of_rows_that_cannot_be_is_refused(tmp_path: Path, rows: Any) -> None:
    designer = DataDesigner(artifact_path=tmp_path / "out")
    for call in (designer.preview, designer.create, designer.estimate):
        with pytest.raises(InvalidConfigError, match="num_records: must be a whole number from 1"):
            call(CONFIG, num_records=rows)
    with pytest.raises(InvalidConfigError, match="probe_rows: must be a whole number from 1"):
        designer.estimate(CONFIG, num_records=10, probe_rows=rows)
    assert not (tmp_path / "out").exists()


def test_one_row_is_enough(tmp_path: Path) -> None:
    designer = DataDesigner(artifact_path=tmp_path)
    assert len(designer.preview(CONFIG, num_records=1).records()) == 1
    assert designer.create(CONFIG, num_records=1).count_records() == 1


@pytest.mark.parametrize("name", ["x" * 300, "é" * 120])
def test_a_long_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactStorageError, match="bytes; use at most 200"):
        DataDesigner(artifact_path=tmp_path).create(CONFIG, dataset_name=name)
    processor = {"name": name, "processor_type": "schema_transform", "template": {"a": "{{ id }}"}}
    with pytest.raises(InvalidConfigError, match=r"processors.*bytes; use at most 200"):
        dd.load_config({**CONFIG, "processors": [processor]})
    assert not [*tmp_path.iterdir()]


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactStorageError, match=r"dataset_name 'caf\\udce9' is not valid text"):
        DataDesigner(artifact_path=tmp_path).create(CONFIG, dataset_name="caf\udce9")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("x" * 300, "has 300 bytes; use at most 255"),
        ("a\0b", "contains a null character"),
        ("caf\udce9", "is not valid text"),
        ("/dev/null", "/dev/null is a file, but a folder is needed there"),
    ],
)
def test_a_place_that_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactStorageError, match=message):
        DataDesigner(artifact_path=place).create(CONFIG, num_records=1)


@pytest.mark.parametrize("failing", ["mkdir", "open"])
def test_a_place_that_cannot_be_written_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, failing, refuse)
    message = "kept/dataset.* cannot be used: permission denied; check the permissions"
    with pytest.raises(ArtifactStorageError, match=message):
        DataDesigner(artifact_path=tmp_path / "kept").create(CONFIG, num_records=1)
    assert not [*tmp_path.rglob("*.json")]


def test_a_place_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    message = "dataset/metadata.json cannot be used: permission denied; check the permissions"
    with pytest.raises(ArtifactStorageError, match=message):
        DataDesigner(artifact_path=tmp_path).create(CONFIG, num_records=1)


@pytest.mark.parametrize("place", ["", "below", "below/further"])
def test_a_place_that_is_a_file_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    designer = DataDesigner(artifact_path=tmp_path / "file" / place)
    with pytest.raises(ArtifactStorageError, match=r"file is a file, but a folder is needed"):
        designer.create(CONFIG, num_records=1)
    with pytest.raises(ArtifactStorageError, match=r"file is a file, but a folder is needed"):
        DataDesigner(artifact_path=tmp_path).create(CONFIG, num_records=1, dataset_name="file")
    results = DataDesigner(artifact_path=tmp_path).create(CONFIG, num_records=1)
    with pytest.raises(ArtifactStorageError, match=r"file is a file, but a folder is needed"):
        results.export(tmp_path / "file" / place / "rows.csv")
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(ArtifactStorageError, match=r"rows.csv is a folder; name a file"):
        results.export(tmp_path / "rows.csv")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "rows.csv").rmdir()
