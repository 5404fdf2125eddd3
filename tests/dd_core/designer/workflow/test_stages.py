"""Stages of workflows: rows multiply, join and come together while they are generated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import BudgetExhaustedError, DataDesignerWorkflowError
from tests.dd_core.designer.workflow.workflows import (
    DIAMOND,
    answer,
    count,
    designer,
    prompt_of,
    rows,
    run,
    statuses,
)
from tests.scripted import Body, ScriptedModel


def test_rows_of_a_diamond_know_where_they_come_from(tmp_path: Path) -> None:
    results, sent = run(tmp_path)
    assert sent == {"plan": 7, "page": 21, "fact": 7, "text": 21}
    joined = rows(results, "joined")
    addresses = [f"{number}.{part}" for number in range(7) for part in range(3)]
    assert [row["row_address"] for row in joined] == addresses
    topics = {str(row["row_address"]): row["topic"] for row in rows(results, "topics")}
    for row in joined:
        topic = topics[row["row_address"].split(".")[0]]
        assert row["text"] == f"<text <fact {topic}>, <page {row['part']} {topic}>>"
    books = rows(results, "books")
    assert [row["row_address"] for row in books] == [str(n) for n in range(7)]
    assert books[3]["text"] == [row["text"] for row in joined[9:12]]
    assert books[0]["title"] == f"{topics['0']}: 3"
    record = results.manifest.stages["pages"]
    assert record.arrived == {"topics": 7}
    assert record.left_out == {"2. filter": {"the condition is false": 7}}


@pytest.mark.parametrize("size", [1, 3, 50])
def test_values_do_not_depend_on_the_size_of_batches(tmp_path: Path, size: int) -> None:
    expected, _ = run(tmp_path / "a")
    results, _ = run(tmp_path / "b", settings={"buffer_size": size})
    for stage in expected:
        assert rows(results, stage) == rows(expected, stage)


def test_a_wrong_name_in_the_last_stage_is_told_before_the_first_request(tmp_path: Path) -> None:
    script = ScriptedModel(answer)
    wrong = DIAMOND.replace("{{ topic }}: {{ text | length }}", "{{ nobody }}")
    with pytest.raises(InvalidConfigError, match=r"stages\.books\.columns\.title\.expr.*nobody"):
        designer(tmp_path, script).workflow(wrong).run()
    assert script.requests == []
    assert not (tmp_path / "pairs").exists()


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first, _ = run(tmp_path)
    results, sent = run(tmp_path)
    assert {*statuses(results).values()} == {"unchanged"}
    assert sent == {}
    assert rows(results, "joined") == rows(first, "joined")
    assert results.manifest.stages["pages"].arrived == {"topics": 7}


def test_a_folder_may_move(tmp_path: Path) -> None:
    run(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    results, sent = run(tmp_path / "b")
    assert sent == {}
    assert {*statuses(results).values()} == {"unchanged"}


def test_a_changed_prompt_runs_its_branch_and_what_follows(tmp_path: Path) -> None:
    before, _ = run(tmp_path)
    results, sent = run(tmp_path, DIAMOND.replace('"fact {{', '"news {{'))
    assert sent == {"news": 7, "text": 21}
    assert statuses(results)["pages"] == "unchanged"
    old, new = rows(before, "joined"), rows(results, "joined")
    assert [row["tone"] for row in old] == [row["tone"] for row in new]
    back, sent = run(tmp_path)
    assert sent == {}, "the datasets of before are still there"
    assert rows(back, "joined") == old


def test_more_rows_cost_only_the_difference(tmp_path: Path) -> None:
    run(tmp_path)
    results, sent = run(tmp_path, DIAMOND.replace("num_records: 7", "num_records: 9"))
    assert sent == {"plan": 2, "page": 6, "fact": 2, "text": 6}
    at_once, _ = run(tmp_path / "other", DIAMOND.replace("num_records: 7", "num_records: 9"))
    assert rows(results, "joined") == rows(at_once, "joined")


def test_fewer_children_of_one_row_move_nothing_else(tmp_path: Path) -> None:
    before, _ = run(tmp_path / "a")

    def fewer(body: Body) -> str:
        text = str(answer(body))
        return text.replace('"p0", ', "") if prompt_of(body) == "plan a" else text

    after, _ = run(tmp_path / "b", respond=fewer)
    old, new = (
        {row["row_address"]: row for row in rows(each, "pages")} for each in (before, after)
    )
    assert old.keys() == new.keys()
    for address, row in new.items():
        assert row["tone"] == old[address]["tone"]
        if row["topic"] != "a":
            assert row == old[address]


def test_an_interrupted_run_continues(tmp_path: Path) -> None:
    expected, _ = run(tmp_path / "expected")
    total: dict[str, int] = {}
    for most in (5, 17, 40, 70):
        script = ScriptedModel(answer)
        made = designer(tmp_path, script, budget={"requests": most}).workflow(DIAMOND)
        try:
            results = made.run()
        except DataDesignerWorkflowError as error:
            assert isinstance(error.__cause__, BudgetExhaustedError)
        for word, number in count(script).items():
            total[word] = total.get(word, 0) + number
    assert total == {"plan": 7, "page": 21, "fact": 7, "text": 21}
    for stage in expected:
        assert rows(results, stage) == rows(expected, stage)


def test_failed_rows_are_made_later_with_what_follows_from_them(tmp_path: Path) -> None:
    def failing(body: Body) -> str:
        return (
            ""
            if prompt_of(body).startswith("fact") and "a" in prompt_of(body)[4:]
            else answer(body)
        )

    results, _ = run(tmp_path, respond=failing, settings={"disable_early_shutdown": True})
    missing = 7 - results.manifest.stages["facts"].rows
    assert 0 < missing < 7
    assert results.manifest.stages["joined"].left_out == {
        "1. join": {"there is no row to join": 3 * missing}
    }
    results, sent = run(tmp_path)
    assert sent == {}, "failed rows are retried only on request"
    results, sent = run(tmp_path, retry_failed=True)
    assert sent == {"fact": missing, "text": 3 * missing}
    expected, _ = run(tmp_path / "expected")
    for stage in expected:
        assert rows(results, stage) == rows(expected, stage)


def test_a_failed_stage_is_named_and_the_others_keep_their_rows(tmp_path: Path) -> None:
    def failing(body: Body) -> str:
        return "" if prompt_of(body).startswith("fact") else answer(body)

    with pytest.raises(DataDesignerWorkflowError, match="stage 'facts' failed"):
        run(tmp_path, respond=failing)
    _, sent = run(tmp_path)
    assert sent["fact"] == 7
    assert sent.get("plan", 0) == 0


def test_a_stage_without_rows_is_an_error_unless_that_is_right(tmp_path: Path) -> None:
    strict = DIAMOND.replace("number < 3", "number > 9")
    with pytest.raises(
        DataDesignerWorkflowError, match=r"'pages' failed: it has no rows.*false \(28\)"
    ):
        run(tmp_path, strict)
    names = ("pages", "joined", "books")
    for name in names:
        strict = strict.replace(f"- name: {name}\n", f"- name: {name}\n  allow_empty: true\n")
    results, _ = run(tmp_path / "allowed", strict)
    assert {name: statuses(results)[name] for name in names} == dict.fromkeys(names, "empty")


def test_a_preview_pushes_rows_through_all_stages(tmp_path: Path) -> None:
    script = ScriptedModel(answer)
    preview = designer(tmp_path, script).workflow(DIAMOND).preview(num_records=4)
    sizes = {name: each.table.num_rows for name, each in preview.stages.items()}
    assert sizes == {"topics": 4, "pages": 4, "facts": 4, "joined": 4, "books": 2}
    assert [*tmp_path.iterdir()] == []
    made, _ = run(tmp_path)
    assert preview.stages["pages"].records() == rows(made, "pages")[:4]


def test_stages_may_have_settings_and_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "second.yaml").write_text(
        'columns: [{name: b, column_type: expression, expr: "{{ a }}!"}]'
    )
    path = tmp_path / "workflow.yaml"
    path.write_text(
        """
