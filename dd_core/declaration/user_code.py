"""What code of the user's is, for the fingerprint: its text and that of what it uses beside it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any, cast

from dd_core.declaration.syntax import parse, run_parser

_NAME = re.compile(r"[A-Za-z_]\w*")
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None))


def hash_source(thing: Callable[..., Any]) -> str | None:
    """Hash of a function's or class's source, so that an edited one is another; None if unknown.

    Functions, classes, constants and imports of the same file that it uses count too, and theirs,
    as do constants that it has from the function it was made in. Other files do not.
    """
    texts = dict(_texts(thing))
    if not texts:
        return None
    ordered = sorted(texts.items())
    return hashlib.sha256(repr(ordered).encode()).hexdigest()


def _texts(thing: Any) -> Iterator[tuple[str, str]]:
    """Pieces of source and values by a name for each."""
    if isinstance(thing, partial):
        made = cast("partial[Any]", thing)
        yield from _texts(made.func)
        given: list[tuple[Any, Any]] = [*enumerate(made.args), *made.keywords.items()]
        yield from _given("partial", given)
        return
    if not isinstance(thing, type) and not hasattr(thing, "__code__"):  # an object with __call__
        yield from _texts(type(thing))
        state: dict[str, Any] = getattr(thing, "__dict__", {})
        yield from _given("self", state.items())
        return
    thing = getattr(thing, "__func__", thing)  # a method's function
    code: CodeType | None = getattr(thing, "__code__", None)
    try:
        lines, _ = run_parser(lambda: inspect.findsource(code or thing))
        text = textwrap.dedent(run_parser(lambda: inspect.getsource(code or thing)))
    except (OSError, TypeError):
        return
    yield "", text
    yield from _used(text, "".join(lines))
    if isinstance(thing, FunctionType):
        yield from _closure(thing)


def _used(text: str, file: str) -> Iterator[tuple[str, str]]:
    """What a piece of source uses of its file, directly and indirectly."""
    defined, seen, waiting = _definitions(file), set[str](), [text]
    while waiting:
        for name in _names(waiting.pop()) - seen:
            seen.add(name)
            if name in defined:
                yield name, defined[name]
                waiting.append(defined[name])


def _names(text: str) -> set[str]:
    try:
        tree = parse(text)
    except SyntaxError:  # a lambda's lines are only part of a statement
        return set(_NAME.findall(text))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@lru_cache(maxsize=64)
def _definitions(file: str) -> dict[str, str]:
    """By name the statements of a file, outermost ones only, that give it a meaning."""
    try:
        tree = parse(file)
    except SyntaxError:
        return {}
    found: dict[str, str] = {}
    lines = file.splitlines()
    for node in tree.body:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        text = "\n".join(lines[first - 1 : node.end_lineno])
        for name in _bound(node):
            found[name] = f"{found[name]}\n{text}" if name in found else text
    return found


def _bound(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name.split(".")[0] for alias in node.names]
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [each for target in targets for each in ast.walk(target)]
            return [each.id for each in names if isinstance(each, ast.Name)]
        case _:
            return []


def _closure(function: FunctionType) -> Iterator[tuple[str, str]]:
    """What a function has from the one that it was made in."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if isinstance(value, FunctionType) and value is not function:
            for inner, text in _texts(value):
                yield f"{name}.{inner}", text
        else:
            yield from _given("closure", [(name, value)])


def _given(place: str, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, str]]:
    """Constants among named values."""
    for name, value in items:
        if _is_constant(value):
            yield f"{place} {name}", repr(value)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_constant(each) for each in cast("tuple[Any, ...]", value))
    return isinstance(value, _CONSTANTS)


def list_parameters(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters that a generator is called with."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def import_object(name: str) -> Any:
    """What `package.module:function` names; raises `ValueError`.

    Importing runs the module, so names belong only into configurations of the same owner.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not path:
        raise ValueError(f"{name!r} must have the form 'package.module:function'")
    try:
        found: Any = import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name!r} cannot be imported: {error}") from None
    return found


def get_import_name(function: Callable[..., Any]) -> str:
    """`module:function`, which `function_named` finds again, or the bare name if it cannot."""
    path = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", "__main__")
    if "<" in path or module == "__main__":
        return getattr(function, "__name__", path)
    return f"{module}:{path}"
