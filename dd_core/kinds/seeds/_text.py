"""Text files: their options, their encoding, and errors that say where a file is wrong."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from dd_core.declaration.own_fields import OWN
from dd_core.errors import SeedDatasetError
from dd_core.kinds.seeds.seed import SeedSource

ValueType: TypeAlias = Literal["str", "int", "float", "bool", "date", "datetime"]

_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is a prefix of this one
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _is_unset(value: object) -> bool:
    return value is None


class TextFileSource(SeedSource):
    """Untagged base of sources that read CSV and JSON files.

    Unset options are left out of dumps, so that configurations without them keep their hash.
    """

    path: str
    encoding: Annotated[str | None, OWN] = Field(default=None, exclude_if=_is_unset)
    """Encoding of CSV and JSON files, for example `latin-1`; default: UTF-8, or the encoding that
    the file's byte order mark names."""
    delimiter: Annotated[str | None, OWN] = Field(default=None, exclude_if=_is_unset)
    """Character between the fields of CSV files, for example `;`; default: a comma."""
    types: Annotated[dict[str, ValueType] | None, OWN] = Field(default=None, exclude_if=_is_unset)
    r"""Types of columns in CSV and JSON files by name: `str`, `int`, `float`, `bool`, `date` or
    `datetime`; default: inferred from the values."""

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, name: str | None) -> str | None:
        return name if name is None else check_encoding(name)

    @field_validator("delimiter")
    @classmethod
    def _is_a_character(cls, delimiter: str | None) -> str | None:
        is_usable = delimiter is None or (
            len(delimiter) == 1 and delimiter.isascii() and delimiter not in '"\r\n\0'
        )
        if not is_usable:
            raise ValueError(
                f"delimiter {delimiter!r} must be one ASCII character, "
                "and neither a quote nor a line break"
            )
        return delimiter

    @model_validator(mode="after")
    def _options_fit_the_files(self) -> TextFileSource:
        suffix = PurePath(self.path).suffix
        unusable = {
            ".parquet": ("encoding", "delimiter", "types"),
            ".json": ("delimiter",),
            ".jsonl": ("delimiter",),
        }
        for name in unusable.get(suffix, ()):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} does not apply to {suffix} files; remove it")
        return self

    @property
    def options(self) -> TextOptions:
        """The options that are set."""
        return TextOptions(self.encoding, self.delimiter, tuple(sorted((self.types or {}).items())))


@dataclass(frozen=True)
class TextOptions:
    """How text files are read."""

    encoding: str | None = None
    delimiter: str | None = None
    types: tuple[tuple[str, ValueType], ...] = ()

    def require_columns(self, names: Mapping[str, object]) -> None:
        """Raise if `types` names a column that the files do not have."""
        for name, _ in self.types:
            if name not in names:
                known = ", ".join(repr(known) for known in [*names][:20])
                raise SeedDatasetError(
                    f"types refers to unknown column {name!r}; known columns: {known}"
                )

    def describe(self) -> str:
        """Text that differs if the options differ; empty if none is set."""
        return repr(self) if self != TextOptions() else ""


class UnreadableFileError(SeedDatasetError):
    """A file is wrong at one place."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"seed file {show_path(name)!r} cannot be read: {reason}")


def check_encoding(name: str) -> str:
    """Return the name of an encoding; raises `ValueError` if it is unknown or not for text."""
    try:
        "".encode(name)  # fails for codecs such as base64, which `codecs.lookup` finds
        return name
    except (LookupError, ValueError):
        raise ValueError(f"encoding {name!r} is unknown; use, for example, utf-8") from None


def show_path(path: str | PurePath) -> str:
    r"""The path as text that can be stored. Bytes that are not UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def decode_text(name: str, content: bytes, encoding: str | None) -> str:
    """Decode a file and remove its byte order mark; the error says where the file is wrong."""
    chosen = encoding or next((e for bom, e in _BOMS.items() if content.startswith(bom)), "utf-8")
    try:
        return content.decode(chosen).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(chosen, errors="replace")
        raise UnreadableFileError(name, explain_bad_byte(error, before, encoding)) from None
    except (UnicodeError, ValueError) as error:
        raise UnreadableFileError(name, f"it is not {chosen} text: {error}") from None


def explain_bad_byte(error: UnicodeDecodeError, before: str, encoding: str | None) -> str:
    """Explain a byte that cannot be decoded; `before` is the text in front of it."""
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    fix = "another encoding" if encoding else "its encoding, for example encoding: latin-1"
    byte = f"byte 0x{error.object[error.start]:02x}"
    return f"line {line}, character {column}: {byte} is not {error.encoding} text; set {fix}"
