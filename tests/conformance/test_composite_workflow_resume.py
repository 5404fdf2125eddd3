"""Workflows of NeMo Data Designer's scripts that run again: what is kept, and what is made anew.

Requests are counted, because each of them costs money.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import (
    CompositeWorkflow,
    CompositeWorkflowResults,
    DataDesigner,
    DataDesignerWorkflowError,
    ResumeMode,
)
from dd_core.errors import ArtifactStorageError, DatasetInUseError
from dd_core.storage.access.ownership import DatasetOwnership
from tests.scripted import Body, ScriptedModel, model, prompt_of, refusal

Answer = Callable[[Body], Any]
AGAIN = ResumeMode.IF_POSSIBLE


class Project:
    """A script that makes a workflow of two stages, `drafts` and `checks`, with its model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.people = folder / "people.parquet"
        self.server = ScriptedModel(lambda body: self.answer(body))
        self.answer: Answer = lambda body: f"<{prompt_of(body)}>"
        self.prompt = "check {{ draft }}"
        self.drafts: dict[str, Any] = {}
        """Arguments of the stage `drafts`."""
        self.settings = dd.RunConfig()
        self.save("Ada", "Linus", "Grace")

    def save(self, *names: str) -> None:
        pd.DataFrame({"name": names}).to_parquet(self.people, index=False)

    def build(self) -> CompositeWorkflow:
        designer = DataDesigner(self.artifacts, transport=self.server, run_config=self.settings)
        drafts = dd.DataDesignerConfigBuilder([model()])
        drafts.with_seed_dataset(dd.LocalFileSeedSource(path=str(self.people)))
        drafts.add_column(
            name="draft", column_type="llm-text", model_alias="m", prompt="on {{ name }}"
        )
        checks = dd.DataDesignerConfigBuilder([model()]).add_column(
            name="check", column_type="llm-text", model_alias="m", prompt=self.prompt
        )
        workflow = designer.compose_workflow(name="w")
        arguments: dict[str, Any] = {"num_records": 3, **self.drafts}
        workflow.add_stage("drafts", drafts, **arguments)
        return workflow.add_stage("checks", checks)

    def run(self, **arguments: Any) -> CompositeWorkflowResults:
        """Run the script; `asked` are the prompts of this run."""
        before = len(self.server.requests)
        try:
            return self.build().run(**arguments)
        finally:
            self.asked = sorted(prompt_of(body) for body in self.server.requests[before:])

    def read_metadata(self) -> dict[str, Any]:
        return json.loads((self.artifacts / "w" / "workflow-metadata.json").read_text())

    def write_metadata(self, content: Any) -> None:
        (self.artifacts / "w" / "workflow-metadata.json").write_text(json.dumps(content))

    def statuses(self) -> list[str]:
        return [stage["status"] for stage in self.read_metadata()["stages"]]

    def list_folders(self) -> list[str]:
        """Folders of the workflow; a time at the end is replaced."""
        names = [path.name for path in (self.artifacts / "w").iterdir() if path.is_dir()]
        return sorted(f"{name[: name.index('_')]}_*" if "_" in name else name for name in names)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def on(*names: str) -> list[str]:
    return sorted(f"on {name}" for name in names)


def check(*names: str) -> list[str]:
    return sorted(f"check <on {name}>" for name in names)


@pytest.mark.parametrize("mode", ["if_possible", "always"])
def test_nothing_is_asked_again(project: Project, mode: str) -> None:
    first = project.run()
    assert project.asked == [*check("Ada", "Linus", "Grace"), *on("Ada", "Grace", "Linus")]
    files = {path: path.stat().st_mtime_ns for path in project.artifacts.rglob("*.parquet")}
    again = project.run(resume=mode)
    assert project.asked == []
    assert files == {path: path.stat().st_mtime_ns for path in project.artifacts.rglob("*.parquet")}
    assert again.load_dataset().equals(first.load_dataset())


