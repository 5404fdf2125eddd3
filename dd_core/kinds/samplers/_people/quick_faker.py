"""A faster Faker with the same values, for one locale at a time.

For every value, Faker sums up all weights of a list, passes five times over a string with digits,
and parses its pattern again. The replacements here remember this work. They draw the same numbers
in the same order, so the values are the same.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from faker.generator import Generator


_Value = TypeVar("_Value")
_TOKEN = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_CACHE_SIZE = 1_000  # lists and strings that a provider builds for one value must not pile up
_DIGITS = {
    "#": [*"0123456789"],
    "%": [*"123456789"],
    "$": [*"23456789"],
    "!": [*"0123456789", *[""] * 10],
    "@": [*"123456789", *[""] * 9],
}
"""What each placeholder of Faker's `numerify` can become."""


@lru_cache
def get_faker(locale: str) -> Generator:
    """The Faker generator of a locale; the generators of all locales share one random generator."""
    from faker.factory import Factory

    faker = Factory.create(locale)
    pick, digits = _quick_picks(faker.random), _quick_digits(faker.random)
    for provider in faker.providers:
        provider.numerify = digits  # type: ignore[method-assign]
        provider.random_element = pick  # type: ignore[method-assign]
        cities = getattr(provider, "cities", None)
        if isinstance(cities, list):  # Italy's come from a set, whose order differs by process
            provider.cities = sorted(cast("list[str]", cities))  # type: ignore[attr-defined]
    faker.parse = _quick_patterns(faker)  # type: ignore[method-assign]
    return faker


def _quick_picks(random: Random) -> Callable[..., Any]:
    """A replacement for Faker's `random_element` that remembers cumulative weights."""
    known: dict[int, tuple[object, list[Any], list[float]]] = {}
    draw = random.random

    def random_element(elements: Collection[Any] = ("a", "b", "c")) -> Any:
        kind = type(elements)
        if kind is tuple or kind is list:
            return elements[int(draw() * len(elements))]  # type: ignore[index]
        # The entry keeps a reference to the elements, so that their id is not reused.
        found = known.get(id(elements))
        if found is None:
            if isinstance(elements, Sequence):
                return elements[int(draw() * len(elements))]
            found = _remember(known, id(elements), (elements, *_cumulate(elements)))
        _, values, totals = found
        return values[bisect(totals, draw() * totals[-1], 0, len(values) - 1)]

    return random_element


def _cumulate(elements: Collection[Any]) -> tuple[list[Any], list[float]]:
    """The elements and their cumulative weights."""
    if isinstance(elements, Mapping):
        weights = cast("Mapping[Any, float]", elements)
        return [*weights], [*accumulate(weights.values())]
    return sorted(elements, key=str), [*range(1, len(elements) + 1)]


def _quick_digits(random: Random) -> Callable[[str], str]:
    """A replacement for Faker's `numerify`, which puts digits in place of placeholders."""
    known: dict[str, tuple[str, list[tuple[list[str], int]]]] = {}
    draw = random.random

    def numerify(text: str = "###") -> str:
        found = known.get(text)
        if found is None:
            form = "".join("%s" if sign in _DIGITS else sign for sign in text)
            choices = [(_DIGITS[sign], len(_DIGITS[sign])) for sign in text if sign in _DIGITS]
            found = _remember(known, text, (form, choices))
        form, choices = found
        return form % tuple([digits[int(draw() * count)] for digits, count in choices])

    return numerify


def _quick_patterns(faker: Generator) -> Callable[[str], str]:
    """A replacement for Faker's `parse`, which fills in `{{first_name}} {{street_suffix}}`."""
    known: dict[str, tuple[str, list[Callable[[], object]]]] = {}
    original = faker.parse

    def parse(text: str) -> str:
        if "{{" not in text:
            return text
        found = known.get(text)
        if found is None:
            literals, names = _TOKEN.split(text)[::2], _TOKEN.findall(text)
            if any("{{" in literal for literal in literals) or not _has_all(faker, names):
                return original(text)  # tokens with arguments, and errors
            form = "%s".join(literal.replace("%", "%%") for literal in literals)
            found = _remember(known, text, (form, [getattr(faker, name) for name in names]))
        form, methods = found
        return form % tuple([method() for method in methods])

    return parse


def _has_all(faker: Generator, names: Sequence[str]) -> bool:
    return all(hasattr(faker, name) for name in names)


def _remember(known: dict[Any, _Value], key: object, value: _Value) -> _Value:
    if len(known) >= _CACHE_SIZE:
        known.clear()
    known[key] = value
    return value
