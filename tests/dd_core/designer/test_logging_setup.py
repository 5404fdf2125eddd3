"""`configure_logging`, for scripts that have no logging of their own."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import dd_core
from dd_core import LoggerConfig, LoggingConfig, OutputConfig


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "dd_core", "httpx", "mcp")]
    before = [(each, each.level, each.handlers[:]) for each in loggers]
    for each in loggers:
        each.handlers = []
    yield
    dd_core.reset_logging()
    for each, level, handlers in before:
        each.setLevel(level)
        each.handlers = handlers


def test_records_are_written_as_text_and_as_json(tmp_path: Path) -> None:
    text, file = io.StringIO(), tmp_path / "log.jsonl"
    dd_core.configure_logging(
        LoggingConfig(
            logger_configs=[LoggerConfig(name="data_designer", level="DEBUG")],
            output_configs=[OutputConfig(text), OutputConfig(file, structured=True)],
        )
    )
    logging.getLogger("dd_core.engine").debug("batch %d", 3, extra={"rows": 10})
    logging.getLogger("another").debug("not shown")
    logging.getLogger("httpx").info("not shown")
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("dd_core").exception("failed")
    lines = text.getvalue().splitlines()
    assert lines[0].endswith("[DEBUG] batch 3")
    assert lines[1].endswith("[ERROR] failed")
    assert "not shown" not in text.getvalue()
    first, second = map(json.loads, file.read_text().splitlines())
    assert (first["levelname"], first["name"], first["message"], first["rows"]) == (
        ("DEBUG", "dd_core.engine", "batch 3", 10)
    )
    assert "ValueError: wrong" in second["exc_info"]


def test_handlers_of_others_survive_a_reset() -> None:
    root = logging.getLogger()
    assert not dd_core.is_logging_configured()
    dd_core.configure_logging(LoggingConfig.debug())
    assert dd_core.is_logging_configured()
    assert logging.getLogger("dd_core").level == logging.DEBUG
    own = logging.NullHandler()
    root.addHandler(own)
    dd_core.reset_logging()
    assert root.handlers == [own]
    assert not dd_core.is_logging_configured()
    assert (root.level, logging.getLogger("dd_core").level) == (logging.WARNING, logging.NOTSET)
    root.setLevel(logging.ERROR)
    dd_core.reset_logging()  # nothing of ours is left to remove
    assert root.level == logging.ERROR


def test_the_default_is_text_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    dd_core.configure_logging()
    logging.getLogger("dd_core").info("ready")
    logging.getLogger("dd_core").debug("not shown")
    assert capsys.readouterr().err.rstrip().endswith("[INFO] ready")
