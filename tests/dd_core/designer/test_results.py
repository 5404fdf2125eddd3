"""What can be done with a dataset that is there: profile, export, upload, show, build on it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dd_core.config as dd
from dd_core import (
    DataDesigner,
    DataDesignerProfilingError,
    DatasetCreationResults,
    HuggingFaceHubClient,
    InvalidConfigError,
)
from dd_core.errors import ArtifactStorageError
from dd_core.quality.view import DatasetView
from dd_core.storage.export import export
from dd_core.storage.unify import concatenate
from tests.hub import Hub, running_hub
from tests.scripted import ScriptedModel, refusal

STARS = [1, 2, 3, 4, 5]


def reviews(**more: Any) -> dd.DataDesignerConfigBuilder:
    """A dataset with most kinds of columns."""
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="m", model="m", base_url="http://x")])
    frame = pd.DataFrame({"product": ["kettle", "lamp", None]})
    made.with_seed_dataset(dd.DataFrameSeedSource(df=frame))
    made.add_column(
        name="stars", column_type="sampler", sampler_type="category", params={"values": STARS}
    )
    made.add_column(
        name="price", column_type="sampler", sampler_type="uniform", params={"low": 5, "high": 9}
    )
    made.add_column(
        name="review", column_type="llm-text", model_alias="m", prompt="Review {{ stars }}.",
        with_trace="last_message",
    )  # fmt: skip
    made.add_column(
        name="code", column_type="llm-code", model_alias="m", code_lang="python",
        prompt="Write code for {{ product }}.",
    )  # fmt: skip
    made.add_column(
        name="verdict",
        column_type="llm-judge",
        model_alias="m",
        prompt="Judge {{ review }}",
        scores=[
            {"name": "helpful", "description": "Helps", "options": {1: "no", 2: "yes"}},
            {"name": "tone", "description": "Tone", "options": {"kind": "k", "harsh": "h"}},
        ],
    )
    made.add_column(
        name="check",
        column_type="validation",
        target_columns=["code"],
        validator_type="code",
        validator_params={"code_lang": "python"},
    )
    made.add_column(name="hidden", column_type="expression", expr="x{{ stars }}", drop=True)
    made.add_processor(
        dd.SchemaTransformProcessorConfig(name="chat", template={"text": "{{ review }}"})
    )
    return made


def answer(body: dict[str, Any]) -> Any:
    """Texts, code and judgements that depend on what was asked."""
    asked: str = body["messages"][-1]["content"]
    if "fewer than 75 words" in asked:
        return "They help."
    if asked.startswith("Judge"):
        number = int(asked.split("Review ")[1][0]) if "Review " in asked else 1
        return {
            "helpful": {"reasoning": f"because {number}", "score": 1 + number % 2},
            "tone": {"reasoning": "so", "score": "kind" if number > 1 else "harsh"},
        }
    if asked.startswith("Write code"):
        return "```python\nx = (\n```" if "lamp" in asked else "```python\nprint(1)\n```"
    return f"It has {asked} [bold]really[/bold]"


def create(
    folder: Path, rows: int = 12, made: dd.DataDesignerConfigBuilder | None = None, **given: Any
) -> DatasetCreationResults:
    settings = dd.RunConfig(seed=3, buffer_size=5)
    designer = DataDesigner(folder, run_config=settings, transport=ScriptedModel(answer))
    return designer.create(made or reviews(), num_records=rows, dataset_name="reviews", **given)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> DatasetCreationResults:
    return create(tmp_path_factory.mktemp("results"))


def test_every_column_has_its_general_figures(results: DatasetCreationResults) -> None:
    analysis = results.load_analysis()
    found = {each.column_name: each for each in analysis.column_statistics}
    assert [*found] == ["product", "stars", "price", "review", "code", "verdict", "check"]
    assert analysis.column_types == [
        *("llm-code", "llm-judge", "llm-text", "sampler", "seed-dataset", "validation")
    ]
    assert (analysis.num_records, analysis.target_num_records) == (12, 12)
    assert analysis.percent_complete == 100.0
    assert analysis.side_effect_column_names == ["review__trace", "hidden"]
    frame = results.load_dataset()
    assert found["stars"].num_unique == frame["stars"].nunique()
    assert found["price"].percent_unique == 100.0
    assert (found["price"].pyarrow_dtype, found["price"].simple_dtype) == ("double", "float")
    assert found["verdict"].simple_dtype == "dict"
    assert {each.num_null for name, each in found.items() if name != "product"} == {0}


def test_samplers_have_their_distribution(results: DatasetCreationResults) -> None:
    stars, price = results.load_analysis().get_column_statistics_by_type("sampler")
    frame = results.load_dataset()
    counts = frame["stars"].value_counts()
    assert stars.distribution_type == "categorical"
    histogram = stars.distribution.histogram
    assert dict(zip(histogram.categories, histogram.counts, strict=True)) == counts.to_dict()
    assert counts[stars.distribution.most_common_value] == counts.max()
    assert counts[stars.distribution.least_common_value] == counts.min()
    prices = [float(value) for value in frame["price"]]
    assert price.distribution_type == "numerical"
    assert price.distribution.model_dump() == pytest.approx(
        {
            "min": min(prices),
            "max": max(prices),
            "mean": statistics.fmean(prices),
            "stddev": statistics.stdev(prices),
            "median": statistics.median(prices),
        }
    )


def test_judges_have_their_scores(results: DatasetCreationResults, tmp_path: Path) -> None:
    (verdict,) = results.load_analysis().get_column_statistics_by_type("llm-judge")
    assert [*verdict.scores] == ["helpful", "tone"]
    for name, found in verdict.scores.items():
        given = [str(each[name]["score"]) for each in results.load_dataset()["verdict"]]
        histogram = found.histogram
        counts = dict(zip(histogram.categories, histogram.counts, strict=True))
        assert counts == {value: given.count(value) for value in given}
    results.load_analysis().to_report(tmp_path / "report.html")
    assert "helpful" in (tmp_path / "report.html").read_text()


def test_model_columns_have_tokens_whose_mean_is_the_providers(
    results: DatasetCreationResults,
) -> None:
    (review,) = results.load_analysis().get_column_statistics_by_type("llm-text")
    assert review.output_tokens_mean == 5.0  # what the scripted model says it took
    assert review.input_tokens_mean == 3.0
    assert review.input_tokens_stddev == 0.0  # all prompts are as long
    assert review.output_tokens_median == pytest.approx(5.0)


def test_validations_have_the_number_of_valid_records(results: DatasetCreationResults) -> None:
    (check,) = results.load_analysis().get_column_statistics_by_type("validation")
    valid = [each["is_valid"] for each in results.load_dataset()["check"]]
    assert check.num_valid_records == sum(valid) == 8
    assert check.percent_valid == pytest.approx(100 * 8 / 12)


def test_the_analysis_is_computed_once_and_again_when_the_files_change(tmp_path: Path) -> None:
    first = create(tmp_path, 5)
    assert not (first.dataset_path / "analysis.json").exists()
    before = first.load_analysis()
    stored = first.dataset_path / "analysis.json"
    stamp = stored.stat().st_mtime_ns
    assert first.load_analysis() == before
    assert stored.stat().st_mtime_ns == stamp
    more = create(tmp_path, 10, reviews(), resume="if_possible")
    assert more.load_analysis().num_records == 10


def test_a_preview_is_analysed_as_well() -> None:
    designer = DataDesigner(transport=ScriptedModel(answer))
    found = designer.preview(reviews(), num_records=4).analysis
    assert found.num_records == 4
    assert {each.num_records for each in found.column_statistics} == {4}


def test_a_dataset_that_only_processes_a_seed_has_statistics_too() -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"a": [1, 2]})))
    found = DataDesigner().preview(made, num_records=2).analysis
    assert [each.column_name for each in found.column_statistics] == ["a"]


def test_judges_are_profiled_with_summaries(tmp_path: Path) -> None:
    made = reviews().add_profiler(
        dd.JudgeScoreProfilerConfig(model_alias="m", summary_score_sample_size=6)
    )
    results = create(tmp_path, 12, made)
    (profile,) = results.load_analysis().column_profiles or []
    helpful, tone = profile.scores
    scores = [each["helpful"]["score"] for each in results.load_dataset()["verdict"]]
    assert helpful.counts == {str(n): scores.count(n) for n in (1, 2) if n in scores}
    assert (helpful.distribution_type, tone.distribution_type) == ("numerical", "categorical")
    assert helpful.distribution is not None
    assert helpful.summary == tone.summary == "They help."
    assert {sample.reasoning[:7] for sample in helpful.samples} == {"because"}
    assert 2 <= len(helpful.samples) <= 7
    usage = results.usage["m"]
    assert usage["verdict (summary)"]["requests"] == 2


def test_a_summary_that_fails_says_so_and_costs_nothing_else(tmp_path: Path) -> None:
    def fail(body: dict[str, Any]) -> Any:
        asked = body["messages"][-1]["content"]
        return refusal(400) if "75 words" in asked else answer(body)

    made = reviews().add_profiler(dd.JudgeScoreProfilerConfig(model_alias="m"))
    designer = DataDesigner(tmp_path, transport=ScriptedModel(fail))
    (profile,) = designer.create(made, num_records=3).load_analysis().column_profiles or []
    assert all((score.summary or "").startswith("no summary: ") for score in profile.scores)


def test_no_summary_is_written_if_none_is_wanted() -> None:
    made = reviews().add_profiler(
        dd.JudgeScoreProfilerConfig(model_alias="m", summary_score_sample_size=None)
    )
    found = DataDesigner(transport=ScriptedModel(answer)).preview(made, num_records=3)
    (profile,) = found.analysis.column_profiles or []
    assert [score.summary for score in profile.scores] == [None, None]


def test_a_profilers_model_must_exist() -> None:
    made = reviews().add_profiler(dd.JudgeScoreProfilerConfig(model_alias="none"))
    with pytest.raises(InvalidConfigError, match=r"profilers\.0\.model_alias: no model.*'m'"):
        DataDesigner().validate(made)


def test_a_report_is_printed_or_written(
    results: DatasetCreationResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analysis = results.load_analysis()
    analysis.to_report(include_sections=["overview", "sampler"])
    shown = capsys.readouterr().out
    assert "12 of 12" in shown
    assert "stars" in shown
    assert "review" not in shown.replace("review__trace", "")
    for name in ("report.html", "report.svg"):
        analysis.to_report(tmp_path / name)
        assert "verdict" in (tmp_path / name).read_text()
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match=r"must end in \.html or \.svg"):
        analysis.to_report(tmp_path / "report.pdf")
    with pytest.raises(ValueError, match="section 'nothing' does not exist"):
        analysis.to_report(include_sections=["nothing"])


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_exports_hold_every_row(
    results: DatasetCreationResults, suffix: str, tmp_path: Path
) -> None:
    path = results.export(tmp_path / "out" / f"rows.{suffix}")
    assert path == tmp_path / "out" / f"rows.{suffix}"
    rows: Any
    if suffix == "jsonl":
        rows = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    else:
        rows = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    frame = results.load_dataset()
    assert [*rows.columns] == [*frame.columns]
    assert rows["review"].tolist() == frame["review"].tolist()
    verdict = rows["verdict"].tolist()[0]
    verdict = json.loads(verdict) if isinstance(verdict, str) else verdict
    assert verdict["helpful"]["score"] == frame["verdict"][0]["helpful"]["score"]
    assert [*(tmp_path / "out").iterdir()] == [path]


def test_an_export_of_another_format_is_refused(
    results: DatasetCreationResults, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactStorageError, match="unknown format 'xlsx'; use jsonl, csv"):
        results.export(tmp_path / "rows.xlsx")
    assert results.export(tmp_path / "rows.txt", format="csv").suffix == ".txt"


def test_batches_whose_types_differ_are_exported_together(tmp_path: Path) -> None:
    tables = [
        pa.table({"a": [1], "s": [{"x": 1}], "n": pa.nulls(1)}),
        pa.table({"a": [2.5], "s": [{"x": 2, "y": "z"}], "n": ["text"], "more": [True]}),
        pa.table({"a": [3], "s": ["plain"], "n": ["text"]}),
    ]
    export(lambda: tables, tmp_path / "x.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [row["a"] for row in rows] == [1.0, 2.5, 3.0]
    assert [row["s"] for row in rows] == ['{"x":1}', '{"x":2,"y":"z"}', "plain"]
    assert [row["more"] for row in rows] == [None, True, None]
    assert concatenate(tables[:2]).column("s").to_pylist() == [
        {"x": 1, "y": None},
        {"x": 2, "y": "z"},
    ]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as made:
        yield made


def test_a_dataset_is_uploaded_with_a_card(results: DatasetCreationResults, hub: Hub) -> None:
    hub.token = "hf_marker"
    url = results.push_to_hub(
        "ann/reviews", "Reviews of things.", token="hf_marker", endpoint=hub.url,
        private=True, tags=["reviews"],
    )  # fmt: skip
    assert url.endswith("/datasets/ann/reviews")
    files = hub.repositories["ann/reviews"]
    assert hub.private["ann/reviews"] is True
    data = [f"data/batch_{index:05d}.parquet" for index in range(3)]
    assert {*files} == {
        *data,
        *(path.replace("data/", "chat/") for path in data),
        *("README.md", "builder_config.json", "metadata.json"),
    }
    assert sum(pq.read_table(pa.BufferReader(files[path])).num_rows for path in data) == 12
    card = files["README.md"].decode()
    assert "- synthetic\n- datadesigner\n- reviews\n" in card
    assert "12 synthetic records" in card
    assert "Reviews of things." in card
    metadata = json.loads(files["metadata.json"])
    assert metadata["file_paths"]["data"] == data
    assert "hf_marker" not in b"".join(files.values()).decode("latin-1")
    # What was uploaded can be read back as a seed.
    source = dd.HuggingFaceSeedSource.model_validate(
        {"path": "datasets/ann/reviews/data/*.parquet", "endpoint": hub.url, "token": "hf_marker"}
    )
    assert source.open().num_rows == 12


def test_uploads_that_are_refused_say_why(
    results: DatasetCreationResults, hub: Hub, tmp_path: Path
) -> None:
    hub.token = "hf_marker"
    with pytest.raises(
        ArtifactStorageError, match=r"the upload to 'ann/reviews' failed: .*401"
    ) as said:
        results.push_to_hub("ann/reviews", "x", token="hf_wrong", endpoint=hub.url)
    assert "hf_wrong" not in str(said.value)
    with pytest.raises(ArtifactStorageError, match="variable 'NO_SUCH_TOKEN' is not set"):
        results.push_to_hub("ann/reviews", "x", token="NO_SUCH_TOKEN", endpoint=hub.url)
    client = HuggingFaceHubClient("hf_marker", hub.url)
    with pytest.raises(ArtifactStorageError, match="must have the form <user>/<name>"):
        client.push_to_hub_from_folder(results.dataset_path, "reviews", "x")
    with pytest.raises(ArtifactStorageError, match="no rows to upload"):
        client.push_to_hub_from_folder(tmp_path, "ann/reviews", "x")


def test_a_record_is_shown_by_what_its_columns_are(
    results: DatasetCreationResults, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results.display_sample_record(1, processors_to_display=["chat"])
    shown = capsys.readouterr().out
    for text in (
        "Seed columns",
        "lamp",
        "[bold]really[/bold]",
        "x = (",
        "Processor chat",
        "review__trace",
    ):
        assert text in shown
    results.display_sample_record(1, hide_seed_columns=True, include_traces=False)
    shown = capsys.readouterr().out
    assert "Seed columns" not in shown
    assert "review__trace" not in shown
    for name in ("record.html", "record.svg"):
        results.display_sample_record(0, save_path=tmp_path / name, theme="light")
        assert "kettle" in (tmp_path / name).read_text()
    with pytest.raises(IndexError, match="there is no row 12; the dataset has 12"):
        results.display_sample_record(12)


def test_without_an_index_the_next_record_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    made = dd.DataDesignerConfigBuilder([])
    made.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"a": ["one", "two"]})))
    found = DataDesigner().preview(made, num_records=2)
    for expected in ("one", "two", "one"):
        found.display_sample_record()
        assert expected in capsys.readouterr().out


def test_a_dataset_is_the_seed_of_another(results: DatasetCreationResults) -> None:
    made = results.to_config_builder()
    assert [model.alias for model in made.model_configs] == ["m"]
    made.add_column(name="again", column_type="expression", expr="{{ review }}!")
    found = DataDesigner(transport=ScriptedModel(answer)).preview(made, num_records=12)
    assert found.dataset["again"].tolist() == [f"{x}!" for x in results.load_dataset()["review"]]
    some = results.to_config_builder(columns=["stars"])
    some.add_column(name="twice", column_type="expression", expr="{{ stars * 2 }}")
    assert [*DataDesigner().preview(some, num_records=2).dataset.columns] == ["stars", "twice"]
    with pytest.raises(ValueError, match="column 'nothing' is not in the dataset"):
        results.to_config_builder(columns=["nothing"])


def test_a_dataset_that_is_there_already_is_opened(
    results: DatasetCreationResults, tmp_path: Path
) -> None:
    again = DataDesigner(results.dataset_path.parent).open("reviews")
    assert again.count_records() == again.load_analysis().num_records == 12
    assert again.load_analysis() == results.load_analysis()
    assert repr(again) == f"<DatasetCreationResults: 12 rows in '{results.dataset_path}'>"
    assert len(again.load_processor_dataset("chat")) == 12
    with pytest.raises(ArtifactStorageError, match="is not a dataset"):
        DataDesigner(tmp_path).open("reviews")


def test_seed_columns_are_named(results: DatasetCreationResults) -> None:
    assert results.dataset_metadata.seed_column_names == ["product"]


def test_files_that_cannot_be_read_are_a_profiling_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(DataDesignerProfilingError, match="the dataset cannot be read"):
        DatasetView([tmp_path / "x.parquet"])
