"""The command line: what it prints, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.dataset.files import run_script
from tests.conftest import ServerFactory
from tests.datasets import chain, model, topics

pytestmark = pytest.mark.slow

_DDFLOWS = str(Path(sys.executable).with_name("ddflows"))


def ddflows(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the console script against the tests' Prefect server."""
    environment = os.environ | {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_LOCAL_STORAGE_PATH": str(PREFECT_LOCAL_STORAGE_PATH.value()),
    }
    command = [_DDFLOWS, *(str(argument) for argument in arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def written(builder: dd.DataDesignerConfigBuilder, folder: Path) -> Path:
    path = folder / "config.yaml"
    builder.write_config(path)
    return path


def test_run_writes_the_dataset_and_tells_where_it_is(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    config = written(chain(bench_server().url, 1), tmp_path)
    settings = tmp_path / "run.yaml"
    settings.write_text("buffer_size: 4\nprogress_interval: 0.1\n")
    done = ddflows(
        "run", config, "-n", "6", "-d", "six", "-c", settings, "--seed", "3", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Rows     6 of 6" in done.stdout
    assert "Seed     3" in done.stdout
    assert "/runs/flow-run/" in done.stdout
    parts = [*(tmp_path / "artifacts" / "six" / "parquet-files").glob("*.parquet")]
    assert sorted(len(pd.read_parquet(part)) for part in parts) == [2, 4]


def test_a_run_of_a_complete_dataset_says_that_there_was_nothing_to_do(tmp_path: Path) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_processor(
        dd.FilterRowsProcessorConfig(name="none", condition="{{ topic == 'wine' }}")
    )
    config = written(builder, tmp_path)
    arguments = ("run", config, "-n", "3", "-d", "three", "-r", "if_possible")
    first, second = (ddflows(*arguments, cwd=tmp_path) for _ in range(2))
    assert "Rows     3 of 3; the dataset contains 0 after its processors" in first.stdout
    assert second.returncode == 0, second.stderr
    assert "there was nothing to generate" in second.stdout


def test_run_fails_when_rows_are_missing(tmp_path: Path, bench_server: ServerFactory) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_column(
        name="n", column_type="expression", expr="{{ 'x' if topic == 'tea' else 1 }}", dtype="int"
    )
    settings = tmp_path / "run.yaml"
    settings.write_text("disable_early_shutdown: true\n")
    done = ddflows("run", written(builder, tmp_path), "-n", "40", "-c", settings, cwd=tmp_path)
    assert done.returncode == 1
    assert "of 40" in done.stdout
    assert "dropped: n:" in done.stdout


def test_preview_shows_rows_and_can_write_them(tmp_path: Path, bench_server: ServerFactory) -> None:
    config = written(chain(bench_server().url, 1), tmp_path)
    done = ddflows("preview", config, "-n", "3", "-o", "rows.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "answer" in done.stdout
    assert len(pd.read_json(tmp_path / "rows.jsonl", lines=True)) == 3


def test_validate_lists_what_is_wrong(tmp_path: Path) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_column(name="a", column_type="llm-text", model_alias="nope", prompt="{{ tpoic }}")
    done = ddflows("validate", written(builder, tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "columns.a.model_alias" in done.stderr
    assert "did you mean 'topic'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_validate_accepts_what_is_right(tmp_path: Path) -> None:
    done = ddflows("validate", written(topics(model("http://unused.test")), tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "The configuration is valid.\n")


def test_check_models_asks_each_model(tmp_path: Path, bench_server: ServerFactory) -> None:
    server = bench_server()
    config = written(chain(server.url, 1), tmp_path)
    assert ddflows("check-models", config, cwd=tmp_path).returncode == 0
    assert server.stats()["requests"] == 1
    server.settings(error_rate=1.0)
    done = ddflows("check-models", config, cwd=tmp_path)
    assert done.returncode == 1
    assert "returned status 500" in done.stderr


@pytest.mark.parametrize("command", ["run", "preview", "validate"])
def test_a_missing_file_is_named(command: str, tmp_path: Path) -> None:
    done = ddflows(command, "nowhere.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


OWN = """
from typing import Any, Literal

import numpy as np

import dd_core.config as dd
from dd_core.kinds.samplers.sampler import SamplerParams


class Constant(SamplerParams):
    sampler_type: Literal["test-seven"] = "test-seven"

    def draw(self, draws: Any, inputs: Any) -> Any:
        return np.full(draws.size, 7)


@dd.custom_column_generator(required_columns=["seven"])
def eight(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "eight": row["seven"] + 1}
"""


def test_kinds_and_functions_of_ones_own_run_on_prefect(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    config = tmp_path / "config.yaml"
    config.write_text(
        "columns:\n"
        "  - {name: seven, column_type: sampler, sampler_type: test-seven, params: {}}\n"
        "  - {name: eight, column_type: custom, generator_function: 'own:eight'}\n"
    )
    done = ddflows("--kinds", "own.py", "run", config, "-n", "3", "-d", "own", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [part] = (tmp_path / "artifacts" / "own" / "parquet-files").glob("*.parquet")
    assert pd.read_parquet(part).to_dict("list") == {"seven": [7, 7, 7], "eight": [8, 8, 8]}


def test_failed_rows_are_generated_again_from_the_command_line(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(malformed_rate=0.5, seed=1)
    builder = topics(model(server.url)).add_column(
        name="facts",
        column_type="llm-structured",
        model_alias="m",
        prompt="On {{ topic }}",
        output_format={"type": "object"},
    )
    config = written(builder, tmp_path)
    settings = tmp_path / "run.yaml"
    settings.write_text("max_conversation_restarts: 0\ndisable_early_shutdown: true\n")
    arguments = ("-d", "d", "-c", settings)
    done = ddflows("run", config, "-n", "12", *arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    failed = pd.read_parquet(tmp_path / "artifacts" / "d" / "failed-rows")
    assert set(failed["answer"]) == {"I would rather not answer in JSON."}
    server.settings(malformed_rate=0.0)
    before = server.stats()["requests"]
    again = ddflows("retry-failed", config, *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "12 of 12" in again.stdout
    assert server.stats()["requests"] - before == len(failed)


def test_an_estimate_is_printed_as_a_table(tmp_path: Path, bench_server: ServerFactory) -> None:
    config = written(chain(bench_server().url, 1), tmp_path)
    done = ddflows("estimate", config, "-n", "1000", "--probe-rows", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1,000 rows, estimated from 2 rows" in done.stdout
    assert "cost: unknown" in done.stdout


def test_a_dataset_is_reported_on_and_exported_and_a_script_is_a_configuration(
    tmp_path: Path,
) -> None:
    (tmp_path / "make.py").write_text(
        "import dd_core.config as dd\n"
        "def load_config_builder(params):\n"
        "    return dd.DataDesignerConfigBuilder([]).add_column(\n"
        "        name='a', column_type='sampler', sampler_type='category',\n"
        "        params={'values': list(params.argv)})\n"
    )
    made = ddflows("preview", "make.py", "-n", "3", "-o", "x.csv", "--", "red", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert pd.read_csv(tmp_path / "x.csv")["a"].tolist() == ["red"] * 3
    designer = DataDesigner(tmp_path)
    builder = run_script(tmp_path / "make.py", ["red", "blue"])
    designer.create(builder, num_records=6, dataset_name="colours")

    reported = ddflows("report", "colours", "-o", "report.html", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    assert "category" in (tmp_path / "report.html").read_text()
    exported = ddflows("export", "colours", "rows.jsonl", cwd=tmp_path)
    assert "6 rows written to rows.jsonl" in exported.stdout
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 6
    refused = ddflows("export", "colours", "rows.xlsx", cwd=tmp_path)
    assert (refused.returncode, "use jsonl, csv, parquet" in refused.stderr) == (1, True)
    none = ddflows("validate", "none.py", cwd=tmp_path)
    assert (none.returncode, "there is no file" in none.stderr) == (1, True)


def test_approval_without_anybody_to_ask_is_refused_before_the_run(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    config = written(chain(server.url, 1), tmp_path)
    environment = {**os.environ, "PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [_DDFLOWS, "run", str(config), "--approve"], cwd=tmp_path, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nobody could approve the preview" in done.stderr
    assert "PREFECT_API_URL" in done.stderr
    assert server.stats()["requests"] == 0
