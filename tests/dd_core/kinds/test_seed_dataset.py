"""Datasets that are the seeds of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import GatesFailedError
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.versions import Versions


def create(folder: Path, words: list[str], version: str | None = None, **fields: Any) -> None:
    """Create the dataset `words`, or a version of it in the form in which the flow does."""
    made = dd.DataDesignerConfigBuilder([]).add_column(
        name="word", column_type="sampler", sampler_type="category", params={"values": words}
    )
    gates = {"columns": {"word": {"max_null_share": 0}}}
    run_config = dd.RunConfig.model_validate({"gates": gates, **fields})
    place = folder if version is None else folder / "words" / "versions"
    designer = DataDesigner(place, run_config=run_config)
    try:
        designer.create(made, num_records=3, dataset_name=version or "words")
    finally:
        if version is not None:
            versions = Versions(DatasetDirectory(folder / "words"))
            versions.settle(versions.directory(version))


def read(folder: Path, rows: int = 3, **fields: Any) -> list[Any]:
    """The seed rows of a dataset that is made from `words`."""
    source = dd.DatasetSeedSource(path=str(folder / "words"), **fields)
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    made.add_column(name="copy", column_type="expression", expr="{{ word }}")
    made.add_column(name="shots", column_type="examples", source=source, k=1)
    records = DataDesigner().preview(made, num_records=rows).records()
    assert all(row["shots"][0]["word"] == row["word"] for row in records)
    return [row["copy"] for row in records]


def test_the_rows_of_a_dataset_are_seeds(tmp_path: Path) -> None:
    create(tmp_path, ["tea"])
    assert read(tmp_path) == ["tea"] * 3


def test_the_newest_accepted_version_is_read(tmp_path: Path) -> None:
    create(tmp_path, ["tea"], "v1")
    create(tmp_path, ["milk"], "v2")
    with pytest.raises(GatesFailedError):
        create(tmp_path, ["wine"], "v3", gates={"columns": {"word": {"max_duplicate_share": 0}}})
    assert read(tmp_path) == ["milk"] * 3
    assert read(tmp_path, version="v1") == ["tea"] * 3
    assert read(tmp_path, version="v3") == ["wine"] * 3


def test_the_folder_of_a_version_is_a_dataset(tmp_path: Path) -> None:
    create(tmp_path, ["tea"], "v1")
    source = dd.DatasetSeedSource(path=str(tmp_path / "words" / "versions" / "v1"))
    assert source.open().num_rows == 3


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": "v9"}, "there is no dataset in .*v9.*versions are v1"),
        ({}, "no version of .* has been accepted yet"),
    ],
)
def test_what_does_not_exist_is_found_before_a_run(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(GatesFailedError):
        create(tmp_path, ["tea"], "v1", gates={"columns": {"word": {"max_duplicate_share": 0}}})
    with pytest.raises(InvalidConfigError, match=reason):
        read(tmp_path, **fields)


@pytest.mark.parametrize("version", ["..", ".", "../../other", "a/b", "a\\b", "/etc", "x" * 300])
def test_a_version_is_the_name_of_a_folder(version: str) -> None:
    with pytest.raises(ValidationError, match="version"):
        dd.DatasetSeedSource(path="words", version=version)


def test_the_file_that_names_the_latest_version_cannot_lead_elsewhere(tmp_path: Path) -> None:
    create(tmp_path, ["tea"], "v1")
    create(tmp_path / "words", ["wine"])
    (tmp_path / "words" / "latest.json").write_text('{"version": "../words"}')
    with pytest.raises(InvalidConfigError, match="cannot be a folder name"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["v[1]", "v 1", "1.0", "version é", "-v"])
def test_versions_and_folders_may_have_odd_names(tmp_path: Path, name: str) -> None:
    create(tmp_path / name, ["tea"], name)
    assert read(tmp_path / name) == read(tmp_path / name, version=name) == ["tea"] * 3


def test_a_missing_dataset_is_found_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match=r"there is no dataset in .*check the path"):
        read(tmp_path)


def test_damaged_rows_are_found_before_a_run(tmp_path: Path) -> None:
    create(tmp_path, ["tea"])
    part = next((tmp_path / "words").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(InvalidConfigError, match=part.name):
        read(tmp_path)


def test_a_relative_path_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path, ["tea"])
    monkeypatch.chdir(tmp_path)
    source = dd.DatasetSeedSource(path="words")
    assert source.open().num_rows == 3
    assert source.resolve_paths().path == str(tmp_path / "words")
    assert source.model_dump()["path"] == "words"
