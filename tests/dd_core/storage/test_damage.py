"""Damage of a dataset's files is noticed by everybody who reads it, and made good by a resume."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.designer.results import DatasetCreationResults
from dd_core.errors import DataDesignerError, DatasetDamagedError, InvalidConfigError
from dd_core.storage.files.parquet import write_parquet
from tests.scripted import Body, ScriptedModel, builder, prompt_of

ROWS = 12
SECOND = "parquet-files/batch_00001.parquet"


def config() -> dd.DataDesignerConfigBuilder:
    made = builder().add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    made.add_column(name="text", column_type="llm-text", model_alias="m", prompt="Say {{ id }}.")
    return made


def answer(body: Body) -> str:
    return f"It is {prompt_of(body)}"


def designer(path: Path, seed: int = 7) -> tuple[DataDesigner, ScriptedModel]:
    script = ScriptedModel(answer)
    run_config = dd.RunConfig(seed=seed, buffer_size=4)
    return DataDesigner(path, run_config=run_config, transport=script), script


def create(path: Path, seed: int = 7, resume: str = "never") -> DatasetCreationResults:
    made, _ = designer(path, seed)
    return made.create(config(), num_records=ROWS, dataset_name="d", resume=resume)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pristine")
    create(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, pristine: Path) -> Path:
    shutil.copytree(pristine / "d", tmp_path / "d")
    return tmp_path / "d"


def truncate(folder: Path) -> None:
    path = folder / SECOND
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(folder: Path) -> None:
    (folder / SECOND).unlink()


def copy_over(folder: Path) -> None:
    shutil.copy(folder / "parquet-files" / "batch_00000.parquet", folder / SECOND)


def copy_beside(folder: Path) -> None:
    shutil.copy(folder / SECOND, folder / "parquet-files" / "batch_00003.parquet")


def flip(folder: Path) -> None:
    path = folder / SECOND
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


def replace_by_other_seed(folder: Path) -> None:
    create(folder.parent / "other", seed=8)
    shutil.copy(folder.parent / "other" / "d" / SECOND, folder / SECOND)


def rewrite_with_pandas(folder: Path) -> None:
    pd.read_parquet(folder / SECOND).to_parquet(folder / SECOND)


KINDS = [truncate, remove, copy_over, copy_beside, flip, replace_by_other_seed, rewrite_with_pandas]


@pytest.mark.parametrize("damage", KINDS)
def test_every_reader_names_the_file_and_the_command(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder)
    name = "batch_00003.parquet" if damage is copy_beside else "batch_00001.parquet"
    opened = DataDesigner(tmp_path).open("d")
    readers: list[Callable[[], Any]] = [
        opened.load_dataset,
        opened.load_analysis,
        lambda: opened.export(tmp_path / "out.jsonl"),
        lambda: opened.push_to_hub("ann/d", "Text.", endpoint="http://hub.test"),
        lambda: opened.display_sample_record(5),
        lambda: DataDesigner(tmp_path).preview(opened.to_config_builder(["topic"]).build()),
        lambda: DataDesigner(tmp_path).preview(
            dd.DataDesignerConfigBuilder([]).with_seed_dataset(
                dd.LocalFileSeedSource(path=f"{folder}/parquet-files/*.parquet")
            )
        ),
    ]
    for read in readers:
        with pytest.raises(DataDesignerError) as caught:
            read()
        assert name in str(caught.value)
        if not isinstance(caught.value, InvalidConfigError) or damage is not flip:
            assert f"ddflows verify {folder} --repair" in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("damage", [truncate, remove, copy_beside])
def test_opening_warns(
    folder: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder)
    DataDesigner(folder.parent).open("d")
    [warning] = caplog.messages
    assert "batch_0000" in warning
    assert "--repair" in warning


@pytest.mark.parametrize("damage", KINDS)
def test_a_resume_says_what_it_makes_anew_and_does_so(
    folder: Path,
    pristine: Path,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = DataDesigner(pristine).open("d").load_dataset()
    damage(folder)
    made, script = designer(folder.parent)
    with caplog.at_level(logging.WARNING):
        results = made.create(config(), num_records=ROWS, dataset_name="d", resume="always")
    lost = 0 if damage is copy_beside else 4
    [warning] = [each for each in caplog.messages if "parquet-files/batch" in each]
    assert f"{lost} rows are generated again" in warning or (not lost and "set aside" in warning)
    assert len(script.requests) == lost
    assert results.load_dataset().equals(expected)
    assert DataDesigner(folder.parent).open("d").count_records() == ROWS


def test_no_flipped_bit_of_a_part_is_read_as_other_data(folder: Path) -> None:
    path = folder / SECOND
    content = path.read_bytes()
    expected = DataDesigner(folder.parent).open("d").load_dataset()
    chance = random.Random(5)
    positions = [chance.randrange(len(content) * 8) for _ in range(60)]
    positions += range(len(content) * 8 - 96, len(content) * 8, 5)
    for settled in (True, False):
        metadata = json.loads((folder / "metadata.json").read_text())
        metadata |= {"is_settled": settled}
        metadata |= {} if settled else {"files": {}, "file_paths": {}}
        (folder / "metadata.json").write_text(json.dumps(metadata))
        for position in positions:
            flipped = bytearray(content)
            flipped[position // 8] ^= 1 << position % 8
            path.write_bytes(flipped)
            try:
                found = DataDesigner(folder.parent).open("d").load_dataset()
            except DatasetDamagedError as error:
                assert "batch_00001.parquet" in str(error)
            else:
                assert found.equals(expected), f"bit {position}"


def test_other_readers_load_sealed_files_and_check_their_pages(folder: Path) -> None:
    expected = DataDesigner(folder.parent).open("d").load_dataset()["id"].tolist()
    pattern = folder / "parquet-files" / "*.parquet"
    assert [row for (row,) in duckdb.sql(f"SELECT id FROM '{pattern}'").fetchall()] == expected
    assert pd.read_parquet(folder / "parquet-files")["id"].tolist() == expected
    flip(folder)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(folder / SECOND, page_checksum_verification=True)


def test_a_file_may_change_while_a_run_is_in_progress(folder: Path) -> None:
    """The files of a killed run are ahead of the metadata, which is written from time to time."""
    metadata = json.loads((folder / "metadata.json").read_text())
    del metadata["files"]["parquet-files"]["batch_00002.parquet"]
    metadata["files"]["parquet-files"]["batch_00001.parquet"] |= {"rows": 2, "size": 1}
    metadata["is_settled"] = False
    (folder / "metadata.json").write_text(json.dumps(metadata))
    opened = DataDesigner(folder.parent).open("d")
    assert opened.count_records() == len(opened.load_dataset()) == ROWS


def test_a_file_of_another_program_is_read(tmp_path: Path) -> None:
    table = pq.read_table(pd.DataFrame({"x": [1, 2]}).to_parquet(tmp_path / "x.parquet") or
                          tmp_path / "x.parquet")  # fmt: skip
    write_parquet(table, tmp_path / "y.parquet")
    for name in ("x", "y"):
        source = dd.LocalFileSeedSource(path=str(tmp_path / f"{name}.parquet"))
        seeded = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
        assert DataDesigner(tmp_path).preview(seeded, num_records=2).dataset["x"].tolist() == [1, 2]
