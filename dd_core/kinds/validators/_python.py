"""What Ruff says of Python sources: one process for many of them."""

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
_CLASSES = (
    ("PLE", "error"),
    ("PLC", "convention"),
    ("PLR", "refactor"),
    ("PLW", "warning"),
    ("SIM", "refactor"),
    ("F", "error"),
    ("E", "refactor"),
)
_LADDER = ("fatal", "error", "warning", "convention", "refactor")
_TIMEOUT = 120.0


def lint(sources: Sequence[str]) -> list[dict[str, Any]]:
    """For each source `is_valid`, and the linter's score (0 to 10), severity and messages."""
    from importlib import import_module

    ruff: Any = import_module("ruff")
    with tempfile.TemporaryDirectory(prefix="dd-lint-") as folder:
        for number, source in enumerate(sources):
            Path(folder, f"{number}.py").write_text(source, encoding="utf-8", errors="replace")
        command = [ruff.find_ruff_bin(), "check", "--isolated", "--no-cache", "--exit-zero"]
        command += ["--output-format", "json", "--select", _RULES, folder]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=True)
    found: dict[int, list[dict[str, Any]]] = {}
    for message in orjson.loads(done.stdout):
        found.setdefault(int(Path(message["filename"]).stem), []).append(_described(message))
    return [_verdict(source, found.get(number, [])) for number, source in enumerate(sources)]


def _described(message: dict[str, Any]) -> dict[str, Any]:
    code: str = message["code"] or "invalid-syntax"
    kind = "fatal" if code == "invalid-syntax" else "warning"
    for prefix, name in _CLASSES if kind != "fatal" else ():
        if code.startswith(prefix):
            kind = name
            break
    place = message["location"]
    return {
        "type": kind,
        "symbol": code,
        "line": place["row"],
        "column": place["column"],
        "message": message["message"],
    }


def _verdict(source: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    counts = Counter(message["type"] for message in messages)
    severity = next((name for name in _LADDER if counts[name]), "none")
    score = 0.0
    if severity != "fatal":
        others = counts["warning"] + counts["refactor"] + counts["convention"]
        weighed = 5 * counts["error"] + others
        score = max(0.0, 10.0 - 10.0 * weighed / max(1, _statements(source)))
    return {
        "is_valid": severity not in ("fatal", "error"),
        "python_linter_score": round(score, 2),
        "python_linter_severity": severity,
        "python_linter_messages": messages,
    }


def _statements(source: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the judged source, such as invalid escapes
        try:
            tree = parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return 1
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
