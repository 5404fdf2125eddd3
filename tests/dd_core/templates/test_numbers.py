"""Columns that hold numbers as text can be calculated with, and stay text everywhere else."""

from __future__ import annotations

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import UserTemplateError
from dd_core.templates.template import Condition, RenderingMode, Template

ENGINES: tuple[RenderingMode, ...] = ("secure", "native")
ROW = {
    "n": "12",
    "f": "1.50",
    "zip": "02116",
    "word": "tea",
    "yes": "true",
    "order": {"price": "3", "name": "x"},
    "big": "9",
    "real": 2,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "{{ n * 2 }} {{ n + 1 }} {{ n - 1 }} {{ n / 5 }} {{ n // 5 }} {{ n % 5 }}",
            "24 13 11 2.4 2 2",
        ),
        ("{{ n + real }} {{ real ** order.price }} {{ order['price'] * n }}", "14 8 36"),
        ("{{ [n, 100] | min }} {{ [0, n - 20] | max }}", "12 0"),
        (
            "{{ n > 3 }} {{ n > big }} {{ 3 <= f }} {{ n == 12 }} {{ n == '12' }}",
            "True True False True True",
        ),
        ("{{ yes == true }} {{ yes == 'true' }} {{ n != 12 }}", "True True False"),
        ("{{ f | round(1) }} {{ n | abs }}", "1.5 12"),
        ("{% for i in range(order.price) %}{{ i }}{% endfor %}", "012"),
        # What is not calculated with stays as it is written.
        ("{{ n }} {{ f }} {{ zip }} {{ n ~ f }} {{ n | length }}", "12 1.50 02116 121.50 2"),
        (
            "{{ zip + '-' + n }} {{ zip + '1' }} {{ word * 2 }} {{ '0' * 3 }}",
            "02116-12 021161 teatea 000",
        ),
        ("{{ zip < '1' }} {{ word > 'a' }} {{ zip == '02116' }}", "True True True"),
        ("{{ [n, word] | max }}", "tea"),
    ],
)
def test_numbers_in_text_are_numbers_where_they_are_calculated_with(
    source: str, text: str, engine: RenderingMode
) -> None:
    assert Template.compile(source, mode=engine).render(ROW) == text


def test_a_sum_adds_them() -> None:
    assert Template.compile("{{ [n, f] | sum }}", mode="native").render(ROW) == "13.5"


def test_conditions_compare_them() -> None:
    assert Condition.compile("{{ n >= 12 }}").holds(ROW)
    assert Condition.from_expression("n > 9 and order.price < 4").holds(ROW)
    assert not Condition.from_expression("zip == 2116").holds(ROW)


@pytest.mark.parametrize("source", ["{{ word - 1 }}", "{{ zip / 2 }}", "{{ word > 1 }}"])
def test_other_text_is_an_error(source: str) -> None:
    with pytest.raises(UserTemplateError, match="TypeError"):
        Template.compile(source).render(ROW)


def test_expressions_without_dtype_can_be_calculated_with() -> None:
    builder = dd.DataDesignerConfigBuilder([])
    builder.add_column(
        name="wages", column_type="sampler", sampler_type="category", params={"values": [200_000]}
    )
    steps = {
        "capped": "{{ (wages * 0.8) | int }}",
        "tax": "{{ (([capped, 147000] | min) * 0.062) | int }}",
        "rest": "{{ capped - tax if capped > tax else 0 }}",
    }
    for name, expr in steps.items():
        builder.add_column(name=name, column_type="expression", expr=expr)
    row = DataDesigner().preview(builder, num_records=1).records()[0]
    assert (row["capped"], row["tax"], row["rest"]) == ("160000", "9114", "150886")
