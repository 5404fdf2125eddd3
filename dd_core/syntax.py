"""Parsing Python texts while other threads parse, too."""

from __future__ import annotations

import ast
import gc
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_Parsed = TypeVar("_Parsed")
_ATTEMPTS = 10
_parsing = threading.RLock()


def parse(text: str) -> ast.Module:
    """The syntax tree of a text, whatever other threads parse at the same time."""
    return parsed(lambda: ast.parse(text))


def parse_literal(text: str) -> Any:
    """The value that a text spells as a Python literal."""
    return parsed(lambda: ast.literal_eval(text))


def parsed(read: Callable[[], _Parsed]) -> _Parsed:
    """Call a function that makes syntax trees, such as `inspect.getsource` with a class.

    CPython 3.11 counts the depth of a tree in a variable that all threads share. When the garbage
    collector lets another thread parse in the middle of a tree, `SystemError: AST constructor
    recursion depth mismatch` comes out (python/cpython#106905). Calls of this function take turns.
    Libraries parse as well (`inspect.signature` does, for a builtin), hence further attempts,
    which no collection interrupts.
    """
    with _parsing:
        try:
            return read()
        except SystemError:
            return _uninterrupted(read)


def _uninterrupted(read: Callable[[], _Parsed]) -> _Parsed:
    was_collecting = gc.isenabled()
    try:
        for _ in range(_ATTEMPTS - 1):
            gc.disable()  # each time: another thread may have enabled it
            try:
                return read()
            except SystemError:
                continue
        return read()
    finally:
        if was_collecting:
            gc.enable()
