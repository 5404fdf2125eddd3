"""Scripts written for NeMo Data Designer run with nothing but their imports changed.

Each file of `recipes/` runs with data-designer 0.9.7 as it stands; the columns that are expected
here are those of its results, in declared order.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from tests.conformance.answers import PIXEL, answer, texts_of
from tests.scripted import ScriptedModel

RECIPES = Path(__file__).parent / "recipes"
ROLLOUTS = Path(__file__).parent.parent / "dd_core" / "kinds" / "rollouts"
PROVIDER = dd.ModelProvider(name="scripted", endpoint="http://scripted/v1")

Rows = list[dict[str, Any]]


def load(name: str) -> Any:
    """A recipe's module, its imports changed as a user would change them."""
    source = (RECIPES / f"{name}.py").read_text()
    source = source.replace("data_designer.config", "dd_core.config")
    source = source.replace("data_designer.interface", "dd_core")
    assert "data_designer" not in source
    found: dict[str, Any] = {"__name__": f"recipe_{name}"}
    exec(compile(source, f"{name}.py", "exec", dont_inherit=True), found)
    return found["load_config_builder"]()


def product_qa(rows: Rows) -> None:
    assert all(row["product_price"] == row["price_tens_of_dollars"] * 10 - 0.01 for row in rows)
    assert {*rows[0]["product_info"]} == {"product_name", "key_features", "price_usd"}
    assert [*rows[0]["llm_answer_metrics"]] == ["Accuracy", "Completeness"]
    assert {row["completeness_score"] for row in rows} <= {"1", "2"}


def multi_turn_chat(rows: Rows) -> None:
    topics = {"Tech": {"GPUs", "APIs"}, "Finance": {"Taxes"}}
    assert all(row["topic"] in topics[row["domain"]] for row in rows)
    assert all(row["user_mood"] == "earnest" for row in rows if row["complexity"] == "Advanced")
    assert rows[0]["conversation"]["conversation"][0]["role"] in ("user", "assistant")


def text_to_python(rows: Rows) -> None:
    assert rows[0]["code_implementation"] == '"""It prints."""\n\nprint(1)'
    assert rows[0]["code_validity_result"]["is_valid"] is True
    assert rows[0]["quality"] == rows[0]["code_judge_result"]["Pythonic"]["score"]


def text_to_sql(rows: Rows) -> None:
    assert rows[0]["sql"] == "SELECT a, b FROM t WHERE a > 1"
    assert rows[0]["code_validity_result"] == {"is_valid": True, "error_messages": ""}


def enterprise_text_to_sql(rows: Rows) -> None:
    assert all(row["record_id"].startswith("SQL-") and row["tables"] >= 3 for row in rows)
    assert rows[0]["valid_postgres"]["is_valid"] is True
    assert rows[0]["relevance_score"] in {"0", "1", "2", "3", "4"}


def image_generation(rows: Rows) -> None:
    assert rows[0]["picture"] == [PIXEL]
    assert rows[0]["caption"] == "It is so."


def agent_rollouts(rows: Rows) -> None:
    assert {row["trace_id"] for row in rows} == {"s-1", "s-1:a1"}
    assert {*rows[0]["digest"]} == {"task", "is_useful"}


def document_pages(rows: Rows) -> None:
    assert [row["title"] for row in rows] == ["Tea", "Ice", "Tea", "Ice"]
    assert rows[0]["relevance"]["relevant"]["score"] in ("yes", "no")


def patient_notes(rows: Rows) -> None:
    assert all(row["patient_id"] == row["patient_id"].upper() for row in rows)
    assert all(row["date_of_visit"] > row["symptom_onset_date"] for row in rows)
    assert all(row["physician"].startswith("Dr. ") for row in rows)


def custom_functions(rows: Rows) -> None:
    assert all(row["shouted"] == row["text"].upper() for row in rows)
    assert all(row["summary"] == f"It is so. ({row['text_length']})" for row in rows)
    assert {type(row["rank"]) for row in rows} == {int}


def embeddings(rows: Rows) -> None:
    vector = rows[0]["vector"]
    assert vector["dimension"] == 8
    assert vector["embeddings"] == [[0.5] * 8]


def skipping(rows: Rows) -> None:
    for row in rows:
        skipped = row["stars"] > 3
        assert (row["complaint"] == "none") is skipped
        assert (row["apology"] is None) is skipped
        assert row["label"] == f"{row['complaint']} / {row['stars']}"


