"""Expressions with lists and objects as values."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner


def build(**columns: str) -> dd.DataDesignerConfigBuilder:
    """A builder with the columns `word` and `n`, and expressions with JSON."""
    made = dd.DataDesignerConfigBuilder([])
    values = ['say "tea"', "rain"]
    made.add_column(
        name="word", column_type="sampler", sampler_type="category", params={"values": values}
    )
    made.add_column(
        name="n",
        column_type="sampler",
        sampler_type="category",
        params={"values": [1, 2]},
        convert_to="int",
    )
    for name, expr in columns.items():
        made.add_column(name=name, column_type="expression", dtype="json", expr=expr)
    return made


def test_lists_and_objects_are_kept_with_their_types(tmp_path: Path) -> None:
    made = build(
        words="{{ [word, word | upper] }}",
        message="\n{{ {'role': 'user', 'content': word, 'sizes': [n, n / 2]} }}\n",
        halves="[{% for each in message.sizes %}{{ each / 2 }},{% endfor %} 0.5]",
    )
    made.add_column(
        dd.ExpressionColumnConfig(
            name="twos", expr="{{ [n] }}", dtype="json", skip=dd.SkipConfig(when="{{ n == 1 }}")
        )
    )
    made.add_column(name="said", column_type="expression", expr="{{ message.content }}")
    run_config = dd.RunConfig(seed=1, buffer_size=5)
    results = DataDesigner(tmp_path, run_config=run_config).create(made, num_records=20)
    frame = results.load_dataset(dtype_backend="pyarrow")
    rows = frame.to_dict("records")
    assert {row["word"] for row in rows} == {'say "tea"', "rain"}
    for row in rows:
        word, n = row["word"], row["n"]
        assert row["words"] == [word, word.upper()]
        assert row["message"] == {"role": "user", "content": word, "sizes": [n, n / 2]}
        assert row["halves"] == [n / 2, n / 4, 0.5]
        assert row["twos"] == (None if n == 1 else [2])
        assert row["said"] == word
    assert str(frame["words"].dtype) == "list<item: string>[pyarrow]"


def test_a_result_that_is_not_json_drops_the_row_and_says_what_to_print() -> None:
    made = build(odd="{{ word if n == 1 else [word] }}")
    run_config = dd.RunConfig(seed=1, disable_early_shutdown=True)
    results = DataDesigner(run_config=run_config).preview(made, num_records=10)
    assert {row["n"] for row in results.records()} == {2}
    reasons = " ".join(str(each) for each in results.dropped)
    assert "is not JSON; print one value, such as {{ [a, b] }}, or change dtype" in reasons


def test_other_types_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="'bool' or 'json'"):
        dd.ExpressionColumnConfig(name="x", expr="{{ y }}", dtype="list")  # type: ignore[arg-type]
