"""Runs SQLFluff in a separate process.

Once SQLFluff is imported, `isinstance(x, abc.ABC)` fails in the whole process, and Prefect's
libraries call it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import orjson

_TIMEOUT = 600.0
"""Seconds for one process."""


def find_violations(sources: Sequence[str], dialect: str) -> list[list[str]]:
    """Return what SQLFluff cannot parse in each source; an empty list for valid SQL.

    Raises `RuntimeError` if SQLFluff itself fails.
    """
    command = [sys.executable, "-m", __name__, dialect]
    finished = subprocess.run(
        command, input=orjson.dumps(list(sources)), capture_output=True, timeout=_TIMEOUT
    )
    if finished.returncode:
        last = finished.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"SQLFluff failed: {' '.join(last)}")
    return orjson.loads(finished.stdout)


def _main() -> None:
    """Read a JSON list of sources from stdin and write the violations of each to stdout."""
    from sqlfluff.core import FluffConfig, Linter

    parser: Any = Linter(config=FluffConfig(overrides={"dialect": sys.argv[1]}))
    found: list[list[str]] = []
    for source in orjson.loads(sys.stdin.buffer.read()):
        try:
            parsed: Any = parser.parse_string(source)
            found.append([str(each.desc()) for each in parsed.violations])
        except RecursionError:
            found.append(["the SQL is nested too deeply"])
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    _main()
