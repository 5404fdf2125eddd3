"""The library leaves logging to the program, unless it is told to configure it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dd_core import DataDesigner
from dd_core.redaction.registry import register_secret

KEY = "nvapi-k8Jd93kdLs02mQpz71"


@contextmanager
def unconfigured() -> Iterator[logging.Logger]:
    """The root logger, without the handlers that pytest adds to it for each test."""
    root, package = logging.getLogger(), logging.getLogger("dd_core")
    kept, level, root_level = [*root.handlers], package.level, root.level
    root.handlers.clear()
    package.setLevel(logging.NOTSET)
    try:
        yield root
    finally:
        root.handlers[:] = kept
        root.setLevel(root_level)
        package.setLevel(level)


def test_by_default_logging_is_left_alone() -> None:
    with unconfigured() as root:
        DataDesigner()
        assert root.handlers == []
        assert logging.getLogger("dd_core").level == logging.NOTSET


def test_a_handler_writes_readable_lines_without_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured() as root:
        DataDesigner(auto_configure_logging=True)
        DataDesigner(auto_configure_logging=True)
        assert len(root.handlers) == 1
        logging.getLogger("dd_core.x").info("%d of %d rows", 1, 2)
        logging.getLogger("other").warning("shown")
        record = logging.LogRecord("dd_core", logging.WARNING, "x.py", 1, f"key {KEY}", (), None)
        register_secret(KEY)  # after the record was made
        root.handle(record)
    said = capsys.readouterr()
    assert said.out == ""
    lines = [re.sub(r"^\[\d\d:\d\d:\d\d\] ", "", line) for line in said.err.splitlines()]
    assert lines == ["[INFO] 1 of 2 rows", "[WARNING] shown", "[WARNING] key ***"]


def test_a_program_that_has_configured_logging_keeps_it() -> None:
    own = logging.NullHandler()
    with unconfigured() as root:
        root.addHandler(own)
        DataDesigner(auto_configure_logging=True)
        assert root.handlers == [own]
