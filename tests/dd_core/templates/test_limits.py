"""Templates that would fill the memory or never end fail soon, and name their column."""

from __future__ import annotations

import resource
import time

import pytest

from dd_core.errors import UserTemplateError
from dd_core.storage.batch import NumberedRow
from dd_core.templates import meter
from dd_core.templates.template import Condition, Template

X = "a" * 100_000
ROW = NumberedRow(
    {
        "x": X,
        "n": "\n" * 100_000,
        "q": '"' * 100_000,
        "w": "a b " * 25_000,
        "u": "(www.a.b) " * 10_000,
        "d": {f"k{number}": number for number in range(1_000)},
        "big": [[*range(100)] for _ in range(1_000)],
    },
    seed=1,
    column="story",
    number=5,
)


def chain(first: str, step: str, last: str, steps: int = 40) -> str:
    """A template that builds each value from the one before, so that its size doubles."""
    sets = [f"{{% set v0 = {first} %}}"]
    sets += [f"{{% set v{n + 1} = {step.replace('v', f'v{n}')} %}}" for n in range(steps)]
    return "".join(sets) + last.replace("v", f"v{steps}")


BOMBS = [
    chain("x", "v ~ v", "{{ v }}"),
    chain("x", "v + v", "{{ v }}"),
    chain("[x]", "v + v", "{{ v }}"),
    chain("[x]", "[v, v]", "{{ v }}"),
    chain("[x]", "{1: v, 2: v}", "{{ v }}"),
    chain("(1, 1)", "(v, v)", "{{ v == (1, v) }}"),
    chain("3", "v * v", "{{ v }}"),
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}",
    "{% macro f(t, n) %}{{ f(t ~ t, n - 1) if n else t }}{% endmacro %}{{ f(x, 30) }}",
    "{% macro f() %}{% for c in x %}{{ caller() }}{% endfor %}{% endmacro %}"
    "{% call f() %}{{ x }}{% endcall %}",
    "{% for a in x recursive %}{{ loop(x) if loop.depth < 4 }}{% endfor %}",
    "{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for c in x %}{% if x|sort|first == 'z' %}a{% endif %}{% endfor %}",
    "{% for c in x if x|sort|first == 'z' %}{% endfor %}",
    "{% set y %}{% for c in x %}{{ x }}{% endfor %}{% endset %}{{ y }}",
    "{% set y %}{% for c in x %}{{ x.upper() }}{% endfor %}{% endset %}{{ y }}",
    "{% set y %}{% for c in x %}{{ x[1:] }}{% endfor %}{% endset %}{{ y }}",
    "{% autoescape true %}{% set y %}{% for c in x %}{{ q }}{% endfor %}{% endset %}{{ y }}"
    "{% endautoescape %}",
    "{% filter upper %}{% for c in x %}{{ x }}{% endfor %}{% endfilter %}",
    "{{ x|list|join(x) }}",
    "{{ x.join(x|list) }}",
    "{{ x|wordwrap(1, wrapstring=x) }}",
    "{{ (x ~ x ~ x ~ x ~ x)|wordwrap(1) }}",
    "{{ n|indent(width=n, blank=true) }}",
    "{{ x|replace(old='a', new=x) }}",
    "{{ (x|escape).replace(new=x, old='a') }}",
    "{{ x|list|map('replace', 'a', x)|list }}",
    "{{ x|list|map(attribute='none', default=x)|list|map('upper')|list }}",
    "{{ x|list|map('center', 9999)|list }}",
    "{{ x|list|map(attribute='none', default=x)|join }}",
    "{{ ('%s' * 99)|format(x, *([x|list] * 1)) }}",
    "{{ ('{0}' * 5000).format(x) }}",
    "{{ (x|list|slice(9999, x)|list)|map('list')|map('string')|join }}",
    "{{ {x: x|list}|pprint }}",
    "{{ (x|list)|tojson(indent=x) }}",
    "{{ u|urlize(target=x) }}",
    "{{ w|map('list')|reject('in', x|list)|list }}{{ x|list|reject('in', big)|list }}"
    "{% for c in x %}{% for e in x %}{% endfor %}{% endfor %}",
    "{{ d.fromkeys(w.split() + (d|list), x)|map('upper')|map('default', x)|list }}"
    "{{ d.fromkeys(d|list, x) }}",
    "{{ x.rfind('ab' ~ x[:50000]) }}",
    "{{ (x ~ x ~ x ~ x).strip('b' * 400000 ~ 'a') }}",
    "{{ ('é' ~ x).encode('punycode') }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ (1).from_bytes(x.encode(), 'big') }}",
    "{{ ('f' * 500000)|int(0, 16) }}",
    "{{ [1, 2]|sort(attribute='real." + "real." * 2_000 + "real') }}",
    "{% set m = namespace(t=x) %}{% for i in range(40) %}{% set m.t = m.t ~ m.t %}{% endfor %}",
    "{% set m = namespace(t=[x]) %}{% for i in range(40) %}{% set m.t = [m.t, m.t] %}{% endfor %}"
    "{{ m.t }}",
    "{% set m = namespace(n=0) %}{% for i in range(40) %}{% set m.n = namespace(a=m.n, b=m.n) %}"
    "{% endfor %}{{ m.n }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ dict(a=x, b=i).a }}{% endfor %}",
    "{% for i in range(99999) %}{{ lipsum() }}{% endfor %}",
    "{{ x }}" * 600,
    "{{ " + " ~ ".join(["x"] * 600) + " }}",
]


