"""Seed readers, which are written for NeMo Data Designer, read sources in their own way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import duckdb
import pandas as pd
import pytest
from dd_core.config.seed_source import (  # pyright: ignore[reportMissingImports]
    FileSystemSeedSource,
    SeedSource,
)

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import BuilderConfigurationError
from dd_core.extend import FileSystemSeedReader, SeedReader, SeedReaderFileSystemContext


class LineReader(FileSystemSeedReader[dd.DirectorySeedSource]):
    """One row for each line of the files."""

    output_columns = ["file", "line"]

    def build_manifest(self, *, context: SeedReaderFileSystemContext) -> Any:
        paths = self.get_matching_relative_paths(
            context=context,
            file_pattern=self.source.file_pattern,
            recursive=self.source.recursive,
        )
        return pd.DataFrame({"file": paths})

    def hydrate_row(
        self, *, manifest_row: dict[str, Any], context: SeedReaderFileSystemContext
    ) -> Iterator[dict[str, Any]]:
        with context.fs.open(manifest_row["file"], "r", encoding="utf-8") as file:
            for line in file:
                yield {"file": manifest_row["file"], "line": line.strip()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "texts" / "more").mkdir(parents=True)
    (tmp_path / "texts" / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "texts" / "empty.txt").write_text("")
    (tmp_path / "texts" / "more" / "b.txt").write_text("drei\nvier\nfünf", encoding="utf-8")
    return tmp_path / "texts"


def build(source: Any, **fields: Any) -> dd.DataDesignerConfigBuilder:
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source, **fields)
    return made.add_column(name="label", column_type="expression", expr="{{ line }}!")


def read_lines(reader: Any, source: Any, **fields: Any) -> list[str]:
    designer = DataDesigner(seed_readers=[reader])
    return [
        row["line"] for row in designer.preview(build(source, **fields), num_records=6).records()
    ]


def test_a_reader_makes_rows_of_files_and_selections_count_files(folder: Path) -> None:
    source = dd.DirectorySeedSource(path=str(folder), file_pattern="*.txt")
    assert read_lines(LineReader(), source) == ["one", "two", "drei", "vier", "fünf", "one"]
    second = dd.IndexRange(start=1, end=2)  # an empty file, and the last one
    found = read_lines(LineReader(), source, selection_strategy=second)
    assert found == ["drei", "vier", "fünf"] * 2
    with pytest.raises(InvalidConfigError, match="selects have no rows"):
        read_lines(LineReader(), source, selection_strategy=dd.IndexRange(start=1, end=1))
    with pytest.raises(InvalidConfigError, match="the seed dataset has 3 rows"):
        read_lines(LineReader(), source, selection_strategy=dd.IndexRange(start=1, end=3))
    flat = source.model_copy(update={"recursive": False})
    assert read_lines(LineReader(), flat) == ["one", "two"] * 3


def test_a_dataset_that_a_reader_reads_is_resumed_and_written(folder: Path, tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path, seed_readers=[LineReader()])
    made = build(dd.DirectorySeedSource(path=str(folder)))
    for rows in (3, 5):
        designer.create(made, num_records=rows, dataset_name="lines", resume="if_possible")
    assert DataDesigner(tmp_path).open("lines").load_dataset()["label"].tolist() == [
        *("one!", "two!", "drei!", "vier!", "fünf!")
    ]


def test_a_source_of_its_own_is_read_by_its_reader_only(folder: Path) -> None:
    class TextSource(FileSystemSeedSource):
        seed_type: Literal["text-lines-of-a-test"] = "text-lines-of-a-test"
        file_pattern: str = "a.*"

    class TextReader(LineReader, FileSystemSeedReader[TextSource]):
        pass

    assert TextReader().get_seed_type() == "text-lines-of-a-test"
    source = TextSource(path=str(folder))
    assert read_lines(TextReader(), source) == ["one", "two"] * 3
    with pytest.raises(InvalidConfigError, match=r"pass its seed reader, DataDesigner\(seed_re"):
        DataDesigner().validate(build(source))


def test_a_reader_for_duckdb_knows_the_secrets() -> None:
    class NumberSource(SeedSource):
        seed_type: Literal["numbers-of-a-test"] = "numbers-of-a-test"
        token: str

    class NumberReader(SeedReader[NumberSource]):
        def on_attach(self) -> None:
            self.key = self.secret_resolver.resolve(self.source.token)

        def get_dataset_uri(self) -> str:
            return "it's numbers"

        def create_duckdb_connection(self) -> duckdb.DuckDBPyConnection:
            frame = pd.DataFrame({"line": [self.key, "second"]})
            return self.create_dataframe_duckdb_connection(
                table_name=self.get_dataset_uri(), dataframe=frame
            )

    source = NumberSource(token="plain text")
    assert read_lines(NumberReader(), source)[:3] == ["plain text", "second", "plain text"]


def test_readers_that_cannot_be_used_are_named(folder: Path) -> None:
    class NoSource(FileSystemSeedReader):  # type: ignore[type-arg]
        def build_manifest(self, *, context: SeedReaderFileSystemContext) -> Any:
            return [{"line": "x"}]

    class Lying(LineReader):
        output_columns = ["line"]

    class Failing(LineReader):
        def build_manifest(self, *, context: SeedReaderFileSystemContext) -> Any:
            raise OSError("disk on fire")

    with pytest.raises(BuilderConfigurationError, match="seed_readers contains <class 'object'>"):
        DataDesigner(seed_readers=[object])  # pyright: ignore[reportArgumentType]
    with pytest.raises(BuilderConfigurationError, match="two readers of the seed type 'directory'"):
        DataDesigner(seed_readers=[LineReader(), Lying()])
    with pytest.raises(BuilderConfigurationError, match="NoSource does not say which seed source"):
        DataDesigner(seed_readers=[NoSource()])
    source = dd.DirectorySeedSource(path=str(folder))
    with pytest.raises(InvalidConfigError, match=r"columns \['file', 'line'\], but output_columns"):
        read_lines(Lying(), source)
    with pytest.raises(InvalidConfigError, match=r"the seed reader Failing failed: .*disk on fire"):
        read_lines(Failing(), source)
