"""People review the rows of a stage before other stages use them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dd_core.designer.workflow.runner import Workflow
from dd_core.errors import DataDesignerWorkflowError
from tests.dd_core.designer.workflow.workflows import answer, count, designer, rows, run, statuses
from tests.scripted import ScriptedModel

REVIEWED = """
workflow: reviewed
model_configs:
- {alias: m, model: tiny, provider: server}
stages:
- name: drafts
  num_records: 20
  review: true
  columns:
  - {name: draft, column_type: llm-text, model_alias: m, prompt: "draft {{ row_address }}"}
- name: finals
  from: drafts
  columns:
  - {name: final, column_type: llm-text, model_alias: m, prompt: "final {{ draft }}"}
- name: checks
  from: finals
  columns:
  - {name: check, column_type: llm-text, model_alias: m, prompt: "check {{ final }}"}
"""


def open_workflow(folder: Path) -> tuple[Workflow, ScriptedModel]:
    script = ScriptedModel(answer)
    return designer(folder, script).workflow(REVIEWED), script


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_stages_wait_until_the_rows_are_reviewed(tmp_path: Path) -> None:
    results, sent = run(tmp_path, REVIEWED)
    assert statuses(results) == {"drafts": "completed", "finals": "waiting", "checks": "waiting"}
    assert results.manifest.status == "waiting"
    assert sent == {"draft": 20}
    assert results.manifest.stages["drafts"].review == {"undecided": 20}

    workflow, _ = open_workflow(tmp_path)
    file = tmp_path / "rows.jsonl"
    assert workflow.export_review("drafts", file) == 20
    lines = read_lines(file)
    lines[3]["draft"] = "A better draft."
    lines[5]["review_decision"], lines[5]["review_comment"] = "reject", "too short"
    write_lines(file, lines[:10])
    assert workflow.import_review("drafts", file, by="ann") == {"edit": 1, "reject": 1}
    assert workflow.export_review("drafts", file) == 18
    assert workflow.import_review("drafts", by="bob", rest="accept") == {"accept": 18}

    results, sent = run(tmp_path, REVIEWED)
    assert {*statuses(results).values()} == {"unchanged", "completed"}
    assert sent == {"final": 19, "check": 19}
    finals = {row["row_address"]: row["final"] for row in rows(results, "finals")}
    assert finals["3"] == "<final A better draft.>"
    assert "5" not in finals
    left_out = results.manifest.stages["finals"].left_out
    assert left_out == {"0. drafts": {"rejected in the review": 1}}
    stored = read_lines(tmp_path / "reviewed" / "drafts" / "reviews.jsonl")
    [rejection] = [line for line in stored if line["decision"] == "reject"]
    assert rejection["at"]
    assert (rejection["by"], rejection["comment"], rejection["address"]) == (
        "ann",
        "too short",
        "5",
    )


def test_rows_that_are_edited_later_run_again_with_what_follows(tmp_path: Path) -> None:
    run(tmp_path, REVIEWED)
    workflow, _ = open_workflow(tmp_path)
    workflow.import_review("drafts", by="ann", rest="accept")
    before, _ = run(tmp_path, REVIEWED)
    file = tmp_path / "rows.csv"
    assert workflow.export_review("drafts", file, pending_only=False) == 20
    with file.open(newline="") as opened:
        lines = [*csv.DictReader(opened)]
    for row in (2, 11, 17):
        lines[row]["draft"] = f"Edited {row}."
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, [*lines[0]])
        writer.writeheader()
        writer.writerows(lines)
    assert workflow.import_review("drafts", file, by="ann") == {"edit": 3}
    results, sent = run(tmp_path, REVIEWED)
    assert sent == {"final": 3, "check": 3}
    old, new = rows(before, "checks"), rows(results, "checks")
    assert [row for row in range(20) if old[row] != new[row]] == [2, 11, 17]


def test_impossible_reviews_are_refused(tmp_path: Path) -> None:
    workflow, script = open_workflow(tmp_path)
    with pytest.raises(DataDesignerWorkflowError, match="is not reviewed"):
        workflow.export_review("finals", tmp_path / "rows.jsonl")
    with pytest.raises(DataDesignerWorkflowError, match="has no rows yet"):
        workflow.export_review("drafts", tmp_path / "rows.jsonl")
    workflow.run()
    assert count(script) == {"draft": 20}
    file = tmp_path / "rows.jsonl"
    for line, reason in (
        ({"row_address": "0", "review_decision": "maybe"}, "use accept, edit or reject"),
        ({"row_address": "99"}, "which the stage does not have"),
        ({"draft": "x"}, "has no column 'row_address'"),
    ):
        write_lines(file, [line])
        with pytest.raises(DataDesignerWorkflowError, match=reason):
            workflow.import_review("drafts", file, by="ann")
