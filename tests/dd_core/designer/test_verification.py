"""`verify` finds what is wrong with a stored dataset, and `repair` makes exactly that anew."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ArtifactStorageError, DataDesignerError
from flows.cli.main import cli
from tests.dd_core.storage.test_damage import (
    KINDS,
    ROWS,
    answer,
    config,
    copy_beside,
    create,
    designer,
    remove,
)
from tests.scripted import ScriptedModel


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pristine")
    made, _ = designer(path)
    builder = config().add_column(
        name="spare", column_type="expression", expr="{{ topic }}", drop=True
    )
    builder.add_processor(
        dd.SchemaTransformProcessorConfig(name="side", template={"said": "{{ text }}"})
    )
    made.create(builder, num_records=ROWS, dataset_name="d")
    return path


@pytest.fixture
def folder(tmp_path: Path, pristine: Path) -> Path:
    shutil.copytree(pristine / "d", tmp_path / "d")
    return tmp_path / "d"


def _all_files(folder: Path) -> dict[str, bytes]:
    """The content of all Parquet files of a dataset, except damaged ones that were moved away."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.parquet")
        if "damaged-files" not in path.parts
    }


def test_an_intact_dataset_has_no_problems(folder: Path) -> None:
    found = DataDesigner(folder.parent).open("d").verify()
    assert found.is_intact
    assert not found.notes
    done = CliRunner().invoke(cli, ["verify", str(folder)])
    assert (done.exit_code, done.output) == (0, "12 rows: no problems found\n")


@pytest.mark.parametrize("damage", KINDS)
def test_a_repair_restores_every_file(
    folder: Path, pristine: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder)
    done = CliRunner().invoke(cli, ["verify", str(folder)])
    assert done.exit_code == 1
    name = "batch_00003.parquet" if damage is copy_beside else "batch_00001.parquet"
    lines = done.output.splitlines()
    assert lines[0].startswith(f"parquet-files/{name} ")
    lost = 0 if damage is copy_beside else 4
    costs = f"{lost} rows have to be generated again: {lost} cells of models, 0 of which are still"
    assert lines[1].startswith(f"1 problem found; {costs if lost else 'no rows have to be'}")
    made, script = designer(folder.parent)
    results = made.repair("d")
    assert len(script.requests) == lost
    assert results.verify().problems == []
    assert _all_files(folder) == _all_files(pristine / "d")


@pytest.mark.parametrize(
    "name", ["processors-files/side", "dropped-columns-parquet-files", "parquet-files"]
)
def test_a_repair_restores_the_tables_beside_the_rows(
    folder: Path, pristine: Path, name: str
) -> None:
    (folder / name / "batch_00002.parquet").unlink()
    found = DataDesigner(folder.parent).open("d").verify()
    assert [each.startswith(f"{Path(name).name}/batch_00002") for each in found.problems] == [True]
    assert (found.cost.rows, found.cost.cells, found.cost.kept) == (4, 4, 0)
    made, script = designer(folder.parent)
    made.repair("d")
    assert len(script.requests) == 4
    assert _all_files(folder) == _all_files(pristine / "d")


def test_other_files_are_checked(folder: Path) -> None:
    written = json.loads((folder / "builder_config.json").read_text())
    written["data_designer"]["columns"][-1]["name"] = "other"
    (folder / "builder_config.json").write_text(json.dumps(written))
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["actual_num_records"] = 13
    metadata["column_types"]["parquet-files"]["text"] = "int64"
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "journal").mkdir()
    (folder / "journal" / "rows-000000000-000000004.000.jsonl").write_bytes(b"{}\nx")
    problems = DataDesigner(folder.parent).open("d").verify().problems
    assert problems[0] == (
        "builder_config.json is not the configuration that the dataset was made from"
    )
    assert "other types than recorded in columns ['text']" in problems[1]
    assert problems[-1] == (
        "journal/rows-000000000-000000004.000.jsonl: 2 of 2 lines are unreadable"
    )
    (folder / "metadata.json").write_text("{")
    (folder / "builder_config.json").write_text("{")
    names = [line.split()[0] for line in _verify(folder)]
    assert names[:2] == ["metadata.json", "builder_config.json"]


def _verify(folder: Path) -> list[str]:
    return CliRunner().invoke(cli, ["verify", str(folder)]).output.splitlines()


def test_the_recorded_number_of_rows_is_checked(folder: Path) -> None:
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(metadata | {"actual_num_records": 13}))
    assert _verify(folder)[0] == "there are 12 rows, but 13 were recorded"


def test_rows_that_were_never_generated_are_no_problem_and_stay_so(tmp_path: Path) -> None:
    script = ScriptedModel(answer)
    budget = dd.Budget(requests=6)
    stopping = dd.RunConfig(seed=7, buffer_size=4, budget=budget, max_concurrent_row_groups=1)
    made = DataDesigner(tmp_path, run_config=stopping, transport=script)
    rows = made.create(config(), num_records=ROWS, dataset_name="d").count_records()
    assert 0 < rows < ROWS
    found = made.open("d").verify()
    assert found.is_intact
    assert found.notes == [
        f"{ROWS - rows} rows are not in files: they all failed, or the run was stopped"
    ]
    (tmp_path / "d" / "parquet-files" / "batch_00000.parquet").unlink()
    repairing, script = designer(tmp_path)
    assert repairing.repair("d").count_records() == rows
    assert len(script.requests) <= 4


def test_a_version_is_repaired_where_it_is(tmp_path: Path) -> None:
    create(tmp_path)
    (tmp_path / "v" / "versions").mkdir(parents=True)
    (tmp_path / "d").rename(tmp_path / "v" / "versions" / "1")
    folder = tmp_path / "v" / "versions" / "1"
    remove(folder)
    assert _verify(folder)[0] == "parquet-files/batch_00001.parquet is missing (rows 4 to 7)"
    made, _ = designer(tmp_path)
    assert made.repair("v", "1").count_records() == ROWS
    assert _verify(folder) == ["12 rows: no problems found"]


def test_there_must_be_a_dataset(tmp_path: Path) -> None:
    assert "there is no dataset in" in _verify(tmp_path / "nothing")[0]
    with pytest.raises(ArtifactStorageError, match="there is no dataset in"):
        DataDesigner(tmp_path).repair("nothing")


@pytest.mark.slow
def test_whatever_is_damaged_is_named_or_makes_no_difference(
    pristine: Path, tmp_path: Path
) -> None:
    """Random damage to a part and a journal, then a resume, then a repair."""
    expected = DataDesigner(pristine).open("d").load_dataset()
    builder = DataDesigner(pristine).open("d").plan.config
    cells = (pristine / "d" / "parquet-files" / "batch_00001.parquet").read_bytes()
    for number in range(12):
        chance = random.Random(number)
        base = tmp_path / str(number)
        shutil.copytree(pristine / "d", base / "d")
        part = base / "d" / "parquet-files" / "batch_00001.parquet"
        content = bytearray(cells)
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        part.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
        try:
            assert DataDesigner(base).open("d").load_dataset().equals(expected)
        except DataDesignerError as error:
            assert "batch_00001.parquet" in str(error)
        made, _ = designer(base)
        if number % 2:
            made.repair("d")
        else:
            made.create(builder, num_records=ROWS, dataset_name="d", resume="always")
        assert DataDesigner(base).open("d").load_dataset().equals(expected)
        assert DataDesigner(base).open("d").verify().is_intact
