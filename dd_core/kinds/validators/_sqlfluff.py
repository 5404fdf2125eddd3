"""SQLFluff in a process of its own.

Once imported, SQLFluff makes `isinstance(x, abc.ABC)` fail for its whole process, which Prefect's
libraries call.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import orjson

_TIMEOUT = 600.0


def find_violations(sources: Sequence[str], dialect: str) -> list[list[str]]:
    """What SQLFluff cannot parse of each source; the order is that of `sources`."""
    command = [sys.executable, "-m", __name__, dialect]
    done = subprocess.run(
        command, input=orjson.dumps(list(sources)), capture_output=True, timeout=_TIMEOUT
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"SQLFluff failed: {' '.join(last)}")
    return orjson.loads(done.stdout)


def _main() -> None:
    from sqlfluff.core import FluffConfig, Linter

    parser: Any = Linter(config=FluffConfig(overrides={"dialect": sys.argv[1]}))
    found: list[list[str]] = []
    for source in orjson.loads(sys.stdin.buffer.read()):
        try:
            parsed: Any = parser.parse_string(source)
            found.append([str(each.desc()) for each in parsed.violations])
        except RecursionError:
            found.append(["it is nested too deeply"])
    sys.stdout.buffer.write(orjson.dumps(found))


if __name__ == "__main__":
    _main()
