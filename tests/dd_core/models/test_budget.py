"""A run stops at its budget, keeps what was paid for, and goes on when the budget is raised."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import BudgetExhaustedError
from tests.scripted import ScriptedModel, asking, chat_response

PRICE = dd.Price(input=2.0, output=10.0, cached=0.5)


def run(folder: Path, script: ScriptedModel, rows: int, made: Any = None, **budget: Any) -> Any:
    settings = dd.RunConfig(seed=1, buffer_size=50, budget=dd.Budget(**budget) if budget else None)
    designer = DataDesigner(folder, run_config=settings, transport=script)
    made = made or asking(max_parallel_requests=8)
    return designer.create(made, num_records=rows, dataset_name="d", resume="if_possible")


def test_no_more_requests_are_sent_than_the_budget_allows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = ScriptedModel("x", latency=0.002)
    results = run(tmp_path, first, 200, requests=60)
    assert results.count_records() == len(first.requests) == 60
    assert "the budget of 60 requests is used up (60 so far)" in caplog.text
    again = ScriptedModel("x")
    with caplog.at_level(logging.ERROR):
        assert run(tmp_path, again, 200, requests=60).count_records() == 60
    assert again.requests == []
    last = ScriptedModel("x")
    assert run(tmp_path, last, 200).count_records() == 200
    assert len(last.requests) == 200 - 60


def test_tokens_are_not_overdrawn_by_requests_in_flight(tmp_path: Path) -> None:
    script = ScriptedModel(
        chat_response("x", prompt_tokens=60, completion_tokens=40), latency=0.002
    )
    results = run(tmp_path, script, 200, tokens=5000)
    used = results.usage["m"]["text"]
    assert 4000 <= used["input_tokens"] + used["output_tokens"] <= 5000


def test_dollars_are_counted_by_price_and_cached_tokens_by_theirs(tmp_path: Path) -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    one = (600 * 2.0 + 400 * 0.5 + 100 * 10.0) / 1e6
    made = asking(max_parallel_requests=2, price=PRICE)
    results = run(tmp_path, ScriptedModel(chat_response("x", usage=usage)), 50, made, dollars=0.05)
    count = results.count_records()
    assert 0.05 / one - 3 <= count <= 0.05 / one
    assert results.dollars["m"] == pytest.approx(count * one)
    assert results.usage_of_all_runs["m"]["text"]["requests"] == count


def test_a_price_that_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    results = run(tmp_path, ScriptedModel("x"), 3)
    assert results.directory.metadata.dollars == {"m": None}
    with pytest.raises(InvalidConfigError, match=r"model_configs\.m\.price: is missing"):
        run(tmp_path, ScriptedModel("x"), 3, dollars=1)


def test_a_budget_that_is_too_small_for_any_row_says_so(tmp_path: Path) -> None:
    made = asking()
    made.add_column(name="more", column_type="llm-text", model_alias="m", prompt="{{ text }}")
    with pytest.raises(BudgetExhaustedError, match="the budget of 1 requests is used up"):
        run(tmp_path, ScriptedModel("x"), 5, made, requests=1)


def test_an_empty_budget_ends_the_readiness_check_as_well(tmp_path: Path) -> None:
    first = run(tmp_path, ScriptedModel(chat_response("x", prompt_tokens=99)), 3)
    first.directory.write_metadata(answered_at={})  # as if it had been long ago
    with pytest.raises(BudgetExhaustedError, match="tokens is used up"):
        run(tmp_path, ScriptedModel("x"), 6, tokens=100)


def test_limits_and_prices_do_not_change_what_a_column_is() -> None:
    plain = asking().build().fingerprint()
    assert asking(price=PRICE).build().fingerprint() == plain
    assert asking(requests_per_minute=5).build().fingerprint() == plain
    assert asking(temperature=0.5).build().fingerprint() != plain


def test_retries_are_as_many_as_the_run_allows(tmp_path: Path) -> None:
    from tests.scripted import refusal

    script = ScriptedModel(refusal(401))
    settings = dd.RunConfig(max_request_retries=0)
    assert settings.max_request_retries == 0
    script = ScriptedModel([refusal(500), "late"])
    designer = DataDesigner(tmp_path, run_config=settings, transport=script)
    assert designer.create(asking(), num_records=1).count_records() == 1  # by the salvage round
    assert len(script.requests) == 2
