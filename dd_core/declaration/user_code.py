"""Identifies the user's code: source hashes for fingerprints, and import names."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import textwrap
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any, cast

from dd_core.declaration.syntax import parse, run_parser
from dd_core.declaration.trust import require_trust
from dd_core.errors import DataDesignerGenerationError, describe_error

_missing: ContextVar[list[str] | None] = ContextVar("missing", default=None)
_NAME = re.compile(r"[A-Za-z_]\w*")
_CONSTANT_TYPES = (bool, int, float, complex, str, bytes, type(None))


def hash_source(thing: Callable[..., Any]) -> str | None:
    """Hash the source code of a function or class; None if the source is not available.

    The hash covers the functions, classes, constants and imports of the same file that the code
    uses, directly or indirectly, and the constants in its closure. It does not cover other files.
    """
    sources = dict(_sources(thing))
    if not sources:
        return None
    ordered = sorted(sources.items())
    return hashlib.sha256(repr(ordered).encode()).hexdigest()


def _sources(thing: Any) -> Iterator[tuple[str, str]]:
    """The pieces of source code and the constants that make up `thing`, each with a name."""
    if isinstance(thing, partial):
        call = cast("partial[Any]", thing)
        yield from _sources(call.func)
        arguments: list[tuple[Any, Any]] = [*enumerate(call.args), *call.keywords.items()]
        yield from _constants("partial", arguments)
        return
    if not isinstance(thing, type) and not hasattr(thing, "__code__"):  # an object with __call__
        yield from _sources(type(thing))
        state: dict[str, Any] = getattr(thing, "__dict__", {})
        yield from _constants("self", state.items())
        return
    thing = getattr(thing, "__func__", thing)  # the function of a bound method
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
    """The definitions in a file that a piece of its source uses, directly or indirectly."""
    defined, seen, waiting = _definitions(file), set[str](), [text]
    while waiting:
        for name in _names(waiting.pop()) - seen:
            seen.add(name)
            if name in defined:
                yield name, defined[name]
                waiting.append(defined[name])


def _names(text: str) -> set[str]:
    """The names that a piece of source code refers to."""
    try:
        tree = parse(text)
    except SyntaxError:  # the lines of a lambda may be only part of a statement
        return set(_NAME.findall(text))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@lru_cache(maxsize=64)
def _definitions(file: str) -> dict[str, str]:
    """The top-level statements of a file, by the name that they define."""
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
    """The names that a statement defines."""
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
    """The constants and functions in the closure of a function."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if isinstance(value, FunctionType) and value is not function:
            for inner, text in _sources(value):
                yield f"{name}.{inner}", text
        else:
            yield from _constants("closure", [(name, value)])


def _constants(origin: str, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, str]]:
    """The constants among named values; other values have no stable `repr`."""
    for name, value in items:
        if _is_constant(value):
            yield f"{origin} {name}", _describe_constant(value)


def _describe_constant(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer that is too long for decimal digits
        return hex(value) if isinstance(value, int) else ", ".join(map(_describe_constant, value))


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_constant(each) for each in cast("tuple[Any, ...]", value))
    return isinstance(value, _CONSTANT_TYPES)


def list_parameters(function: Callable[..., Any]) -> list[str]:
    """The names of a function's positional parameters."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


class StandIn:
    """Takes the place of a function that is missing, in the configuration of a finished dataset."""

    def __init__(self, name: str) -> None:
        self.__module__, self.__name__, self.__qualname__ = "__main__", name, name

    def __call__(self, row: Any) -> Any:
        raise DataDesignerGenerationError(f"{self.__name__!r} cannot be imported here")


@contextmanager
def allow_missing_code() -> Generator[list[str]]:
    """Read configurations although functions cannot be imported; a `StandIn` replaces each.

    Scripts and notebooks define functions that no other process can import. Their datasets can
    nevertheless be opened. Yields the names of the functions that are missing.
    """
    missing: list[str] = []
    token = _missing.set(missing)
    try:
        yield missing
    finally:
        _missing.reset(token)


def import_object(name: str) -> Any:
    """Import the object that `package.module:function` names; raises `ValueError`.

    Importing runs the module, so a configuration that is not trusted cannot do it.
    """
    try:
        return _import(name)
    except ValueError:
        missing = _missing.get()
        if missing is None:
            raise
        missing.append(name)
        return StandIn(name)


def _import(name: str) -> Any:
    module_name, colon, path = name.partition(":")
    if not colon or not path:
        raise ValueError(f"{name!r} must have the form 'package.module:function'")
    require_trust(f"imports and runs {name!r}")
    try:
        found: Any = import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # the module may raise anything
        raise ValueError(f"{name!r} cannot be imported: {describe_error(error)}") from error
    return found


def get_import_name(function: Callable[..., Any]) -> str:
    """The name under which `import_object` finds a function; its bare name if there is none."""
    path = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", "__main__")
    if "<" in path or module == "__main__":
        return getattr(function, "__name__", path)
    return f"{module}:{path}"


def run_contained(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a worker thread; its failures are exceptions that a future can carry.

    `StopIteration` never arrives at whoever awaits the future. `SystemExit` and cancellations would
    end more than the call.
    """
    from asyncio import CancelledError  # slow to load, and configurations do without it

    try:
        return function(*args)
    except (StopIteration, SystemExit, GeneratorExit, CancelledError) as error:
        raise RuntimeError(describe_error(error)) from error
