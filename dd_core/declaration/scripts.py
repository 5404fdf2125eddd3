"""Starts Python scripts in other processes with the same imports as in this one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

_runner: str | None = None


def set_script_runner(module: str) -> None:
    """Name the module that scripts need to run, as in `python -m module script.py`."""
    global _runner
    _runner = module


def complete_command(command: str, args: Sequence[str]) -> list[str]:
    """The command with its arguments, and with the runner if it starts a Python script.

    Scripts start themselves again, for example to serve the tools that they define. Interpreters
    of other environments may not have the runner, so their commands stay as they are.
    """
    options = list(takewhile(lambda each: each.startswith("-"), args))
    rest = [*args[len(options) :]]
    is_script = bool(rest) and rest[0].endswith(".py") and not {"-c", "-m"} & {*options}
    if _runner is not None and is_script and _is_this_python(command):
        return [command, *options, "-m", _runner, *rest]
    return [command, *args]


def _is_this_python(command: str) -> bool:
    found = Path(shutil.which(command) or command)
    # Interpreters of several environments may be links to the same file, so links are not followed.
    return found.parent == Path(sys.executable).parent and found.name.startswith("python")
