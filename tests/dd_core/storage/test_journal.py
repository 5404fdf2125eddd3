"""A line of a journal is what was written, or it counts as not written."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dd_core.storage.batch import Batch
from dd_core.storage.journal import Journal, JournalledCells, count_lines, read_cells
from dd_core.storage.json_codec import encode_value

BATCH = Batch(0, 0, 10)
CELLS: list[tuple[str, int, dict[str, Any]]] = [
    ("f1", 0, {"a": "tea", "b": [1, None, float("nan")]}),
    ("f1", 1, {"a": 'with "]\n and ["f1",2,{}]'}),
    ("f2", 1, {"c": 12345}),
    ("f2", 9, {"c": -1}),
]


def _write(folder: Path) -> Path:
    async def write() -> None:
        journal = Journal(folder, BATCH)
        for cell in CELLS:
            journal.add(*cell)
        journal.close()

    asyncio.run(write())
    [segment] = folder.iterdir()
    return segment


def _forms(found: JournalledCells) -> set[bytes]:
    """The cells as JSON, because NaN does not equal itself."""
    return {
        encode_value([fingerprint, row, values])
        for fingerprint, rows in found.items()
        for row, values in rows.items()
    }


WRITTEN = {encode_value([*cell]) for cell in CELLS}


def test_a_journal_returns_what_was_written(tmp_path: Path) -> None:
    segment = _write(tmp_path)
    assert _forms(read_cells(tmp_path, BATCH)) == WRITTEN
    assert count_lines(segment) == (4, 0)


@pytest.mark.slow
def test_no_flipped_bit_changes_a_cell(tmp_path: Path) -> None:
    segment = _write(tmp_path)
    content = segment.read_bytes()
    for position in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        segment.write_bytes(flipped)
        found = _forms(read_cells(tmp_path, BATCH))
        assert found <= WRITTEN, f"bit {position}"
        assert len(found) >= len(WRITTEN) - 2, f"bit {position} is in at most two lines"


@pytest.mark.slow
@given(data=st.data())
def test_no_damage_changes_a_cell(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder: Path = tmp_path_factory.mktemp("journal")
    segment = _write(folder)
    content = bytearray(segment.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 40)))
        content[start:stop] = data.draw(st.binary(max_size=8) | st.just(bytes(content[:stop])))
    segment.write_bytes(content)
    assert _forms(read_cells(folder, BATCH)) <= WRITTEN


OTHER_LINES = [
    b"{}\n",
    b"null\n",
    b"7\n",
    b"[]\n",
    b'["f1",2]\n',
    b'["f1","2",{"a":1}]\n',
    b'["f1",true,{"a":1}]\n',
    b'["f1",2,[1]]\n',
    b'[["f1"],2,{"a":1}]\n',
    b'["f1",2,{"a":1},3]\n',
    b'["f1",2,{"a":1},"00000000"]\n',
    b"\xff\xfe\x00\n",
    b"\n",
    b'["f1",2,{"a":"te',
]


@pytest.mark.parametrize("other", OTHER_LINES)
def test_other_lines_are_skipped_and_counted(
    tmp_path: Path, other: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    segment = _write(tmp_path)
    segment.write_bytes(segment.read_bytes() + other)
    with caplog.at_level(logging.WARNING):
        assert _forms(read_cells(tmp_path, BATCH)) == WRITTEN
        read_cells(tmp_path, BATCH)
    [warning] = caplog.messages
    assert warning == (
        f"1 of 5 lines of the journal {segment} are unreadable; their cells are generated again"
    )


def test_lines_of_earlier_versions_are_read(tmp_path: Path) -> None:
    lines = [encode_value([*cell]) + b"\n" for cell in CELLS]
    (tmp_path / "rows-000000000-000000010.000.jsonl").write_bytes(b"".join(lines))
    assert _forms(read_cells(tmp_path, BATCH)) == WRITTEN
