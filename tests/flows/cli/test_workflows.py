"""Commands with the file of a workflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dd_core import DataDesigner
from flows.cli.main import cli

WORKFLOW = """
workflow: numbers
stages:
- name: first
  review: true
  num_records: 3
  columns: [{name: n, column_type: expression, expr: "{{ row_address * 2 }}", dtype: int}]
- name: second
  from: first
  steps: [{type: filter, when: "{{ n > 0 }}"}]
  columns: [{name: text, column_type: expression, expr: "number {{ n }}"}]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers.yaml").write_text(WORKFLOW)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments])


def test_a_workflow_is_checked_as_a_whole(tmp_path: Path) -> None:
    result = run("validate", "numbers.yaml")
    assert result.exit_code == 0
    assert "second from first: row_address, n, text" in result.output
    (tmp_path / "numbers.yaml").write_text(WORKFLOW.replace("number {{ n }}", "{{ nobody }}"))
    result = run("validate", "numbers.yaml")
    assert result.exit_code == 1
    assert "stages.second.columns.text.expr" in result.output


def test_rows_are_pushed_through_all_stages() -> None:
    result = run("preview", "numbers.yaml", "-n", "3")
    assert result.exit_code == 0
    assert "second: 2 rows; left out: 1. filter: the condition is false (1)" in result.output
    result = run("estimate", "numbers.yaml")
    assert "second: about" in result.output


def test_rows_are_reviewed_in_a_file(tmp_path: Path) -> None:
    workflow = DataDesigner("artifacts").workflow("numbers.yaml")
    workflow.run()
    assert "3 rows" in run("review", "numbers.yaml", "first", "--export", "rows.jsonl").output
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    lines[2]["n"] = 7
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = ("--import", "rows.jsonl", "--by", "ann", "--rest", "accept")
    result = run("review", "numbers.yaml", "first", *given)
    assert "edit: 1" in result.output
    assert "accept: 2" in result.output
    texts = workflow.run().load_dataset()["text"].tolist()
    assert texts == ["number 2", "number 7"]


def test_commands_for_datasets_say_so() -> None:
    result = run("check-models", "numbers.yaml")
    assert result.exit_code == 2
    assert "is a workflow" in result.output
    assert "--by NAME" in run("review", "numbers.yaml", "first").output
