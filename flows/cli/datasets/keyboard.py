"""Reads single keys from the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any, Self

import click


class Keyboard:
    """The keys of the terminal, which are neither echoed nor collected into lines meanwhile.

    Use as a context manager. Keys that are pressed before they are read are kept. Ctrl+C raises
    `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
        self._pending: list[str] = []
        self._settings: list[Any] | None = None

    def __enter__(self) -> Self:
        try:
            import termios
            import tty
        except ImportError:  # Windows
            return self
        self._settings = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin, termios.TCSADRAIN)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._settings is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)
            self._settings = None

    @contextmanager
    def paused(self) -> Generator[None]:
        """Let the terminal collect lines again."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def read_any(self, wanted: Collection[str]) -> str:
        """Wait for one of these keys; \x04, the key Ctrl+D, stands for the end of the input."""
        while True:
            while self._pending:
                if (key := self._pending.pop(0)) in wanted:
                    return key
            self._pending = _split(self._read())

    def _read(self) -> str:
        if self._settings is None:
            return click.getchar()
        typed = os.read(sys.stdin.fileno(), 32)
        return typed.decode(errors="replace") if typed else "\x04"


def _split(typed: str) -> list[str]:
    """The keys in what the terminal delivered at once: an arrow, or letters typed fast."""
    return [typed] if typed.startswith("\x1b") else [*typed]