def test_a_new_run_has_a_folder_of_its_own(project: Project) -> None:
    first = project.run()
    second = project.run()
    assert len(project.asked) == 6
    assert str(second.path).startswith(f"{first.path}_")
    assert first.count_records() == second.count_records() == 3


def test_only_the_stage_that_has_changed_runs_again_next_to_the_earlier_one(
    project: Project,
) -> None:
    project.run()
    project.prompt = "review {{ draft }}"
    with pytest.raises(DataDesignerWorkflowError, match="'checks' is not reusable, because its"):
        project.run(resume="always")
    assert project.asked == []
    results = project.run(resume=AGAIN)
    assert project.asked == [f"review <on {name}>" for name in ("Ada", "Grace", "Linus")]
    assert results.load_dataset()["check"][0] == "<review <on Ada>>"
    assert project.list_folders() == ["stage-0-drafts", "stage-1-checks", "stage-1-checks_*"]
    project.run(resume="always")
    assert project.asked == []
    project.prompt = "check {{ draft }}"  # as at first
    results = project.run(resume=AGAIN)
    assert project.asked == []
    assert results.load_dataset()["check"][0] == "<check <on Ada>>"


def test_a_stage_grows_and_so_do_those_after_it(project: Project) -> None:
    project.drafts = {"num_records": 2}
    project.run()
    project.drafts = {"num_records": 3}
    results = project.run(resume="always")
    assert project.asked == [*check("Grace"), *on("Grace")]
    assert [*results.load_dataset()["check"]] == [
        f"<check <on {name}>>" for name in ("Ada", "Linus", "Grace")
    ]
    assert project.list_folders() == ["stage-0-drafts", "stage-1-checks"]
    project.run(resume="always")
    assert project.asked == []
    project.drafts = {"num_records": 1}
    with pytest.raises(DataDesignerWorkflowError, match="made with num_records=3, and 1 are"):
        project.run(resume="always")
    assert project.run(resume=AGAIN).count_records() == 1
    assert project.asked == [*check("Ada"), *on("Ada")]


def test_further_seed_rows_do_not_change_the_rows_that_are_there(project: Project) -> None:
    project.run()
    project.save("Ada", "Linus", "Grace", "Barbara")
    project.run(resume="always")
    assert project.asked == []
    project.drafts = {"num_records": 4}
    project.run(resume="always")
    assert project.asked == [*check("Barbara"), *on("Barbara")]


def test_a_seed_file_that_was_edited_in_place_is_noticed(project: Project) -> None:
    project.run()
    project.save("Ada", "Linus", "Mary")
    with pytest.raises(DataDesignerWorkflowError, match="the rows that it uses have changed"):
        project.run(resume="always")
    results = project.run(resume=AGAIN)
    assert {*on("Mary"), *check("Mary")} <= {*project.asked}
    assert [*results.load_dataset()["name"]] == ["Ada", "Linus", "Mary"]


def test_folders_may_be_moved(project: Project, tmp_path: Path) -> None:
    project.drafts = {"num_records": 2}
    project.run()
    project.artifacts = Path(shutil.move(project.artifacts, tmp_path / "elsewhere"))
    project.people = Path(shutil.move(project.people, tmp_path / "renamed.parquet"))
    project.run(resume="always")
    assert project.asked == []
    project.drafts = {"num_records": 3}
    project.run(resume="always")
    assert project.asked == [*check("Grace"), *on("Grace")]


def test_neither_the_version_of_the_library_nor_unknown_fields_count(project: Project) -> None:
    project.run()
    known = project.read_metadata()
    known |= {"library_version": "0.0.0", "origin": "ours"}
    for stage in known["stages"]:
        stage.pop("stage_output_override_path")
        stage["note"] = {"number": stage["index"]}
    known["stages"][1]["status"] = "failed"
    project.write_metadata(known)
    project.run(resume="always")
    assert project.asked == []
    after = project.read_metadata()
    assert after["origin"] == "ours"
    assert after["library_version"] != "0.0.0"
    assert [stage["note"] for stage in after["stages"]] == [{"number": 0}, {"number": 1}]
    assert "stage_output_override_path" not in after["stages"][0]


