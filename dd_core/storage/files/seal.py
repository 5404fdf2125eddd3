"""Checksums of whole Parquet files: a seal of 16 bytes between a file's data and its footer.

Page checksums cover neither the headers of pages nor the footer. The seal covers every byte, and
says whether a file is intact without anything else being known about it. Other readers skip it,
because they find everything through the footer, which is at the end of the file.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from dd_core.errors import DatasetDamagedError
from dd_core.storage.files.metadata import METADATA
from dd_core.storage.location import Location, read_end

_MAGIC = b"dd.seal\x01"
_SEAL = struct.Struct("<8sII")
"""The mark, the checksum of the data, and the checksum of the footer."""
_END = struct.Struct("<I4s")
"""The end of every Parquet file: the length of the footer, and a mark."""
_PARQUET = b"PAR1"
_TAIL = 65_536
"""Bytes that are read to find the footer; usually these are enough."""
_MOST_LEVELS = 3
"""Folders between a file of a dataset and the folder of the dataset."""


class DamagedFileError(Exception):
    """A file is not what was written. The message completes a sentence that starts with it."""


@dataclass(frozen=True)
class Footer:
    """The end of a Parquet file, which Arrow reads like the whole file."""

    content: bytes
    size: int
    """Bytes of the whole file."""
    checksum: str | None
    """Checksum of the whole file; None if it was written without a seal."""


def seal_parquet(content: memoryview) -> bytes:
    """Insert the seal into the content of a Parquet file."""
    start = len(content) - _END.size - _END.unpack(content[-_END.size :])[0]
    data, footer = content[:start], content[start:]
    return b"".join((data, _SEAL.pack(_MAGIC, zlib.crc32(data), zlib.crc32(footer)), footer))


def read_footer(path: Location, size: int) -> Footer:
    """Read the footer of a file of `size` bytes and check it against the seal.

    Raises `DamagedFileError`, and `FileNotFoundError` if there is no file.
    """
    tail = read_end(path, size, _TAIL)
    needed = _measure_footer(tail, size) + _SEAL.size
    if len(tail) < min(needed, size):
        tail = read_end(path, size, needed)
    return _parse_footer(tail, size)


def check_content(content: bytes) -> Footer:
    """Check the whole content of a Parquet file; raises `DamagedFileError`."""
    footer = _parse_footer(content, len(content))
    if footer.checksum is not None:
        data = memoryview(content)[: -len(footer.content) - _SEAL.size]
        if f"{zlib.crc32(data):08x}" != footer.checksum[:8]:
            raise DamagedFileError("is damaged: its content does not match its checksum")
    return footer


def _measure_footer(tail: bytes, size: int) -> int:
    """The length of the footer with the end of the file, in bytes."""
    if len(tail) < _END.size or not tail.endswith(_PARQUET):
        raise DamagedFileError("is truncated or not a Parquet file")
    length = _END.size + int(_END.unpack(tail[-_END.size :])[0])
    if length + len(_PARQUET) > size:
        raise DamagedFileError("is truncated or damaged")
    return length


def _parse_footer(tail: bytes, size: int) -> Footer:
    length = _measure_footer(tail, size)
    footer, before = tail[-length:], tail[:-length]
    if not before[-_SEAL.size :].startswith(_MAGIC):
        if _MAGIC in tail[-_TAIL:]:
            raise DamagedFileError("is damaged: its footer is not where it was written")
        return Footer(footer, size, None)
    _, of_data, of_footer = _SEAL.unpack(before[-_SEAL.size :])
    if zlib.crc32(footer) != of_footer:
        raise DamagedFileError("is damaged: its footer does not match its checksum")
    return Footer(footer, size, f"{of_data:08x}{of_footer:08x}")


def make_damage_error(path: Any, reason: object) -> DatasetDamagedError:
    """Make the error for a damaged file: its path, the reason, and the command that repairs it."""
    folder = _find_dataset(path)
    if folder is None:
        return DatasetDamagedError(f"{path} {reason}; write the file again")
    return DatasetDamagedError(f"{path} {reason}; {explain_repair(folder)}")


def explain_repair(folder: Location) -> str:
    """Say which command shows what is wrong with a dataset and repairs it."""
    return f"run `ddflows verify {folder} --repair`"


def _find_dataset(path: Any) -> Location | None:
    """The folder of the dataset that a file belongs to, if it belongs to one."""
    folders = [*getattr(path, "parents", ())][1:_MOST_LEVELS]
    try:
        return next((folder for folder in folders if (folder / METADATA).exists()), None)
    except OSError:
        return None
