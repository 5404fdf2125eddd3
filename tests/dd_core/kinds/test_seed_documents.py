"""The seed source `documents`: files of several formats, split into chunks."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import SeedDatasetError
from dd_core.kinds.seeds.texts.chunks import Chunking, count_tokens, split_document
from dd_core.kinds.seeds.texts.document import Document

_GUIDE = """---
title: not a heading
---

Before all headings.

# Guide

Intro to the *guide*.

## Install `it`

```sh
# no heading
make
```

Use
===

Run it.
"""


def make_pdf(*pages: str, bookmarks: bool = False) -> bytes:
    """A PDF with one line of text on each page."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for number, text in enumerate(pages):
        page = writer.add_blank_page(200, 200)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = stream
        if bookmarks:
            writer.add_outline_item(title=f"Page {number + 1}", page_number=number)
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def make_docx(*paragraphs: tuple[str, str]) -> bytes:
    """A Word document; each paragraph has a style and a text."""
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    wordprocessing = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{n}"><w:name w:val="heading {n}"/>'
        "</w:style>"
        for n in (1, 2)
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" '
        f'ContentType="{wordprocessing}.document.main+xml"/>'
        f'<Override PartName="/word/styles.xml" ContentType="{wordprocessing}.styles+xml"/>'
        "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/styles" Target="styles.xml"/></Relationships>',
        "word/styles.xml": f'<w:styles xmlns:w="{namespace}">{styles}</w:styles>',
        "word/document.xml": f'<w:document xmlns:w="{namespace}"><w:body>{body}</w:body>'
        "</w:document>",
    }
    written = io.BytesIO()
    with ZipFile(written, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return written.getvalue()


def rows_of(path: Path | str, **fields: Any) -> list[dict[str, Any]]:
    table = dd.DocumentsSeedSource(path=str(path), **fields).open()
    every = np.arange(table.num_rows)
    columns = {name: table.take(name, every) for name in table.columns}
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def test_each_document_is_a_row_with_its_text(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    (tmp_path / "sub" / "b.MD").write_text(_GUIDE)
    (tmp_path / "photo.png").write_bytes(b"no document")
    (tmp_path / ".hidden.txt").write_text("hidden")
    first, second = rows_of(tmp_path)
    assert first == {
        "document_id": "a.txt",
        "chunk_id": 0,
        "text": "one\ntwo",
        "heading_path": "",
        "n_chunks": 1,
    }
    assert second["document_id"] == "sub/b.MD"
    assert second["text"].startswith("Before all headings.")
    assert [row["document_id"] for row in rows_of(tmp_path, recursive=False)] == ["a.txt"]
    assert [row["document_id"] for row in rows_of(tmp_path / "**" / "*.MD")] == ["sub/b.MD"]
    assert [row["document_id"] for row in rows_of(tmp_path / "a.txt")] == ["a.txt"]


def test_sections_of_markdown_know_the_headings_above_them(tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text(_GUIDE)
    rows = rows_of(tmp_path, chunk={"by": "headings"})
    assert [(row["heading_path"], row["text"].splitlines()[0]) for row in rows] == [
        ("", "Before all headings."),
        ("Guide", "# Guide"),
        ("Guide > Install it", "## Install `it`"),
        ("Use", "Use"),
    ]
    assert "# no heading" in rows[2]["text"]
    assert [row["chunk_id"] for row in rows] == [0, 1, 2, 3]
    assert {row["n_chunks"] for row in rows} == {4}


def test_html_is_read_as_markdown_without_what_surrounds_the_text(tmp_path: Path) -> None:
    page = (
        "<html><head><title>t</title><style>p {}</style></head><body><nav>menu</nav>"
        "<h1>Tea</h1><p>Boil <b>water</b>.</p><script>alert(1)</script>"
        "<h2>Steps</h2><ol><li>Pour</li><li>Wait</li></ol>"
        "<table><tr><th>kind</th><th>min</th></tr><tr><td>green</td><td>2</td></tr></table>"
        "<footer>imprint</footer></body></html>"
    )
    (tmp_path / "tea.html").write_text(page)
    first, second = rows_of(tmp_path, chunk={"by": "headings"})
    assert (first["heading_path"], second["heading_path"]) == ("Tea", "Tea > Steps")
    assert "Boil **water**." in first["text"]
    assert "1. Pour" in second["text"] and "| green | 2 |" in second["text"]
    for absent in ("menu", "alert", "imprint", "p {}"):
        assert absent not in first["text"] + second["text"]


def test_html_says_its_encoding_itself(tmp_path: Path) -> None:
    page = '<html><head><meta charset="latin-1"></head><body><p>Käse</p></body></html>'
    (tmp_path / "a.html").write_bytes(page.encode("latin-1"))
    [row] = rows_of(tmp_path)
    assert row["text"] == "Käse"


def test_pages_of_a_pdf_are_below_its_bookmarks(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(make_pdf("First page", "Second page", bookmarks=True))
    rows = rows_of(tmp_path, chunk={"by": "headings"})
    assert [(row["heading_path"], row["text"]) for row in rows] == [
        ("Page 1", "First page"),
        ("Page 2", "Second page"),
    ]


def test_word_documents_have_headings(tmp_path: Path) -> None:
    paragraphs = ("Heading1", "Tea"), ("Normal", "Boil water."), ("Heading2", "Steps")
    (tmp_path / "tea.docx").write_bytes(make_docx(*paragraphs, ("Normal", "Pour.")))
    rows = rows_of(tmp_path, chunk={"by": "headings"})
    assert [row["heading_path"] for row in rows] == ["Tea", "Tea > Steps"]
    assert rows[1]["text"].endswith("Pour.")


def test_documents_that_cannot_be_read_are_named_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 but not really")
    (tmp_path / "broken.docx").write_bytes(b"no archive")
    (tmp_path / "scan.pdf").write_bytes(make_pdf("", ""))
    (tmp_path / "latin.txt").write_bytes("Käse".encode("latin-1"))
    (tmp_path / "empty.md").write_text("\n")
    with caplog.at_level(logging.WARNING):
        [row] = rows_of(tmp_path)
    assert row["text"] == "good"
    [line] = [each for each in caplog.messages if "are skipped" in each]
    assert line.startswith("5 of 6 documents are skipped")
    assert "'scan.pdf' (it contains no text, only images" in line
    for name in ("broken.pdf", "broken.docx", "latin.txt", "empty.md"):
        assert repr(name) in line


def test_nothing_to_read_is_an_error_before_the_run(tmp_path: Path) -> None:
    def problem(path: Path | str) -> str:
        builder = dd.DataDesignerConfigBuilder([])
        builder.with_seed_dataset(dd.DocumentsSeedSource(path=str(path)))
        builder.add_column(name="x", column_type="expression", expr="{{ text }}")
        with pytest.raises(InvalidConfigError) as raised:
            DataDesigner().validate(builder)
        return str(raised.value)

    assert "there is no document at" in problem(tmp_path / "absent")
    (tmp_path / "photo.png").write_bytes(b"")
    assert "no file at" in problem(tmp_path)
    (tmp_path / "broken.pdf").write_bytes(b"")
    assert "'broken.pdf'" in problem(tmp_path)
    assert "must not contain a user or a password" in problem("s3://me:secret@bucket/x")


def test_documents_in_object_storage_are_found_by_folder_and_pattern() -> None:
    system = fsspec.filesystem("memory")
    system.pipe({"/docs/a.txt": b"one", "/docs/sub/b.txt": b"two", "/docs/c.bin": b"three"})
    try:
        assert [row["document_id"] for row in rows_of("memory://docs")] == ["a.txt", "sub/b.txt"]
        assert [row["text"] for row in rows_of("memory://docs/sub/b.txt")] == ["two"]
        assert [row["text"] for row in rows_of("memory://docs/*.txt")] == ["one"]
        assert [row["text"] for row in rows_of("memory://docs", recursive=False)] == ["one"]
    finally:
        system.rm("/docs", recursive=True)


@pytest.mark.parametrize("remote", [False, True])
def test_brackets_in_names_are_not_a_pattern(tmp_path: Path, remote: bool) -> None:
    files = {"old [1]/a [2].md": b"one", "old [1]/sub/b.md": b"two", "old 1/a 2.md": b"three"}
    root = f"{tmp_path}/docs"
    system = fsspec.filesystem("memory" if remote else "file")
    for name, content in files.items():
        system.pipe(f"{root}/{name}", content) if remote else write(Path(root) / name, content)
    base = f"memory://{root}" if remote else root
    try:
        for path, texts in (
            ("old [1]/a [2].md", ["one"]),
            ("old [1]", ["one", "two"]),
            ("old [1]/*.md", ["one"]),
            ("old [1]/**/*.md", ["one", "two"]),
            ("old [1]/a [[]?].md", ["one"]),
            ("old [0-9]/*.md", ["three"]),
            ("old ?/*.md", ["three"]),
        ):
            assert [row["text"] for row in rows_of(f"{base}/{path}")] == texts, path
    finally:
        system.rm(root, recursive=True)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_changed_documents_are_read_again_and_change_the_hash(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    source = dd.DocumentsSeedSource(path=str(tmp_path))
    before = source.open()
    assert source.open() is before
    file.write_text("other")
    after = source.open()
    assert after.content_hash() != before.content_hash()
    assert after.take("text", np.array([0])) == ["other"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "docs" / "own.txt").write_text("own")
    assert [row["text"] for row in rows_of(tmp_path / "docs")] == ["own"]


def test_a_dataset_has_a_row_for_each_chunk(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One. Two. Three.")
    builder = dd.DataDesignerConfigBuilder([])
    source = dd.DocumentsSeedSource(path=str(tmp_path), chunk={"size": 6})  # type: ignore[arg-type]
    builder.with_seed_dataset(source)
    expr = "{{ document_id }} {{ chunk_id + 1 }}/{{ n_chunks }}: {{ text }}"
    builder.add_column(name="x", column_type="expression", expr=expr)
    rows = DataDesigner().preview(builder, num_records=3).records()
    assert [row["x"] for row in rows] == [
        "a.txt 1/3: One.",
        "a.txt 2/3: Two.",
        "a.txt 3/3: Three.",
    ]


def _make_chunking(by: Any, size: int, share: float) -> Chunking:
    return Chunking(by=by, size=size, overlap=int(size * share))


_CHUNKINGS = st.builds(
    _make_chunking,
    st.sampled_from(["chars", "tokens", "headings"]),
    st.integers(1, 60),
    st.floats(0, 0.5),
)
_MARKS = " .,#\n\t"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=f"\u0200\u4e00{_MARKS}", max_size=300), _CHUNKINGS)
def test_chunks_are_small_enough_and_lose_nothing(shape: str, chunking: Chunking) -> None:
    # Every letter occurs once, so that the place of a chunk is known.
    text = "".join(each if each in _MARKS else chr(ord(each) + i) for i, each in enumerate(shape))
    chunks = [chunk.text for chunk in split_document(Document(text), chunking)]
    measure = count_tokens if chunking.by == "tokens" else len
    assert all(0 < measure(chunk) <= chunking.maximum for chunk in chunks)
    position = 0
    for chunk in chunks:
        start = text.find(chunk) if chunk.strip(_MARKS) else position
        assert start >= 0
        assert not text[position:start].strip(_MARKS), "nothing lies between two chunks"
        position = max(position, start + len(chunk) if chunk.strip(_MARKS) else 0)
    assert not text[position:].strip(_MARKS)


def test_chunks_end_where_the_text_has_breaks() -> None:
    text = "First paragraph here.\n\nSecond one, which is longer. It has two sentences.\n\nThird."
    chunks = [chunk.text for chunk in split_document(Document(text), Chunking(size=40))]
    assert chunks == [
        "First paragraph here.",
        "Second one, which is longer.",
        "It has two sentences.\n\nThird.",
    ]


def test_chunks_repeat_whole_words() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    first, second, *_ = (
        chunk.text for chunk in split_document(Document(text), Chunking(size=60, overlap=20))
    )
    shared = second[: second.index(first.split()[-1]) + len(first.split()[-1])]
    assert first.endswith(shared) and 10 <= len(shared) <= 20


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        ({"size": 0}, "greater than or equal to 1"),
        ({"size": 10, "overlap": 6}, "at most half of size"),
        ({"by": "pages"}, "'chars', 'tokens' or 'headings'"),
    ],
)
def test_chunks_that_make_no_sense_are_refused(chunk: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dd.DocumentsSeedSource.model_validate({"path": "x", "chunk": chunk})


def test_a_parser_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pdf").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pypdf", None)
    [problem] = dd.DocumentsSeedSource(path=str(tmp_path)).problems("seed_config.source")
    assert "requires pypdf; install prefect-data-designer[documents]" in str(problem)


def test_damaged_files_of_all_formats_raise_one_error(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.docx"):
        (tmp_path / name).write_bytes(b"\0" * 100)
    with pytest.raises(SeedDatasetError, match=r"'a\.pdf' .*'b\.docx'"):
        dd.DocumentsSeedSource(path=str(tmp_path)).open()
