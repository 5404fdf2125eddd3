"""How one record is shown, and that showing it changes nothing."""

from __future__ import annotations

import copy
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.dataset.plan import Plan
from dd_core.designer.results import PreviewResults
from dd_core.designer.view.page import write_page
from dd_core.designer.view.record import RecordStyle, render_record
from tests.scripted import ScriptedModel

EVIL = '\x1b[2J\x1b]0;title\x07<script>alert(1)</script> [red]x[/red] \u202egnp.exe </pre>"&'
IMAGE = "iVBORw0KGgo" * 100


def columns() -> dd.DataDesignerConfigBuilder:
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="m", model="m", base_url="http://x")])
    made.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"product": ["lamp"]})))
    made.add_column(name="text", column_type="llm-text", model_alias="m", prompt="{{ product }}")
    made.add_column(
        name="code", column_type="llm-code", model_alias="m", code_lang="python", prompt="x"
    )
    made.add_column(
        name="verdict", column_type="llm-judge", model_alias="m", prompt="Judge {{ text }}",
        scores=[{"name": "tone", "description": "Tone", "options": {1: "bad", 2: "good"}}],
    )  # fmt: skip
    made.add_column(
        name="check", column_type="validation", target_columns=["code"], validator_type="code",
        validator_params={"code_lang": "python"},
    )  # fmt: skip
    made.add_column(name="vector", column_type="embedding", model_alias="m", target_column="text")
    made.add_column(name="picture", column_type="image", model_alias="m", prompt="{{ text }}")
    return made


RECORD: dict[str, Any] = {
    "product": "lamp",
    "text": EVIL,
    "code": "print('\x1b[31m')",
    "verdict": {"tone": {"score": 2, "reasoning": "It is kind."}},
    "check": {"is_valid": False, "python_linter_messages": "line 1: wrong"},
    "vector": {"embeddings": [[0.25] * 64], "dimension": 64},
    "picture": ["images/picture/a.png", IMAGE],
    "text__trace": [
        {"role": "user", "content": [{"type": "text", "text": "What is 2 + 2?"}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "I had better compute it.",
            "tool_calls": [
                {"id": "c1", "function": {"name": "add", "arguments": '{"a": 2, "b": [2]}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]},
    ],
    "text__reasoning_content": "Because of tea.",
    "nothing": None,
}


def plan() -> Plan:
    config = columns().build()
    known = [dd.SeedDatasetColumnConfig(name="product"), *config.columns]
    config = config.model_copy(update={"columns": known})
    return Plan(config=config, columns={}, models=(), seed=0, warnings=())


def shown(record: dict[str, Any], **style: Any) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(render_record(plan(), record, {}, RecordStyle(**style), 0))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_column_is_shown_as_what_it_is() -> None:
    text = " ".join(shown(RECORD).split())
    for part in (
        "Seed columns",
        "It is kind.",
        "not valid",
        "line 1: wrong",
        "[0.25, 0.25,",
        "(64 numbers)",
        "images/picture/a.png",
        "(1,100 characters of base64)",
        "What is 2 + 2?",
        "[reasoning] I had better compute it.",
        "[tool call 1] add",
        '"b": [',
        "tool (result of c1)",
        "[image_url] (1,100 characters of base64)",
        "Because of tea.",
        "null",
    ):
        assert part in text, part
    assert IMAGE[:50] not in text


def test_traces_and_seeds_can_be_left_out() -> None:
    text = shown(RECORD, hide_seed_columns=True, include_traces=False)
    assert "lamp" not in text
    assert "2 + 2" not in text
    assert "tea" not in text


def test_what_a_record_holds_cannot_control_the_terminal() -> None:
    text = shown(RECORD)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "␛[2J" in text
    assert "[red]x[/red]" in text


def test_showing_a_record_does_not_change_it() -> None:
    before = copy.deepcopy(RECORD)
    shown(RECORD)
    assert before == RECORD


def test_showing_a_preview_does_not_change_its_dataset() -> None:
    made = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="e", model="e", base_url="http://x",
                        inference_parameters=dd.EmbeddingInferenceParams())]
    )  # fmt: skip
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    made.add_column(name="vector", column_type="embedding", model_alias="e", target_column="id")

    def answer(body: dict[str, Any]) -> Any:
        import httpx

        data = [{"index": n, "embedding": [0.5] * 32} for n, _ in enumerate(body["input"])]
        return httpx.Response(200, json={"data": data, "usage": {"prompt_tokens": 1}})

    results = DataDesigner(transport=ScriptedModel(answer)).preview(made, num_records=1)
    before = repr(results.dataset["vector"][0])
    results.display_sample_record(0)
    assert repr(results.dataset["vector"][0]) == before
    assert len(results.dataset["vector"][0]["embeddings"][0]) == 32


@pytest.mark.parametrize("odd", [None, 5, "text", [], {}, [None], [5], [{"tool_calls": [None]}]])
def test_a_trace_of_another_form_is_shown_as_it_is(odd: Any) -> None:
    assert "text__trace" in shown({"text__trace": odd})
    assert "text__trace" in shown({"text__trace": json.dumps(odd)})


def test_a_page_holds_all_records_and_runs_nothing_of_them(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    views = [render_record(plan(), RECORD, {}, RecordStyle(), index) for index in range(3)]
    assert write_page(path, iter(views), title="<b>x", theme="light", width=80) == 3
    page = path.read_text()
    assert page.count("<section ") == 3
    assert page.count("<script>") == 1
    assert "&lt;script&gt;" in page
    assert "<title>&lt;b&gt;x</title>" in page
    assert "\x1b" not in page
    assert page.count("<pre>") == page.count("</pre>") == 3
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=", page)


def test_a_theme_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'dark' or 'light'"):
        write_page(tmp_path / "x.html", [], title="x", theme="blue")


def test_a_vague_index_is_refused_for_an_empty_preview() -> None:
    import pyarrow as pa

    empty = PreviewResults(pa.table({"a": []}), plan(), 0)
    with pytest.raises(IndexError, match="no rows"):
        empty.display_sample_record()
