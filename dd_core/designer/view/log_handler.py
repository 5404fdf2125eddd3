"""A handler for programs that do not configure logging themselves."""

from __future__ import annotations

import logging

from dd_core.redaction.registry import mask_secrets

_PACKAGE = "dd_core"


class _MaskingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(super().format(record))


def add_log_handler() -> None:
    """Write log records to stderr, those of this package from INFO on; keys are masked.

    Does nothing if the root logger has a handler already, because the program has configured
    logging then.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    root.addHandler(handler)
    package = logging.getLogger(_PACKAGE)
    if package.level == logging.NOTSET:
        package.setLevel(logging.INFO)
