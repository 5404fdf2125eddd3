"""Jinja's filters and tests with bounded results, and without chance other than the row's.

Every filter of Jinja is in one of the groups below; a filter that a later version of Jinja adds is
not available before it is in one of them. A filter counts the work that it does with the meter of
the rendering. Filters whose result can be much larger than their arguments compute its size first.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

from __future__ import annotations

import pprint
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS, sync_do_join
from jinja2.runtime import markup_join, str_join
from jinja2.tests import TESTS

from dd_core.templates.messages import MESSAGE_FILTERS
from dd_core.templates.meter import (
    ITEM,
    LONGEST_TEXT,
    SCALARS,
    SHORT,
    RenderContext,
    measure,
)
from dd_core.templates.selection import SELECTING

Filter = Callable[..., Any]
Check = Callable[..., Any]
"""Receives the context and the arguments of a filter, and returns the value to filter."""

PLAIN = frozenset(
    {"abs", "attr", "count", "d", "default", "filesizeformat", "first", "float", "last", "length"}
)
"""Filters that return one of their arguments, a part of one, or a number."""
TEXT = frozenset(
    {
        *("capitalize", "e", "escape", "forceescape", "lower", "safe", "string", "striptags"),
        *("title", "truncate", "upper", "urlencode", "wordcount", "xmlattr"),
    }
)
"""Filters whose result is at most about ten times as long as the text of their arguments."""
SEQUENCE = frozenset(
    {
        *("batch", "dictsort", "groupby", "items", "list", "max", "min", "reverse", "slice"),
        *("sort", "unique"),
    }
)
"""Filters that read a sequence once."""
EACH = frozenset({"map", "reject", "rejectattr", "select", "selectattr"})
"""Filters that apply another filter or a test to each item."""

_MOST_NUMBER = 10_000  # widths, indentations and counts
_MOST_STEPS = 200_000_000  # comparisons or copies of characters within one operation: about 0.1 s
_LONGEST_WORD = 10_000  # that `urlize` can take apart quickly
_DEEPEST_PATH = 20  # steps of `attribute="a.b.c"`
_FIRST = {"eval_context": "eval_ctx", "environment": "environment"}
_SMALL = frozenset([*SCALARS, str])
_WIDE_PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(?:\d*\.)?(?:\*|\d{5})")


def build_filters() -> dict[str, Filter]:
    """Return the filters of the sandboxes, by name."""
    checks: dict[str, Check] = {
        **dict.fromkeys(TEXT, _check_text),
        **dict.fromkeys(SEQUENCE, _check_sequence),
        **dict.fromkeys(EACH, _check_each),
        "center": _check_text,
        "format": _check_format,
        "indent": _check_indent,
        "int": _keep,
        "replace": _check_replace,
        "round": _keep,
        "tojson": _check_json,
        "trim": _check_trim,
        "urlize": _check_urlize,
        "wordwrap": _check_wordwrap,
    }
    filters = {name: FILTERS[name] for name in PLAIN}
    filters |= {name: _bound(FILTERS[name], check) for name, check in checks.items()}
    for name in ("batch", "center", "indent", "round", "slice", "tojson"):
        filters[name] = _limit_numbers(filters[name])
    return filters | {
        "join": _join,
        "pprint": _print_pretty,
        "random": _choose,
        "sum": _sum,
        **SELECTING,
        **MESSAGE_FILTERS,
        **INTERNAL,
    }


def build_tests() -> dict[str, Callable[..., Any]]:
    """Return the tests of the sandboxes, by name."""
    return {**TESTS, "sameas": _is_same}


def require_few_steps(operation: str, *sizes: int) -> None:
    """Raise `SecurityError` if an operation whose time is the product of sizes takes too long."""
    steps = 1
    for size in sizes:
        steps *= size
    if steps > _MOST_STEPS:
        raise SecurityError(f"{operation} would take too long with values of this size")


def check_size(operation: str, size: int) -> None:
    """Raise `SecurityError` if the result of an operation would be too long."""
    if size > LONGEST_TEXT:
        raise SecurityError(f"the result of {operation} would be too long")


def measure_replaced(text: Any, old: Any, new: Any) -> int:
    """Return the maximum length of a text in which `new` replaces `old`."""
    return len(text) + text.count(old) * len(new)


def _bound(apply: Filter, check: Check) -> Filter:
    """Wrap a filter: check its arguments first, then count its result."""
    if getattr(apply, "jinja_async_variant", False):  # it would choose between the two every time
        apply = cast("Any", apply).__wrapped__
    passed: str | None = getattr(getattr(apply, "jinja_pass_arg", None), "name", None)
    is_text = check in (_check_text, _check_trim)

    @pass_context
    def bounded(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            for argument in (*args, *kwargs.values()):
                if type(argument) not in _SMALL:
                    context.charge(measure(argument))
        if args or kwargs or not is_text or type(value) is not str:
            value = check(context, value, *args, **kwargs)
        if passed is None:
            result = apply(value, *args, **kwargs)
        else:
            first = context if passed == "context" else getattr(context, _FIRST[passed])
            result = apply(first, value, *args, **kwargs)
        if type(result) is str and len(result) <= SHORT:
            return result
        return context.settle(result)

    return bounded


def _limit_numbers(apply: Filter) -> Filter:
    """Wrap a filter so that it refuses large numbers as arguments."""

    @pass_context
    def limited(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, int) and abs(argument) > _MOST_NUMBER:
                raise SecurityError(f"the argument {argument} is too large")
        return apply(context, value, *args, **kwargs)

    return limited


def _keep(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
    if type(value) not in _SMALL:
        context.charge(measure(value))
    return value


def _check_text(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Count a value that becomes a text first."""
    if type(value) is not str:
        context.charge(measure(value))
    return value


