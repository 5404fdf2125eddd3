"""Parses Python source safely while other threads parse as well."""

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
    """Parse source code; safe while other threads parse as well."""
    return run_parser(lambda: ast.parse(text))


def parse_literal(text: str) -> Any:
    """Evaluate a Python literal; safe while other threads parse as well."""
    return run_parser(lambda: ast.literal_eval(text))


def run_parser(read: Callable[[], _Parsed]) -> _Parsed:
    """Call a function that builds syntax trees, such as `inspect.getsource` with a class.

    CPython 3.11 counts the depth of a tree in a variable that all threads share. If the garbage
    collector lets another thread parse in the middle of a tree, building it raises `SystemError:
    AST constructor recursion depth mismatch` (python/cpython#106905). Calls to this function take
    turns. Libraries parse as well, for example `inspect.signature` does for a builtin, so a failed
    call is repeated with the garbage collector switched off.
    """
    with _parsing:
        try:
            return read()
        except SystemError:
            return _retry_without_gc(read)


def _retry_without_gc(read: Callable[[], _Parsed]) -> _Parsed:
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
