"""Seeds that are not files on this machine: addresses of fsspec, datasets on a hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from tests.hub import Hub, running_hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as made:
        made.repositories["ann/words"] = {
            "data/a.csv": b"word\none\ntwo\n",
            "data/deep/b.csv": b"word\nthree\n",
            "x.jsonl": b'{"word": "four"}\n',
        }
        yield made


def words(source: Any, rows: int = 3) -> list[str]:
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    return DataDesigner().preview(made, num_records=rows).dataset["word"].tolist()


@pytest.fixture
def memory() -> Iterator[Any]:
    system: Any = fsspec.filesystem("memory")
    system.pipe({"/bucket/a.csv": b"word\none\n", "/bucket/b.csv": b"word\ntwo\n"})
    system.pipe("/bucket/c.jsonl", b'{"word": "three"}\n')
    yield system
    system.rm("/bucket", recursive=True)


def test_local_file_seeds_read_addresses_through_fsspec(memory: Any) -> None:
    assert words(dd.LocalFileSeedSource(path="memory://bucket/c.jsonl"), 1) == ["three"]
    assert words(dd.LocalFileSeedSource(path="memory://bucket/*.csv"), 2) == ["one", "two"]


def test_brackets_in_folders_are_not_a_pattern(memory: Any) -> None:
    memory.pipe({"/bucket/run [2]/a.csv": b"word\nfour\n", "/bucket/run 2/a.csv": b"word\nno\n"})
    assert words(dd.LocalFileSeedSource(path="memory://bucket/run [2]/*.csv"), 1) == ["four"]


def test_a_remote_file_that_changes_is_read_again(memory: Any) -> None:
    source = dd.LocalFileSeedSource(path="memory://bucket/a.csv")
    before = source.open().content_hash()
    memory.pipe("/bucket/a.csv", b"word\nother\n")
    assert words(source, 1) == ["other"]
    assert source.open().content_hash() != before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("memory://bucket/none.csv", "cannot be read"),
        ("memory://bucket/*.parquet", "there is no file at"),
        ("nowhere://bucket/a.csv", "Protocol not known"),
    ],
)
def test_what_cannot_be_read_is_a_problem_before_the_run(
    path: str, message: str, memory: Any
) -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.with_seed_dataset(dd.LocalFileSeedSource(path=path))
    with pytest.raises(InvalidConfigError, match=message):
        DataDesigner().validate(made)


@pytest.mark.parametrize("path", ["hf://datasets/a/b/c.csv", "memory://bucket/a.txt"])
def test_addresses_of_other_kinds_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"seed_type 'hf'|must end in"):
        dd.LocalFileSeedSource(path=path)


def test_addresses_with_passwords_are_refused_without_showing_them() -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.with_seed_dataset(dd.LocalFileSeedSource(path="s3://key:marker@bucket/a.csv"))
    with pytest.raises(InvalidConfigError, match="must not contain a user or a password") as caught:
        DataDesigner().validate(made)
    assert "marker" not in str(caught.value)


def test_datasets_on_a_hub_are_read_by_path_and_pattern(hub: Hub) -> None:
    def source(path: str) -> dd.HuggingFaceSeedSource:
        return dd.HuggingFaceSeedSource(path=f"datasets/ann/words/{path}", endpoint=hub.url)

    assert words(source("x.jsonl"), 1) == ["four"]
    assert words(source("data/*.csv"), 2) == ["one", "two"]
    assert words(source("**/*.csv")) == ["one", "two", "three"]
    assert {auth for _, _, auth in hub.asked} == {None}


def test_a_dataset_without_a_user_is_declared_and_looked_for(hub: Hub) -> None:
    source = dd.HuggingFaceSeedSource(path="datasets/imdb/x.jsonl", endpoint=hub.url)
    with pytest.raises(InvalidConfigError, match=r"datasets/imdb/x\.jsonl.*not found"):
        words(source)
    assert any("imdb" in path for _, path, _ in hub.asked)


def test_the_token_comes_from_the_environment_and_is_never_written(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.token = "hf_marker"
    path = "datasets/ann/words/x.jsonl"
    source = dd.HuggingFaceSeedSource.model_validate(
        {"path": path, "endpoint": hub.url, "token": "MY_HUB_TOKEN"}
    )
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    with pytest.raises(InvalidConfigError, match="MY_HUB_TOKEN"):
        DataDesigner().validate(made)
    monkeypatch.setenv("MY_HUB_TOKEN", "hf_marker")
    results = DataDesigner(tmp_path).create(made, num_records=2)
    assert results.load_dataset()["word"].tolist() == ["four", "four"]
    assert source.model_dump(mode="json")["token"] == "MY_HUB_TOKEN"

    literal = dd.HuggingFaceSeedSource.model_validate(
        {"path": path, "endpoint": hub.url, "token": "hf_marker"}
    )
    made.with_seed_dataset(literal)
    other = DataDesigner(tmp_path).create(made, num_records=1, dataset_name="literal")
    assert "hf_marker" not in repr(literal) + json.dumps(literal.model_dump(mode="json"))
    for file in other.dataset_path.rglob("*.json"):
        assert "hf_marker" not in file.read_text()


def test_token_and_endpoint_do_not_change_a_datasets_identity() -> None:
    def fingerprint(**more: Any) -> Any:
        source = dd.HuggingFaceSeedSource(path="datasets/a/b/c.csv", **more)
        config = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source).build()
        return config.fingerprint()["config_hash"]

    assert fingerprint() == fingerprint(endpoint="http://localhost:1", token="A_TOKEN")


def test_a_hub_that_knows_no_such_dataset_is_a_problem(hub: Hub) -> None:
    source = dd.HuggingFaceSeedSource(path="datasets/ann/none/x.csv", endpoint=hub.url)
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    with pytest.raises(InvalidConfigError, match=r"datasets/ann/none/x\.csv"):
        DataDesigner().validate(made)


@pytest.mark.parametrize("path", ["ann/words/x.csv", "datasets/x.csv", "datasets/a/../b/c.csv"])
def test_paths_on_a_hub_name_a_dataset_and_a_file(path: str) -> None:
    with pytest.raises(ValueError, match="must have the form datasets"):
        dd.HuggingFaceSeedSource(path=path)


def test_a_hub_without_the_extra_names_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    source = dd.HuggingFaceSeedSource(path="datasets/ann/words/x.jsonl", endpoint=hub.url)
    with pytest.raises(InvalidConfigError, match=r"install prefect-data-designer\[hub\]") as found:
        words(source)
    assert "cannot read" not in str(found.value)
