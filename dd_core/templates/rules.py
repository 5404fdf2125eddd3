"""What templates may do in `secure` rendering mode, and what their syntax trees tell in advance.

`dd_core.templates.template` imports this module on first use, because Jinja is slow to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from jinja2 import nodes
from jinja2.nativetypes import native_concat

from dd_core.declaration.syntax import parse_literal
from dd_core.errors import UserTemplateError
from dd_core.templates.functions import is_lipsum_called
from dd_core.templates.messages import MESSAGE_FILTERS
from dd_core.templates.meter import LONGEST_TEXT, MOST_WORK
from dd_core.templates.sandbox import LONGEST_LITERAL, NativeSandbox
from dd_core.templates.selection import SELECTING

ALLOWED_FILTERS = frozenset(
    {
        *("abs", "capitalize", "escape", "first", "float", "forceescape", "int", "items", "last"),
        *("length", "list", "lower", "max", "min", "random", "replace", "reverse", "round"),
        *("sort", "string", "title", "trim", "truncate", "unique", "upper", "urlencode"),
        *SELECTING,
        *MESSAGE_FILTERS,
    }
)
_CLOSING = {"[": "]", "{": "}"}
_LONGEST_PRINTED = 100_000
"""Longest text in Python's form that is parsed; Python's parser takes some 100 bytes for each."""
_MAX_NODES = 600
_MAX_DEPTH = 10
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
# A string that the template splits or strips must stay a string, even if it contains JSON.
_TEXT_METHODS = frozenset(dir(str)) - frozenset(dir(dict)) - frozenset(dir(list))
_INSPECTING_FILTERS = frozenset(
    {
        *("batch", "dictsort", "first", "groupby", "items", "join", "last", "length", "list"),
        *("map", "max", "min", "random", "reject", "rejectattr", "reverse", "select"),
        *("selectattr", "slice", "sort", "sum", "unique"),
        *SELECTING,
        *MESSAGE_FILTERS,
    }
)


def check(tree: nodes.Template) -> None:
    """Raise `UserTemplateError` for whatever `secure` mode does not allow."""
    size, depth = _extent(tree)
    if size > _MAX_NODES or depth > _MAX_DEPTH:
        raise UserTemplateError(
            f"the template is too complex ({size} nodes, {depth} levels; at most {_MAX_NODES} "
            f"and {_MAX_DEPTH}); split it, or use jinja_rendering_engine='native'"
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


def find_inspected_names(tree: nodes.Template) -> frozenset[str]:
    """Names whose values the template looks into; JSON strings in them must be parsed first."""
    found: set[str] = set()
    text_methods = {
        id(call.node)
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Getattr) and call.node.attr in _TEXT_METHODS
    }
    for access in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if id(access) not in text_methods:
            found.update(_roots(access.node))
    for loop in tree.find_all(nodes.For):
        found.update(_roots(loop.iter))
    for used in tree.find_all(nodes.Filter):
        if used.name in _INSPECTING_FILTERS:
            found.update(_roots(used.node))
    for operand in tree.find_all(nodes.Operand):
        if operand.op in ("in", "notin"):
            found.update(_roots(operand.expr))
    return frozenset(found)


def parse_text(text: str) -> Any:
    """Parse a string that contains a JSON object or array; return any other string as it is.

    Objects and lists in the form in which Python, and therefore another template, prints them are
    parsed as well.
    """
    stripped = text.strip()
    if not stripped or stripped[0] not in "[{":
        return text
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return _parse_printed(stripped, otherwise=text)


def _parse_printed(text: str, otherwise: str) -> Any:
    if _CLOSING[text[0]] != text[-1] or len(text) > _LONGEST_PRINTED:
        return otherwise
    try:
        value = parse_literal(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return otherwise
    return value if _is_json(value) else otherwise


def _is_json(value: Any) -> bool:
    """Whether a literal has only types that JSON has, too: `{1, 2}` is rather a text than a set."""
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        return all(isinstance(key, str) and _is_json(each) for key, each in members.items())
    if isinstance(value, list):
        return all(map(_is_json, cast("list[Any]", value)))
    return value is None or isinstance(value, str | int | float)


def has_loop(tree: nodes.Template) -> bool:
    """Whether parts of the template may be printed more than once."""
    return any(True for _ in tree.find_all((nodes.For, nodes.Macro, nodes.Block)))


def is_random(tree: nodes.Template) -> bool:
    """Whether the template may choose at random, through `map` or `lipsum` too."""
    if is_lipsum_called(tree):
        return True
    for used in tree.find_all(nodes.Filter):
        if used.name == "random" or used.dyn_args is not None:
            return True
        for argument in used.args if used.name == "map" else ():
            if not isinstance(argument, nodes.Const) or argument.value == "random":
                return True
    return False


def join_bounded(chunks: Iterable[str], *, secure: bool) -> str:
    """Join rendered chunks; raises `UserTemplateError` once they are too long."""
    longest = LONGEST_TEXT if secure else MOST_WORK
    parts: list[str] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > longest:
            raise UserTemplateError(
                f"the rendered text is longer than {longest} characters; shorten its loop"
            )
        parts.append(chunk)
    return "".join(parts)


def to_native_value(chunks: Iterable[Any]) -> Any:
    """The Python value of a rendered condition; spaces around it do not make it a string."""
    value = NativeSandbox.concat(chunks)
    if not isinstance(value, str) or len(text := value.strip()) > LONGEST_LITERAL:
        return value
    return native_concat([text])


def describe_missing(tree: nodes.Template, values: Mapping[str, Any]) -> str | None:
    """Say which column lacks which attribute; None if the template does not make it clear."""
    for access in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path = _path(access)
        if path is None or path[0] not in values:
            continue
        value = values[path[0]]
        for key in path[1:]:
            try:
                value = value[key]
            except (LookupError, TypeError):
                if hasattr(value, str(key)):
                    break
                holder = "None" if value is None else f"a value of type {type(value).__name__!r}"
                return f"column {path[0]!r} has no attribute {key!r}: it was looked up in {holder}"
    return None


def _path(node: nodes.Node) -> list[Any] | None:
    """The column and the constant keys of an access such as `person.address["city"]`."""
    keys: list[Any] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            keys.append(node.attr)
        elif isinstance(node.arg, nodes.Const):
            keys.append(node.arg.value)
        else:
            return None
        node = node.node
    return [node.name, *reversed(keys)] if isinstance(node, nodes.Name) else None


def _roots(node: nodes.Node | None) -> Iterator[str]:
    """The variables whose values, or parts of them, an expression may return."""
    while isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Filter | nodes.Call):
        node = node.node
    if isinstance(node, nodes.Name):
        yield node.name
    elif isinstance(node, nodes.CondExpr | nodes.And | nodes.Or):
        for child in node.iter_child_nodes():
            yield from _roots(child)


def _extent(node: nodes.Node) -> tuple[int, int]:
    """Number of nodes and depth of a tree; Jinja's wrapper nodes do not add to the depth."""
    size, depth = 1, 0
    for child in node.iter_child_nodes():
        child_size, child_depth = _extent(child)
        size += child_size
        depth = max(depth, child_depth)
    return size, depth + (not isinstance(node, nodes.Template | nodes.Output))
