"""The hash of users' code: it never changes, and other threads that parse do not disturb it."""

from __future__ import annotations

import ast
import functools
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from dd_core.declaration import user_code
from dd_core.declaration.user_code import hash_source

MODULE = '''
    """A module of a user's."""

    from __future__ import annotations

    import json as j
    from collections import Counter, deque
    from functools import lru_cache

    WORDS = ["a", "b"]
    WORDS += ["c"]
    FIRST, (SECOND, *REST) = 1, (2, 3)
    LIMIT: int = 3
    UNUSED = 1

    def decorated(function):
        return function

    @decorated
    @lru_cache(maxsize=LIMIT)
    def helper(text):
        return inner(text) + WORDS[0] + j.dumps(f"{SECOND:>{LIMIT}}")

    def inner(text):
        return text.upper()

    async def waits(row):
        return helper(row["topic"]), Counter()

    def shout(row: Loud, UNUSED: int = 2) -> Loud:
        row.UNUSED = helper(row["topic"])
        return row

    class Base:
        limit = LIMIT

    class Loud(Base):
        """Louder."""

        def __init__(self, factor):
            self.factor, self.other = factor, [factor]

        def __call__(self, row):
            return inner(row) * self.factor

        def method(self):
            return FIRST

    halved = lambda row: inner(row)[: len(row) // 2]

    def times(count, mark="ä"):
        deep = (1, ("x", None))

        def repeat(row):
            return mark * count, deep, halved(row), helper_of_mine()

        def helper_of_mine():
            return LIMIT

        return repeat
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "hashed_code.py").write_text(dedent(MODULE), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield importlib.import_module("hashed_code")
    sys.modules.pop("hashed_code", None)


CALLABLES: dict[str, tuple[Callable[[ModuleType], Any], str]] = {
    "function": (
        lambda m: m.shout,
        "4c379b0c6a5bfe44d161dc2963bc9ce3c39bc02a6ec58b2d02d130d5296e7ec1",
    ),
    "coroutine": (
        lambda m: m.waits,
        "7513b555e26d5ebf701d081c5269142b620a7547aedda622e5ae8c7a67753e35",
    ),
    "class": (lambda m: m.Loud, "3de0e2bac1b17e37dccfdde100c78869078f90efe6b9cd82efb61d9e425e1808"),
    "object": (
        lambda m: m.Loud(3),
        "c97761a57a3498ff96df079e348e3aef73a86a19d3b2445f5be600e51d64f7c2",
    ),
    "method": (
        lambda m: m.Loud(3).method,
        "5f336a66c3e74909df11e33f95d547e3afd4c8047ca8337f30611bde37ab48df",
    ),
    "lambda": (
        lambda m: m.halved,
        "ed84dd421654c8d88d7ffa3a2553a83b134b7dde049087a89bd9d2d0c4f9b5e4",
    ),
    "partial": (
        lambda m: functools.partial(m.shout, 1, UNUSED="y"),
        "0eec0ee2396f0d168949e429959eec7220cf862b91c751611683cf4752cd97dd",
    ),
    "closure": (
        lambda m: m.times(2.5),
        "c396fd17bb576af47e7fa6df21f789bf694cd2aab3d8ec9c7062eaeaf6c61115",
    ),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_hashes_stay_what_they_were(module: ModuleType, name: str) -> None:
    """Datasets of earlier versions are resumed by them: a new value here breaks that."""
    choose, expected = CALLABLES[name]
    assert hash_source(choose(module)) == expected


@contextmanager
def others_that_parse() -> Iterator[None]:
    """Threads that parse all the time, also while this thread is in the middle of a syntax tree:
    the garbage collector runs there, and has a callback that lets them."""
    text = "x = 1"
    is_over = threading.Event()

    def parse() -> None:
        while not is_over.is_set():
            try:
                ast.parse(text)
            except SystemError:
                continue

    def wait(phase: str, info: dict[str, int]) -> None:
        if threading.current_thread() is threading.main_thread():
            is_over.wait(0.0002)

    threads = [threading.Thread(target=parse) for _ in range(2)]
    thresholds = gc.get_threshold()
    gc.callbacks.append(wait)
    gc.set_threshold(100, 10_000, 10_000)
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        is_over.set()
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(wait)
        for thread in threads:
            thread.join()


def test_other_threads_that_parse_do_not_disturb_it(module: ModuleType) -> None:
    choose, expected = CALLABLES["class"]
    with others_that_parse():
        user_code._definitions.cache_clear()
        found = hash_source(choose(module))
    assert found == expected


def test_integers_too_long_for_decimal_digits_are_constants_too() -> None:
    def returning(value: Any) -> Callable[[], Any]:
        return lambda: value

    one, other = hash_source(returning(10**5000)), hash_source(returning(10**5000 + 1))
    assert one != other
    assert hash_source(returning((1, 10**5000))) != hash_source(returning((2, 10**5000)))
