"""Sets up the standard library's logging for scripts that have no logging of their own.

By itself, `dd_core` only logs, because handlers belong to the application.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

from dd_core.redaction.registry import mask_secrets

_LOGGER = "dd_core"
_OTHER_NAME = "data_designer"
"""Name of the logger of NeMo Data Designer; in settings, it stands for ours."""
_OWNED = "_dd_core_owned"
_FACTS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass
class LoggerConfig:
    """The level of one logger."""

    name: str
    level: str


@dataclass
class OutputConfig:
    """A stream or a file that log records are written to."""

    destination: TextIO | Path
    structured: bool = False
    """Whether to write a JSON object per line; default: text."""


@dataclass
class LoggingConfig:
    """What `configure_logging` sets up."""

    logger_configs: list[LoggerConfig]
    output_configs: list[OutputConfig]
    root_level: str = "INFO"
    to_silence: list[str] = field(default_factory=lambda: ["httpx", "mcp"])
    """Loggers whose records below WARNING are left out."""

    @classmethod
    def default(cls) -> Self:
        """Text on stderr, from level INFO."""
        return cls([LoggerConfig(_LOGGER, "INFO")], [OutputConfig(sys.stderr)])

    @classmethod
    def debug(cls) -> Self:
        """Text on stderr, with this package's records from level DEBUG."""
        return cls([LoggerConfig(_LOGGER, "DEBUG")], [OutputConfig(sys.stderr)])


def configure_logging(config: LoggingConfig | None = None) -> None:
    """Replace the root logger's handlers, and set levels; default: `LoggingConfig.default()`."""
    config = config or LoggingConfig.default()
    root = logging.getLogger()
    for handler in [*root.handlers]:
        root.removeHandler(handler)
        handler.close()
    for output in config.output_configs:
        root.addHandler(_make_handler(output))
    root.setLevel(config.root_level)
    for each in config.logger_configs:
        head, dot, tail = each.name.partition(".")
        name = f"{_LOGGER if head == _OTHER_NAME else head}{dot}{tail}"
        logging.getLogger(name).setLevel(each.level)
    for name in config.to_silence:
        quiet_noisy_logger(name)


def ensure_logging() -> None:
    """Configure logging, unless the program has done so: the root logger has a handler then."""
    if not logging.getLogger().handlers:
        configure_logging()


def is_logging_configured() -> bool:
    """Whether the root logger has a handler of `configure_logging`."""
    return any(hasattr(handler, _OWNED) for handler in logging.getLogger().handlers)


def reset_logging() -> None:
    """Remove the handlers of `configure_logging`, and reset the levels; others' handlers stay."""
    if not is_logging_configured():
        return
    root = logging.getLogger()
    for handler in [each for each in root.handlers if hasattr(each, _OWNED)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.WARNING)
    logging.getLogger(_LOGGER).setLevel(logging.NOTSET)


def quiet_noisy_logger(name: str) -> None:
    """Remove a logger's own handlers, and leave out its records below WARNING."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.setLevel(logging.WARNING)


def _make_handler(output: OutputConfig) -> logging.Handler:
    target = output.destination
    handler = (
        logging.FileHandler(target, encoding="utf-8")
        if isinstance(target, Path)
        else logging.StreamHandler(target)
    )
    text = _Text("[%(asctime)s] [%(levelname)s] %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonLines() if output.structured else text)
    setattr(handler, _OWNED, True)
    return handler


class _Text(logging.Formatter):
    """Text without keys, also those that were registered after the record was made."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return mask_secrets(super().format(record))


class _JsonLines(logging.Formatter):
    """One JSON object per record, with the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        found: dict[str, Any] = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "name": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            found["exc_info"] = self.formatException(record.exc_info)
        found |= {key: each for key, each in vars(record).items() if key not in _FACTS}
        return mask_secrets(json.dumps(found, ensure_ascii=False, default=str))