def _check_sequence(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
    _check_path(args, kwargs)
    try:
        context.charge(ITEM * len(value))
    except TypeError:  # the filter says what is wrong
        return value
    return value


def _check_each(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
    _check_path(args, kwargs)
    return context.count(value) if value else value


def _check_path(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    for argument in (*args, kwargs.get("attribute")):
        if isinstance(argument, str) and argument.count(".") > _DEEPEST_PATH:
            raise SecurityError(f"the path of the attribute has more than {_DEEPEST_PATH} steps")


def _check_format(context: RenderContext, value: Any, *args: Any, **kwargs: Any) -> Any:
    context.charge(measure_percent_format(str(value), kwargs or args))
    return value


def measure_percent_format(text: str | bytes, values: Any) -> int:
    """Return the maximum length of `text % values`; raises `SecurityError` if it is too wide."""
    plain = text if isinstance(text, str) else text.decode("latin-1")
    fields = plain.count("%")
    if _WIDE_PERCENT.search(plain) or fields > 100:
        raise SecurityError("the format is too wide")
    return len(plain) + fields * (_MOST_NUMBER if type(values) in SCALARS else measure(values))


def _check_indent(
    context: RenderContext, value: Any, width: Any = 4, first: bool = False, blank: bool = False
) -> Any:
    context.charge(measure(value))
    step = len(width) if isinstance(width, str) else width
    lines = len(str(value).splitlines()) + 1
    context.charge(lines * step)
    return value


def _check_replace(
    context: RenderContext, value: Any, old: Any, new: Any, count: int | None = None
) -> Any:
    _check_text(context, value)
    check_size("replace", measure_replaced(str(value), str(old), str(new)))
    return value


def _check_json(context: RenderContext, value: Any, indent: Any = None) -> Any:
    step = len(indent) if isinstance(indent, str) else indent or 0
    context.charge(measure(value, indent=step))
    return value


def _check_trim(context: RenderContext, value: Any, chars: Any = None) -> Any:
    _check_text(context, value)
    if chars is not None:
        require_few_steps("trim", len(str(value)), len(chars))
    return value


def _check_urlize(
    context: RenderContext,
    value: Any,
    trim_url_limit: Any = None,
    nofollow: Any = False,
    target: Any = None,
    rel: Any = None,
    extra_schemes: Any = None,
) -> Any:
    _check_text(context, value)
    words = str(value).split()
    longest = max(map(len, words), default=0)
    if longest > _LONGEST_WORD:
        raise SecurityError(f"urlize cannot read words with more than {_LONGEST_WORD} characters")
    require_few_steps("urlize", len(words), longest, longest // 100 + 1)
    attributes = sum(len(each) for each in (target, rel) if isinstance(each, str))
    schemes = [*extra_schemes] if extra_schemes else []
    context.charge(len(words) * (ITEM + attributes * (len(schemes) + 2)))
    require_few_steps("urlize", len(words), len(schemes) + 1)
    return value


def _check_wordwrap(
    context: RenderContext,
    value: Any,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: Any = None,
    break_on_hyphens: bool = True,
) -> Any:
    _check_text(context, value)
    text = str(value)
    longest = max(map(len, text.split()), default=0)
    # The rest of a long word is copied for each line that it fills.
    require_few_steps("wordwrap", longest, longest // max(width, 1) + 1)
    lines = len(text) if width < ITEM else 2 * len(text) // width + len(text.splitlines())
    context.charge(lines * (len(wrapstring or "") + 1))
    return value


class _BoundedStream:
    """Collects text, and counts it as it grows."""

    def __init__(self, context: RenderContext) -> None:
        self.parts: list[str] = []
        self._charge = context.charge

    def write(self, text: str) -> None:
        self._charge(len(text))
        self.parts.append(text)


@pass_context
def _print_pretty(context: RenderContext, value: Any) -> str:
    """Print a value over several lines; keys keep their order, which does not depend on `id`."""
    check_size("pprint", measure(value))
    stream = _BoundedStream(context)
    pprint.PrettyPrinter(stream=cast("Any", stream), sort_dicts=False).pprint(value)
    return "".join(stream.parts).removesuffix("\n")


@pass_context
def _choose(context: RenderContext, seq: Any) -> Any:
    """Choose an item; the choice depends on the seed, the column and the row."""
    size = len(seq)
    if not size:
        return context.environment.undefined("No random item, sequence was empty.")
    return seq[context.draw(size)]


@pass_context
def _join(context: RenderContext, value: Any, d: Any = "", attribute: Any = None) -> str:
    """Join the items as Jinja does, after their size has been counted."""
    is_plain = attribute is None and type(d) is str and not context.eval_ctx.autoescape
    items = cast("list[Any]", value) if type(value) is list else [*context.count(value)]
    if is_plain and {*map(type, items)} == {str}:
        size = sum(map(len, items)) + len(d) * len(items)
        if size > SHORT:
            context.charge(size)
        return d.join(items)
    if attribute is not None:
        _check_path([attribute], {})
    context.charge(measure(items) + len(items) * measure(d))
    return context.settle(sync_do_join(context.eval_ctx, items, d, attribute))


@pass_context
def _sum(context: RenderContext, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    """Add the items; a long list grows in place, which takes time in proportion to its length."""
    items: Iterable[Any] = iterable
    if attribute is not None:
        items = context.environment.call_filter(
            "map", iterable, kwargs={"attribute": attribute}, context=context
        )
    if isinstance(start, str | bytes):
        raise TypeError("sum cannot add strings; use join")
    total: Any = [*start] if type(start) is list else start
    environment: Any = context.environment
    for item in context.count(items):
        if isinstance(total, list) and isinstance(item, list):
            context.charge(measure(item, is_printed=False))
            cast("list[Any]", total).extend(cast("list[Any]", item))
        else:
            total = environment.call_binop(context, "+", total, item)
    return cast("Any", total)


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values have the same type and are equal.

    Jinja compares addresses: values that were read from a journal would be told apart from values
    that are still in memory.
    """
    return type(value) is type(other) and bool(value == other)


@pass_context
def _count_loop(context: RenderContext, items: Any) -> Iterable[Any]:
    """Return what a loop iterates over, so that its iterations are counted."""
    return context.count(items)


@pass_context
def _count_result(context: RenderContext, value: Any) -> Any:
    return context.settle(value)


@pass_context
def _join_texts(context: RenderContext, values: tuple[Any, ...]) -> str:
    """Return what `~` returns for its operands."""
    size = 0
    for value in values:
        size += len(value) if type(value) is str else measure(value)
    if size > SHORT:
        context.charge(size)
    return (markup_join if context.eval_ctx.autoescape else str_join)(values)


LOOP, RESULT, CONCAT = " loop", " result", " concat"
INTERNAL: dict[str, Filter] = {LOOP: _count_loop, RESULT: _count_result, CONCAT: _join_texts}
"""Filters that the sandboxes insert into templates. No template can name them."""
