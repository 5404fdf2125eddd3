"""Every recipe becomes a project that validates, runs and can be deployed."""

from __future__ import annotations

import json
import re
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from prefect.utilities.schema_tools.validation import validate

import dd_core.config as dd
from benchmarks.schema_values import value_of
from dd_core import DataDesigner
from flows import generate_dataset
from flows.cli.main import cli
from flows.cli.recipes.project import ModelChoice, get_recipe, list_recipes, write_project
from tests.dd_core.models.tools.test_turns import calling
from tests.scripted import Answer, Body, ScriptedModel, prompt_of

NAMES = [each.name for each in list_recipes()]
_NUMBERS = count()
CHOICE = ModelChoice("tiny", "http://model.test/v1")


def answer(body: Body) -> Answer:
    """Give the best scores, queries that run, and texts that differ."""
    wanted, prompt = body.get("response_format"), prompt_of(body)
    if "tools" in body and body["messages"][-1]["role"] == "user":
        return calling(("find_order", {"order_number": "A-1042"}))
    if compared := re.search(r"<first>(.*?)</first>.*?<second>(.*?)</second>", prompt, re.DOTALL):
        return {"reasoning": "it is", "winner": "first" if compared[1] > compared[2] else "second"}
    if wanted:
        return _best(wanted["json_schema"]["schema"])
    if "Write one SELECT" in prompt:
        return "```sql\nSELECT name FROM product\n```"
    words = " ".join(re.findall(r"\w+", prompt)[:40])
    return f"Answer {next(_NUMBERS)} to: {words}"


def _best(schema: dict[str, Any]) -> Any:
    """A value that satisfies a schema, with the last option where there are several."""
    value: Any = value_of(schema)
    definitions = schema.get("$defs", {})

    def choose(part: dict[str, Any], value: Any) -> Any:
        part = definitions.get(str(part.get("$ref", "")).rpartition("/")[2], part)
        if "enum" in part:
            return part["enum"][-1]
        if isinstance(value, dict):
            known = part.get("properties", {})
            return {name: choose(known.get(name, {}), each) for name, each in value.items()}
        return value

    return choose(schema, value)


def invoke(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, [*arguments], input=given)


def read_tools() -> list[dd.LocalStdioMCPProvider]:
    """The tool servers of a project, run by this Python."""
    if not Path("tools.yaml").exists():
        return []
    listed = yaml.safe_load(Path("tools.yaml").read_text())["mcp_providers"]
    made = [dd.LocalStdioMCPProvider.model_validate(each) for each in listed]
    assert {each.command for each in made} == {"python"}
    return [each.changed(command=sys.executable) for each in made]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_makes_a_dataset(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(get_recipe(name), tmp_path / "project", CHOICE)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    config = dd.load_config("dataset.yaml", trust=True)
    assert {each.base_url for each in config.model_configs or ()} == {CHOICE.base_url}
    settings: Any = yaml.safe_load(Path("run.yaml").read_text())
    designer = DataDesigner(
        tmp_path / "artifacts",
        transport=ScriptedModel(answer),
        mcp_providers=read_tools(),
        run_config=dd.RunConfig.model_validate(settings),
    )
    results = designer.create(config, num_records=8, dataset_name=name)
    assert results.count_records() >= 1
    assert results.directory.metadata.accepted is True


@pytest.mark.parametrize("name", NAMES)
def test_a_project_can_be_deployed_and_says_how(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = invoke("recipes", "new", name, str(tmp_path / "p"))
    assert result.exit_code == 0, result.output
    monkeypatch.chdir(tmp_path / "p")
    monkeypatch.syspath_prepend(str(tmp_path / "p"))
    options = get_recipe(name).options.split()
    assert invoke("validate", "dataset.yaml", *options).exit_code == 0
    [deployment] = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]
    schema: Any = generate_dataset.parameters.model_dump_for_openapi()
    assert validate(deployment["parameters"], schema) == []
    dd.RunConfig.model_validate(deployment["parameters"]["run_config"])
    page = Path("README.md").read_text()
    assert " ".join(
        ["ddflows preview dataset.yaml -n 3", *options]
    ) in page and not page.startswith("---")
    assert f"prefect deployment run {generate_dataset.name}/{deployment['name']} --watch" in page
    local = dd.load_config("dataset.yaml", trust=True).model_configs or []
    assert {model.provider for model in local} == {"local"}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_recipe_has_rows_of_the_local_model(name: str) -> None:
    recipe = get_recipe(name)
    rows = [json.loads(line) for line in (recipe.folder / "sample.jsonl").open()]
    assert 1 <= len(rows) <= 10
    assert not any("source_path" in row for row in rows)
    shown = invoke("recipes", "show", name)
    assert shown.exit_code == 0
    for part in (recipe.calls, recipe.yields, "small local model", "model_configs:"):
        assert part in shown.output


def test_recipes_are_listed() -> None:
    result = invoke("recipes", "list")
    assert result.exit_code == 0
    assert all(name in result.output for name in NAMES)


def test_a_name_with_a_slip_gets_a_suggestion() -> None:
    result = invoke("recipes", "new", "document-qs")
    assert result.exit_code == 2
    assert "did you mean 'document-qa'?" in result.output


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = invoke("recipes", "new", "document-qa", str(tmp_path))
    assert result.exit_code == 2
    assert "is not empty; choose another folder" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_init_asks_for_recipe_and_model(tmp_path: Path) -> None:
    given = "evol-instruct\nhttps://models.test/v1\nlarge: one\nMY_KEY\n"
    result = invoke("init", str(tmp_path / "p"), given=given)
    assert result.exit_code == 0, result.output
    [model] = yaml.safe_load((tmp_path / "p" / "dataset.yaml").read_text())["model_configs"]
    assert (model["model"], model["base_url"]) == ("large: one", "https://models.test/v1")
    assert model["api_key_env_var"] == "MY_KEY"


def test_init_takes_everything_from_options(tmp_path: Path) -> None:
    arguments = ("--recipe", "tool-calls", "--endpoint", "http://m/v1", "--model", "m")
    result = invoke("init", str(tmp_path / "p"), *arguments, given="\n")
    assert result.exit_code == 0, result.output
    result = invoke("recipes", "new", "tool-calls", str(tmp_path / "q"), "--model", "m")
    assert result.exit_code == 2 and "need each other" in result.output


def test_queries_of_text_to_sql_cannot_leave_their_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(get_recipe("text-to-sql"), tmp_path / "p")
    source = (tmp_path / "p" / "checks.py").read_text()
    names: dict[str, Any] = {"__file__": str(tmp_path / "p" / "checks.py"), "__name__": "checks"}
    exec(compile(source, "checks.py", "exec"), names)
    find_error = names["find_error"]
    assert find_error("SELECT name FROM product") == ""
    assert find_error("SELECT name FROM product WHERE price > 1000") == "the query returns no rows"
    for query in (
        "DROP TABLE product",
        "ATTACH DATABASE '/tmp/x.db' AS x",
        "PRAGMA table_info(product)",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "SELEC 1",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n",
    ):
        assert find_error(query)


def test_a_preview_whose_rows_are_filtered_out_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "columns": [
            {
                "name": "n",
                "column_type": "sampler",
                "sampler_type": "uniform",
                "params": {"low": 0, "high": 1},
            }
        ],
        "processors": [
            {"name": "none", "processor_type": "filter_rows", "condition": "{{ n > 1 }}"}
        ],
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    result = invoke("preview", "config.yaml", "-n", "3")
    assert result.exit_code == 0, result.output
    assert "0 of 3" in result.output
