"""The `documents` seed source: the chunks of text, Markdown, HTML, PDF and Word documents."""

from __future__ import annotations

import hashlib
import logging
import os
import weakref
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from dd_core.declaration.own_fields import OWN
from dd_core.declaration.trust import require_trust
from dd_core.declaration.written import Address, check_key
from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.seeds._text import check_encoding, show_path
from dd_core.kinds.seeds.seed import SeedSource, SeedTable
from dd_core.kinds.seeds.texts.chunks import Chunk, Chunking, split_document
from dd_core.kinds.seeds.texts.files import DocumentFile, find_files, read_file
from dd_core.kinds.seeds.texts.parsers import (
    REQUIRED_MODULES,
    SUFFIXES,
    get_suffix,
    is_document,
    parse_document,
)

_logger = logging.getLogger(__name__)
_MOST_SHOWN = 10
"""Documents that one line of the log names."""


class DocumentsSeedSource(SeedSource):
    """One row for each chunk of a document: text, Markdown, HTML, PDF or Word (.docx)."""

    seed_type: Annotated[Literal["documents"], OWN] = "documents"
    path: Address
    """A document, a folder with documents, or a pattern such as `manuals/**/*.pdf`. A relative path
    is relative to the working directory. URLs such as `s3://bucket/manuals` are read through
    fsspec, with the credentials that its file systems find in the environment."""
    recursive: bool = True
    """Whether to include documents in subfolders; default: yes."""
    encoding: str = "utf-8"
    """Encoding of text and Markdown files, and of HTML files that do not name one."""
    chunk: Chunking | None = None
    """How documents are split into chunks; default: each document is one chunk."""

    @field_validator("path", mode="before")
    @classmethod
    def _is_a_path(cls, given: Any) -> str:
        require_trust(f"reads documents at {str(given)!r}")
        if not str(given).strip():
            raise ValueError("path must not be empty; name a document, a folder or a pattern")
        return str(given)

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return check_encoding(name)

    def problems(self, place: str) -> Iterator[Problem]:
        """A path without documents, a URL with a password, or a parser that is not installed."""
        parts = urlsplit(self.path) if "://" in self.path else None
        if parts is not None and (parts.username or parts.password):
            message = "must not contain a user or a password; put them in the environment"
            yield Problem(f"{place}.path", message)
            return
        yield from check_key(f"{place}.path", self.path)
        try:
            names = [file.name for file in self._find()]
        except SeedDatasetError as error:
            yield Problem(f"{place}.path", str(error))
            return
        for suffix in sorted({get_suffix(name) for name in names}):
            missing = [each for each in REQUIRED_MODULES.get(suffix, ()) if not _is_installed(each)]
            if missing:
                message = (
                    f"reading {suffix} files requires {' and '.join(missing)}; install "
                    "prefect-data-designer[documents]"
                )
                yield Problem(f"{place}.path", message)

    def resolve_paths(self) -> Self:
        """Return the source with an absolute path."""
        if "://" in self.path:
            return self
        return self.model_copy(update={"path": str(self.locate(self.path))})

    def open(self) -> SeedTable:
        """The table of the chunks. A process reads the documents once, while they do not change.

        Documents that cannot be read are skipped with a warning; raises `SeedDatasetError` if none
        can be read.
        """
        chunk: Any = self.chunk  # hashable, because it is frozen
        return _read(self._located, tuple(self._find()), self.encoding, chunk)

    @property
    def _located(self) -> str:
        return self.path if "://" in self.path else str(self.locate(self.path))

    def _find(self) -> list[DocumentFile]:
        found = find_files(self._located, recursive=self.recursive)
        documents = [file for file in found if is_document(file.name)]
        if not documents:
            known = ", ".join(SUFFIXES)
            raise SeedDatasetError(
                f"no file at {show_path(self.path)!r} is a document; use files that end in one of "
                f"{known}"
            )
        return documents


@lru_cache(maxsize=2)
def _read(
    path: str, files: tuple[DocumentFile, ...], encoding: str, chunking: Chunking | None
) -> _Chunks:
    """The chunks of all documents that can be read; documents that have changed are read again."""
    table = _Chunks()
    skipped: list[str] = []
    for file in files:
        try:
            document = parse_document(file.name, read_file(path, file), encoding)
        except (OSError, ValueError, SeedDatasetError) as error:
            skipped.append(f"{file.document_id!r} ({error})")
            continue
        table.add(file.document_id, [*split_document(document, chunking)])
    if not table.num_rows:
        raise SeedDatasetError(f"no document at {show_path(path)!r} can be read: {_list(skipped)}")
    if skipped:
        _logger.warning(
            "%d of %d documents are skipped, because they cannot be read: %s",
            len(skipped),
            len(files),
            _list(skipped),
        )
    return table


class _Chunks(SeedTable):
    """Chunks as rows. Their texts are in a file that has no name and ends with the process."""

    def __init__(self) -> None:
        self.columns = ["document_id", "chunk_id", "text", "heading_path", "n_chunks"]
        self.num_rows = 0
        self._documents: list[str] = []
        self._first_rows: list[int] = []
        """The row of the first chunk of each document."""
        self._texts = TemporaryFile()  # noqa: SIM115  (open as long as the table is used)
        weakref.finalize(self, self._texts.close)
        self._ends = array("q")
        """Where the text and then the headings of each row end in the file."""
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, document_id: str, chunks: Sequence[Chunk]) -> None:
        """Add the chunks of a document."""
        self._documents.append(document_id)
        self._first_rows.append(self.num_rows)
        self._digest.update(document_id.encode() + b"\0")
        for chunk in chunks:
            for value in (chunk.text, chunk.heading_path):
                written = value.encode()
                self._texts.write(written)
                self._ends.append(self._texts.tell())
                self._digest.update(written + b"\0")
        self.num_rows += len(chunks)

    def take(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """Values of one column at the given rows."""
        indexes: list[int] = rows.tolist()
        if column == "text":
            return [self._read(2 * row) for row in indexes]
        if column == "heading_path":
            return [self._read(2 * row + 1) for row in indexes]
        firsts = [*self._first_rows, self.num_rows]
        owners: list[int] = (np.searchsorted(firsts, rows, side="right") - 1).tolist()
        match column:
            case "document_id":
                return [self._documents[owner] for owner in owners]
            case "chunk_id":
                return [row - firsts[owner] for row, owner in zip(indexes, owners, strict=True)]
            case _:
                return [firsts[owner + 1] - firsts[owner] for owner in owners]

    def content_hash(self) -> str:
        """Hash of the documents' names and of the chunks."""
        return self._digest.hexdigest()

    def _read(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        self._texts.flush()
        return os.pread(self._texts.fileno(), self._ends[index] - start, start).decode()


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # somebody has put something else in its place
        return False


def _list(facts: Sequence[str]) -> str:
    more = [f"and {len(facts) - _MOST_SHOWN} more"] if len(facts) > _MOST_SHOWN else []
    return ", ".join([*facts[:_MOST_SHOWN], *more])
