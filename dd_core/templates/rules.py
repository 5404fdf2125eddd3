"""What templates may do in the `secure` engine, and what is found out about them in advance.

Imported by `dd_core.templates.template` on first use, because Jinja takes a while to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes
from jinja2.nativetypes import native_concat

from dd_core.errors import UserTemplateError
from dd_core.templates.sandbox import LONGEST_TEXT

ALLOWED_FILTERS = frozenset(
    {
        *("abs", "capitalize", "escape", "first", "float", "forceescape", "int", "items", "last"),
        *("length", "list", "lower", "max", "min", "random", "replace", "reverse", "round"),
        *("sort", "string", "title", "trim", "truncate", "unique", "upper", "urlencode"),
    }
)
_MOST_NODES = 600
_DEEPEST = 10
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
    # `with` is a `set` by another name: doubling a text a few times over would fill the memory.
    (nodes.With, "with"),
)
# A text that is about to be split or stripped is wanted as text, even if it happens to be JSON.
_TEXT_METHODS = frozenset(dir(str)) - frozenset(dir(dict)) - frozenset(dir(list))
_LOOKING_FILTERS = frozenset(
    {
        *("batch", "dictsort", "first", "groupby", "items", "join", "last", "length", "list"),
        *("map", "max", "min", "random", "reject", "rejectattr", "reverse", "select"),
        *("selectattr", "slice", "sort", "sum", "unique"),
    }
)


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


def inspect_value(tree: nodes.Template) -> frozenset[str]:
    """Names whose value the template takes apart, so that JSON text in them is parsed first."""
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
        if used.name in _LOOKING_FILTERS:
            found.update(_roots(used.node))
    for operand in tree.find_all(nodes.Operand):
        if operand.op in ("in", "notin"):
            found.update(_roots(operand.expr))
    return frozenset(found)


def to_json_value(text: str) -> Any:
    """The object or array that a text holds; the text itself if it holds neither."""
    stripped = text.strip()
    if not stripped or stripped[0] not in "[{":
        return text
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return text


def has_loop(tree: nodes.Template) -> bool:
    """Whether the template repeats a part of itself."""
    return tree.find(nodes.For) is not None


def bound_text(chunks: Iterable[str]) -> str:
    """The chunks of a loop joined, giving up as soon as they are longer than a text may be."""
    parts: list[str] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > LONGEST_TEXT:
            raise UserTemplateError(
                f"the rendered text is longer than {LONGEST_TEXT} characters; shorten its loop"
            )
        parts.append(chunk)
    return "".join(parts)


def to_native_value(chunks: Iterable[Any]) -> Any:
    """The Python value of a rendered condition; spaces around it do not turn it into text."""
    value = native_concat(chunks)
    return native_concat([value.strip()]) if isinstance(value, str) else value


def make_missing(tree: nodes.Template, values: Mapping[str, Any]) -> str | None:
    """Which column lacks which attribute, in words, if the template shows it plainly."""
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
    while isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Filter | nodes.Call):
        node = node.node
    if isinstance(node, nodes.Name):
        yield node.name
    elif isinstance(node, nodes.CondExpr | nodes.And | nodes.Or):
        for child in node.iter_child_nodes():
            yield from _roots(child)


def _extent(node: nodes.Node) -> tuple[int, int]:
    """Number of nodes and depth of a tree; Jinja's own wrappers do not count as levels."""
    size, depth = 1, 0
    for child in node.iter_child_nodes():
        child_size, child_depth = _extent(child)
        size += child_size
        depth = max(depth, child_depth)
    return size, depth + (not isinstance(node, nodes.Template | nodes.Output))
