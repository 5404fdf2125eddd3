"""Datasets in object storage, and what power failures leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ArtifactStorageError
from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.journal import Journal, read_cells
from dd_core.storage.location import (
    is_below,
    list_files,
    list_paths,
    parse_location,
    put,
    read_content,
    remove_tree,
    resolve_within,
)
from dd_core.storage.versions import Versions, find_current
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.object_storage import ENVIRONMENT, s3_server
from tests.scripted import ScriptedModel, asking, builder

_CHILD = """
import sys
import dd_core.config as dd
from dd_core import DataDesigner
designer = DataDesigner(artifact_path="s3://datasets/killed", run_config=dd.RunConfig(seed=7))
designer.create(sys.argv[1], num_records=400, dataset_name="chain", resume="if_possible")
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server() as address:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        yield "s3://datasets"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    place = f"memory://{tmp_path.name}"
    yield place
    remove_tree(parse_location(place))


def _designer(
    place: str | Path, model: httpx.AsyncBaseTransport, **settings: object
) -> DataDesigner:
    run_config = dd.RunConfig.model_validate({"seed": 3, **settings})
    return DataDesigner(artifact_path=place, transport=model, run_config=run_config)


def test_a_dataset_in_object_storage_is_like_one_on_disk(memory: str, tmp_path: Path) -> None:
    config = asking()
    ten = {"num_records": 10, "dataset_name": "rows"}
    there = _designer(memory, ScriptedModel("fine"), buffer_size=4).create(config, **ten)
    here = _designer(tmp_path, ScriptedModel("fine"), buffer_size=4).create(config, **ten)
    assert there.load_dataset().equals(here.load_dataset())
    assert there.count_records() == 10
    assert str(there.dataset_path) == f"{memory}/rows"
    names = [path.name for path in list_paths(there.dataset_path / "parquet-files", "*")]
    assert names == ["batch_00000.parquet", "batch_00001.parquet", "batch_00002.parquet"]
    assert not list_paths(there.dataset_path / "journal", "*")
    assert there.load_analysis().num_records == 10
    exported = there.export(tmp_path / "rows.jsonl")
    assert len(exported.read_text().splitlines()) == 10
    opened = DataDesigner(artifact_path=memory).open("rows")
    assert opened.load_dataset().equals(here.load_dataset())


def test_a_dataset_in_object_storage_grows_and_is_not_overwritten(memory: str) -> None:
    model = ScriptedModel()
    designer = _designer(memory, model, buffer_size=5)
    designer.create(asking(), num_records=10, dataset_name="rows")
    grown = designer.create(asking(), num_records=15, dataset_name="rows", resume="always")
    assert grown.count_records() == 15
    assert len(model.requests) == 15
    beside = designer.create(asking(), num_records=5, dataset_name="rows")
    assert beside.dataset_path != grown.dataset_path


def test_processors_of_the_whole_dataset_work_in_object_storage(memory: str) -> None:
    config = builder().add_processor(
        dd.FilterRowsProcessorConfig(name="few", condition="{{ topic == 'tea' }}")
    )
    designer = _designer(memory, ScriptedModel(), buffer_size=4)
    results = designer.create(config, num_records=8, dataset_name="rows")
    assert len(results.load_dataset()) == 8
    assert list_paths(results.dataset_path / "generated-files", "*")


def test_a_name_cannot_lead_out_of_object_storage(memory: str) -> None:
    folder = parse_location(memory)
    assert resolve_within(folder, "images/a.png") is not None
    for name in ("../other/a.png", "/etc/passwd", "s3://other/a.png", "images/../../a"):
        assert resolve_within(folder, name) is None
    assert is_below(folder / "rows", folder)
    assert not is_below(parse_location(f"{memory}-other"), folder)
    with pytest.raises(ArtifactStorageError, match="cannot be a folder"):
        DatasetDirectory.place(memory, "../rows")


def test_a_location_keeps_the_options_that_it_was_made_with(memory: str) -> None:
    place = parse_location(memory, {"skip_instance_cache": True})
    dataset = DatasetDirectory.place(place, "rows").path
    assert not isinstance(dataset, Path)
    assert dataset.storage_options["skip_instance_cache"] is True


def test_an_address_that_nothing_can_reach_is_refused() -> None:
    with pytest.raises(ArtifactStorageError, match="cannot be reached"):
        parse_location("nowhere://bucket/rows")


def test_a_file_that_is_replaced_is_listed_anew(memory: str, tmp_path: Path) -> None:
    for folder in (parse_location(memory), tmp_path):
        put(folder / "batch_1.parquet", b"one")
        [(path, state)] = list_files(folder, "batch_*.parquet")
        assert path.name == "batch_1.parquet"
        put(folder / "batch_1.parquet", b"three")
        assert list_files(folder, "batch_*.parquet")[0][1] != state
        assert list_files(folder / "none", "*") == []


