"""Runs programs in a pseudo terminal, as a person would."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_SECONDS = 120
"""Time for what a test waits for; the machine may be busy."""


def _control_terminal() -> None:
    """Let Ctrl+C in the terminal interrupt the program."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A program in a terminal of 100 x 40 characters. Use as a context manager."""

    def __init__(self, command: Sequence[str], cwd: Path | None = None) -> None:
        size = {"TERM": "xterm", "COLUMNS": "100", "LINES": "40", "NO_COLOR": "1"}
        self._main, other = pty.openpty()
        self._process = subprocess.Popen(
            [*command], stdin=other, stdout=other, stderr=other, env=os.environ | size, cwd=cwd,
            start_new_session=True, preexec_fn=_control_terminal,
        )  # fmt: skip
        os.close(other)
        self._output = bytearray()
        self._seen = 0
        self._grown = threading.Condition()
        self._is_open = True
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._main)

    @property
    def text(self) -> str:
        """Everything that the program has written so far."""
        return self._output.decode(errors="replace")

    def expect(self, text: str) -> str:
        """Wait until the program has written a text after the last one; returns what is between."""
        wanted = text.encode()
        with self._grown:
            found = self._grown.wait_for(
                lambda: wanted in self._output[self._seen :] or not self._is_open, _SECONDS
            )
            position = self._output.find(wanted, self._seen)
            assert found and position >= 0, f"{text!r} was not written:\n{self.text}"
            between = bytes(self._output[self._seen : position])
            self._seen = position + len(wanted)
        return between.decode(errors="replace")

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._main, keys.encode())

    def wait(self) -> int:
        """Wait for the end of the program; returns its exit code."""
        code = self._process.wait(timeout=_SECONDS)
        self._reader.join(timeout=_SECONDS)
        return code

    def _read(self) -> None:
        data = b"x"
        while data:
            try:
                data = os.read(self._main, 4096)
            except OSError:  # the program has ended
                data = b""
            with self._grown:
                self._output += data
                self._is_open = bool(data)
                self._grown.notify_all()