def write_module(folder: Path, body: str) -> Any:
    """Import a function from a file, as a script does that was edited since."""
    file = folder / "functions.py"
    file.write_text(
        "from dd_core.config import custom_column_generator\n\n\n"
        "@custom_column_generator(required_columns=['draft'])\n"
        f"def count(row):\n    return {{**row, 'size': {body}}}\n"
    )
    found: dict[str, Any] = {"__name__": f"functions_{len(body)}"}
    exec(compile(file.read_text(), str(file), "exec", dont_inherit=True), found)
    return found["count"]


def test_an_edited_function_is_noticed(project: Project, tmp_path: Path) -> None:
    def run(body: str, name: str, **arguments: Any) -> pd.DataFrame:
        (folder := tmp_path / name).mkdir()
        workflow = project.build()
        sizes = dd.DataDesignerConfigBuilder([model()])
        function = write_module(folder, body)
        sizes.add_column(dd.CustomColumnConfig(name="size", generator_function=function))
        return workflow.add_stage("sizes", sizes).run(**arguments).load_dataset()

    assert [*run("len(row['draft'])", "a")["size"]] == [8, 10, 10]
    with pytest.raises(DataDesignerWorkflowError, match="'sizes' is not reusable"):
        run("-len(row['draft'])", "b", resume="always")
    assert [*run("-len(row['draft'])", "c", resume=AGAIN)["size"]] == [-8, -10, -10]


def test_a_stage_that_was_interrupted_continues(project: Project) -> None:
    workflow = project.build()

    async def interrupt() -> None:
        task = asyncio.create_task(workflow.arun())

        def answer(body: Body) -> Any:
            if prompt_of(body).startswith("check"):
                task.cancel()
            return f"<{prompt_of(body)}>"

        project.answer = answer
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupt())
    assert project.statuses() == ["completed", "failed"]
    project.answer = lambda body: f"<{prompt_of(body)}>"
    results = project.run(resume="always")
    assert {*project.asked} <= {*check("Ada", "Linus", "Grace")}
    assert results.count_records() == 3
    assert project.statuses() == ["completed", "completed"]


def test_a_stage_whose_process_was_killed_continues(project: Project) -> None:
    project.run()
    known = project.read_metadata()
    known["stages"][1]["status"] = "running"
    project.write_metadata(known)
    shutil.rmtree(project.artifacts / "w" / "stage-1-checks" / "parquet-files")
    assert project.run(resume="always").count_records() == 3
    assert {*project.asked} <= {*check("Ada", "Linus", "Grace")}


def test_failed_rows_are_made_again_where_asked(project: Project) -> None:
    def refuse(body: Body) -> Any:
        return refusal(400) if "Linus" in prompt_of(body) else f"<{prompt_of(body)}>"

    project.answer = refuse
    assert project.run().count_records() == 2
    project.answer = lambda body: f"<{prompt_of(body)}>"
    project.run(resume="always")
    assert project.asked == []
    results = project.run(resume="always", retry_failed=True)
    assert on("Linus")[0] in project.asked
    assert on("Ada")[0] not in project.asked
    assert [*results.load_dataset()["name"]] == ["Ada", "Linus", "Grace"]
    project.run(resume="always", retry_failed=True)
    assert project.asked == []


def test_targets_leave_later_stages_as_they_are(project: Project) -> None:
    first = project.run(targets="drafts")
    assert ([*first], first.final_stage_name) == (["drafts"], "drafts")
    assert project.asked == on("Ada", "Linus", "Grace")
    assert [stage["name"] for stage in project.read_metadata()["stages"]] == ["drafts"]
    assert project.run(resume="always", targets=["checks", "drafts"]).count_records() == 3
    assert project.asked == check("Ada", "Linus", "Grace")
    project.run(resume="always", targets={"drafts"})
    project.run(resume="always")
    assert project.asked == []


