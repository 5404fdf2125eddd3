"""Every input is either used or refused in a sentence, without a request for a refused one."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dd_core import DataDesigner
from tests.fuzz.check import CHECKS, HangError, answer, check, limit_time
from tests.fuzz.inputs import CONFIG
from tests.scripted import ScriptedModel

ROOT = Path(__file__).parent.parent.parent


def test_the_input_that_is_mutated_is_valid(tmp_path: Path) -> None:
    model = ScriptedModel(answer)
    designer = DataDesigner(tmp_path, model_providers=[], transport=model)
    results = designer.preview(copy.deepcopy(CONFIG), num_records=3)
    assert len(results.dataset) == 3, results.dropped
    assert model.requests


def test_a_hang_is_noticed() -> None:
    with pytest.raises(HangError), limit_time(0.05):
        while True:
            pass


@pytest.mark.filterwarnings("ignore")  # the warnings of strange inputs are not the subject
@pytest.mark.parametrize(
    ("name", "count"), [(name, 5 * share) for name, (_, share) in CHECKS.items()]
)
def test_bad_input_ends_in_a_sentence(name: str, count: int, tmp_path: Path) -> None:
    outcomes = [check(name, seed, tmp_path) for seed in range(count)]
    assert len(outcomes) - outcomes.count("accepted") > count // 4, "most inputs should be bad"


@pytest.mark.slow
def test_a_thousand_inputs() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "1000", "1000000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii", "LANG": "C"},
        {"DD_KINDS": "none.py"},
        {"DD_KINDS": ",,"},
        {"DATA_DESIGNER_HOME": "/dev/null"},
        {"DATA_DESIGNER_HOME": "\udcff"},
        {"DATA_DESIGNER_MANAGED_ASSETS_PATH": "/dev/null"},
        {"HTTPS_PROXY": "nonsense", "HTTP_PROXY": "://"},
        {"COLUMNS": "0", "LINES": "x", "TERM": ""},
        {"HOME": "/nonexistent"},
    ],
    ids=str,
)
def test_the_environment_may_be_strange(variables: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "columns: [{name: a, column_type: sampler, sampler_type: category, "
        "params: {values: [caf\u00e9, \u2603]}}]"
    )
    ddflows = [sys.executable, "-c", "from flows.cli import run_program; run_program()"]
    done = subprocess.run(
        [*ddflows, "preview", str(config), "-n", "1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (0, 1)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert done.stdout if done.returncode == 0 else done.stderr
