"""Numbers in text: columns that hold `12` as text can be calculated with and compared to numbers.

A category `"3"`, an expression without `dtype` and an answer of a model are text. Where a template
calculates or compares with such a column, the text counts as the number, provided that the other
side is a number, too. Everywhere else it stays text, so `02116` or `1.10` print as they are.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import nodes

OPERAND, NUMBER, NUMBERS, COMPARE = " operand", " number", " numbers", " compare"
"""Names of filters that templates cannot write."""

_TEXT = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?|true|false")
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
}


class NumberText(str):
    """Text of a column that contains a number or a boolean in JSON's form."""

    __slots__ = ("number",)
    number: float

    def __new__(cls, text: str, number: float) -> NumberText:
        made = super().__new__(cls, text)
        made.number = number
        return made


def read_operand(value: Any) -> Any:
    """Return text with its number, if it contains one, and every other value as it is."""
    if type(value) is not str or _TEXT.fullmatch(value) is None:
        return value
    number = json.loads(value)
    return NumberText(value, number) if math.isfinite(number) else value


def resolve_numbers(*values: Any) -> Sequence[Any]:
    """Return the values as numbers if all of them are numbers; otherwise their texts."""
    numbers = [each.number if type(each) is NumberText else each for each in values]
    if all(isinstance(each, int | float) for each in numbers):
        return numbers
    return [str(each) if type(each) is NumberText else each for each in values]


def evaluate_comparison(left: Any, name: str, right: Any) -> Any:
    """Compare two values by the name of the operator in Jinja's syntax tree."""
    return _COMPARE[name](*resolve_numbers(left, right))


def read_items(values: Sequence[Any]) -> Sequence[Any]:
    """Return the items of a list as numbers if all of them are numbers."""
    return resolve_numbers(*map(read_operand, values))


def read_number(value: Any) -> Any:
    """Return the number in a text, and every other value as it is."""
    return read_items([value])[0]


INTERNAL: dict[str, Callable[..., Any]] = {
    OPERAND: read_operand,
    NUMBER: read_number,
    NUMBERS: read_items,
    COMPARE: evaluate_comparison,
}


def mark_reference(node: nodes.Expr, name: str = OPERAND) -> nodes.Expr:
    """Read the number in a value that comes from a column as it is; leave other expressions."""
    root: Any = node
    while isinstance(root, nodes.Getattr | nodes.Getitem):
        root = root.node
    return _filtered(node, name) if isinstance(root, nodes.Name) else node


def replace_comparison(node: nodes.Compare) -> nodes.Expr:
    """Compare columns that hold numbers as text by their numbers."""
    [*operands] = node.ops
    if len(operands) != 1 or operands[0].op not in _COMPARE:
        return node
    left, right = mark_reference(node.expr), mark_reference(operands[0].expr)
    if left is node.expr and right is operands[0].expr:
        return node
    place: Any = {"lineno": node.lineno, "environment": node.environment}
    return _filtered(left, COMPARE, nodes.Const(operands[0].op, **place), right)


def read_listed(node: nodes.Expr) -> nodes.Expr:
    """Read the numbers in a list that a template writes, such as `[price, 100] | min`."""
    return _filtered(node, NUMBERS) if isinstance(node, nodes.List) else node


def _filtered(node: Any, name: str, *args: nodes.Expr) -> nodes.Expr:
    return nodes.Filter(
        node, name, [*args], [], None, None, lineno=node.lineno, environment=node.environment
    )
