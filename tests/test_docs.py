"""The examples in the README and the docs work as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from dd_core import DataDesigner
from tests.conftest import ServerFactory

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _blocks(pattern: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}:{number}", block)
        for page in PAGES
        for number, block in enumerate(re.findall(pattern, page.read_text(), re.DOTALL), 1)
    ]


CONFIGS = [
    (name, block)
    for name, block in _blocks(r"```yaml\n(.*?)```")
    if "columns" in (yaml.safe_load(block) or {})
]
SCRIPTS = _blocks(r"<!-- run -->\n```python\n(.*?)```")


@pytest.mark.parametrize(("name", "text"), CONFIGS, ids=[name for name, _ in CONFIGS])
def test_a_configuration_is_valid(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_API_KEY", "secret")
    Path("cities.csv").write_text("city,country\nBonn,Germany\nLyon,France\n")
    DataDesigner().validate(text)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "text"), SCRIPTS, ids=[name for name, _ in SCRIPTS])
def test_a_script_runs(
    name: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bench_server: ServerFactory,
) -> None:
    monkeypatch.chdir(tmp_path)
    server = bench_server()
    text = text.replace("http://localhost:8000/v1", server.url)
    exec(compile(text, name, "exec", dont_inherit=True), {})


def test_the_kind_that_contributors_start_from_passes_its_test(tmp_path: Path) -> None:
    """In another process, because a kind stays registered."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    blocks = [dedent(block) for block in re.findall(r" *```python\n.*? *```\n", text, re.DOTALL)]
    kind, _, test = (block.split("\n", 1)[1].rpartition("```")[0] for block in blocks)
    # Another tag, because somebody may have added the kind as it is.
    (tmp_path / "die.py").write_text(kind.replace('"die"', '"die_of_docs"'))
    (tmp_path / "test_die.py").write_text(test.replace("type: die", "type: die_of_docs"))
    script = "import die, test_die; test_die.test_every_side_comes_up()"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, check=True)


def test_the_docs_show_something() -> None:
    assert len(CONFIGS) >= 6
    assert len(SCRIPTS) >= 2


def test_the_example_of_the_demo_is_valid() -> None:
    DataDesigner().validate(str(ROOT / "deployments" / "product_reviews.yaml"))


def test_prefect_yaml_names_what_exists_and_holds_no_templates() -> None:
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    names = {deployment["name"] for deployment in project["deployments"]}
    assert names >= {"on-demand", "nightly"}
    for deployment in project["deployments"]:
        path, colon, flow = deployment["entrypoint"].partition(":")
        if colon:
            assert f"{flow} = " in (ROOT / path).read_text()
        else:
            module, _, flow = path.rpartition(".")
            assert hasattr(import_module(module), flow)
        if "config" in deployment.get("parameters", {}):
            assert (ROOT / deployment["parameters"]["config"]).is_file()
        assert "{{" not in str(deployment.get("parameters")), "Prefect would empty it"
    nightly = next(each for each in project["deployments"] if each["name"] == "nightly")
    assert nightly["schedules"][0]["timezone"]
    assert nightly["concurrency_limit"]["collision_strategy"] == "CANCEL_NEW"


def test_the_constraints_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    locked = re.findall(r"^([\w.-]+==.*?) *\\$", lock, re.MULTILINE)
    assert (ROOT / "requirements" / "constraints.txt").read_text().splitlines() == locked
