"""Options and files that cannot be used are refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from prefect.exceptions import ParameterTypeError

from flows import generate_dataset
from flows.cli.main import cli
from flows.cli.options import read_providers, read_settings

CONFIG = """
columns:
- {name: c, column_type: sampler, sampler_type: category, params: {values: [NO, 02116]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return str(tmp_path / "config.yaml")


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.mark.parametrize("rows", ["0", "-1", "2.5", "x"])
@pytest.mark.parametrize(
    "command", [["run"], ["preview"], ["estimate"], ["backfill", "--from", "2026-11-01"]]
)
def test_a_number_of_rows_that_cannot_be_is_refused(
    config: str, command: list[str], rows: str
) -> None:
    code, output = call(*command, config, "-n", rows)
    assert code == 2
    assert "Invalid value for '-n' / '--num-records'" in output


def test_more_rows_than_a_dataset_may_have_are_refused(config: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for command in (["preview"], ["estimate"], ["run", "-o", out]):
        code, output = call(*command, config, "-n", "1" + "0" * 30)
        assert code == 1
        assert "must be a whole number from 1 to 1,000,000,000" in output
    assert not Path(out).exists()


def test_the_form_bounds_the_number_of_rows() -> None:
    field = generate_dataset.parameters.properties["num_records"]
    assert (field["minimum"], field["maximum"]) == (1, 1_000_000_000)
    for rows in (0, -1, 10**30):
        with pytest.raises(ParameterTypeError, match="num_records"):
            generate_dataset.validate_parameters({"config": CONFIG, "num_records": rows})


def test_an_output_of_another_format_is_refused(config: str) -> None:
    code, output = call("preview", config, "-o", "rows.xlsx")
    assert (code, "must end with .jsonl, .csv or .parquet" in output) == (2, True)


def test_values_are_what_was_written(config: str) -> None:
    code, output = call("preview", config, "-n", "8")
    assert code == 0
    assert "NO" in output
    assert "02116" in output


def test_settings_and_providers_are_yaml_1_2(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("buffer_size: 0x10\n")
    assert read_settings(str(tmp_path / "run.yaml"), 3).buffer_size == 16
    (tmp_path / "providers.yaml").write_text("- {name: on, endpoint: 'http://a/v1'}\n")
    [provider] = read_providers(str(tmp_path / "providers.yaml")) or []
    assert provider.name == "on"


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("-c", b"[1", "cannot be read: while parsing"),
        ("-c", b"- 1", "must contain settings such as"),
        ("-c", b"a: caf\xe9", "cannot be read"),
        ("-c", b"seed: 1\nseed: 2", "line 2: key 'seed' is already in line 1"),
        ("--providers", b"a", "has no top-level list `providers`"),
        ("--providers", b"providers: 5", "has no top-level list `providers`"),
    ],
)
def test_files_of_another_form_are_refused(
    config: str, tmp_path: Path, option: str, content: bytes, message: str
) -> None:
    path = tmp_path / "given.yaml"
    path.write_bytes(content)
    code, output = call("preview", config, option, str(path))
    assert code == 1
    assert message in output.replace("\n", " ")
    assert "given.yaml" in output
