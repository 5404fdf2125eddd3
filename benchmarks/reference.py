"""Runs a script with data-designer from PyPI, in a virtual environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

VERSION = "0.9.7"
_HOME = Path(__file__).parent.parent / ".venv-reference"


def python() -> Path:
    """The interpreter that has data-designer; it is installed on first use."""
    binary = _HOME / "bin" / "python"
    if not binary.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_HOME)], check=True)
        install = [str(binary), "-m", "pip", "install", "--quiet", f"data-designer=={VERSION}"]
        subprocess.run(install, check=True)
    return binary


def measured(
    script: str, *arguments: str, only: Literal["ours", "theirs"] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a script prints as its last line, with this project and with data-designer.

    The script is written for data-designer; for this project its imports are changed.
    """
    ours = script.replace("data_designer.config", "dd_core.config")
    ours = ours.replace("data_designer.interface", "dd_core")
    mine = {} if only == "theirs" else _run(Path(sys.executable), ours, arguments)
    return mine, {} if only == "ours" else _run(python(), script, arguments)


def _run(interpreter: Path, script: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="dd-bench-") as folder:
        environment = os.environ | {
            "DATA_DESIGNER_HOME": folder,
            "NEMO_TELEMETRY_ENABLED": "false",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        done = subprocess.run(
            [str(interpreter), "-c", script, *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{interpreter} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
