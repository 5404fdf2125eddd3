"""Methods and properties beside fields that scripts for NeMo Data Designer call."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, HuggingFaceHubClient
from dd_core.errors import BuilderConfigurationError, InvalidConfigError, MediaError
from tests.conformance.answers import PIXEL
from tests.hub import running_hub
from tests.scripted import ScriptedModel, builder, model

PROVIDER = dd.ModelProvider(
    name="scripted",
    endpoint="http://scripted/v1",
    extra_body={"last": "provider", "deep": 1},
    extra_headers={"X-Team": "data"},
)


def test_languages_are_split() -> None:
    assert dd.CodeLang.parse("sql:postgres") == ("sql", "postgres")
    assert dd.CodeLang.parse(dd.CodeLang.PYTHON) == ("python", None)
    assert dd.CodeLang.parse_lang(dd.CodeLang.SQL_ANSI) == "sql"
    assert dd.CodeLang.parse_dialect("sql:ansi") == "ansi"
    assert dd.CodeLang.supported_values() >= {"python", "sql:ansi"}


def test_scheduling_metadata_is_made_and_checked() -> None:
    of = dd.SchedulingMetadata
    assert of.local("disk", weight=2) == of("local", ("local", "disk"), 2)
    made = of.model("openai", "gpt", "chat-completion", weight=3)
    assert made.identity == ("model", "openai", "gpt", "chat-completion")
    assert of.custom_model("mine", "gpu", "1").identity == ("custom_model", "mine", "gpu", "1")
    for fields, code in (
        ({"kind": "else"}, "invalid_kind"),
        ({"identity": ("local",)}, "invalid_identity"),
        ({"identity": ("model", "a")}, "invalid_identity"),
        ({"weight": 0}, "invalid_weight"),
    ):
        with pytest.raises(dd.SchedulingMetadataError) as error:
            of(**fields)
        assert error.value.code == code


def test_partitions_become_ranges() -> None:
    first, last = (dd.PartitionBlock(index=index, num_partitions=3) for index in (0, 2))
    assert first.to_index_range(10) == dd.IndexRange(start=0, end=2)
    assert last.to_index_range(10) == dd.IndexRange(start=6, end=9)


def test_parameters_are_shown_in_one_line() -> None:
    drawn = dd.UniformDistribution(params=dd.UniformDistributionParams(low=0.25, high=0.5))
    parameters = dd.ChatCompletionInferenceParams(temperature=drawn, top_p=0.987, max_tokens=20)
    shown = "max_parallel_requests=4, generation_type=chat-completion, temperature=dist"
    assert parameters.format_for_display() == f"{shown}, top_p=0.99, max_tokens=20"
    assert dd.EmbeddingInferenceParams(requests_per_minute=60).get_formatted_params() == [
        *("max_parallel_requests=4", "requests_per_minute=60"),
        *("generation_type=embedding", "encoding_format=float"),
    ]


def test_seed_sources_say_where_they_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = dd.LocalFileSeedSource(path="rows/*.csv")
    pages = dd.DirectorySeedSource(path="pages")
    sessions = dd.AgentRolloutSeedSource(format="claude_code")
    monkeypatch.chdir("/")
    assert rows.runtime_path == str(tmp_path / "rows" / "*.csv")
    assert dd.LocalFileSeedSource(path="s3://bucket/a.csv").runtime_path == "s3://bucket/a.csv"
    assert pages.runtime_path == "pages"
    assert pages.locate(pages.runtime_path) == tmp_path / "pages"
    assert sessions.runtime_path == str(Path("~/.claude/projects").expanduser())
    assert sessions.resolved_file_pattern == "*.jsonl"


def test_the_earlier_name_of_the_progress_can_be_read() -> None:
    with pytest.warns(DeprecationWarning, match="progress_bar is now display_tui") as caught:
        assert dd.RunConfig(display_tui=True).progress_bar
    assert caught[0].filename == __file__


def test_parameters_are_those_of_a_request() -> None:
    drawn = dd.UniformDistribution(params=dd.UniformDistributionParams(low=0.25, high=0.5))
    parameters = dd.ChatCompletionInferenceParams(
        temperature=drawn, max_tokens=5, timeout=7, extra_body={"seed": 1}
    )
    found = parameters.generate_kwargs
    assert 0.25 <= found.pop("temperature") < 0.5
    assert found == {"max_tokens": 5, "timeout": 7, "extra_body": {"seed": 1}}
    assert dd.ImageInferenceParams().generate_kwargs == {}
    assert dd.EmbeddingInferenceParams(dimensions=3).generate_kwargs == {
        "encoding_format": "float",
        "dimensions": 3,
    }
    fixed = dd.ManualDistribution(
        params=dd.ManualDistributionParams(values=[0.5, 1], weights=[1, 0])
    )
    assert fixed.sample() == 0.5
    assert 0.25 <= drawn.sample() < 0.5


def test_settings_keep_what_was_given() -> None:
    settings = dd.RunConfig(disable_early_shutdown=True, shutdown_error_rate=0.2)
    assert (settings.shutdown_error_rate, settings.effective_shutdown_error_rate) == (0.2, 1.0)
    assert dd.RunConfig(shutdown_error_rate=0.2).effective_shutdown_error_rate == 0.2
    tuning = dd.ThrottleConfig(reduce_factor=0.5).to_request_admission_tuning()
    assert tuning.multiplicative_decrease_factor == 0.5


def test_contexts_are_blocks_of_a_message(tmp_path: Path) -> None:
    context = dd.ImageContext(column_name="picture")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (block,) = context.get_contexts({"picture": "a.png"}, base_path=str(tmp_path))
    assert (block["type"], block["source"]["media_type"]) == ("image", "image/png")
    urls = ["http://x/1.png", "http://x/2.png"]
    assert context.get_contexts({"picture": urls}) == [
        {"type": "image", "source": {"type": "url", "url": url}} for url in urls
    ]
    with pytest.raises(MediaError):
        context.get_contexts({"picture": "a.png"})


def test_wrong_constraints_and_processors_are_refused_at_once() -> None:
    wrong: Any = object()
    made = dd.DataDesignerConfigBuilder()
    with pytest.raises(BuilderConfigurationError, match="'object' is not a constraint"):
        made.add_constraint(wrong)
    with pytest.raises(BuilderConfigurationError, match="'object' is not a processor"):
        made.add_processor(wrong)
    with pytest.raises(InvalidConfigError, match="only JSON types"):
        dd.SchemaTransformProcessorConfig(name="x", template={"a": {1, 2}})


def test_paths_and_resolvers_of_a_designer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "value")
    designer = DataDesigner(str(tmp_path))
    assert designer.artifact_path == tmp_path
    assert DataDesigner().artifact_path == Path("artifacts")
    assert DataDesigner("s3://bucket/rows").artifact_path == "s3://bucket/rows"
    assert designer.secret_resolver.resolve("A_KEY") == "value"
    made = builder()
    made.add_processor(
        dd.SchemaTransformProcessorConfig(name="side", template={"t": "{{ topic }}"})
    )
    written: list[Path] = []
    results = designer.create(made, num_records=3, on_batch_complete=written.append)
    assert [isinstance(path, Path) and path.is_file() for path in written] == [True]
    folder = results.get_path_to_processor_artifacts("side")
    assert isinstance(folder, Path)
    assert folder.is_dir()


async def test_acreate_reports_batches(tmp_path: Path) -> None:
    written: list[Path] = []
    settings = dd.RunConfig(buffer_size=2)
    await DataDesigner(tmp_path, run_config=settings).acreate(
        builder(), num_records=4, on_batch_complete=written.append
    )
    assert len(written) == 2


def test_datasets_are_uploaded_with_and_without_a_client(tmp_path: Path) -> None:
    results = DataDesigner(tmp_path).create(builder(), num_records=3)
    with running_hub() as hub:
        hub.token = "hf_marker"
        HuggingFaceHubClient.push_to_hub_from_folder(
            tmp_path / "dataset", "ann/a", "Rows.", token="hf_marker", endpoint=hub.url
        )
        client = HuggingFaceHubClient("hf_marker", hub.url)
        client.upload_dataset("ann/b", results.dataset_path, "Rows.", private=True)
        client.push_to_hub_from_folder(tmp_path / "dataset", "ann/c", "Rows.")
        assert client.has_token
        assert not HuggingFaceHubClient().has_token
        assert {*hub.repositories} == {"ann/a", "ann/b", "ann/c"}
        assert hub.private["ann/b"] is True


ASKED: dict[str, Any] = {}


@dd.custom_column_generator(required_columns=["topic"], model_aliases=["m", "i"])
def ask_in_many_ways(
    row: dict[str, Any], generator_params: Any, models: dict[str, Any]
) -> dict[str, Any]:
    chat, painter = models["m"], models["i"]
    first = chat.completion([{"role": "user", "content": "One?"}], temperature=0.5, n=2)
    second = chat.completion([first.message], extra_body={"own": 1}, skip_usage_tracking=True)
    text, _ = chat.generate("Three?", top_k=5, purpose="test")
    ASKED.update(
        usage=(first.usage.input_tokens, second.usage.output_tokens),
        provider=(chat.model_provider.name, chat.model_provider_name),
        kind=chat.model_generation_type,
        parallel=chat.max_parallel_requests,
        timeout=chat.request_timeout,
        requests=chat.usage_stats.requests,
        kwargs=chat.consolidate_kwargs(extra_body={"last": "call", "mine": 1}, purpose="x"),
        images=painter.generate_image("A dot", size="1x1", extra_body={"quality": "low"}),
    )
    return row | {"said": text}


@dd.custom_column_generator(required_columns=["topic"], model_aliases=["m", "i"])
async def ask_without_threads(
    row: dict[str, Any], generator_params: Any, models: dict[str, Any]
) -> dict[str, Any]:
    answer = await models["m"].acompletion([{"role": "user", "content": "One?"}])
    (image,) = await models["i"].agenerate_image("A dot")
    return row | {"said": f"{answer.message.content} {len(image)}"}


def answer(body: dict[str, Any]) -> Any:
    if "prompt" in body:
        return httpx.Response(200, json={"data": [{"b64_json": PIXEL}]})
    return f"answer to {body['messages'][-1]['content']}"


def run(function: Any) -> tuple[list[dict[str, Any]], ScriptedModel]:
    made = dd.DataDesignerConfigBuilder(
        model_configs=[
            model("m", provider="scripted", base_url=None, timeout=90, max_parallel_requests=3),
            dd.ModelConfig(
                alias="i",
                model="dall-e-3",
                provider="scripted",
                inference_parameters=dd.ImageInferenceParams(),
                skip_health_check=True,
            ),
        ]
    )
    made.add_column(
        name="topic", column_type="sampler", sampler_type="category", params={"values": ["a"]}
    )
    made.add_column(dd.CustomColumnConfig(name="said", generator_function=function))
    scripted = ScriptedModel(answer)
    designer = DataDesigner(model_providers=[PROVIDER], transport=scripted)
    return designer.preview(made, num_records=2).records(), scripted


def test_models_of_custom_columns_have_all_methods(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="dd_core"):
        rows, scripted = run(ask_in_many_ways)
    assert [row["said"] for row in rows] == ["answer to Three?"] * 2
    chats = [body for body in scripted.requests if "messages" in body]
    assert chats[0]["temperature"] == 0.5
    assert any(body.get("own") == 1 for body in chats)
    assert not any("n" in body or "top_k" in body for body in chats)
    drawn = next(body for body in scripted.requests if "prompt" in body)
    assert (drawn["size"], drawn["quality"]) == ("1x1", "low")
    warned = [each.getMessage() for each in caplog.records if "left out" in each.getMessage()]
    assert sorted(each.split(": ")[1].split(" ")[0] for each in warned) == ["n", "top_k"]
    assert ASKED["images"] == [PIXEL]
    assert ASKED["provider"] == ("scripted", "scripted")
    assert (ASKED["kind"], ASKED["parallel"], ASKED["timeout"]) == ("chat-completion", 3, 90.0)
    assert ASKED["requests"] >= 3
    assert ASKED["kwargs"]["timeout"] == 90
    assert ASKED["kwargs"]["extra_headers"] == {"X-Team": "data"}
    assert ASKED["kwargs"]["extra_body"] == {"last": "provider", "mine": 1, "deep": 1}
    assert "purpose" not in ASKED["kwargs"]


def test_async_functions_ask_in_the_same_ways() -> None:
    rows, _ = run(ask_without_threads)
    assert rows[0]["said"] == f"answer to One? {len(PIXEL)}"
