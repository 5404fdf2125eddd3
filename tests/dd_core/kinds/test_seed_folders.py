"""Seed rows from the files of a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import SeedDatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    (folder / "more").mkdir(parents=True)
    (folder / "b.txt").write_text("Bären", encoding="utf-8")
    (folder / "a.txt").write_text("ants")
    (folder / "more" / "c.txt").write_text("cats")
    (folder / "more" / "d.TXT").write_text("dogs")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    return folder


def rows(source: Any, count: int, **fields: Any) -> list[dict[str, Any]]:
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source, **fields)
    made.add_column(name="label", column_type="expression", expr="{{ relative_path }}!")
    return DataDesigner().preview(made, num_records=count).records()


def test_a_folders_files_are_rows_in_order_of_their_paths(folder: Path) -> None:
    found = rows(dd.DirectorySeedSource(path=str(folder), file_pattern="*.txt"), 4)
    assert [row["relative_path"] for row in found] == ["a.txt", "b.txt", "more/c.txt", "a.txt"]
    assert found[2] == {
        "source_kind": "directory_file",
        "source_path": str(folder / "more" / "c.txt"),
        "relative_path": "more/c.txt",
        "file_name": "c.txt",
        "label": "more/c.txt!",
    }


def test_folders_within_can_be_left_out(folder: Path) -> None:
    source = dd.DirectorySeedSource(path=str(folder), recursive=False)
    assert [row["file_name"] for row in rows(source, 2)] == ["a.txt", "b.txt"]


def test_contents_are_read_in_their_encoding(folder: Path) -> None:
    source = dd.FileContentsSeedSource(path=str(folder), file_pattern="?.txt")
    found = rows(source, 3)
    assert [row["content"] for row in found] == ["ants", "Bären", "cats"]
    assert {row["source_kind"] for row in found} == {"file_contents"}
    latin = dd.FileContentsSeedSource(path=str(folder), file_pattern="b.txt", encoding="latin-1")
    assert rows(latin, 1)[0]["content"] == "BÃ¤ren"


def test_links_do_not_lead_out_of_the_folder(folder: Path) -> None:
    found = rows(dd.FileContentsSeedSource(path=str(folder)), 8)
    assert "secret" not in {row["content"] for row in found}


def test_selection_and_order_work_as_for_tables(folder: Path) -> None:
    source = dd.DirectorySeedSource(path=str(folder), file_pattern="*.txt")
    chosen = rows(source, 2, selection_strategy=dd.PartitionBlock(index=1, num_partitions=3))
    assert [row["file_name"] for row in chosen] == ["b.txt", "b.txt"]


def test_a_changed_file_is_another_seed(folder: Path) -> None:
    source = dd.FileContentsSeedSource(path=str(folder))
    before = source.open().content_hash()
    assert source.open().content_hash() == before
    (folder / "a.txt").write_text("bees")
    assert source.open().content_hash() != before


def test_mistakes_are_found_before_the_run(folder: Path) -> None:
    with pytest.raises(InvalidConfigError, match="there is no folder"):
        rows(dd.DirectorySeedSource(path=str(folder / "none")), 1)
    with pytest.raises(ValidationError, match="path must not be empty"):
        dd.DirectorySeedSource(path=" ")
    with pytest.raises(ValidationError, match="must not have a slash"):
        dd.DirectorySeedSource(path=str(folder), file_pattern="../*")
    with pytest.raises(ValidationError, match="encoding 'utf-9' is unknown"):
        dd.FileContentsSeedSource(path=str(folder), encoding="utf-9")
    with pytest.raises(InvalidConfigError, match=r"no file in .* matches '\*.md'"):
        rows(dd.DirectorySeedSource(path=str(folder), file_pattern="*.md"), 1)


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "bad.txt").write_bytes(b"\xff\xfe\xfa")
    source = dd.FileContentsSeedSource(path=str(folder), file_pattern="bad.txt")
    with pytest.raises(InvalidConfigError, match=r"bad.txt' cannot be read as utf-8: line 1, char"):
        rows(source, 1)


def test_a_name_that_is_not_text_is_shown_with_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_bytes("\ufefftwo".encode())
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")).write_text("three")
    before = dd.DirectorySeedSource(path=str(tmp_path)).open().content_hash()
    for kind in (dd.DirectorySeedSource, dd.FileContentsSeedSource):
        found = rows(kind(path=str(tmp_path)), 3)
        assert [row["file_name"] for row in found] == ["a.txt", "b.txt", "caf\\xe9.txt"]
        assert found[2]["source_path"].endswith("/caf\\xe9.txt")
    assert [row["content"] for row in found] == ["one", "two", "three"]
    assert dd.DirectorySeedSource(path=str(tmp_path)).open().content_hash() == before
    bad = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.txt"))
    bad.write_bytes(b"x\n\xff")
    with pytest.raises(InvalidConfigError, match=r"xff.txt' cannot be read as utf-8: line 2, char"):
        rows(dd.FileContentsSeedSource(path=str(tmp_path)), 1)


def test_tables_may_have_such_names_too(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.csv")).write_text("n\n1\n")
    assert dd.LocalFileSeedSource(path=str(tmp_path / "*.csv")).open().num_rows == 1
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.csv")).write_text("n,n\n1,2\n")
    with pytest.raises(SeedDatasetError, match=r"caf\\\\xe9.csv' cannot be read") as caught:
        dd.LocalFileSeedSource(path=str(tmp_path / "*.csv")).open()
    str(caught.value).encode()


def test_a_file_names_the_folder(folder: Path) -> None:
    text = f"""
seed_config: {{source: {{seed_type: file_contents, path: {folder}, file_pattern: a.txt}}}}
columns: [{{name: upper, column_type: expression, expr: "{{{{ content | upper }}}}"}}]
"""
    config = dd.load_config(text)
    assert DataDesigner().preview(config, num_records=1).records()[0]["upper"] == "ANTS"
    assert dd.load_config(config.to_yaml() or "") == config
