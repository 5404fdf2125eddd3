"""Workflows of NeMo Data Designer's scripts: stages, their outputs, and what is handed on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel

import dd_core.config as dd
from dd_core import (
    CompositeWorkflow,
    CompositeWorkflowResults,
    DataDesigner,
    DataDesignerWorkflowError,
    DatasetCreationResults,
    InvalidConfigError,
    ResumeMode,
    SkippedStageResult,
    SkippedStageStatus,
    WorkflowMetadata,
)
from tests.hub import running_hub
from tests.scripted import ScriptedModel, model

PEOPLE = [{"name": "Ada", "secret": "x"}, {"name": "Linus", "secret": "y"}]
PROVIDER = dd.ModelProvider(name="scripted", endpoint="http://scripted/v1")
COMPACT = dd.SchemaTransformProcessorConfig(name="compact", template={"short": "{{ label }}"})
NO_SECRET = dd.DropColumnsProcessorConfig(name="no_secret", column_names=["secret"])


def people(rows: list[dict[str, Any]] | None = None) -> dd.DataDesignerConfigBuilder:
    """A dataset of people with a column `label`."""
    frame = pd.DataFrame(PEOPLE if rows is None else rows)
    made = dd.DataDesignerConfigBuilder([model()])
    made.with_seed_dataset(dd.DataFrameSeedSource(df=frame))
    return made.add_column(name="label", column_type="expression", expr="{{ name }}!")


def expression(name: str, expr: str) -> dd.DataDesignerConfigBuilder:
    made = dd.DataDesignerConfigBuilder([model()])
    return made.add_column(name=name, column_type="expression", expr=expr)


@pytest.fixture
def designer(tmp_path: Path) -> DataDesigner:
    return DataDesigner(tmp_path / "artifacts", model_providers=[PROVIDER])


@pytest.fixture
def chain(designer: DataDesigner) -> CompositeWorkflow:
    """A workflow without stages."""
    return designer.compose_workflow(name="chain")


def read_stages(designer: DataDesigner, name: str = "chain") -> list[dict[str, Any]]:
    file = Path(str(designer.artifact_path)) / name / "workflow-metadata.json"
    return json.loads(file.read_text())["stages"]


def dataset(results: CompositeWorkflowResults, stage: str) -> DatasetCreationResults:
    result = results[stage]
    assert isinstance(result, DatasetCreationResults)
    return result


def save(frame: pd.DataFrame, folder: Path) -> Path:
    """Write rows as a callback does."""
    folder.mkdir(parents=True)
    frame.to_parquet(folder / "data.parquet", index=False)
    return folder


def test_each_stage_is_a_dataset_made_from_the_one_before(
    designer: DataDesigner, chain: CompositeWorkflow
) -> None:
    folder = Path(str(designer.artifact_path)) / "chain"
    assert not folder.exists()
    chain.add_stage("people", people(), num_records=2).add_stage(
        "greetings", expression("greeting", "Dear {{ label }}")
    )
    results = chain.run()
    assert [*results.keys()] == ["people", "greetings"]
    assert [name for name, _ in results.items()] == [*results] == ["people", "greetings"]
    assert (results.name, results.final_stage_name, len(results)) == ("chain", "greetings", 2)
    assert results.load_dataset().to_dict("records") == [
        {**row, "label": f"{row['name']}!", "greeting": f"Dear {row['name']}!"} for row in PEOPLE
    ]
    assert results.count_records() == results.load_analysis().num_records == 2
    assert results.final_result is results["greetings"]
    assert (folder / "stage-0-people" / "parquet-files" / "batch_00000.parquet").is_file()
    assert (folder / "stage-1-greetings" / "builder_config.json").is_file()


def test_the_metadata_describe_each_stage(designer: DataDesigner, chain: CompositeWorkflow) -> None:
    chain.add_stage("people", people(), num_records=2)
    chain.add_stage("greetings", expression("greeting", "Dear {{ label }}"))
    chain.run()
    text = (Path(str(designer.artifact_path)) / "chain" / "workflow-metadata.json").read_text()
    known = WorkflowMetadata.model_validate_json(text)
    assert known.model_dump(mode="json", exclude_unset=True) == json.loads(text)
    first, second = read_stages(designer)
    assert [first["status"], second["status"]] == ["completed", "completed"]
    assert (first["seeded_from_stage"], first["depends_on"]) == (None, [])
    assert (second["seeded_from_stage"], second["depends_on"]) == ("people", ["people"])
    assert second["seed_path"] == first["output_seed_path"] == "stage-0-people/parquet-files"
    assert (second["num_records_requested"], second["num_records_actual"]) == (2, 2)
    assert second["config"]["columns"][0]["name"] == "greeting"
    assert (second["sampling_strategy"], second["selection_strategy"]) == ("ordered", None)


def test_a_stage_keeps_the_configuration_that_it_was_added_with(chain: CompositeWorkflow) -> None:
    builder = people()
    chain.add_stage("people", builder, num_records=1)
    builder.add_column(name="late", column_type="expression", expr="late")
    assert "late" not in chain.run().load_dataset()


def test_more_records_than_the_stage_before_has_use_its_rows_again(
    chain: CompositeWorkflow,
) -> None:
    chain.add_stage("people", people(), num_records=2)
    chain.add_stage("many", expression("n", "{{ label }}"), num_records=5)
    assert [*chain.run().load_dataset()["name"]] == ["Ada", "Linus", "Ada", "Linus", "Ada"]


def test_a_selection_makes_one_row_for_each_selected_row(chain: CompositeWorkflow) -> None:
    rows = [{"name": name} for name in "abcdef"]
    chain.add_stage("people", people(rows), num_records=6)
    chain.add_stage(
        "two", expression("n", "{{ label }}"), selection_strategy=dd.IndexRange(start=1, end=2)
    )
    chain.add_stage(
        "one",
        expression("m", "{{ n }}"),
        selection_strategy=dd.PartitionBlock(index=1, num_partitions=2),
        sampling_strategy=dd.SamplingStrategy.SHUFFLE,
    )
    results = chain.run()
    assert [*results.load_stage_output("two")["name"]] == ["b", "c"]
    assert [*results.load_dataset()["name"]] == ["c"]


def test_a_seed_dataset_of_a_later_stage_is_replaced_with_a_warning(
    chain: CompositeWorkflow, caplog: pytest.LogCaptureFixture
) -> None:
    chain.add_stage("people", people(), num_records=2)
    other = expression("n", "{{ label }}").with_seed_dataset(
        dd.DataFrameSeedSource(df=pd.DataFrame({"label": ["other"]}))
    )
    chain.add_stage("copies", other)
    assert [*chain.run().load_dataset()["n"]] == ["Ada!", "Linus!"]
    assert "instead of its own seed dataset" in caplog.text


def test_a_callback_chooses_the_rows_that_are_handed_on(
    designer: DataDesigner, chain: CompositeWorkflow
) -> None:
    received: list[Path] = []

    def double_first(folder: Path) -> str:
        received.append(folder)
        first = pd.read_parquet(folder / "parquet-files").head(1)
        rows = pd.concat([first.assign(turn=turn) for turn in (1, 2)])
        return str(save(rows, folder / "callback-outputs" / "turns"))

    chain.add_stage("people", people(), num_records=2, on_success=double_first)
    chain.add_stage("turns", expression("text", "{{ label }} {{ turn }}"))
    results = chain.run()
    assert received == [Path(str(designer.artifact_path)) / "chain" / "stage-0-people"]
    assert [*results.load_dataset()["text"]] == ["Ada! 1", "Ada! 2"]
    assert dataset(results, "people").count_records() == 2
    assert results.count_stage_output_records("people") == 2
    stage = read_stages(designer)[0]
    assert stage["callback_output_path"] == "stage-0-people/callback-outputs/turns"
    assert stage["output_records"] == 2


def test_a_callback_that_returns_no_rows_or_fails_is_reported(
    designer: DataDesigner, tmp_path: Path
) -> None:
    def fails(folder: Path) -> Path:
        raise ZeroDivisionError("no luck")

    outcomes: dict[str, Callable[[Path], Any]] = {
        "No parquet files": lambda folder: folder / "nothing",
        "no luck": fails,
        "return the path": lambda folder: None,
    }
    for number, (message, callback) in enumerate(outcomes.items()):
        workflow = designer.compose_workflow(name=f"w{number}")
        workflow.add_stage("people", people(), num_records=1, on_success=callback)
        with pytest.raises(DataDesignerWorkflowError, match=message):
            workflow.run()
        assert read_stages(designer, f"w{number}")[0]["status"] == "failed"


def test_an_empty_output_fails_unless_it_is_allowed(designer: DataDesigner) -> None:
    def drop_all(folder: Path) -> Path:
        rows = pd.read_parquet(folder / "parquet-files").head(0)
        return save(rows, folder / "callback-outputs" / "none")

    def make(name: str, *, allow_empty: bool) -> CompositeWorkflow:
        workflow = designer.compose_workflow(name=name)
        workflow.add_stage(
            "people", people(), num_records=2, on_success=drop_all, allow_empty=allow_empty
        )
        workflow.add_stage("copies", expression("n", "{{ label }}"))
        return workflow.add_stage("more", expression("m", "{{ n }}"))

    with pytest.raises(DataDesignerWorkflowError, match=r"empty output.*allow_empty"):
        make("strict", allow_empty=False).run()
    results = make("lenient", allow_empty=True).run()
    skipped = SkippedStageResult(SkippedStageStatus.SKIPPED_EMPTY_UPSTREAM, "people")
    assert results["copies"] == results["more"] == skipped
    statuses = [stage["status"] for stage in read_stages(designer, "lenient")]
    assert statuses == ["completed_empty", *["skipped_empty_upstream"] * 2]
    for use in (results.load_dataset, results.count_records, results.load_analysis):
        with pytest.raises(DataDesignerWorkflowError, match="'more' was skipped"):
            use()
    with pytest.raises(DataDesignerWorkflowError, match="'copies' was skipped"):
        results.load_stage_output("copies")


def test_a_dataset_that_processors_empty_is_an_empty_output(designer: DataDesigner) -> None:
    nobody = people().add_processor(
        dd.FilterRowsProcessorConfig(name="f", condition="{{ label == 1 }}")
    )
    workflow = designer.compose_workflow(name="w")
    workflow.add_stage("people", nobody, num_records=2, allow_empty=True)
    workflow.add_stage("copies", expression("n", "{{ label }}"))
    results = workflow.run()
    assert isinstance(results["copies"], SkippedStageResult)


def test_output_processors_make_the_output_of_a_stage(
    designer: DataDesigner, chain: CompositeWorkflow
) -> None:
    chain.add_stage("people", people(), num_records=2, output_processors=[NO_SECRET])
    chain.add_stage("copies", expression("n", "{{ label }}"))
    results = chain.run()
    assert [*results.load_dataset().columns] == ["name", "label", "n"]
    assert "secret" not in dataset(results, "people").load_dataset()
    stage = read_stages(designer)[0]
    assert stage["output_processor_output_path"] == "stage-0-people/output-processors"
    main = Path(str(designer.artifact_path)) / "chain" / "stage-0-people" / "parquet-files"
    assert "secret" in pd.read_parquet(main)


@pytest.mark.parametrize("is_later", [False, True])
def test_the_side_dataset_of_a_processor_can_be_the_output(
    designer: DataDesigner, chain: CompositeWorkflow, tmp_path: Path, is_later: bool
) -> None:
    builder = people() if is_later else people().add_processor(COMPACT)
    later = [COMPACT] if is_later else [NO_SECRET]
    chain.add_stage(
        "people", builder, num_records=2, output_processors=later, output="processor:compact"
    )
    chain.add_stage("long", expression("long", "{{ short }}?"))
    results = chain.run()
    assert results.load_stage_output("people").to_dict("list") == {"short": ["Ada!", "Linus!"]}
    assert [*results.load_dataset()["long"]] == ["Ada!?", "Linus!?"]
    assert [*dataset(results, "people").load_dataset()["label"]] == ["Ada!", "Linus!"]
    path = results.export_stage("people", tmp_path / "people.jsonl")
    assert path.read_text().splitlines() == ['{"short":"Ada!"}', '{"short":"Linus!"}']
    assert read_stages(designer)[0]["output_seed_path"].endswith("processors-files/compact")


def test_a_processor_without_files_cannot_be_the_output(chain: CompositeWorkflow) -> None:
    builder = people().add_processor(NO_SECRET)
    chain.add_stage("people", builder, num_records=2, output="processor:no_secret")
    with pytest.raises(DataDesignerWorkflowError, match="has not written any files"):
        chain.run()


def test_a_callback_comes_after_the_processors_and_replaces_their_output(
    chain: CompositeWorkflow,
) -> None:
    chain.add_stage(
        "people",
        people().add_processor(COMPACT),
        num_records=1,
        output_processors=[NO_SECRET],
        output="processor:compact",
        on_success=lambda folder: folder / "output-processors" / "parquet-files",
    )
    assert chain.run().load_dataset().to_dict("records") == [{"name": "Ada", "label": "Ada!"}]


def test_a_stage_may_consist_of_processors(chain: CompositeWorkflow) -> None:
    chain.add_stage("people", people(), num_records=1)
    chain.add_stage("public", dd.DataDesignerConfigBuilder([model()]).add_processor(NO_SECRET))
    chain.add_stage("copies", expression("n", "{{ label }}"))
    assert chain.run().load_dataset().to_dict("records") == [
        {"name": "Ada", "label": "Ada!", "n": "Ada!"}
    ]


def test_the_final_output_is_exported_with_all_of_its_files(
    chain: CompositeWorkflow, tmp_path: Path
) -> None:
    chain.add_stage(
        "people", people().add_processor(COMPACT), num_records=1, output="processor:compact"
    )
    results = chain.run()
    extra = Path(str(results.get_stage_output_path("people"))) / "extra.parquet"
    pd.DataFrame({"short": ["Grace!"]}).to_parquet(extra, index=False)
    results.export(tmp_path / "all.csv")
    assert [*pd.read_csv(tmp_path / "all.csv")["short"]] == ["Ada!", "Grace!"]
    assert results.count_records() == 2
    results.export(tmp_path / "all.txt", format="jsonl")
    assert len((tmp_path / "all.txt").read_text().splitlines()) == 2


def test_only_a_dataset_is_uploaded(designer: DataDesigner, chain: CompositeWorkflow) -> None:
    chain.add_stage("people", people(), num_records=1)
    chain.add_stage("copies", expression("n", "{{ label }}"))
    with running_hub() as hub:
        url = chain.run().push_to_hub("ann/copies", "Copies.", endpoint=hub.url)
        files = hub.repositories["ann/copies"]
    assert url.endswith("/datasets/ann/copies")
    assert any(name.endswith("batch_00000.parquet") for name in files)
    other = designer.compose_workflow(name="other")
    other.add_stage("people", people().add_processor(COMPACT), output="processor:compact")
    with pytest.raises(DataDesignerWorkflowError, match=r"use export\(\)"):
        other.run().push_to_hub("ann/short", "Short.")


@pytest.mark.parametrize("name", ["a/b", "a*b", "", ".", "..", 3])
def test_names_must_fit_a_folder(designer: DataDesigner, name: Any) -> None:
    with pytest.raises(DataDesignerWorkflowError, match="workflow name"):
        designer.compose_workflow(name=name)
    with pytest.raises(DataDesignerWorkflowError, match="stage name"):
        designer.compose_workflow(name="w").add_stage(name, people())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_records": "3"}, "num_records must be an integer"),
        ({"num_records": True}, "num_records must be an integer"),
        ({"num_records": 0}, "num_records must be at least 1"),
        ({"on_success_version": 1}, "on_success_version must be a string"),
        ({"allow_empty": "yes"}, "allow_empty must be a boolean"),
        ({"sampling_strategy": "ordered"}, "sampling_strategy must be a SamplingStrategy"),
        ({"selection_strategy": {}}, "must be an IndexRange or PartitionBlock"),
        ({"output": "callback"}, "output must be 'final' or 'processor:<name>'"),
        ({"output": "processor:"}, "cannot be a folder name"),
        ({"output": "processor:a/b"}, "cannot be a folder name"),
        ({"output": "processor:other"}, "not configured on this stage"),
        ({"output_processors": [NO_SECRET, NO_SECRET]}, "distinct within output_processors"),
        ({"output_processors": [COMPACT]}, "distinct from those of the configuration"),
    ],
)
def test_what_a_stage_cannot_be_is_said_when_it_is_added(
    designer: DataDesigner, fields: dict[str, Any], message: str
) -> None:
    workflow = designer.compose_workflow(name="w")
    with pytest.raises(DataDesignerWorkflowError, match=message):
        workflow.add_stage("people", people().add_processor(COMPACT), **fields)
    assert not Path(str(designer.artifact_path)).exists()


def test_arguments_of_a_run_name_stages_that_exist(
    designer: DataDesigner, chain: CompositeWorkflow, tmp_path: Path
) -> None:
    with pytest.raises(DataDesignerWorkflowError, match="has no stages"):
        chain.run()
    chain.add_stage("a", people()).add_stage("b", expression("n", "{{ label }}"))
    with pytest.raises(DataDesignerWorkflowError, match="already used"):
        chain.add_stage("a", people())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"targets": "c"}, "targets names the stage 'c', which does not exist"),
        ({"targets": []}, "at least one stage"),
        ({"rerun_from": "b"}, "rerun_from requires resume"),
        ({"rerun_from": "c", "resume": "always"}, "rerun_from names the stage 'c'"),
        ({"rerun_from": "b", "targets": "a", "resume": "always"}, "after the last target 'a'"),
        ({"stage_output_overrides": {"c": "x"}}, "stage_output_overrides names the stage 'c'"),
        ({"stage_output_overrides": {"b": "x"}, "targets": {"a"}}, "after the last target 'a'"),
        ({"stage_output_overrides": {"a": tmp_path / "x"}}, "Invalid stage output override of"),
        ({"resume": ResumeMode.ALWAYS}, "no workflow metadata found"),
    ]
    for arguments, message in wrong:
        with pytest.raises(DataDesignerWorkflowError, match=message):
            chain.run(**arguments)
    with pytest.raises(InvalidConfigError, match="resume cannot be used"):
        chain.run(resume="sometimes")
    assert not Path(str(designer.artifact_path)).exists()


def test_a_wrong_reference_in_the_last_stage_is_told_before_the_first_request(
    tmp_path: Path,
) -> None:
    server = ScriptedModel("text", probes=True)
    designer = DataDesigner(tmp_path / "artifacts", transport=server)
    first = people().add_column(
        name="draft", column_type="llm-text", model_alias="m", prompt="On {{ name }}"
    )
    workflow = designer.compose_workflow(name="w")
    workflow.add_stage("drafts", first, output_processors=[NO_SECRET])
    workflow.add_stage("short", people().add_processor(COMPACT))
    workflow.add_stage("last", expression("n", "{{ drat }} {{ secret }}"))
    with pytest.raises(InvalidConfigError) as caught:
        workflow.run()
    told = "\n".join(map(str, caught.value.problems))
    assert "stages.short.columns.label" in told  # the stage before has a column of this name
    workflow = designer.compose_workflow(name="w")
    workflow.add_stage("drafts", first, output_processors=[NO_SECRET])
    workflow.add_stage("last", expression("n", "{{ drat }} {{ secret }}"))
    with pytest.raises(InvalidConfigError) as caught:
        workflow.run()
    places = {each.where for each in caught.value.problems}
    assert places == {"stages.last.columns.n.expr"}
    assert len(caught.value.problems) == 2
    workflow = designer.compose_workflow(name="w")
    first.add_processor(COMPACT)
    workflow.add_stage("drafts", first, output="processor:compact")
    workflow.add_stage("last", expression("n", "{{ short }} {{ label }}"))
    with pytest.raises(InvalidConfigError, match="unknown column 'label'"):
        workflow.run()
    pd.DataFrame({"other": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InvalidConfigError, match="unknown column 'short'"):
        workflow.run(stage_output_overrides={"drafts": tmp_path / "other.parquet"})
    assert server.requests == []
    assert not (tmp_path / "artifacts" / "w").exists()


def test_stages_after_a_callback_are_checked_when_its_rows_are_known(
    chain: CompositeWorkflow,
) -> None:
    def add_turn(folder: Path) -> Path:
        rows = pd.read_parquet(folder / "parquet-files").assign(turn=1)
        return save(rows, folder / "callback-outputs" / "turns")

    chain.add_stage("people", people(), num_records=1, on_success=add_turn)
    chain.add_stage("turns", expression("n", "{{ turn }}"))
    chain.add_stage("last", expression("m", "{{ tern }}"))
    with pytest.raises(InvalidConfigError, match="tern") as caught:
        chain.run()
    assert caught.value.__notes__ == ["in stage 'last' of workflow 'chain'"]


class Review(BaseModel):
    most: int = 1


@dd.custom_column_generator(required_columns=["label"], side_effect_columns=["selected"])
def choose(df: pd.DataFrame, generator_params: Review) -> pd.DataFrame:
    df = df.copy()
    df["remark"] = ""
    df["selected"] = [row < generator_params.most for row in range(len(df))]
    return df


@dd.custom_column_generator(required_columns=["label", "remark", "selected"])
def conclude(df: pd.DataFrame) -> pd.DataFrame:
    return df.assign(final=df["remark"].where(df["remark"] != "", df["label"]))


def test_rows_can_be_reviewed_between_two_stages(designer: DataDesigner, tmp_path: Path) -> None:
    """The pattern of the recipe `document_review_gate`: export, edit, resume from the file."""

    def build() -> CompositeWorkflow:
        workflow = designer.compose_workflow(name="gate")
        workflow.add_stage("people", people(), num_records=2)
        workflow.add_stage("candidates", custom("remark", choose, Review(most=1)))
        return workflow.add_stage("final", custom("final", conclude))

    build().run(targets="candidates").export_stage("candidates", tmp_path / "review.parquet")
    rows = pd.read_parquet(tmp_path / "review.parquet")
    rows.loc[rows["selected"], "remark"] = "approved"
    rows.to_parquet(tmp_path / "reviewed.parquet", index=False)
    results = build().run(
        resume=ResumeMode.ALWAYS,
        stage_output_overrides={"candidates": tmp_path / "reviewed.parquet"},
    )
    results.export_stage("final", tmp_path / "final.parquet")
    final = pd.read_parquet(tmp_path / "final.parquet")
    assert [*final["final"]] == ["approved", "Linus!"]
    stages = read_stages(designer, "gate")
    reviewed = str((tmp_path / "reviewed.parquet").resolve())
    assert stages[1]["stage_output_override_path"] == stages[2]["seed_path"] == reviewed


def custom(name: str, function: Any, params: Any = None) -> dd.DataDesignerConfigBuilder:
    return dd.DataDesignerConfigBuilder([]).add_column(
        dd.CustomColumnConfig(
            name=name,
            generator_function=function,
            generation_strategy=dd.GenerationStrategy.FULL_COLUMN,
            generator_params=params,
        )
    )
