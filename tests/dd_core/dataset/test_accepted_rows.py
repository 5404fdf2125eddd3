"""Datasets that have as many accepted rows as were requested."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.designer.verification import verify_dataset
from dd_core.errors import BuilderConfigurationError, RowsExhaustedError
from dd_core.storage.directory import DatasetDirectory
from tests.scripted import Body, ScriptedModel, builder, prompt_of, refusal

GOOD = "{{ number % 3 == 0 }}"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return DataDesigner(folder).open("d").load_dataset().to_dict("records")


def accepting(when: str = GOOD, at_most: int = 400, **fields: Any) -> dd.DataDesignerConfigBuilder:
    """A number from 0 to 8, a text, and a second text that the condition does not need."""
    made = builder()
    made.add_column(
        name="number",
        column_type="sampler",
        sampler_type="category",
        params={"values": [*range(9)]},
        convert_to="int",
    )
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    made.add_column(name="text", column_type="llm-text", model_alias="m", prompt="First {{ id }}.")
    made.add_column(
        name="second", column_type="llm-text", model_alias="m", prompt="Second {{ text }}"
    )
    return made.accept_rows(when, at_most=at_most, **fields)


def create(
    folder: Path, made: Any, rows: int, script: Any = "A text.", **fields: Any
) -> tuple[ScriptedModel, Any]:
    settings = {"seed": 3, "buffer_size": fields.pop("buffer_size", 10)}
    transport = ScriptedModel(script)
    designer = DataDesigner(
        folder, transport=transport, run_config=dd.RunConfig.model_validate(settings)
    )
    results = designer.create(
        made, num_records=rows, dataset_name="d", resume="if_possible", **fields
    )
    return transport, results


def test_a_dataset_has_the_requested_number_of_accepted_rows(tmp_path: Path) -> None:
    transport, results = create(tmp_path, accepting(), 40)
    frame = results.load_dataset()
    assert len(frame) == results.count_records() == 40
    assert (frame["number"] % 3 == 0).all()
    assert frame["second"].notna().all()
    assert "(accepted)" not in frame.columns
    asked = Counter(prompt_of(body).split()[0] for body in transport.requests)
    assert asked["First"] == asked["Second"], "a rejected row costs nothing"
    assert verify_dataset(DatasetDirectory(tmp_path / "d")).problems == []


def test_what_the_condition_needs_is_generated_for_all_rows(tmp_path: Path) -> None:
    def script(body: Body) -> str:
        prompt = prompt_of(body)
        return "good" if "First" in prompt and prompt[6] in "01234567" else "bad"

    made = accepting("{{ text == 'good' }}")
    transport, results = create(tmp_path, made, 20, script)
    assert results.load_dataset()["text"].tolist() == ["good"] * 20
    asked = Counter(prompt_of(body).split()[0] for body in transport.requests)
    assert asked["First"] > 30 and 20 <= asked["Second"] <= 40


def test_the_first_accepted_rows_are_kept_whatever_the_batches(tmp_path: Path) -> None:
    for size in (3, 7, 50, 1000):
        create(tmp_path / str(size), accepting(), 30, buffer_size=size)
    first, *others = (rows_of(tmp_path / str(size)) for size in (3, 7, 50, 1000))
    assert len(first) == 30
    assert all(other == first for other in others)


def test_more_rows_are_generated_later(tmp_path: Path) -> None:
    transport, _ = create(tmp_path / "a", accepting(), 20)
    before = rows_of(tmp_path / "a")
    more, _ = create(tmp_path / "a", accepting(), 50)
    grown = rows_of(tmp_path / "a")
    assert grown[:20] == before and len(grown) == 50
    create(tmp_path / "b", accepting(), 50)
    assert rows_of(tmp_path / "b") == grown
    asked = {prompt_of(body) for body in transport.requests if "First" in prompt_of(body)}
    again = [prompt_of(body) for body in more.requests if prompt_of(body) in asked]
    assert not again


def test_an_unchanged_run_asks_nothing(tmp_path: Path) -> None:
    create(tmp_path, accepting(), 20)
    before = rows_of(tmp_path)
    again, _ = create(tmp_path, accepting(), 20)
    assert not again.requests and rows_of(tmp_path) == before


def test_quotas_are_exact(tmp_path: Path) -> None:
    made = accepting(per={"number": 4})
    _, results = create(tmp_path, made, 12)
    assert Counter(results.load_dataset()["number"]) == {0: 4, 3: 4, 6: 4}


def test_quotas_that_cannot_give_enough_rows_exhaust_them(tmp_path: Path) -> None:
    with pytest.raises(RowsExhaustedError, match=r"6 of 8 rows are accepted after 60 rows"):
        create(tmp_path, accepting(per={"number": 2}, at_most=60), 8)


@pytest.mark.parametrize("policy", ["raise", "partial"])
def test_too_few_rows(tmp_path: Path, policy: str) -> None:
    made = accepting("{{ number == 4 }}", at_most=30, on_exhausted=policy)
    if policy == "partial":
        _, results = create(tmp_path, made, 25)
        assert 0 < results.count_records() < 10
        return
    with pytest.raises(RowsExhaustedError, match=r"of 25 rows are accepted after 30 rows"):
        create(tmp_path, made, 25)
    rows = rows_of(tmp_path)
    assert rows and {row["number"] for row in rows} == {4}


def test_no_row_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(RowsExhaustedError, match="0 of 5 rows are accepted after 40 rows"):
        create(tmp_path, accepting("{{ number > 100 }}", at_most=40), 5)


def test_a_stopped_run_continues(tmp_path: Path) -> None:
    for limit in (13, 30):
        sent = 0

        def script(body: Body, limit: int = limit) -> Any:
            nonlocal sent
            sent += 1
            return refusal(401) if sent > limit else "A text."

        with pytest.raises(dd_error()):
            create(tmp_path / "a", accepting(), 30, script)
    create(tmp_path / "a", accepting(), 30)
    create(tmp_path / "b", accepting(), 30)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


def dd_error() -> type[Exception]:
    from dd_core import DataDesignerGenerationError

    return DataDesignerGenerationError


def test_a_repair_generates_only_what_is_lost(tmp_path: Path) -> None:
    create(tmp_path, accepting(), 30)
    before = rows_of(tmp_path)
    part = sorted((tmp_path / "d" / "generated-files").glob("*.parquet"))[1]
    part.write_bytes(part.read_bytes()[:-40])
    transport = ScriptedModel("A text.")
    DataDesigner(tmp_path, transport=transport).repair("d")
    assert rows_of(tmp_path) == before
    assert 0 < len(transport.requests) <= 2 * 10


def test_processors_see_the_accepted_rows(tmp_path: Path) -> None:
    made = accepting()
    made.add_processor(processor_type="filter_rows", name="six", condition="{{ number != 6 }}")
    made.add_processor(
        processor_type="schema_transform", name="pairs", template={"n": "{{ number }}"}
    )
    _, results = create(tmp_path, made, 30)
    numbers = {row["number"] for row in rows_of(tmp_path)}
    assert numbers == {0, 3}
    assert results.count_records() < 30
    pairs = results.load_processor_dataset("pairs")
    assert {int(value) % 3 for value in pairs["n"]} == {0}


def test_a_preview_shows_accepted_rows() -> None:
    preview = DataDesigner(transport=ScriptedModel("A text.")).preview(accepting(), num_records=30)
    assert 0 < len(preview.records()) < 30
    assert {row["number"] % 3 for row in preview.records()} == {0}


def test_an_estimate_is_for_accepted_rows() -> None:
    designer = DataDesigner(transport=ScriptedModel("A text."), run_config=dd.RunConfig(seed=3))
    free = designer.estimate(accepting("{{ number >= 0 }}"), num_records=100, probe_rows=20)
    few = designer.estimate(accepting("{{ text and number == 4 }}"), num_records=100, probe_rows=20)
    assert free.models[0].requests == 200
    assert few.models[0].requests > 300


def test_a_configuration_is_written_and_read_back(tmp_path: Path) -> None:
    made = accepting(per={"number": 4})
    made.write_config(tmp_path / "c.yaml")
    loaded = dd.load_config(tmp_path / "c.yaml")
    assert loaded.accept == made.build().accept
    assert dd.DataDesignerConfigBuilder.from_config(loaded).build() == loaded
    named = dd.Accept.model_validate({"when": "ok", "at_most": 3})
    assert named.when == "{{ ok }}"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"when": "{{ numbr }}"}, r"accept.when: .*did you mean 'number'"),
        ({"per": {"topik": 2}}, r"accept.per: .*did you mean 'topic'"),
        ({"at_most": 3}, "accept.at_most: is 3, but num_records is 5"),
    ],
)
def test_mistakes_are_found_before_a_run(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidConfigError, match=reason):
        create(tmp_path, accepting(**fields), 5)


@pytest.mark.parametrize("fields", [{"per": {"number": 0}}, {"when": "1 == 1"}, {"at_most": 0}])
def test_impossible_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((BuilderConfigurationError, ValidationError)):
        accepting(**fields)