def test_a_stage_can_be_made_anew_with_those_after_it(project: Project) -> None:
    project.run()
    project.run(resume="always", rerun_from="checks")
    assert project.asked == check("Ada", "Linus", "Grace")
    project.run(resume=AGAIN, rerun_from="drafts")
    assert len(project.asked) == 6
    assert project.list_folders() == [
        "stage-0-drafts", "stage-0-drafts_*",
        "stage-1-checks", "stage-1-checks_*", "stage-1-checks_*",
    ]  # fmt: skip
    project.run(resume="always")
    assert project.asked == []


def write_approved(folder: Path, *names: str) -> Path:
    rows = [{"name": name, "draft": f"<on {name}>"} for name in names]
    pd.DataFrame(rows).to_parquet(folder / "approved.parquet", index=False)
    return folder / "approved.parquet"


def test_an_override_counts_by_its_content(project: Project, tmp_path: Path) -> None:
    project.run(targets="drafts")
    approved = write_approved(tmp_path, "Grace", "Mary")
    results = project.run(resume="always", stage_output_overrides={"drafts": approved})
    assert project.asked == check("Grace", "Mary")
    assert results.get_stage_output_path("drafts") == approved.resolve()
    assert [*results.load_dataset()["name"]] == ["Grace", "Mary"]
    project.run(resume="always", stage_output_overrides={"drafts": str(approved)})
    assert project.asked == []
    project.run(resume="always")  # it is remembered
    assert project.asked == []
    write_approved(tmp_path, "Grace", "Edith")
    results = project.run(resume="always")
    assert check("Edith")[0] in project.asked
    assert [*results.load_dataset()["name"]] == ["Grace", "Edith"]
    results = project.run(resume="always", stage_output_overrides={"drafts": None})
    assert [*results.load_dataset()["name"]] == ["Ada", "Linus", "Grace"]


def test_an_override_that_is_gone_is_not_replaced_in_silence(
    project: Project, tmp_path: Path
) -> None:
    approved = write_approved(tmp_path, "Grace")
    project.run(stage_output_overrides={"drafts": approved})
    approved.unlink()
    with pytest.raises(DataDesignerWorkflowError, match=r"'drafts' was replaced by .*approved"):
        project.run(resume=AGAIN)
    assert project.run(resume=AGAIN, rerun_from="drafts").count_records() == 3


@pytest.mark.parametrize("version", ["1", None])
def test_a_callback_is_called_again_unless_its_version_is_the_same(
    project: Project, version: str | None
) -> None:
    calls: list[Path] = []

    def keep_first(folder: Path) -> Path:
        calls.append(folder)
        output = folder / "callback-outputs" / "first"
        output.mkdir(parents=True)
        rows = pd.read_parquet(folder / "parquet-files").head(1)
        rows.to_parquet(output / "data.parquet", index=False)
        return output

    project.drafts = {"on_success": keep_first, "on_success_version": version}
    project.run()
    project.run(resume="always")
    assert project.asked == []
    assert len(calls) == (1 if version else 2)
    output = project.artifacts / "w" / "stage-0-drafts" / "callback-outputs" / "first"
    (output / "data.parquet").unlink()
    assert project.run(resume="always").count_records() == 1
    assert project.asked == []
    assert len(calls) == (2 if version else 3)


def use_dataset(folder: Path) -> Path:
    return folder / "parquet-files"


def test_a_callback_that_failed_is_called_again_without_further_requests(
    project: Project,
) -> None:
    def fail(folder: Path) -> Path:
        raise OSError("the disk is full")

    project.drafts = {"on_success": fail}
    with pytest.raises(DataDesignerWorkflowError, match="on_success of stage 'drafts' failed"):
        project.run()
    assert project.statuses() == ["failed"]
    project.drafts = {"on_success": use_dataset}
    project.run(resume="always")
    assert project.asked == check("Ada", "Linus", "Grace")


