"""The functions that templates may call, and that columns may share their names."""

from __future__ import annotations

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import UserTemplateError
from dd_core.storage.batch import NumberedRow
from dd_core.templates.template import Condition, RenderingMode, Template, list_references

ENGINES: tuple[RenderingMode, ...] = ("secure", "native")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ range(3) }}", "[0, 1, 2]"),
        ("{{ range(1, 10, 4) | list }}", "[1, 5, 9]"),
        ("{{ range(5, 0, -2) + [7] }}", "[5, 3, 1, 7]"),
        ("{% for i in range(n) %}{{ loop.index }}:{{ words[i] }};{% endfor %}", "1:a;2:b;"),
        ("{{ range(n) | random in [0, 1] }}", "True"),
        ("{{ dict(a=1, b=words).b[1] }}", "b"),
        ("{{ dict([('k', n)]) }}", "{'k': 2}"),
        ("{{ namespace(a=n).a }}", "2"),
        ("{% for w in words %}{{ cycler('x', 'y').next() }}{{ w }}{% endfor %}", "xaxb"),
        ("{{ joiner('; ')() }}{{ n }}", "2"),
        ("{% with range = n + 1 %}{{ range }}{% endwith %}", "3"),
    ],
)
def test_jinjas_functions_can_be_called(source: str, text: str, engine: RenderingMode) -> None:
    row = {"n": 2, "words": ["a", "b"]}
    assert Template.compile(source, mode=engine).render(row) == text
    assert list_references(source) <= row.keys()


def test_a_namespace_holds_values_across_loops() -> None:
    source = (
        "{% set sum = namespace(of=0) %}"
        "{% for i in range(4) %}{% set sum.of = sum.of + i %}{% endfor %}{{ sum.of }}"
    )
    assert Template.compile(source, mode="native").render({}) == "6"


def test_a_condition_may_call_them() -> None:
    condition = Condition.compile("{{ n in range(3) }}")
    assert [condition.holds({"n": n}) for n in (2, 3)] == [True, False]


@pytest.mark.parametrize("engine", ENGINES)
def test_columns_may_have_the_names_of_functions(engine: RenderingMode) -> None:
    source = "{{ range }} {{ dict.a }} {{ range(2)[1] }}"
    assert list_references(source) == {"range", "dict"}
    row = {"range": "wide", "dict": {"a": 5}}
    assert Template.compile(source, mode=engine).render(row) == "wide 5 1"


def test_a_templates_own_name_comes_first() -> None:
    source = "{% macro range(n) %}<{{ n }}>{% endmacro %}{{ range(3) }}"
    assert Template.compile(source, mode="native").render({}) == "<3>"


def test_lipsum_is_the_same_in_every_run_and_differs_by_row() -> None:
    template = Template.compile("{{ lipsum(2, html=false, min=3, max=5) }}")
    texts = [
        template.render(NumberedRow({}, seed=1, number=number, column="c")) for number in range(4)
    ]
    assert len({*texts}) == 4
    again = template.render(NumberedRow({}, seed=1, number=0, column="c"))
    assert again == texts[0]
    paragraphs = again.split("\n\n")
    assert len(paragraphs) == 2
    assert all(3 <= len(each.split()) <= 5 for each in paragraphs)
    assert Template.compile("{{ lipsum(1) }}").render({}).startswith("<p>")
    assert Condition.compile("{{ lipsum(1)[n] == 'a' }}").draws


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ range(100001) }}", "more than 100,000 numbers"),
        ("{{ range(10 ** 30) }}", "more than 100,000 numbers"),
        ("{{ range(9 ** 4000, 9 ** 4000 + 99999) | first }}", "too much work"),
        ("{{ range('x') }}", "TypeError"),
        ("{{ lipsum(10 ** 6) }}", "lipsum needs"),
        ("{{ lipsum(min=5, max=1) }}", "lipsum needs"),
        ("{{ cycler() }}", "at least one item"),
        ("{{ cycler(1) }}", "Cycler"),
        ("{{ joiner() }}", "prints a function"),
        ("{{ namespace(a=1) }}", "prints a namespace"),
        ("{{ [namespace(a=1)] | string }}", "prints a namespace"),
        ("{{ dict.fromkeys('ab') }}", "no column 'dict'"),
    ],
)
def test_their_results_are_bounded(source: str, reason: str, engine: RenderingMode) -> None:
    with pytest.raises(UserTemplateError, match=reason):
        Template.compile(source, mode=engine).render({})


def test_with_cannot_exhaust_memory() -> None:
    source = "{% with v0 = x * 100000, v1 = '' %}{{ v0 }}{% endwith %}"
    assert len(Template.compile(source).render({"x": "a"})) == 100_000
    doubled = "".join(f"{{% with v{n + 1} = v{n} ~ v{n} ~ v{n} %}}" for n in range(6))
    source = "{% with v0 = x * 500000 %}" + doubled + "{{ v6[0] }}" + "{% endwith %}" * 7
    with pytest.raises(UserTemplateError, match=r"too much work|too long"):
        Template.compile(source).render({"x": "a"})


def test_a_dataset_can_use_them() -> None:
    builder = dd.DataDesignerConfigBuilder([])
    builder.add_column(
        name="n",
        column_type="sampler",
        sampler_type="category",
        params={"values": [1, 2, 3]},
        convert_to="int",
    )
    expr = "{% for i in range(n) %}{{ i }}{% endfor %}"
    builder.add_column(name="digits", column_type="expression", expr=expr)
    rows = DataDesigner().preview(builder, num_records=5).records()
    assert all(row["digits"] == "012"[: row["n"]] for row in rows)
