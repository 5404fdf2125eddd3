"""Run a script with data-designer from PyPI, in a separate virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

VERSION = "0.9.7"
_PACKAGES = ("data-designer", "data-designer-config", "data-designer-engine")
_HOME = Path(__file__).parent.parent / ".venv-reference"
_READY = _HOME / f".ready-{VERSION}"


def python() -> Path:
    """The interpreter of the environment with data-designer, which is created on first use."""
    binary = _HOME / "bin" / "python"
    if not _READY.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_HOME)], check=True)
        pip = [str(binary), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, f"data-designer=={VERSION}"], check=False).returncode:
            _install_without_pins(pip, binary)
        _READY.touch()
    return binary


def _install_without_pins(pip: list[str], binary: Path) -> None:
    """Install data-designer's three packages and their requirements, with any version of certifi.

    They pin a version of certifi that some package indexes do not have.
    """
    packages = [f"{name}=={VERSION}" for name in _PACKAGES]
    subprocess.run([*pip, "--no-deps", *packages], check=True)
    script = f"from importlib.metadata import requires; print(*[r for p in {_PACKAGES} "
    script += "for r in requires(p) or () if 'extra ==' not in r], sep='\\n')"
    found = subprocess.run(
        [str(binary), "-c", script], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    needed = [each for each in found if not each.startswith(("data-designer", "certifi"))]
    subprocess.run([*pip, "certifi", *needed], check=True)


def measured(
    script: str, *arguments: str, only: Literal["ours", "theirs"] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a script with this project and with data-designer; returns the last lines as JSON.

    The script is written for data-designer; its imports are replaced for this project.
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
