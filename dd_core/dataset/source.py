"""Reads the content of a configuration, within bounds: from a file, an address or text."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dd_core.declaration.yaml_text import load_yaml
from dd_core.errors import InvalidConfigError, MissingConfigError, UnreadableConfigError
from dd_core.models.wire.download import DownloadError, read_address
from dd_core.redaction.registry import register_address
from dd_core.redaction.rules import mask_address

_LARGEST_FILE = 10_000_000
"""Bytes of a file or a download."""
_DEADLINE = 10.0
"""Seconds for a whole download."""
_SUFFIXES = (".yaml", ".yml", ".json")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_TEXT_MARKS = ("\n", "{", ": ")
"""What a path does not contain, but text in YAML or JSON does."""
_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark is a prefix of this one
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def is_address(source: object) -> bool:
    """Whether a source is an address, such as `https://...`, and not a file or text."""
    return isinstance(source, str) and _SCHEME.match(source) is not None


def read_mapping(source: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    """Read the mapping in a source; raises `InvalidConfigError` if there is none."""
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidConfigError(
            "it must be a configuration, a mapping, text, or the path or address of a file, "
            f"not {type(source).__name__}"
        )
    text, name = _read_text(source)
    try:
        is_json = urlsplit(name).path.endswith(".json")
        loaded: Any = json.loads(text) if is_json else load_yaml(text)
    except RecursionError:
        raise InvalidConfigError(f"{name} cannot be read: it is nested too deeply") from None
    except ValueError as error:
        raise UnreadableConfigError(f"{name} cannot be read: {error}") from None
    if loaded is None:
        raise InvalidConfigError(f"{name} is empty; it must contain a mapping with `columns`")
    if not isinstance(loaded, Mapping):
        raise InvalidConfigError(
            f"{name} must contain a mapping with `columns`, not {type(loaded).__name__}"
        )
    return loaded  # pyright: ignore[reportUnknownVariableType]


def _read_text(source: str | Path) -> tuple[str, str]:
    """The text of a source, and the name of the source in error messages."""
    if isinstance(source, str):
        if is_address(source):
            register_address(source)
            return _download(source), mask_address(source)
        if any(mark in source for mark in _TEXT_MARKS):
            return source, "the config text"
    return _decode(_read_file(Path(source)), str(source)), str(source)


def _read_file(path: Path) -> bytes:
    try:
        path = path.expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, or no home folder
        is_folder = is_file = False
    if is_folder:
        raise InvalidConfigError(f"{str(path)!r} is a folder; name a file")
    if not is_file:
        raise MissingConfigError(
            f"there is no config file {mask_address(str(path))[:300]!r}{_describe_folder(path)}"
        )
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST_FILE:
        raise InvalidConfigError(f"{str(path)!r} is larger than {_LARGEST_FILE // 1_000_000} MB")
    return content


def _describe_folder(path: Path) -> str:
    """Where a relative path was looked for, which differs between a terminal and a worker."""
    try:
        return "" if path.is_absolute() else f" in the folder {str(Path.cwd())!r}"
    except OSError:  # the folder has been removed
        return ""


def _decode(content: bytes, name: str) -> str:
    for mark, encoding in _OTHER_ENCODINGS.items():
        if content.startswith(mark):
            raise InvalidConfigError(f"{name!r} is encoded in {encoding}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeError as error:
        raise InvalidConfigError(f"{name!r} cannot be read: {error}") from None


def _download(url: str) -> str:
    shown = mask_address(url)
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise InvalidConfigError(
            f"{shown!r} cannot be read: download it first, or use an http:// or https:// address"
        )
    try:
        path = urlsplit(url).path
    except ValueError as error:
        raise InvalidConfigError(f"{shown!r} is not a valid address: {error}") from None
    if path.endswith(".py"):
        raise InvalidConfigError(
            f"{shown!r} is a Python file, which is only run from a local file; download and read it"
        )
    if not path.endswith(_SUFFIXES):
        raise InvalidConfigError(f"{shown!r} must end with one of {', '.join(_SUFFIXES)}")
    try:
        content = read_address(url, most_bytes=_LARGEST_FILE, deadline=_DEADLINE)
    except DownloadError as error:
        raise InvalidConfigError(f"{shown!r} cannot be downloaded: it {error}") from None
    return _decode(content, shown)
