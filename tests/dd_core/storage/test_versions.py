"""Versions of a dataset: their order, which is the latest, which are removed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.engine.run import open_dataset
from dd_core.errors import ArtifactStorageError
from dd_core.models.providers import Providers
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.versions import Versions, list_dates


def version(folder: Path, name: str, accepted: bool | None = True) -> DatasetDirectory:
    """A version without rows."""
    directory = DatasetDirectory.place(folder, "d", name)
    directory.write_metadata(actual_num_records=3, **_verdict(accepted))
    return directory


def _verdict(accepted: bool | None) -> dict[str, bool]:
    return {} if accepted is None else {"accepted": accepted}


def versions(folder: Path) -> Versions:
    return Versions(DatasetDirectory.place(folder, "d"))


def opened(folder: Path, name: str | None, **more: object) -> DatasetDirectory:
    """A dataset that is begun, or continued."""
    frame = pd.DataFrame({"x": ["a"]})
    made = dd.DataDesignerConfigBuilder([])
    made.with_seed_dataset(dd.DataFrameSeedSource(df=frame))
    if prefix := more.pop("prefix", None):
        made.add_column(name="y", column_type="expression", expr=f"{prefix}{{{{ x }}}}")
    settings = dd.RunConfig.model_validate({"seed": more.pop("seed", None)})
    given = {"num_records": 2, "resume": dd.ResumeMode.NEVER, **more}

    async def open_and_close() -> DatasetDirectory:
        async with open_dataset(
            made.build(),
            Providers([]),
            settings,
            artifact_path=folder,
            dataset_name="d",
            version=name,
            **given,  # pyright: ignore[reportArgumentType]
        ) as (_, directory):
            return directory

    return asyncio.run(open_and_close())


def test_versions_are_ordered_by_name_with_numbers_as_numbers(tmp_path: Path) -> None:
    for name in ("v10", "v9", "2026-11-24", "2026-2-1", "2026-11-03"):
        version(tmp_path, name)
    assert versions(tmp_path).names() == ["2026-2-1", "2026-11-03", "2026-11-24", "v9", "v10"]


def test_the_latest_is_the_newest_accepted_version(tmp_path: Path) -> None:
    found = versions(tmp_path)
    assert found.latest is None
    assert found.settle(version(tmp_path, "2026-11-23"))
    assert not found.settle(version(tmp_path, "2026-11-24", accepted=False))
    assert found.latest == "2026-11-23"
    assert not found.settle(version(tmp_path, "2026-11-01")), "a back-fill moves nothing"
    assert found.latest == "2026-11-23"
    assert found.settle(version(tmp_path, "2026-11-24"))
    latest = json.loads((tmp_path / "d" / "latest.json").read_text())
    assert latest["version"] == "2026-11-24"
    assert latest["path"] == "versions/2026-11-24"
    assert latest["rows"] == 3
    assert datetime.fromisoformat(latest["since"])


def test_a_latest_version_that_fails_afterwards_gives_way_to_the_one_before(tmp_path: Path) -> None:
    found = versions(tmp_path)
    for name in ("2026-11-22", "2026-11-23"):
        found.settle(version(tmp_path, name))
    found.settle(version(tmp_path, "2026-11-23", accepted=False))
    assert found.latest == "2026-11-22"
    found.settle(version(tmp_path, "2026-11-22", accepted=False))
    assert found.latest is None


def test_a_version_is_compared_with_the_accepted_one_before_it(tmp_path: Path) -> None:
    for name, accepted in (("1", True), ("2", False), ("4", True)):
        version(tmp_path, name, accepted)
    before = versions(tmp_path).before("3")
    assert before is not None
    assert before.version == "1"
    assert versions(tmp_path).before("1") is None


def test_old_versions_are_removed_but_not_those_that_count(tmp_path: Path) -> None:
    found = versions(tmp_path)
    for day, accepted in enumerate((True, False, None, True, False, True, True, False), 1):
        found.settle(version(tmp_path, f"2026-11-0{day}", accepted))
    long_ago = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    for name, begun in (("2026-11-03", datetime.now(UTC).isoformat()), ("2026-10-01", long_ago)):
        version(tmp_path, name, accepted=None).write_metadata(started_at=begun)
    removed = found.prune(2)
    # Of the accepted 01, 04, 06 and 07 the newest two stay; 03 is at work.
    assert removed == [f"2026-1{day}" for day in ("1-05", "1-04", "1-02", "1-01", "0-01")]
    assert found.names() == [f"2026-11-0{day}" for day in (3, 6, 7, 8)]
    assert found.latest == "2026-11-07"
    assert found.prune(5) == []


def test_the_latest_is_never_removed(tmp_path: Path) -> None:
    found = versions(tmp_path)
    found.settle(version(tmp_path, "2026-11-01"))
    pointer = (tmp_path / "d" / "latest.json").read_text()
    for name in ("2026-11-02", "2026-11-03"):
        version(tmp_path, name)
    (tmp_path / "d" / "latest.json").write_text(pointer)
    assert found.prune(1) == ["2026-11-02"]
    assert found.latest == "2026-11-01"


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "a:b"])
def test_a_version_is_a_folder_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactStorageError, match=r"^version .* cannot be a folder"):
        opened(tmp_path, name)


def test_a_version_that_is_there_is_continued(tmp_path: Path) -> None:
    first = opened(tmp_path, "1")
    assert first.path == tmp_path.resolve() / "d" / "versions" / "1"
    assert first.metadata.dataset_name == "d"
    again = opened(tmp_path, "1")
    assert (again.path, again.seed) == (first.path, first.seed)
    with pytest.raises(
        ArtifactStorageError, match=r"different configuration; choose another version"
    ):
        opened(tmp_path, "1", prefix="new ")
    with pytest.raises(ArtifactStorageError, match=r"num_records=2; .* or choose another version"):
        opened(tmp_path, "1", num_records=1)


def test_each_version_draws_its_own_seed_unless_one_is_given(tmp_path: Path) -> None:
    assert opened(tmp_path, "1").seed != opened(tmp_path, "2").seed
    assert [opened(tmp_path, name, seed=7).seed for name in ("3", "4")] == [7, 7]


def test_datasets_with_and_without_versions_do_not_share_a_folder(tmp_path: Path) -> None:
    opened(tmp_path, "1")
    beside = opened(tmp_path, None, resume=dd.ResumeMode.IF_POSSIBLE)
    assert beside.path.name.startswith("d_")
    opened(tmp_path / "other", None)
    with pytest.raises(ArtifactStorageError, match=r"without versions; choose another dataset"):
        opened(tmp_path / "other", "1")


def test_opening_a_dataset_opens_its_latest_version(tmp_path: Path) -> None:
    for name in ("1", "2"):
        opened(tmp_path, name)
    with pytest.raises(ArtifactStorageError, match=r"no version .* accepted yet; .*'1', '2'"):
        DataDesigner(tmp_path).open("d")
    first = DatasetDirectory.place(tmp_path, "d", "1")
    first.write_metadata(accepted=True)
    versions(tmp_path).settle(first)
    assert DataDesigner(tmp_path).open("d").dataset_path == first.path
    assert DataDesigner(tmp_path).open("d", "2").dataset_path.name == "2"


def test_a_damaged_pointer_is_named(tmp_path: Path) -> None:
    opened(tmp_path, "1")
    (tmp_path / "d" / "latest.json").write_text("{")
    with pytest.raises(ArtifactStorageError, match=r"latest\.json is damaged"):
        DataDesigner(tmp_path).open("d")


def test_a_backfill_names_days() -> None:
    assert [*list_dates("2026-10-31", "2026-11-02")] == ["2026-10-31", "2026-11-01", "2026-11-02"]
    with pytest.raises(ArtifactStorageError, match="write dates like 2026-11-24"):
        [*list_dates("1.11.2026", "2026-11-02")]
