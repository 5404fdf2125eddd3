"""Faker with quicker ways to the same values, for one locale at a time.

Faker adds up all weights of a list for every pick, makes five passes over every text with digits
and reads every pattern anew. What is put in place of that draws the same numbers in the same order.
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


_Made = TypeVar("_Made")
_TOKEN = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_MOST_KNOWN = 1_000  # lists and texts that a provider builds for one pick must not pile up
_DIGITS = {
    "#": [*"0123456789"],
    "%": [*"123456789"],
    "$": [*"23456789"],
    "!": [*"0123456789", *[""] * 10],
    "@": [*"123456789", *[""] * 9],
}
"""What stands for what in Faker's `numerify`."""


@lru_cache
def get_faker(locale: str) -> Generator:
    """The generator of a locale; all of them share one random generator."""
    from faker.factory import Factory

    faker = Factory.create(locale)
    pick, digits = _quick_picks(faker.random), _quick_digits(faker.random)
    for provider in faker.providers:
        provider.numerify = digits  # type: ignore[method-assign]
        provider.random_element = pick  # type: ignore[method-assign]
        cities = getattr(provider, "cities", None)
        if isinstance(cities, list):  # Italy's come from a set: in another order in each process
            provider.cities = sorted(cast("list[str]", cities))  # type: ignore[attr-defined]
    faker.parse = _quick_patterns(faker)  # type: ignore[method-assign]
    return faker


def _quick_picks(random: Random) -> Callable[..., Any]:
    """Faker's `random_element` that remembers the running totals of weights."""
    known: dict[int, tuple[object, list[Any], list[float]]] = {}
    draw = random.random

    def random_element(elements: Collection[Any] = ("a", "b", "c")) -> Any:
        kind = type(elements)
        if kind is tuple or kind is list:
            return elements[int(draw() * len(elements))]  # type: ignore[index]
        found = known.get(id(elements))
        if found is None:
            if isinstance(elements, Sequence):
                return elements[int(draw() * len(elements))]
            found = _kept(known, id(elements), (elements, *_totals(elements)))
        _, values, totals = found
        return values[bisect(totals, draw() * totals[-1], 0, len(values) - 1)]

    return random_element


def _totals(elements: Collection[Any]) -> tuple[list[Any], list[float]]:
    """Elements and the running totals of their weights."""
    if isinstance(elements, Mapping):
        weights = cast("Mapping[Any, float]", elements)
        return [*weights], [*accumulate(weights.values())]
    return sorted(elements, key=str), [*range(1, len(elements) + 1)]


def _quick_digits(random: Random) -> Callable[[str], str]:
    """Faker's `numerify`, where each placeholder is a digit out of some, or nothing."""
    known: dict[str, tuple[str, list[tuple[list[str], int]]]] = {}
    draw = random.random

    def numerify(text: str = "###") -> str:
        found = known.get(text)
        if found is None:
            form = "".join("%s" if sign in _DIGITS else sign for sign in text)
            places = [(_DIGITS[sign], len(_DIGITS[sign])) for sign in text if sign in _DIGITS]
            found = _kept(known, text, (form, places))
        form, places = found
        return form % tuple([digits[int(draw() * count)] for digits, count in places])

    return numerify


def _quick_patterns(faker: Generator) -> Callable[[str], str]:
    """Faker's `parse`, which fills in patterns such as `{{first_name}} {{street_suffix}}`."""
    known: dict[str, tuple[str, list[Callable[[], object]]]] = {}
    thorough = faker.parse

    def parse(text: str) -> str:
        if "{{" not in text:
            return text
        found = known.get(text)
        if found is None:
            literals, names = _TOKEN.split(text)[::2], _TOKEN.findall(text)
            if any("{{" in literal for literal in literals) or not _all_known(faker, names):
                return thorough(text)  # tokens with arguments, and what is wrong
            form = "%s".join(literal.replace("%", "%%") for literal in literals)
            found = _kept(known, text, (form, [getattr(faker, name) for name in names]))
        form, methods = found
        return form % tuple([method() for method in methods])

    return parse


def _all_known(faker: Generator, names: Sequence[str]) -> bool:
    return all(hasattr(faker, name) for name in names)


def _kept(known: dict[Any, _Made], key: object, made: _Made) -> _Made:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[key] = made
    return made
