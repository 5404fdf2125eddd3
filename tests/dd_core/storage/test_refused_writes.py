"""What a disk or object storage refuses: what is kept, and what is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ArtifactStorageError, StorageFailedError
from dd_core.storage.access.failures import report_storage_errors, translate_storage_error
from dd_core.storage.access.segments import AppendedSegment, UploadedSegments
from dd_core.storage.access.trial import SpaceReserve
from dd_core.storage.batch import Batch
from dd_core.storage.journal import Journal, read_cells
from tests.scripted import ScriptedModel, asking

LINES = [b'["f", %d, {"x": "%s"}]\n' % (row, b"a" * 50) for row in range(6)]


class Report:
    """Remembers what segments report."""

    def __init__(self) -> None:
        self.failures: list[bool] = []
        self.holds: list[bool] = []

    def failed(self, error: BaseException, *, is_kept: bool) -> None:
        self.failures.append(is_kept)

    def held(self, is_held: bool) -> None:
        self.holds.append(is_held)


class SmallDisk:
    """Takes a number of bytes of lines, a few at a time; further bytes once space is freed."""

    def __init__(self, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, file: int, content: Any) -> int:
        taken = min(self.room, 40, len(content))
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= taken
        return self._write(file, bytes(content)[:taken])


def test_a_full_disk_keeps_whole_lines_and_nothing_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, size = Report(), len(LINES[0])
    segment = AppendedSegment(tmp_path, "rows-000000000-000000006", report, None)
    segment.open()
    disk = SmallDisk(3 * size + 20, monkeypatch)
    segment.write(b"".join(LINES[:5]))
    assert report.failures == [False]
    assert b"".join(path.read_bytes() for path in tmp_path.iterdir()) == b"".join(LINES[:3])
    disk.room = 10_000
    segment.write(LINES[5])
    assert segment.close() == 0
    stored = read_cells(tmp_path, Batch(0, 0, 6))["f"]
    assert sorted(stored) == [0, 1, 2, 3, 4, 5]
    lines = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert lines == b"".join(LINES), "nothing is torn, and nothing is written twice"


def test_lines_are_kept_in_the_reserved_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, report = SpaceReserve(tmp_path), Report()
    segment = AppendedSegment(tmp_path, "rows-000000000-000000006", report, reserve)
    segment.open()
    disk = SmallDisk(30, monkeypatch)
    release = reserve.release
    monkeypatch.setattr(reserve, "release", lambda: setattr(disk, "room", 10_000) or release())
    segment.write(b"".join(LINES))
    assert report.failures == [True]
    assert segment.close() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rows-000000000-000000006.000.jsonl"]


def test_lines_that_cannot_be_kept_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = AppendedSegment(tmp_path, "rows-000000000-000000006", Report(), None)
    SmallDisk(0, monkeypatch)
    segment.write(b"".join(LINES))
    assert segment.close() == len(LINES)
    assert [*tmp_path.iterdir()] == []


class Bucket:
    """A folder of object storage that refuses the first writes."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.written: list[bytes] = []

    def __truediv__(self, name: str) -> Bucket:
        return self

    def write_bytes(self, content: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise PermissionError("Access Denied")
        self.written.append(content)


async def test_no_cell_starts_while_an_upload_is_retried() -> None:
    import asyncio

    bucket, report = Bucket(1), Report()
    segments = UploadedSegments(bucket, "rows", report)  # pyright: ignore[reportArgumentType]
    segments.write(LINES[0])
    await asyncio.to_thread(segments.wait)
    await asyncio.sleep(0)
    assert (report.holds, report.failures) == ([True, False], [])
    assert segments.close() == 0
    assert bucket.written == [LINES[0]]


async def test_the_run_stops_if_uploads_are_refused_and_they_are_tried_at_the_end() -> None:
    import asyncio

    bucket, report = Bucket(4), Report()
    segments = UploadedSegments(bucket, "rows", report)  # pyright: ignore[reportArgumentType]
    segments.write(LINES[0])
    await asyncio.to_thread(segments.wait)
    await asyncio.sleep(0)
    assert report.failures == [True]
    assert segments.close() == 0
    assert bucket.written == [LINES[0]]


def test_what_is_in_flight_is_finished_and_kept_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lines = os.write, 0

    def refuse_once(file: int, content: Any) -> int:
        nonlocal lines
        if bytes(content[:1]) == b"[":
            lines += 1
            if lines == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content)

    monkeypatch.setattr(os, "write", refuse_once)
    model = ScriptedModel("fine", latency=0.15)
    designer = DataDesigner(tmp_path, transport=model, run_config=dd.RunConfig(seed=1))
    with pytest.raises(StorageFailedError, match=r"No space.*keeps.*resume='if_possible'"):
        designer.create(asking(max_parallel_requests=2), num_records=30, dataset_name="d")
    first = len(model.requests)
    assert first < 12
    monkeypatch.undo()
    made = designer.create(asking(), num_records=30, dataset_name="d", resume="always")
    assert made.count_records() == 30
    assert len(model.requests) == 30, "nothing is paid for twice"


@pytest.mark.parametrize("folder", ["parquet-files", "journal", "failed-rows"])
def test_a_file_in_place_of_a_folder_is_reported_before_anything_is_spent(
    folder: str, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / folder).write_text("not a folder")
    model = ScriptedModel(probes=True)
    designer = DataDesigner(tmp_path, transport=model)
    with pytest.raises(ArtifactStorageError, match=f"{folder} is a file"):
        designer.create(asking(), num_records=2, dataset_name="d", resume="if_possible")
    with pytest.raises(ArtifactStorageError, match=f"{folder} is a file"):
        designer.open("d")
    assert model.requests == []


@pytest.mark.parametrize("content", ["[]", '"x"', "5", "null", '{"data_designer": 5}', "{}"])
def test_a_configuration_of_another_type_is_reported(content: str, tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path, transport=ScriptedModel())
    designer.create(asking(), num_records=2, dataset_name="d")
    (tmp_path / "d" / "builder_config.json").write_text(content)
    with pytest.raises(ArtifactStorageError, match=r"builder_config|not a dataset"):
        designer.open("d")


def test_errors_of_all_storages_have_one_class() -> None:
    class NoCredentialsError(Exception):
        pass

    NoCredentialsError.__module__ = "botocore.exceptions"
    for error in (
        PermissionError(errno.EACCES, "Permission denied", "/data/x"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        NoCredentialsError("Unable to locate credentials"),
    ):
        with pytest.raises(ArtifactStorageError) as raised, report_storage_errors("s3://b"):
            raise error
        assert "; " in str(raised.value)
        assert "\n" not in str(raised.value)
    assert translate_storage_error("s3://b", ValueError("ours")) is None


async def test_a_journal_that_cannot_be_opened_says_so_before_anything_is_spent(
    tmp_path: Path,
) -> None:
    (tmp_path / "journal").write_text("a file")
    journal = Journal(tmp_path / "journal", Batch(0, 0, 2))
    failures: list[ArtifactStorageError] = []
    journal.on_failure = failures.append
    journal.open()
    assert "a file is where a folder is needed" in str(failures[0])
    journal.close()
