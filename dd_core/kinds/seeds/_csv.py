"""Reads CSV files as one table whose columns have the same types in all files.

Every field is first read as text. The types are found afterwards, from the values of all files
together, so that they do not depend on the first rows or the first file.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

import csv
import io
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dd_core.kinds.seeds._column_types import Typed, convert_text, find_type
from dd_core.kinds.seeds._table import check_names
from dd_core.kinds.seeds._text import TextOptions, UnreadableFileError, decode_text

if TYPE_CHECKING:
    import pyarrow as pa


_LARGEST_BLOCK = 2**31 - 1
_MARKS = ("\x1f", "\x1e", "\x1d", "\x1c", "\x01", "\x02")


def read_csv_files(files: Sequence[tuple[str, bytes]], options: TextOptions) -> Typed:
    """Read the files, given by name and content."""
    import pyarrow as pa

    read = [_CsvFile(name, content, options) for name, content in files]
    tables = [file.table for file in read]
    whole = pa.concat_tables(tables, promote_options="default")
    names = dict.fromkeys(whole.column_names)
    options.require_columns(names)
    types = dict(options.types)
    found = Typed()
    for name in names:
        column = whole.column(name)
        if name in types:
            array, failure = convert_text(column, types[name])
            if failure is not None:
                _explain_value(read, name, failure, types[name])
            found.add(name, array)
            continue
        is_quoted = any(name in file.quoted for file in read)
        found.add(name, *find_type(name, column, is_quoted=is_quoted))
    return found


def _explain_value(read: Sequence[_CsvFile], name: str, row: int, wanted: str) -> None:
    """Raise the error that a row, counted through all files, does not have the declared type."""
    for file in read:
        if row < file.table.num_rows:
            value = file.table.column(name)[row].as_py()
            reason = f"{value!r} is not of the type {wanted!r}; correct it, or change types"
            raise UnreadableFileError(file.name, f"{file.locate(row)}, column {name!r}: {reason}")
        row -= file.table.num_rows


@dataclass(frozen=True)
class _CsvFile:
    name: str
    content: bytes
    options: TextOptions

    @cached_property
    def text(self) -> str:
        return decode_text(self.name, self.content, self.options.encoding)

    @property
    def delimiter(self) -> str:
        return self.options.delimiter or ","

    @cached_property
    def quoted(self) -> set[str]:
        """Columns with a number in quotes, which is text to whoever wrote the file."""
        return self._parsed[1]

    @cached_property
    def table(self) -> pa.Table:
        """All fields as text; empty fields without quotes are null."""
        return self._parsed[0]

    @cached_property
    def _parsed(self) -> tuple[pa.Table, set[str]]:
        header = self._header()
        text, mark = self.text, ""
        if '"' in text:
            self._check_rows()
            text, mark = self._mark_quoted_numbers()
        try:
            table = _parse(text, self.delimiter, _marked_header(text, self.delimiter))
        except ValueError as error:  # pyarrow's errors are ValueErrors
            self._check_rows()
            raise UnreadableFileError(self.name, str(error)) from error
        table = table.rename_columns(header)
        return _without_marks(table, mark) if mark else (table, set())

    def _header(self) -> list[str]:
        with self._rows() as rows:
            try:
                header = next((row for row in rows if row), None)
            except csv.Error:
                self._check_rows()
                raise
        if header is None:
            raise UnreadableFileError(self.name, "it is empty; the first line must name columns")
        try:
            check_names(header)
        except ValueError as error:
            raise UnreadableFileError(self.name, f"line 1: {error}") from None
        if len(header) == 1 and self.options.delimiter is None:
            self._require_one_column(header[0])
        return header

    def _require_one_column(self, name: str) -> None:
        """Raise if a file with one column looks like one with another delimiter."""
        with self._rows() as rows:
            first = [row[0] for row in rows if row][1:2]
        for delimiter in ";\t|":
            if delimiter in name and first and first[0].count(delimiter) == name.count(delimiter):
                raise UnreadableFileError(
                    self.name,
                    f"line 1: the only column is {name!r}; set delimiter: {delimiter!r} "
                    "(or ',' if this is its name)",
                )

    def _check_rows(self) -> None:
        """Raise where a row has too many or too few fields, or a quote is not closed."""
        with self._rows() as rows:
            width, line = 0, 1
            try:
                for row in rows:
                    width = width or len(row)
                    if row and len(row) != width:
                        raise UnreadableFileError(
                            self.name,
                            f"line {line}: it has {_count(len(row))}, but the header has {width}; "
                            "correct it, or set delimiter",
                        )
                    line = rows.line_num + 1
            except csv.Error as error:
                reason = str(error)
                if "unexpected end" in reason:
                    reason = "a quote is opened and never closed"
                raise UnreadableFileError(self.name, f"line {line}: {reason}") from None

    def locate(self, row: int) -> str:
        """Where a row of the table begins in the file."""
        with self._rows() as rows:
            number, line = -1, 1
            for fields in rows:
                if fields:
                    if number == row:
                        return f"line {line}"
                    number += 1
                line = rows.line_num + 1
        return f"row {row + 1}"

    @contextmanager
    def _rows(self) -> Generator[Any]:
        limit = csv.field_size_limit(_LARGEST_BLOCK)
        try:
            source = io.StringIO(self.text, newline="")
            yield csv.reader(source, delimiter=self.delimiter, strict=True)
        finally:
            csv.field_size_limit(limit)

    def _mark_quoted_numbers(self) -> tuple[str, str]:
        """Put a mark after the opening quote of each quoted number; returns the mark, too.

        The parser removes the quotes, and the mark says afterwards where they were. In a valid
        file, a quote between a delimiter and a digit always opens a field: a closing quote is
        followed by a delimiter, and a quote within a field by another quote.
        """
        mark = next((mark for mark in _MARKS if mark not in self.text), "")
        ends = re.escape(self.delimiter) + r"\r\n"
        number = re.compile(rf'(?<![^{ends}])"(?=[-+]?[\d.][\d.eE+-]*"(?:[{ends}]|\Z))')
        return number.sub(f'"{mark}', self.text), mark


def _marked_header(text: str, delimiter: str) -> list[str]:
    return next(
        row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row
    )


def _parse(text: str, delimiter: str, header: Sequence[str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # The parser finds no columns in a header that no line break ends.
    content = (text if text.endswith("\n") else f"{text}\n").encode()
    return arrow_csv.read_csv(
        io.BytesIO(content),
        read_options=arrow_csv.ReadOptions(block_size=min(len(content) + 1, _LARGEST_BLOCK)),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _without_marks(table: pa.Table, mark: str) -> tuple[pa.Table, set[str]]:
    """The table without the marks, and the columns that had one."""
    import pyarrow.compute as pc

    marked: set[str] = set()
    for position, name in enumerate(table.column_names):
        column = table.column(position)
        if pc.any(pc.starts_with(column, mark)).as_py():
            marked.add(name)
            column = pc.utf8_ltrim(column, characters=mark)
            table = table.set_column(position, name, column)
    return table, marked


def _count(fields: int) -> str:
    return f"{fields} field" + ("" if fields == 1 else "s")
