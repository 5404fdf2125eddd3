"""The functions that templates may call: Jinja's, with bounded results and without own chance.

A name is a function only where it is called, so that a column may be named `range` as well.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.constants import LOREM_IPSUM_WORDS
from jinja2.exceptions import SecurityError
from jinja2.utils import Cycler, Joiner, Namespace
from jinja2.visitor import NodeTransformer

from dd_core.templates.meter import ITEM, LONGEST_TEXT, RenderContext, measure
from dd_core.templates.numbers import read_items

_LONGEST_RANGE = 100_000
_LONGEST_WORD = 12
_PREFIX = "function_"
"""Prefix of the environment's attributes that hold the functions."""


class TemplateFunction:
    """A function that templates may call; it receives the context of the rendering."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @pass_context
    def __call__(self, context: RenderContext, /, *args: Any, **kwargs: Any) -> Any:
        return self._function(context, *args, **kwargs)


def build_functions() -> dict[str, TemplateFunction]:
    """Return the functions by the attribute of the environment that holds them."""
    return {_PREFIX + name: TemplateFunction(each) for name, each in _FUNCTIONS.items()}


def bind_functions(tree: nodes.Template) -> nodes.Template:
    """Replace the names of called functions, unless the template itself defines these names."""
    defined = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    defined |= {macro.name for macro in tree.find_all(nodes.Macro)}
    bound: nodes.Template = _Binder(defined).visit(tree)
    return bound


def is_lipsum_called(tree: nodes.Template) -> bool:
    """Whether a template calls `lipsum`, which draws its words at random."""
    found = tree.find_all(nodes.EnvironmentAttribute)
    return any(each.name == _PREFIX + "lipsum" for each in found)


class _Binder(NodeTransformer):
    def __init__(self, defined: set[str]) -> None:
        self._known = _FUNCTIONS.keys() - defined

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 (Jinja's naming)
        self.generic_visit(node)
        if isinstance(node.node, nodes.Name) and node.node.name in self._known:
            name = _PREFIX + node.node.name
            node.node = nodes.EnvironmentAttribute(
                name, lineno=node.lineno, environment=node.environment
            )
        return node


def _make_range(context: RenderContext, /, *bounds: int) -> list[int]:
    """A list, because templates print and add lists."""
    numbers = range(*read_items(bounds))
    try:
        size = len(numbers)
    except OverflowError:
        size = _LONGEST_RANGE + 1
    if size > _LONGEST_RANGE:
        raise SecurityError(f"range has more than {_LONGEST_RANGE:,} numbers")
    bits = max(numbers.start.bit_length(), numbers.stop.bit_length())
    context.charge(size * max(ITEM, bits // 3))
    return [*numbers]


def _make_dict(context: RenderContext, /, *args: Any, **kwargs: Any) -> dict[Any, Any]:
    context.charge(measure([*args, *kwargs.values()], is_printed=False))
    return dict(*args, **kwargs)


def _make_cycler(context: RenderContext, /, *items: Any) -> Cycler:
    if not items:
        raise SecurityError("cycler needs at least one item")
    return Cycler(*items)


def _make_joiner(context: RenderContext, /, sep: str = ", ") -> Joiner:
    return Joiner(sep)


def _make_namespace(context: RenderContext, /, *args: Any, **kwargs: Any) -> Namespace:
    return Namespace(_make_dict(context, *args, **kwargs))


def _make_lipsum(
    context: RenderContext,
    /,
    n: int = 5,
    html: bool = True,
    min: int = 20,  # noqa: A002 (Jinja's name)
    max: int = 100,  # noqa: A002
) -> str:
    """Paragraphs of `min` to `max` words that mean nothing."""
    if not 0 < min <= max or n * max * _LONGEST_WORD > LONGEST_TEXT:
        raise SecurityError("lipsum needs 0 < min <= max, and at most about 40,000 words")
    words = LOREM_IPSUM_WORDS.split()
    paragraphs: list[str] = []
    for _ in range(n):
        size = min + context.draw(max - min + 1)
        chosen = [words[context.draw(len(words))] for _ in range(size)]
        context.charge(size * ITEM)
        paragraphs.append(" ".join(chosen).capitalize() + ".")
    if html:
        return "\n".join(f"<p>{each}</p>" for each in paragraphs)
    return "\n\n".join(paragraphs)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cycler": _make_cycler,
    "dict": _make_dict,
    "joiner": _make_joiner,
    "lipsum": _make_lipsum,
    "namespace": _make_namespace,
    "range": _make_range,
}