async def test_a_journal_in_object_storage_is_a_segment_for_each_time_it_is_written(
    memory: str,
) -> None:
    directory, batch = parse_location(memory) / "journal", Batch(0, 0, 10)
    first = Journal(directory, batch)
    for row in range(5):
        first.add("f", row, {"x": row})
    first.close()
    second = Journal(directory, batch)
    second.add("f", 5, {"x": 5})
    second.close()
    assert len(list_paths(directory, "*")) == 2
    assert sorted(read_cells(directory, Batch(1, 2, 6))["f"]) == [2, 3, 4, 5]
    second.remove()
    assert not list_paths(directory, "*")


@pytest.mark.slow
def test_a_killed_run_goes_on_elsewhere_with_the_same_storage(
    s3: str, bench_server: ServerFactory, tmp_path: Path
) -> None:
    server = bench_server(latency=0.1, record=True)
    config = tmp_path / "chain.yaml"
    chain(server.url, 2, parallel=16).write_config(config)
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(config)], env=dict(os.environ))
    deadline = time.monotonic() + 300
    while server.stats()["requests"] < 400:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.wait()
    elsewhere = DataDesigner(artifact_path=f"{s3}/killed", run_config=dd.RunConfig(seed=7))
    results = elsewhere.create(
        str(config), num_records=400, dataset_name="chain", resume="if_possible"
    )
    assert results.load_dataset()["id"].nunique() == 400
    asked = [count for _, prompt, count in server.prompts() if "Go on" in prompt]
    # What was in flight, and what was answered in the last second or two.
    assert sum(asked) - len(asked) <= 16 + 2 * 160
    assert sum(asked) - len(asked) < 400
    assert results.load_analysis().num_records == 400


def test_what_a_power_failure_leaves_behind_is_dealt_with(tmp_path: Path) -> None:
    model = ScriptedModel()
    designer = _designer(tmp_path, model, buffer_size=4)
    results = designer.create(asking(), num_records=12, dataset_name="rows")
    whole = results.load_dataset()
    folder = tmp_path / "rows"
    first, second, _ = sorted((folder / "parquet-files").iterdir())
    second.write_bytes(second.read_bytes()[:-40])  # a part that was cut off
    first.with_name(f".{first.name}.abcd.partial").write_bytes(b"PAR1")
    journal = folder / "journal"
    journal.mkdir()
    fingerprint = json.loads((folder / "metadata.json").read_bytes())["column_fingerprints"]["text"]
    line = json.dumps([fingerprint, 4, {"text": "from the journal"}])
    torn = f'{line}\n["{fingerprint}", 5, {{"te'
    (journal / "rows-000000004-000000008.000.jsonl").write_text(torn)
    (folder / "metadata.json").write_bytes(b'{"seed": ')

    resumed = designer.create(asking(), num_records=12, dataset_name="rows", resume="always")
    again = resumed.load_dataset()
    assert len(model.requests) == 12 + 3
    assert again["text"][4] == "from the journal"
    assert [*again["topic"]] == [*whole["topic"]]
    assert not [*folder.rglob(".*.partial")]
    assert json.loads((folder / "metadata.json").read_bytes())["actual_num_records"] == 12


def test_metadata_that_cannot_be_read_at_all_say_what_to_do(tmp_path: Path) -> None:
    _designer(tmp_path, ScriptedModel()).create(asking(), num_records=2, dataset_name="rows")
    for name in ("metadata.json", "metadata.copy.json"):
        (tmp_path / "rows" / name).write_bytes(b"{")
    with pytest.raises(ArtifactStorageError, match=r"RunConfig\.seed"):
        DataDesigner(artifact_path=tmp_path).open("rows")


@pytest.mark.slow
def test_versions_work_in_a_bucket(s3: str) -> None:
    settings = dd.RunConfig(gates=dd.Gates(columns={"topic": dd.ColumnGates(max_null_share=0)}))
    designer = DataDesigner(s3, run_config=settings)
    made = designer.create(builder(), num_records=4, dataset_name="gated")
    assert made.directory.accepted
    versions = Versions(DatasetDirectory.place(s3, "nights"))
    for day in (1, 2, 3):
        night = DatasetDirectory.place(s3, "nights", f"2026-11-0{day}")
        night.write_metadata(accepted=True, actual_num_records=day)
        assert versions.settle(night)
    assert versions.prune(2) == ["2026-11-01"]
    assert versions.names() == ["2026-11-02", "2026-11-03"]
    assert find_current(DatasetDirectory.place(s3, "nights")).version == "2026-11-03"


@pytest.mark.slow
def test_a_file_that_is_replaced_while_it_is_read_is_read_as_a_whole(s3: str) -> None:
    record = parse_location(s3) / "record.json"
    versions = [bytes([65 + number]) * (100 + number) for number in range(20)]
    put(record, versions[0])

    def replace() -> None:
        for _ in range(5):
            for content in versions:
                put(parse_location(s3) / "record.json", content)

    with ThreadPoolExecutor(1) as thread:
        replacing = thread.submit(replace)
        while not replacing.done():
            assert read_content(record) in versions
        replacing.result()
    with pytest.raises(FileNotFoundError):
        read_content(record.with_name("other.json"))
