"""Templates give the same text in every process; what they choose at random belongs to the row."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from dd_core.errors import UserTemplateError
from dd_core.storage.batch import NumberedRow
from dd_core.templates.filters import EACH, PLAIN, SEQUENCE, TEXT, build_filters
from dd_core.templates.numbers import INTERNAL as NUMBER_FILTERS
from dd_core.templates.rules import ALLOWED_FILTERS
from dd_core.templates.sandbox import NativeSandbox, Sandbox
from dd_core.templates.template import Condition, Template

WORDS = ["pear", "apple", "fig", "Plum", "kiwi", "date", "lime", "nut"]
ROW = {
    "text": "the quick <b>brown</b> fox at www.example.org",
    "words": WORDS,
    "number": 12.5,
    "people": [{"name": word, "age": len(word)} for word in WORDS],
    "mixed": {"a": {"x": 1}, "b": [3, 1, 2], "c": "text"},
    "names": {*WORDS},
    "nested": [{"inner": frozenset(WORDS)}],
}
SOURCES = {
    **{name: "{{ text|" + name + " }}" for name in TEXT - {"xmlattr"}},
    **{name: "{{ words|" + name + " }}" for name in SEQUENCE | PLAIN | {"random", "join"}},
    **{name: "{{ people|" + name + "('name') }}" for name in EACH},
    **{name: "{{ number|" + name + " }}" for name in ("abs", "int", "float", "round")},
    "best_of": "{{ people|best_of('age') }}",
    "majority": "{{ people|majority('age') }}",
    "transcript": "{{ [{'role': 'user', 'content': words[0]}]|transcript }}",
    "majority_share": "{{ words|majority_share }}",
    "attr": "{{ text|attr('nothing')|default('none') }}",
    "batch": "{{ words|batch(3) }}",
    "center": "{{ text|center(90) }}",
    "dictsort": "{{ mixed|dictsort }}",
    "filesizeformat": "{{ number|filesizeformat }}",
    "format": "{{ '%s-%r'|format(mixed, words) }}",
    "groupby": "{{ people|groupby('age') }}",
    "indent": "{{ text|indent(3, true) }}",
    "items": "{{ mixed|items }}",
    "map": "{{ words|map('upper') }}",
    "pprint": "{{ {(1, 'a'): 1, ('a', 1): 2, 'k': people}|pprint }}",
    "reject": "{{ words|reject('in', 'apple') }}",
    "replace": "{{ text|replace('o', '0') }}",
    "select": "{{ words|select('in', 'apple') }}",
    "selectattr": "{{ people|selectattr('age', 'gt', 3) }}",
    "rejectattr": "{{ people|rejectattr('age', 'gt', 3) }}",
    "slice": "{{ words|slice(3) }}",
    "sum": "{{ people|sum(attribute='age') }}",
    "tojson": "{{ mixed|tojson }}",
    "trim": "{{ text|trim('tg') }}",
    "urlencode": "{{ mixed|urlencode }}",
    "urlize": "{{ text|urlize(rel='b a c', target='_top') }}",
    "wordwrap": "{{ text|wordwrap(9) }}",
    "xmlattr": "{{ {'id': 1, 'class': words}|xmlattr }}",
}
OTHERS = (
    "{{ mixed.keys() - ['b'] }}",
    "{{ (mixed.keys() - ['z'])|list }}",
    "{{ names }}{{ names|join }}{{ names|list }}{{ nested }}",
    "{% for name in names %}{{ name }}{% endfor %}",
    "{{ mixed.keys() }}{{ mixed.values() }}{{ mixed.items() }}",
    "{{ words|map('upper')|map('lower') ~ '' }}",
    "{{ words|random }}{{ words|random }}{{ words|map('random')|join }}",
    "{{ words is sameas words }}{{ words[0] is sameas 'pe' ~ 'ar' }}{{ words is sameas names }}",
)
PROGRAM = """
from tests.dd_core.templates.test_repeatable import render_all
print(ascii(render_all()))
"""


def render_all() -> list[str]:
    """Every filter, and whatever else could depend on the process, in all engines."""
    row = NumberedRow(ROW, 3, "column", 7)
    texts: list[str] = []
    for source in sorted({*SOURCES.values(), *OTHERS}):
        texts.append(Template.compile(source, mode="native").render(row))
        try:
            texts.append(Template.compile(source).render(row))
        except UserTemplateError as error:
            texts.append(str(error))
        texts.append(str(Condition.compile(source).holds(row)))
    return texts


def test_every_filter_is_known_and_tried() -> None:
    assert {name for name in build_filters() if name[0] != " "} == {*SOURCES}
    assert {*SOURCES} >= ALLOWED_FILTERS
    for sandbox in (Sandbox(), NativeSandbox()):
        assert sandbox.globals == {}, "no clock"
        internal = {" loop", " result", " concat", *NUMBER_FILTERS}
        assert {*sandbox.filters} - internal == {*SOURCES}


@pytest.mark.slow
def test_another_process_renders_the_same_texts() -> None:
    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PROGRAM]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return found.stdout

    texts = run("1")
    assert run("2") == texts
    assert " at 0x" not in texts, "no addresses"


def test_a_choice_depends_on_seed_column_row_and_template() -> None:
    def choose(seed: int = 1, column: str = "c", number: int = 0, more: str = "") -> str:
        source = "{{ words|random }}{{ words|random }}{{ words|random }}" + more
        return Template.compile(source).render(NumberedRow(ROW, seed, column, number))

    first = choose()
    assert choose() == first
    for other in (choose(seed=2), choose(column="d"), choose(number=1), choose(more="{# #}")):
        assert other != first


def test_rows_choose_all_items_about_equally_often() -> None:
    template = Template.compile("{{ words|random }}")
    rows = (NumberedRow(ROW, 0, "c", number) for number in range(4_000))
    counts = Counter(map(template.render, rows))
    assert set(counts) == set(WORDS)
    assert all(400 < count < 600 for count in counts.values()), counts


def test_a_choice_from_nothing_is_undefined() -> None:
    assert Condition.compile("{{ (x|random) is undefined }}").holds({"x": []})


@pytest.mark.parametrize(
    "source",
    [
        "{{ when.now() }}",
        "{{ when.today() }}",
        "{{ when.utcnow() }}",
        "{{ when.timestamp() }}",
        "{{ when.astimezone() }}",
        "{{ when.fromtimestamp(0) }}",
        "{{ when.strftime('%s') }}",
        "{{ '{:%s}'.format(when) }}",
        "{{ [text.upper] }}",
        "{{ 'a' ~ text.upper }}",
        "{{ '%s' % text.upper }}",
        "{{ text.upper|string }}",
        "{{ '{}'.format(text.upper) }}",
        "{{ [text.upper]|join }}",
    ],
)
def test_clocks_time_zones_and_addresses_are_refused(source: str) -> None:
    import datetime as dt

    row = {"when": dt.datetime(2024, 1, 2, 3), "text": "a"}
    with pytest.raises(UserTemplateError, match="is not allowed"):
        Template.compile(source, mode="native").render(row)


def test_times_with_a_time_zone_can_be_converted() -> None:
    import datetime as dt

    row = {"when": dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC)}
    source = "{{ when.timestamp() }} {{ when.strftime('%Y') }}"
    assert Template.compile(source, mode="native").render(row) == "1704164400.0 2024"