def defuse(source: str) -> None:
    source += "{{ x[0] }}"
    for render in (
        Template.compile(source, mode="native").render,
        Template.compile(source, mode="native", output="json").render,
        Condition.compile(source).holds,
    ):
        with pytest.raises(UserTemplateError, match=r"is not allowed|too much work|longer than"):
            render(ROW)


@pytest.mark.slow
@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_defused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_WORK", 2_000_000)  # to be quick
    defuse(source)


@pytest.mark.slow
def test_bombs_are_defused_before_they_take_time_and_memory() -> None:
    for source in BOMBS[::3]:
        began = time.thread_time()
        defuse(source)
        assert time.thread_time() - began < 30, "each of these would run for minutes or hours"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2_000_000  # kilobytes


@pytest.mark.parametrize(
    "source",
    [
        "{% for c in x %}{% if x|sort|list|length == 0 %}a{% endif %}{% endfor %}b",
        "{% for c in x %}{{ x }}{% endfor %}",
        "{% for c in x %}{{ x|replace('a', 'b')|upper|length }}{% endfor %}",
        "{{ x|list|string|list|string|list|string|list|string }}",
        "{{ x|replace(old='a', new=x) }}",
    ],
)
def test_the_secure_engine_stops_too(source: str) -> None:
    with pytest.raises(UserTemplateError, match=r"is not allowed|too much work|longer than"):
        Template.compile(source).render(ROW)


def test_the_error_names_the_column_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MOST_WORK", 1_000_000)
    template = Template.compile("{% for c in x %}{% if x|sort %}{% endif %}{% endfor %}")
    with pytest.raises(UserTemplateError, match=r"column 'story' is too much work: .*1,000,000"):
        template.render(ROW)


def test_the_clock_ends_what_the_count_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100_000))
    monkeypatch.setattr(meter, "monotonic", lambda: float(next(times)))
    monkeypatch.setattr(meter, "thread_time", lambda: float(next(times)))
    template = Template.compile("{% for c in x %}{% endfor %}a")
    with pytest.raises(UserTemplateError, match=r"'story' is too much work: it takes longer than"):
        template.render(ROW)


def test_a_pause_of_the_process_does_not_end_a_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100_000))
    monkeypatch.setattr(meter, "monotonic", lambda: float(next(times)))
    monkeypatch.setattr(meter, "thread_time", lambda: 0.0)
    template = Template.compile("{% for c in x %}{% endfor %}a")
    assert template.render(ROW) == "a"


def test_long_documents_and_loops_are_within_the_limits() -> None:
    row = {"doc": "word " * 50_000, "turns": [{"role": "user", "text": "hi " * 70}] * 1_000}
    source = (
        "{{ doc|trim|replace('word', 'name')|upper }}"
        "{% for turn in turns %}{{ loop.index }}/{{ loop.length }} {{ turn.text|trim }}{% endfor %}"
    )
    assert len(Template.compile(source).render(row)) > 450_000
    native = Template.compile("{{ doc }}" * 4 + "{{ doc|wordwrap(60) }}", mode="native")
    assert len(native.render(row)) > 1_200_000
    assert Template.compile("{{ turns|map('items')|sum(start=[])|length }}", mode="native").render(
        row
    ) == str(2_000)
