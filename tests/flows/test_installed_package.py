"""The package as its wheel installs it, next to a project's own folder `flows`."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_SAME = """
import sys
import prefect_data_designer as package
from prefect.flows import load_flow_from_entrypoint
from prefect_data_designer import generate_batch, generate_dataset
import flows.dataset, flows.batch
from flows import generate_dataset as theirs
assert theirs is generate_dataset
assert load_flow_from_entrypoint("flows.batch.generate_batch").fn is generate_batch.fn
entrypoint = "prefect_data_designer.dataset.generate_dataset"
assert load_flow_from_entrypoint(entrypoint).fn is generate_dataset.fn
assert sys.modules["flows.dataset"] is sys.modules["prefect_data_designer.dataset"]
print(package.__version__)
"""
_OWN = """
from flows.etl import etl
from prefect_data_designer import generate_dataset
print(etl, generate_dataset.name)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def run_in(project: Path, installed: Path, code: str) -> str:
    """What a program in a project's folder prints; it finds the wheel, but not the repository."""
    paths = [str(project), str(installed), sysconfig.get_path("purelib")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-S", "-c", code]  # -S: no editable installations
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_both_names_are_one_package(tmp_path: Path, installed: Path) -> None:
    assert run_in(tmp_path, installed, _SAME).strip() == "0.1.0"


@pytest.mark.slow
@pytest.mark.parametrize("init", [True, False], ids=["package", "namespace"])
def test_a_folder_of_the_same_name_works_beside_it(
    init: bool, tmp_path: Path, installed: Path
) -> None:
    own = tmp_path / "flows"
    own.mkdir()
    (own / "etl.py").write_text("etl = 'mine'\n")
    if init:
        (own / "__init__.py").touch()
    assert run_in(tmp_path, installed, _OWN).strip() == "mine generate-dataset"


@pytest.mark.slow
def test_a_namespace_of_ones_own_still_finds_the_flow(tmp_path: Path, installed: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "etl.py").touch()
    assert run_in(tmp_path, installed, "import flows.etl\n" + _SAME).strip() == "0.1.0"
