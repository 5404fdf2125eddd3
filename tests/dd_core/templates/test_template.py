"""Templates: what they print, what they refuse, and what their errors tell the user."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dd_core.errors import UserTemplateError
from dd_core.templates.template import Condition, RenderingMode, Template, list_references

ENGINES: tuple[RenderingMode, ...] = ("secure", "native")


def rendered(source: str, engine: RenderingMode = "secure", **row: object) -> str:
    return Template.compile(source, mode=engine).render(row)


def test_importing_the_module_does_not_load_jinja() -> None:
    program = "import sys, dd_core.templates.template; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("plain text", set()),
        ("{{ a }} and {{ b.c }}", {"a", "b"}),
        ("{{ person['city'] | upper }}", {"person"}),
        ("{% for x in items %}{{ x }}{{ loop.index }}{% endfor %}", {"items"}),
        ("{% if a > 1 %}{{ b }}{% endif %}", {"a", "b"}),
        ("{{ range }} {{ lipsum }}", {"range", "lipsum"}),
    ],
)
def test_references_are_the_root_names_taken_from_outside(source: str, names: set[str]) -> None:
    assert list_references(source) == names
    assert Template.compile(source).references == names


@pytest.mark.parametrize("source", ["one\n{{ a }", "one\n{% if a %}", "one\n{{ a | }}"])
def test_a_syntax_error_gives_its_line_and_a_remedy(source: str) -> None:
    for attempt in (list_references, Template.compile, Condition.compile):
        with pytest.raises(UserTemplateError, match=r"line 2: .*; check its braces"):
            attempt(source)


@pytest.mark.parametrize("source", ["{{ a" + ".b" * 5000 + " }}", "{{ " + "(" * 5000 + " }}"])
@pytest.mark.parametrize("engine", ENGINES)
def test_endless_nesting_is_refused_at_compile(source: str, engine: RenderingMode) -> None:
    with pytest.raises(UserTemplateError, match="too deeply"):
        Template.compile(source, mode=engine)


def test_the_same_source_compiles_once_per_engine() -> None:
    first = Template.compile("{{ a }}!")
    assert Template.compile("{{ a }}!") is first
    assert Template.compile("{{ a }}!", mode="secure") is first
    assert Template.compile("{{ a }}!", mode="native") is not first
    with ThreadPoolExecutor(8) as pool:
        many = [*pool.map(lambda _: Template.compile("{{ a }} together"), range(64))]
    assert len({id(template) for template in many}) == 1


def test_threads_share_a_template() -> None:
    template = Template.compile("{{ n }}:{{ d.x }}")
    with ThreadPoolExecutor(8) as pool:
        texts = [*pool.map(lambda n: template.render({"n": n, "d": {"x": -n}}), range(2000))]
    assert texts == [f"{n}:{-n}" for n in range(2000)]


@given(st.text(min_size=1, max_size=60).filter(lambda text: not text.isspace()))
def test_text_passes_through_unchanged(text: str) -> None:
    for engine in ENGINES:
        assert rendered("{{ x }}", engine, x=text) == text


@pytest.mark.parametrize("text", ["true", "1.0", "[1,2]", '{"a": 1}', "{{ y }}", "<b>&amp;</b>"])
def test_text_is_neither_parsed_nor_escaped_when_printed(text: str) -> None:
    assert rendered("{{ x }}", x=text) == text


@pytest.mark.parametrize(
    ("source", "value", "text"),
    [
        ("{{ x.field }}", '{"field": "v"}', "v"),
        ("{{ x['field'] }}", '{"field": "v"}', "v"),
        ("{{ x[1] }}", " [1, 2]", "2"),
        ("{{ x[0] }}", "name", "n"),
        ("{{ x[0] }}", "[not json", "["),
        ("{{ x[0] }}", "[" * 100_000, "["),
        ("{% for i in x %}{{ i }};{% endfor %}", "[1, 2]", "1;2;"),
        ("{% for k, v in x | items %}{{ k }}={{ v }}{% endfor %}", '{"a": 1}', "a=1"),
        ("{{ x | first }}", "[7, 8]", "7"),
        ("{{ x | last }}", "text", "t"),
        ("{{ x | length }}", "[1, 2, 3]", "3"),
        ("{{ 2 in x }}", "[1, 2]", "True"),
        ("{{ (x if x else '[]')[0] }}", "[5]", "5"),
        ("{{ x.upper() }}", '{"a": 1}', '{"A": 1}'),
    ],
)
def test_json_text_is_parsed_only_where_the_template_looks_into_it(
    source: str, value: str, text: str
) -> None:
    assert rendered(source, x=value) == text


@pytest.mark.parametrize(
    ("source", "value", "text"),
    [
        ("{{ x.items }}", {"items": 3}, "3"),
        ("{{ x.items.count }}", {"items": {"count": 4}}, "4"),
        ("{{ x.items() | list }}", {"items": 3}, "[('items', 3)]"),
        ("{{ x.get('y', 1000000) }}", {}, "1000000"),
    ],
)
def test_keys_come_before_methods_unless_the_name_is_called(
    source: str, value: object, text: str
) -> None:
    assert rendered(source, x=value) == text


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "overridden"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (float("nan"), "nan"),
        (True, "True"),
        (dt.datetime(2024, 1, 2, 3, 4), "2024-01-02T03:04:00"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.timedelta(minutes=1), "60.0"),
        (Decimal("1.50"), "1.5"),
        ("ü".encode(), "ü"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (np.float64(1.5), "1.5"),
        ([np.float64(1.5), np.str_("a")], "[1.5, 'a']"),
        (np.datetime64("2024-01-02", "ns"), "2024-01-02T00:00:00"),
        (np.timedelta64(90, "s"), "90.0"),
        ({"when": dt.date(2024, 1, 2)}, "{'when': '2024-01-02'}"),
        (Shouting("quiet"), "quiet"),
    ],
)
def test_the_secure_engine_prints_values_as_json_types(value: object, text: str) -> None:
    assert rendered("{{ x }}", x=value) == text


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "a object"),
        (b"\xff", "not UTF-8"),
        (cyclic(), "contains itself"),
        (1j, "complex"),
    ],
)
def test_a_value_that_is_not_data_is_refused_by_column(value: object, reason: str) -> None:
    with pytest.raises(UserTemplateError, match=f"column 'x' contains .*{reason}"):
        rendered("{{ x }}", x=value)
    assert rendered("{{ y }}", x=value, y=1) == "1", "columns not referred to do not matter"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ person.address.city }}", {"address": {}}),
        ("{{ person.address.city }}", {"address": None}),
        ("{{ person['city'] }}", {}),
        ("{{ person.city }}", None),
        ("{{ person.city }}", ""),
        ("{% for p in [person] %}{{ p.city }}{% endfor %}", {}),
    ],
)
def test_a_missing_attribute_names_column_and_attribute(
    source: str, value: object, engine: RenderingMode
) -> None:
    with pytest.raises(UserTemplateError, match=r"'person'|'city'") as caught:
        rendered(source, engine, person=value)
    message = str(caught.value)
    assert "'person'" in message
    assert "'city'" in message
    assert "missing, None or empty" in message


@pytest.mark.parametrize("engine", ENGINES)
def test_a_column_absent_from_the_row_is_an_error(engine: RenderingMode) -> None:
    with pytest.raises(UserTemplateError, match="no column 'b'"):
        rendered("{{ a }}{{ b }}", engine, a=1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ x.__init__ }}",
        "{{ x.upper.__self__ }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ '{a.__class__}'.format_map({'a': x}) }}",
        "{{ cycler }}",
        "{{ lipsum }}",
        "{{ joiner() }}",
        "{{ namespace() }}",
        "{{ range(10**9) }}",
        "{{ numbers.append(1) }}",
        "{{ x.upper }}",
        "Dear {{ x.upper }}",
    ],
)
def test_the_sandbox_cannot_be_left(source: str, engine: RenderingMode) -> None:
    with pytest.raises(UserTemplateError):
        rendered(source, engine, x="abc", numbers=[1])


BIG = "('a' * 500000)"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 10**9 * 'a' }}",
        "{{ (1, 2) * 10**9 }}",
        "{{ [1] * 10**9 }}",
        "{{ 9 ** 999 ** 999 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, '1000000000') }}",
        "{{ '{0}{0}'.format(" + BIG + ") }}",
        "{{ 'a'.ljust(10**9) }}",
        "{{ 'a'.expandtabs(4) }}",
        "{{ (1).to_bytes(1000000000) }}",
        "{{ " + BIG + ".translate({97: " + BIG + "}) }}",
        "{{ " + BIG + ".replace('a', " + BIG + ") }}",
        "{{ " + BIG + " | replace('a', " + BIG + ") }}",
        "{{ " + BIG + ".join(" + BIG + " | list) }}",
        "{{ 1 | round(1000000000, 'ceil') }}",
    ],
)
def test_the_memory_cannot_be_filled_by_one_operation(source: str, engine: RenderingMode) -> None:
    with pytest.raises(UserTemplateError, match="is not allowed"):
        rendered(source, engine)


def test_a_secure_loop_stops_at_the_longest_text() -> None:
    source = "{% for c in " + BIG + " | list %}{{ " + BIG + " }}{% endfor %}"
    with pytest.raises(UserTemplateError, match="longer than 512000"):
        rendered(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ '%.2f' % n }}", "5000.00"),
        ("{{ '{:,.1f}'.format(n) }}", "5,000.0"),
        ("{{ n ** 2 }}", "25000000"),
        ("{{ n * 1000000 }}", "5000000000"),
        ("{{ '-' * 3 }}", "---"),
        ("{{ 'a-b'.replace('-', '+') }}{{ ', '.join(['a', 'b']) }}", "a+ba, b"),
        ("{{ n | round(1) }}", "5000"),
    ],
)
def test_ordinary_formatting_and_arithmetic_work(source: str, text: str) -> None:
    assert rendered(source, n=5000) == text


@pytest.mark.parametrize("judge", ["template", "condition"])
def test_methods_of_foreign_objects_cannot_be_called(judge: str, tmp_path: Any) -> None:
    target = tmp_path / "written"
    row = {"a": np.array([1.0]), "path": str(target), "f": open}
    for source in ("{{ a.tofile(path) }}", "{{ f(path, 'w') }}"):
        with pytest.raises(UserTemplateError, match="not safely callable"):
            if judge == "template":
                Template.compile(source, mode="native").render(row)
            else:
                Condition.compile(source).holds(row)
    assert not target.exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% import 'x' as y %}", "import"),
        ("{% from 'x' import y %}", "import"),
        ("{% include 'x' %}", "include"),
        ("{% extends 'x' %}", "extends"),
        ("{% block x %}{% endblock %}", "block"),
        ("{% macro m() %}{% endmacro %}", "macro"),
        ("{% set y = 1 %}", "set"),
        ("{% set y %}a{% endset %}", "set"),
        ("{% for x in y recursive %}{{ x }}{% endfor %}", "loops"),
        ("{% for x in y %}{% for z in x %}{{ z }}{% endfor %}{% endfor %}", "loops"),
        ("{{ self }}", "self"),
        ("{{ a }}" * 601, "too complex"),
        ("{{ a" + ".b" * 11 + " }}", "too complex"),
    ],
)
def test_the_secure_engine_refuses_at_compile(source: str, reason: str) -> None:
    with pytest.raises(UserTemplateError, match=reason):
        Template.compile(source)


def test_a_refused_filter_is_named_with_the_allowed_ones() -> None:
    with pytest.raises(
        UserTemplateError, match=r"'pprint' is not allowed; use one of abs, .*upper"
    ):
        Template.compile("{{ a | pprint }}")


def test_the_native_engine_has_all_of_jinja() -> None:
    source = (
        "{% set y = x | map('upper') | join('+') %}"
        "{% for a in x %}{% for b in x %}{{ a }}{% endfor %}{% endfor %}{{ y }}"
    )
    assert rendered(source, "native", x=["a", "b"]) == "aabbA+B"
    assert rendered("{{ x }}", "native", x="") == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "rendered to an empty string; check the values of 'x'"),
        ("a" * 512_001, "longer than 512000"),
        pytest.param(repr(rendered), "Python object", id="function"),
        pytest.param(repr(len), "Python object", id="built-in"),
        pytest.param(repr("a".upper), "Python object", id="bound method"),
    ],
)
def test_the_secure_engine_refuses_such_output(text: str, reason: str) -> None:
    with pytest.raises(UserTemplateError, match=reason):
        rendered("{{ x }}", x=text)


def test_a_space_may_stand_for_a_missing_value() -> None:
    assert rendered("{{ x if x else ' ' }}", x=None) == " "


@pytest.mark.parametrize("text", ["<function>f</function>", "<class id='1'>", "<module/>"])
def test_tags_are_no_python_objects(text: str) -> None:
    assert rendered("{{ x }}", x=text) == text


@pytest.mark.parametrize(
    ("source", "row", "held"),
    [
        ("{{ k == 1 }}", {"k": 1}, True),
        ("{{ k == 1 }}", {"k": 2}, False),
        (" \n{{ k == 1 }}\n", {"k": 2}, False),
        ("{{ k }}", {"k": []}, False),
        ("{{ k }}", {"k": [0]}, True),
        ("{{ k }}", {"k": None}, False),
        ("{{ k }}", {"k": "(" * 5000}, True),
        ("{% if k %} True {% else %} False {% endif %}", {"k": 0}, False),
        ("{% if k > 3 %}{{ k > l }}{% endif %}", {"k": 5, "l": 9}, False),
        ("{% if k > 3 %}{{ k > l }}{% endif %}", {"k": 1, "l": 0}, False),
        ("{{ k.score > 3 }}", {"k": '{"score": 4}'}, True),
        ("{{ k | selectattr('ok') | list | length > 1 }}", {"k": [{"ok": 1}]}, False),
        ("{{ k > l }}", {"k": dt.date(2024, 1, 2), "l": dt.date(2024, 1, 1)}, True),
    ],
)
def test_a_condition_has_the_truth_of_python(source: str, row: dict[str, Any], held: bool) -> None:
    assert Condition.compile(source).holds(row) is held


@pytest.mark.parametrize("source", ["k == 1", "", "{{ 1 == 1 }}"])
def test_a_condition_without_a_column_is_refused(source: str) -> None:
    with pytest.raises(UserTemplateError, match=r"in braces, for example \{\{ "):
        Condition.compile(source)


@pytest.mark.parametrize(
    ("source", "row"),
    [
        ("{{ k.x > 1 }}", {"k": {}}),
        ("{{ k > 1 }}", {"k": "text"}),
        ("{{ k > 1 }}", {}),
        ("{{ k.isdigit }}", {"k": "1"}),
        ("{{ k.__class__ }}", {"k": "1"}),
    ],
)
def test_a_condition_that_cannot_be_evaluated_raises(source: str, row: dict[str, Any]) -> None:
    condition = Condition.compile(source)
    assert condition.references == {"k"}
    with pytest.raises(UserTemplateError):
        condition.holds(row)


@pytest.mark.parametrize(
    ("expression", "row", "held"),
    [
        ("tone == 'angry'", {"tone": "angry"}, True),
        ("tone == 'angry'", {"tone": "calm"}, False),
        ("tone", {"tone": "angry"}, False),
        ("tone", {"tone": 1}, False),
        ("age > 3 and tone in ['a', 'b']", {"age": 4, "tone": "b"}, True),
    ],
)
def test_an_expression_holds_only_if_it_is_exactly_true(
    expression: str, row: dict[str, Any], held: bool
) -> None:
    assert Condition.from_expression(expression).holds(row) is held


@pytest.mark.parametrize("make", [Condition.compile, Condition.from_expression])
def test_conditions_compile_once(make: Callable[[str], Condition]) -> None:
    source = "{{ a }}" if make is Condition.compile else "a"
    assert make(source) is make(source)


PERSON = {"name": "Ann O'Hara", "age": 3, "city": None, "tags": ["a", 'say "b"']}


@pytest.mark.parametrize("mode", ["secure", "native"])
def test_what_a_template_prints_can_be_read_by_another(mode: RenderingMode) -> None:
    printed = Template.compile("{{ person }}", mode=mode).render({"person": PERSON})
    read = Template.compile("{{ text.name }} {{ text.tags[1] }} {{ text.city }}", mode=mode)
    assert read.render({"text": printed}) == 'Ann O\'Hara say "b" None'
    assert Condition.compile("{{ text.age == 3 }}").holds({"text": printed})


@pytest.mark.parametrize(
    "text",
    [
        "{1, 2}",
        "{1: 2}",
        "[b'a']",
        "[(1, 2)]",
        "[1, 2",
        "[print('a')]",
        "{'a': 1} or so",
        "['\\d']",
        "[" * 5000 + "]" * 5000,
        "[" + "-" * 90_000 + "1]",
        "['a', " + " " * 200_000 + "]",
    ],
)
def test_other_text_stays_text(text: str) -> None:
    assert Template.compile("{{ text | first }}").render({"text": text}) == text[0]