def test_other_output_processors_leave_the_rows_as_they_are(project: Project) -> None:
    rename = dd.SchemaTransformProcessorConfig(name="r", template={"draft": "{{ name }}"})
    project.drafts = {"output_processors": [rename]}
    project.run()
    project.drafts = {"output_processors": [rename], "output": "processor:r"}
    results = project.run(resume="always")
    assert project.asked == [f"check {name}" for name in ("Ada", "Grace", "Linus")]
    assert results.load_dataset()["check"][0] == "<check Ada>"


def test_an_empty_stage_is_remembered(project: Project) -> None:
    def drop_all(folder: Path) -> Path:
        output = folder / "none.parquet"
        pd.read_parquet(folder / "parquet-files").head(0).to_parquet(output, index=False)
        return output

    project.drafts = {"on_success": drop_all, "on_success_version": "1", "allow_empty": True}
    project.run()
    results = project.run(resume="always")
    assert project.asked == []
    with pytest.raises(DataDesignerWorkflowError, match="'checks' was skipped"):
        results.load_dataset()
    project.drafts = {**project.drafts, "allow_empty": False}
    with pytest.raises(DataDesignerWorkflowError, match="empty output"):
        project.run(resume="always")
    project.drafts = {}
    assert project.run(resume="always").count_records() == 3


def test_lost_files_of_a_stage_are_made_again(project: Project) -> None:
    project.run()
    (project.artifacts / "w" / "stage-0-drafts" / "parquet-files" / "batch_00000.parquet").unlink()
    assert project.run(resume="always").count_records() == 3
    assert project.asked == on("Ada", "Linus", "Grace")


@pytest.mark.parametrize("content", ["{", "[]", "null", '"oops"', '{"stages": 1}'])
def test_damaged_metadata_cost_nothing(project: Project, content: str) -> None:
    project.run()
    (project.artifacts / "w" / "workflow-metadata.json").write_text(content)
    message = "metadata is corrupt" if content == "{" else "metadata has invalid shape"
    with pytest.raises(DataDesignerWorkflowError, match=message):
        project.run(resume="always")
    assert project.run(resume=AGAIN).count_records() == 3
    assert project.asked == []  # the datasets themselves say what they were made from
    assert project.statuses() == ["completed", "completed"]


def test_an_unknown_status_makes_the_metadata_invalid(project: Project) -> None:
    project.run()
    known = project.read_metadata()
    known["stages"][1]["status"] = "unknown"
    project.write_metadata(known)
    with pytest.raises(DataDesignerWorkflowError, match="has invalid shape"):
        project.run(resume="always")


def test_two_processes_do_not_run_a_workflow_at_once(project: Project) -> None:
    project.run()
    ownership = DatasetOwnership(project.artifacts / "w")
    asyncio.run(ownership.acquire())
    try:
        with pytest.raises(DatasetInUseError, match="is being generated by"):
            project.run(resume=AGAIN)
        assert project.run().count_records() == 3  # a folder next to it
    finally:
        ownership.release()
    project.run(resume="always")
    assert project.asked == []


def test_another_seed_makes_the_stages_anew(project: Project) -> None:
    project.settings = dd.RunConfig(seed=1)
    project.run()
    project.settings = dd.RunConfig(seed=2)
    with pytest.raises(DataDesignerWorkflowError, match="started with the seed 1"):
        project.run(resume="always")
    assert project.run(resume=AGAIN).count_records() == 3
    assert len(project.asked) == 6


def test_a_file_in_the_place_of_the_folder_is_reported(project: Project) -> None:
    project.artifacts.mkdir()
    (project.artifacts / "w").write_text("")
    with pytest.raises(ArtifactStorageError):
        project.run()
