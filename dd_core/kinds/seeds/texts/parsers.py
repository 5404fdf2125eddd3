"""Reads documents of several formats as text. The parsers are imported when a file needs them."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile

from dd_core.errors import SeedDatasetError
from dd_core.kinds.seeds.texts.document import Document, Heading
from dd_core.models.wire.body import replace_surrogates

_FRONT_MATTER = re.compile(r"\A---[^\S\n]*\n.*?\n(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.DOTALL)
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*\n")
_BOILERPLATE = ("script", "style", "noscript", "template", "nav", "aside", "footer", "form", "svg")
_MOST_UNPACKED = 500_000_000
"""Largest size in bytes of an unpacked .docx file."""


class UnreadableDocumentError(SeedDatasetError):
    """A document that has no text, or whose text cannot be read."""


def parse_document(name: str, content: bytes, encoding: str) -> Document:
    """The text of a document; raises `SeedDatasetError` if it cannot be read or has no text."""
    parser = _PARSERS.get(get_suffix(name))
    if parser is None:
        known = ", ".join(_PARSERS)
        raise UnreadableDocumentError(f"its format is not known; use one of {known}")
    try:
        document = parser(content, encoding)
    except SeedDatasetError:
        raise
    except Exception as error:  # the parsers raise errors of many classes for damaged files
        reason = str(error) or type(error).__name__
        raise UnreadableDocumentError(f"it is damaged: {reason}") from error
    if not document.text.strip():
        raise UnreadableDocumentError("it contains no text")
    return document


def is_document(name: str) -> bool:
    """Whether a file has a format that can be read, by its suffix."""
    return get_suffix(name) in _PARSERS


def get_suffix(name: str) -> str:
    """The suffix of a file name in lowercase."""
    return PurePosixPath(name).suffix.lower()


def _parse_text(content: bytes, encoding: str) -> Document:
    return Document(_clean(_decode(content, encoding)))


def _parse_markdown(content: bytes, encoding: str) -> Document:
    return _read_markdown(_clean(_decode(content, encoding)))


def _decode(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableDocumentError(
            f"it is not text in {encoding}, see byte {error.start}; set the field encoding"
        ) from None


def _read_markdown(text: str) -> Document:
    from markdown_it import MarkdownIt

    front = _FRONT_MATTER.match(text)
    text = text[front.end() :] if front else text
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    tokens = MarkdownIt("commonmark").disable("inline").parse(text)  # blocks are enough
    headings = tuple(
        Heading(starts[token.map[0]], int(token.tag[1:]), _to_plain(following.content))
        for token, following in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map
    )
    return Document(text, headings)


def _to_plain(title: str) -> str:
    """A heading without marks such as `**`, and on one line."""
    return " ".join(re.sub(r"[*_`]+|\[([^\]]*)\]\([^)]*\)", r"\1", title).split())


def _parse_html(content: bytes, encoding: str) -> Document:
    from bs4 import BeautifulSoup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about content that looks like a file name or like XML
        soup: Any = BeautifulSoup(content, "html.parser", from_encoding=encoding)
    body = soup.find("main") or soup.find("article") or soup.body or soup
    for element in body(_BOILERPLATE):
        element.decompose()
    return _convert_html(body)


def _convert_html(html: Any) -> Document:
    from markdownify import MarkdownConverter

    convert: Any = MarkdownConverter(heading_style="ATX", strip=["img"], escape_misc=False)
    written = convert.convert_soup(html) if not isinstance(html, str) else convert.convert(html)
    return _read_markdown(_BLANK_LINES.sub("\n\n", _clean(written)).strip())


def _parse_docx(content: bytes, encoding: str) -> Document:
    library: Any = import_module("mammoth")  # which has no type annotations
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except BadZipFile:
        raise UnreadableDocumentError("it is not a .docx file") from None
    if unpacked > _MOST_UNPACKED:
        raise UnreadableDocumentError(f"it is larger than {_MOST_UNPACKED // 10**6} MB unpacked")
    made = library.convert_to_html(io.BytesIO(content), convert_image=_leave_out)
    return _convert_html(made.value)


def _leave_out(image: Any) -> list[Any]:
    return []


def _parse_pdf(content: bytes, encoding: str) -> Document:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of faults that it can repair
    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableDocumentError("it is encrypted; save it without a password")
    starts: list[int] = []
    pages: list[str] = []
    length = 0
    for page in reader.pages:
        text = _clean(page.extract_text()).strip()
        starts.append(length)
        pages.append(text)
        length += len(text) + 2
    if not any(pages):
        raise UnreadableDocumentError(
            "it contains no text, only images; recognize its text with an OCR program first"
        )
    bookmarks = [
        Heading(starts[page], level, " ".join(title.split()))
        for page, level, title in _list_bookmarks(reader, reader.outline, 1)
        if page < len(starts)
    ]
    return Document("\n\n".join(pages), tuple(sorted(bookmarks, key=lambda each: each.start)))


def _list_bookmarks(reader: Any, outline: Any, level: int) -> Iterator[tuple[int, int, str]]:
    """Page, level and title of each bookmark that leads to a page."""
    for each in outline:
        if isinstance(each, list):
            yield from _list_bookmarks(reader, each, level + 1)
            continue
        page = reader.get_destination_page_number(each)
        if page is not None and page >= 0 and each.title:
            yield page, level, str(each.title)


def _clean(text: str) -> str:
    """Text with unix line ends and without marks that some editors add."""
    text = replace_surrogates(text).removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\0", "").replace("\f", "\n\n")


_PARSERS: Mapping[str, Callable[[bytes, str], Document]] = {
    ".txt": _parse_text,
    ".text": _parse_text,
    ".md": _parse_markdown,
    ".markdown": _parse_markdown,
    ".html": _parse_html,
    ".htm": _parse_html,
    ".pdf": _parse_pdf,
    ".docx": _parse_docx,
}
SUFFIXES = tuple(_PARSERS)
REQUIRED_MODULES: Mapping[str, tuple[str, ...]] = {
    ".html": ("bs4", "markdownify"),
    ".htm": ("bs4", "markdownify"),
    ".pdf": ("pypdf",),
    ".docx": ("mammoth", "markdownify"),
}
"""Modules of the extra `documents` that a format needs, by suffix."""