def corpus(rows: Rows) -> None:
    assert [row["file_name"] for row in rows] == ["a.md", "b.md"] * 2
    roles = [message["role"] for message in rows[0]["question__trace"]]
    assert roles == ["system", "user", "assistant"]
    assert rows[0]["question__reasoning_content"] == "Because it is."
    assert len(rows[0]["answer__trace"]) == 1


def callable_validator(rows: Rows) -> None:
    assert [row["check"]["is_valid"] for row in rows] == [True, False, True, True]
    assert rows[1]["check"]["reason"] == "b!"


def distributions(rows: Rows) -> None:
    for row in rows:
        assert row["gaussian"] <= 14
        assert row["high"] > row["gaussian"]
        assert str(row["later"]) > str(row["datetime"])[:10]


CASES: dict[Callable[[Rows], None], str] = {
    product_qa: (
        "category price_tens_of_dollars product_price first_letter is_hallucination product_info "
        "question answer llm_answer_metrics completeness_score"
    ),
    multi_turn_chat: (
        "domain topic complexity conversation_length user_mood assistant_system_prompt "
        "conversation toxicity_judge"
    ),
    text_to_python: (
        "industry_sector topic instruction_phrase instruction code_implementation "
        "code_judge_result code_validity_result quality"
    ),
    text_to_sql: "complexity sql_concept sql_context sql code_validity_result",
    enterprise_text_to_sql: (
        "record_id industry_sector tables request sql_sqlite valid_sqlite sql_postgres "
        "valid_postgres relevance_score readability_score scalability_score"
    ),
    image_generation: "style animal picture caption",
    agent_rollouts: (
        "trace_id source_kind source_path root_session_id agent_id is_sidechain cwd project_path "
        "git_branch started_at ended_at messages source_meta message_count tool_call_count "
        "final_assistant_message digest instruction"
    ),
    document_pages: "page png title qa relevance",
    patient_notes: (
        "diagnosis summary patient_id first_name last_name birth_date symptom_onset_date "
        "date_of_visit physician physician_notes"
    ),
    custom_functions: "topic text shouted text_length rank revised summary",
    embeddings: "topic list vector",
    skipping: "stars complaint apology label",
    corpus: (
        "source_kind source_path relative_path file_name content question question__trace "
        "question__reasoning_content answer answer__trace"
    ),
    callable_validator: "name total check note",
    distributions: (
        "category uniform gaussian bernoulli bernoulli_mixture binomial poisson scipy uuid "
        "datetime later high text"
    ),
}


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROLLOUTS, tmp_path / "rollouts")


def test_every_recipe_is_run() -> None:
    assert {path.stem for path in RECIPES.glob("*.py")} == {each.__name__ for each in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("check", CASES, ids=lambda each: each.__name__)
def test_a_recipe_is_previewed_and_created(check: Callable[[Rows], None]) -> None:
    builder = load(check.__name__)
    model = ScriptedModel(answer)
    designer = DataDesigner("artifacts", model_providers=[PROVIDER], transport=model)
    designer.validate(builder)
    found = designer.preview(builder, num_records=4)
    assert [*found.dataset.columns] == CASES[check].split()
    check(found.records())
    assert found.analysis.num_records == 4
    results = designer.create(builder, num_records=4, dataset_name=check.__name__)
    assert [*results.load_dataset().columns] == CASES[check].split()
    assert results.count_records() == 4


BY_NAME_ONLY = (custom_functions, callable_validator)
"""Recipes with functions, of which a file holds nothing but the names."""


@pytest.mark.parametrize(
    "check", [each for each in CASES if each not in BY_NAME_ONLY], ids=lambda each: each.__name__
)
def test_a_recipe_that_can_be_written_is_the_same_when_it_is_read(
    check: Callable[[Rows], None],
) -> None:
    builder = load(check.__name__)
    builder.write_config("config.yaml")
    builder.write_config("config.json")
    before = builder.build()
    for path in ("config.yaml", "config.json"):
        again = dd.DataDesignerConfigBuilder.from_config(path).build()
        assert again.fingerprint() == before.fingerprint()
        assert json.loads(again.model_dump_json()) == json.loads(before.model_dump_json())


def test_the_conversation_that_a_model_sees_has_images_before_the_text() -> None:
    builder = load("document_pages")
    model = ScriptedModel(answer)
    DataDesigner(model_providers=[PROVIDER], transport=model).preview(builder, num_records=1)
    content = model.requests[0]["messages"][-1]["content"]
    assert [block["type"] for block in content] == ["image_url", "text"]
    assert content[0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert "Ask about page 1 of Tea." in texts_of(model.requests[0])
