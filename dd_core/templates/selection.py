"""Filters that choose from several answers: by majority vote, or the one with the highest score.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

import orjson
from jinja2 import Undefined, pass_context

from dd_core.storage.json_codec import dump_json
from dd_core.templates.meter import RenderContext, measure


@pass_context
def _majority(context: RenderContext, value: Any, attribute: Any = None) -> Any:
    """Return the most frequent item, or its attribute; of equally frequent ones, the first."""
    items = list_items(context, "majority", value, attribute)
    if not items:
        return context.environment.undefined("majority has no items to choose from")
    keys = _list_keys(context, items)
    [(most, _)] = Counter(keys).most_common(1)
    return context.settle(items[keys.index(most)])


@pass_context
def _majority_share(context: RenderContext, value: Any, attribute: Any = None) -> float:
    """Return the share of the items that equal the most frequent one; 0 if there are no items."""
    items = list_items(context, "majority_share", value, attribute)
    counts = Counter(_list_keys(context, items))
    return max(counts.values(), default=0) / max(len(items), 1)


@pass_context
def _best_of(context: RenderContext, value: Any, by: Any) -> Any:
    """Return the item with the highest score; of equal ones, the first.

    `by` is the attribute with the score, or a list with one score for each item.
    """
    items = list_items(context, "best_of", value, None)
    if isinstance(by, str):
        scores = list_items(context, "best_of", value, by)
    else:
        scores = list_items(context, "best_of", by, None)
    if len(scores) != len(items):
        raise ValueError(f"best_of received {len(items)} items and {len(scores)} scores")
    if not items:
        return context.environment.undefined("best_of has no items to choose from")
    numbers = [_read_score(score) for score in scores]
    return context.settle(items[numbers.index(max(numbers))])


def list_items(context: RenderContext, name: str, value: Any, attribute: Any) -> list[Any]:
    """Return the items of a filter's input, or an attribute of each; `name` is the filter's.

    Raises `TypeError` if the input is no list.
    """
    if isinstance(value, Undefined):
        str(value)  # raises the error that says what is undefined
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        raise TypeError(f"{name} needs a list, not {type(value).__name__}")  # pyright: ignore
    items = cast("Iterable[Any]", value)
    if attribute is not None:
        given = {"attribute": attribute}
        items = context.environment.call_filter("map", items, kwargs=given, context=context)
    found = [*context.count(items)]
    for item in found:
        if isinstance(item, Undefined):
            str(item)
    return found


def _list_keys(context: RenderContext, items: list[Any]) -> list[bytes]:
    """Return text that is the same for equal items; 42 equals 42.0, but neither true nor "42"."""
    context.charge(measure(items))
    plain = [int(each) if _is_whole(each) else each for each in items]
    return [dump_json(each, orjson.OPT_SORT_KEYS) for each in plain]


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _read_score(score: Any) -> float:
    """Return a score as a number; null and NaN are lower than any other."""
    number = math.nan if score is None else float(score)
    return -math.inf if math.isnan(number) else number


SELECTING: dict[str, Callable[..., Any]] = {
    "best_of": _best_of,
    "majority": _majority,
    "majority_share": _majority_share,
}
"""The filters by name."""
