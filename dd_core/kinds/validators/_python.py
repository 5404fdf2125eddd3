"""Checks Python sources with Ruff, many of them in one process."""

from __future__ import annotations

import ast
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from dd_core.declaration.syntax import parse

_RULES = "E,F6,F7,F8,SIM,PLC,PLE,PLR,PLW"
_TYPES_BY_PREFIX = (
    ("PLE", "error"),
    ("PLC", "convention"),
    ("PLR", "refactor"),
    ("PLW", "warning"),
    ("SIM", "refactor"),
    ("F", "error"),
    ("E", "refactor"),
)
"""Types of messages by the prefix of their rule; the first matching prefix counts."""
_SEVERITIES = ("fatal", "error", "warning", "convention", "refactor")
"""Types of messages, most severe first."""
_TIMEOUT = 120.0
"""Seconds for one process of the linter."""


def lint(sources: Sequence[str]) -> list[dict[str, Any]]:
    """Return a verdict for each source: `is_valid`, a score (0 to 10), severity and messages.

    The sources are not run, and no configuration of the project is read.
    """
    from importlib import import_module

    ruff: Any = import_module("ruff")
    with tempfile.TemporaryDirectory(prefix="dd-lint-") as folder:
        for number, source in enumerate(sources):
            Path(folder, f"{number}.py").write_text(source, encoding="utf-8", errors="replace")
        command = [ruff.find_ruff_bin(), "check", "--isolated", "--no-cache", "--exit-zero"]
        command += ["--output-format", "json", "--select", _RULES, folder]
        finished = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=True)
    found: dict[int, list[dict[str, Any]]] = {}
    for message in orjson.loads(finished.stdout):
        found.setdefault(int(Path(message["filename"]).stem), []).append(_convert(message))
    return [_decide(source, found.get(number, [])) for number, source in enumerate(sources)]


def _convert(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message of Ruff in the form that verdicts contain."""
    code: str = message["code"] or "invalid-syntax"
    kind = "fatal" if code == "invalid-syntax" else "warning"
    for prefix, name in _TYPES_BY_PREFIX if kind != "fatal" else ():
        if code.startswith(prefix):
            kind = name
            break
    location = message["location"]
    return {
        "type": kind,
        "symbol": code,
        "line": location["row"],
        "column": location["column"],
        "message": message["message"],
    }


def _decide(source: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the verdict on a source, given all messages about it."""
    counts = Counter(message["type"] for message in messages)
    severity = next((name for name in _SEVERITIES if counts[name]), "none")
    score = 0.0
    if severity != "fatal":
        # The formula of Pylint's score.
        others = counts["warning"] + counts["refactor"] + counts["convention"]
        penalty = 5 * counts["error"] + others
        score = max(0.0, 10.0 - 10.0 * penalty / max(1, _count_statements(source)))
    return {
        "is_valid": severity not in ("fatal", "error"),
        "python_linter_score": round(score, 2),
        "python_linter_severity": severity,
        "python_linter_messages": messages,
    }


def _count_statements(source: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the source, for example invalid escapes
        try:
            tree = parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return 1
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
