"""`ddflows personas`: datasets of people are checked and copied to where samplers look."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import dd_core.config as dd
from dd_core import DataDesigner
from flows.cli.main import cli

PEOPLE = pd.DataFrame(
    {"first_name": ["Ada", "Bo"], "last_name": ["L", "M"], "age": [40, 50], "sex": ["Female"] * 2}
)


def call(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["personas", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DESIGNER_MANAGED_ASSETS_PATH", str(tmp_path / "assets"))
    return tmp_path / "assets"


def test_people_are_imported_and_can_be_sampled(assets: Path, tmp_path: Path) -> None:
    PEOPLE.to_parquet(tmp_path / "en_US.parquet")
    PEOPLE.to_parquet(tmp_path / "mine.parquet")
    code, text = call("list")
    assert (code, "en_US       missing" in text) == (0, True)
    assert call("import", tmp_path / "en_US.parquet")[0] == 0
    assert call("import", tmp_path / "mine.parquet", "--locale", "fr_FR")[0] == 0
    code, text = call("list")
    assert f"en_US       2 rows in {assets / 'datasets' / 'en_US.parquet'}" in text
    assert "fr_FR       2 rows" in text
    made = dd.DataDesignerConfigBuilder([])
    made.add_column(name="p", column_type="sampler", sampler_type="person", params={})
    rows = DataDesigner().preview(made, num_records=4).records()
    assert {row["p"]["first_name"] for row in rows} == {"Ada", "Bo"}


def test_a_dataset_is_only_replaced_if_asked_for(assets: Path, tmp_path: Path) -> None:
    source = tmp_path / "en_US.parquet"
    PEOPLE.to_parquet(source)
    assert call("import", source)[0] == 0
    PEOPLE.head(1).to_parquet(source)
    code, text = call("import", source)
    assert (code, "use --replace" in text) == (1, True)
    assert call("import", source, "--replace")[0] == 0
    assert "en_US       1 rows" in call("list")[1]


def test_a_file_that_samplers_could_not_use_is_refused(assets: Path, tmp_path: Path) -> None:
    PEOPLE.to_parquet(tmp_path / "ja_JP.parquet")
    PEOPLE.drop(columns="age").to_parquet(tmp_path / "en_US.parquet")
    (tmp_path / "fr_FR.parquet").write_text("first_name,last_name,age")
    PEOPLE.to_parquet(tmp_path / "xx.parquet")
    for name, code, message in [
        ("en_US", 1, "has no 'age'"),
        ("fr_FR", 1, "cannot be read as Parquet"),
        ("xx", 2, "is not a known locale; use --locale with one of de_DE"),
    ]:
        found, text = call("import", tmp_path / "ja_JP.parquet", tmp_path / f"{name}.parquet")
        assert (found, message in text) == (code, True), text
        assert f"{name}.parquet" in text
    assert not assets.exists()  # nothing is copied if any file is refused
