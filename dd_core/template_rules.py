"""What templates may do: the sandboxes, and the stricter rules of the `secure` engine.

Imported by `dd_core.template` on first use, because Jinja takes a while to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dd_core.errors import UserTemplateError

ALLOWED_FILTERS = frozenset(
    {
        *("abs", "capitalize", "escape", "first", "float", "forceescape", "int", "items", "last"),
        *("length", "list", "lower", "max", "min", "random", "replace", "reverse", "round"),
        *("sort", "string", "title", "trim", "truncate", "unique", "upper", "urlencode"),
    }
)
_MOST_NODES = 600
_DEEPEST = 10
_LONGEST_OPERAND = 1_000_000
_FORBIDDEN: tuple[tuple[type[nodes.Node], str], ...] = (
    (nodes.Import, "import"),
    (nodes.FromImport, "import"),
    (nodes.Include, "include"),
    (nodes.Extends, "extends"),
    (nodes.Block, "block"),
    (nodes.Macro, "macro"),
    (nodes.CallBlock, "call"),
    (nodes.Assign, "set"),
    (nodes.AssignBlock, "set"),
)
_LOOKING_FILTERS = frozenset(
    {
        *("batch", "dictsort", "first", "groupby", "items", "join", "last", "length", "list"),
        *("map", "max", "min", "random", "reject", "rejectattr", "reverse", "select"),
        *("selectattr", "slice", "sort", "sum", "unique"),
    }
)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without access to Python's insides and without a way to fill the memory."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False)
        self.globals.clear()

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A dict's own keys come before its methods: `{{ order.items }}` is the key."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]  # pyright: ignore[reportUnknownVariableType]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse operations whose result could fill the memory."""
        operands: tuple[Any, Any] = (left, right)
        sizes = [len(side) for side in operands if isinstance(side, str | bytes | list)]  # pyright: ignore
        numbers = [abs(side) for side in (left, right) if isinstance(side, int)]
        if operator == "*" and sizes and numbers and sizes[0] * numbers[0] > _LONGEST_OPERAND:
            raise SecurityError("the result of * would be too long")
        if operator == "**" and any(number > 1000 for number in numbers):
            raise SecurityError("the operands of ** are too large")
        if operator == "%" and isinstance(left, str | bytes):
            raise SecurityError("% does not format text here; use ~ to join values")
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Refuse calls such as `text.ljust(10 ** 9)`."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, int) and abs(value) > _LONGEST_OPERAND:
                raise SecurityError(f"the argument {value} is too large")
        return super().call(__context, __obj, *args, **kwargs)


class NativeSandbox(Sandbox):
    """A sandbox whose expressions keep their Python types."""

    code_generator_class = NativeCodeGenerator


def check(tree: nodes.Template) -> None:
    """Raise `UserTemplateError` for what the `secure` engine does not allow."""
    size, depth = _extent(tree)
    if size > _MOST_NODES or depth > _DEEPEST:
        raise UserTemplateError(
            f"the template is too complex ({size} nodes, {depth} levels; at most {_MOST_NODES} "
            f"and {_DEEPEST}); split it, or use jinja_rendering_engine='native'"
        )
    for kind, word in _FORBIDDEN:
        if tree.find(kind) is not None:
            raise UserTemplateError(f"'{{% {word} %}}' is not allowed in templates")
    for loop in tree.find_all(nodes.For):
        if loop.recursive or any(loop is not inner for inner in loop.find_all(nodes.For)):
            raise UserTemplateError("recursive and nested loops are not allowed in templates")
    if any(name.name == "self" for name in tree.find_all(nodes.Name)):
        raise UserTemplateError("'self' is not allowed in templates")
    for used in tree.find_all(nodes.Filter):
        if used.name not in ALLOWED_FILTERS:
            raise UserTemplateError(
                f"the filter {used.name!r} is not allowed; use one of "
                f"{', '.join(sorted(ALLOWED_FILTERS))}, or jinja_rendering_engine='native'"
            )


def looked_into(tree: nodes.Template) -> frozenset[str]:
    """Names whose value the template takes apart, so that JSON text in them is parsed first."""
    found: set[str] = set()
    for access in tree.find_all((nodes.Getattr, nodes.Getitem)):
        found.update(_root(access.node))
    for loop in tree.find_all(nodes.For):
        found.update(_root(loop.iter))
    for used in tree.find_all(nodes.Filter):
        if used.name in _LOOKING_FILTERS:
            found.update(_root(used.node))
    return frozenset(found)


def json_value(text: str) -> Any:
    """The object or array that a text holds; the text itself if it holds neither."""
    stripped = text.strip()
    if not stripped or stripped[0] not in "[{":
        return text
    try:
        return json.loads(stripped)
    except ValueError:
        return text


def _root(node: nodes.Node | None) -> Iterator[str]:
    while isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Filter | nodes.Call):
        node = node.node
    if isinstance(node, nodes.Name):
        yield node.name


def _extent(node: nodes.Node) -> tuple[int, int]:
    """Number of nodes and depth of a tree; Jinja's own wrappers do not count as levels."""
    size, depth = 1, 0
    for child in node.iter_child_nodes():
        child_size, child_depth = _extent(child)
        size += child_size
        depth = max(depth, child_depth)
    return size, depth + (not isinstance(node, nodes.Template | nodes.Output))
