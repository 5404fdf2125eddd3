"""Options and files that cannot be used are refused before anything is started."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import generate_dataset
from flows.cli.boundary import BoundaryGroup, describe, run_command_line
from flows.cli.main import cli
from flows.cli.options import read_providers, read_settings

CONFIG = """
columns:
- {name: c, column_type: sampler, sampler_type: category, params: {values: [NO, 02116]}}
"""

API = "http://prefect.test:4200/api"


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return str(tmp_path / "config.yaml")


def refuse(status: int, url: str) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", url)
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status))


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
    code, output = call("preview", config, "-n", "8", "--seed", "1")
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
        ("-c", b"[1", "cannot be read: line 1, column 3"),
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


def test_a_file_that_cannot_be_written_is_told_before_anything_is_generated(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    # Generating would fail in another way: no such model answers.
    model = "model_configs: [{alias: m, model: m, base_url: 'http://127.0.0.1:9'}]\n"
    column = "columns: [{name: t, column_type: llm-text, model_alias: m, prompt: x}]\n"
    (tmp_path / "model.yaml").write_text(model + column)
    for output, message in [
        (str(tmp_path / "file" / "x.csv"), "is a file, but a folder is needed"),
        ("x" * 300 + ".csv", "has 304 bytes"),
    ]:
        code, text = call("preview", str(tmp_path / "model.yaml"), "-o", output)
        assert code == 1
        assert message in text


@pytest.mark.parametrize(
    "content",
    ["[1", "5", "seed: -1", "buffer_size: x", "unknown: 1", "budget: 5", "gates: {columns: 5}"],
)
def test_settings_that_cannot_be_used_are_told_in_a_sentence(
    config: str, tmp_path: Path, content: str
) -> None:
    (tmp_path / "settings.yaml").write_text(content)
    code, text = call("preview", config, "-c", str(tmp_path / "settings.yaml"))
    assert code == 1
    assert "settings.yaml" in text
    assert "pydantic" not in text


def test_keys_of_providers_are_not_quoted(config: str, tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text(
        "providers: [{name: a, endpoint: 'http://a.test', api_key: [sk-secret-key]}]"
    )
    code, text = call("validate", config, "--providers", str(tmp_path / "providers.yaml"))
    assert code == 1
    assert "api_key" in text
    assert "sk-secret-key" not in text


def test_validate_lists_what_a_configuration_uses(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    path = tmp_path / "rows.csv"
    source = f"seed_config: {{source: {{seed_type: local, path: '{path}'}}}}\n"
    (tmp_path / "seeded.yaml").write_text(f"{source}columns: []\n")
    code, text = call("validate", str(tmp_path / "seeded.yaml"))
    assert code == 0
    assert f"It reads '{path}'." in text


def test_what_is_unexpected_is_a_sentence_and_a_traceback_only_if_asked_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    @click.group(cls=BoundaryGroup)
    @click.option("--debug", is_flag=True)
    def group(debug: bool) -> None:
        pass

    @group.command()
    def fail() -> None:
        raise KeyError("x")

    @group.command()
    def interrupt() -> None:
        raise KeyboardInterrupt

    @group.command()
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for arguments, code, message in [
        (["fail"], 1, "an unexpected error occurred: KeyError: 'x'"),
        (["interrupt"], 130, "Aborted."),
        (["full"], 1, "No space left on device"),
        (["unknown"], 2, "No such command 'unknown'"),
    ]:
        with pytest.raises(SystemExit) as ended:
            run_command_line(group, "program", arguments)
        assert ended.value.code == code
        said = capfd.readouterr().err
        assert message in said
        assert "Traceback" not in said
    with pytest.raises(SystemExit):
        run_command_line(group, "program", ["--debug", "fail"])
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ConnectError("no", request=httpx.Request("POST", f"{API}/runs")), "is running, and"),
        (RuntimeError(f"Failed to reach API at {API}/"), f"{API} cannot be reached; check that"),
        (refuse(401, f"{API}/runs"), f"{API} denies access; check PREFECT_API_KEY or"),
        (refuse(500, f"{API}/runs"), "an unexpected error occurred: HTTPStatusError"),
        (refuse(401, "https://hub.test/x"), "an unexpected error occurred: HTTPStatusError"),
        (httpx.ConnectError("no"), "an unexpected error occurred: ConnectError"),
    ],
)
def test_a_server_of_prefect_that_does_not_work_is_named(error: Exception, message: str) -> None:
    with temporary_settings({PREFECT_API_URL: API}):
        assert message in describe(error)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_that_cannot_be_written_ends_in_an_exit_code(
    stream: str, config: str, tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    program = [sys.executable, "-c", "from flows.cli import run_program; run_program()"]
    with Path("/dev/full").open("w") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        command = "--help" if stream == "stdout" else "frobnicate"
        done = subprocess.run([*program, command], text=True, check=False, **streams)  # type: ignore[call-overload]
    assert done.returncode == (1 if stream == "stdout" else 2)
    assert "Traceback" not in (done.stderr or "")