workflow: two
stages:
- name: first
  columns: [{name: a, column_type: expression, expr: "row {{ row_address }}"}]
  num_records: 5
  run_config: {buffer_size: 1}
- {name: second, from: first, config: second.yaml}
"""
    )
    results = DataDesigner(tmp_path / "out").workflow(path).run()
    assert results.final.load_dataset()["b"].tolist() == [f"row {n}!" for n in range(5)]
    assert len(results["first"].directory.parts()) == 5


def test_versions_have_folders_of_their_own(tmp_path: Path) -> None:
    _, first = run(tmp_path, version="1")
    _, second = run(tmp_path, version="2")
    assert first == second
    _, again = run(tmp_path, version="2")
    assert again == {}


def test_the_builder_and_the_file_declare_the_same(tmp_path: Path) -> None:
    from_text = dd.load_workflow(DIAMOND)
    built = dd.WorkflowBuilder("pairs")
    for stage in from_text.stages:
        fields = {"num_records": stage.num_records} if stage.num_records else {}
        built.add_stage(stage.name, stage.config, from_=stage.from_, steps=stage.steps, **fields)
    assert built.build() == from_text
    assert dd.load_workflow(from_text.to_dict()) == from_text


def test_a_folder_that_was_removed_is_not_remembered(tmp_path: Path) -> None:
    whole = {"buffer_size": 50}
    run(tmp_path, settings=whole)
    shutil.rmtree(tmp_path / "pairs")
    results, sent = run(tmp_path, DIAMOND.replace('"page {{', '"sheet {{'), settings=whole)
    assert sent == {"plan": 7, "sheet": 21, "fact": 7, "text": 21}
    assert all("<sheet " in row["text"] for row in rows(results, "joined"))
