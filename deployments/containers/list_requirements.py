"""Prints the dependencies of this project and of some extras: `list_requirements.py hub,sqlfluff`.

The Dockerfile installs them before it copies the sources, so that a change of the sources does not
download them again.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = [name for name in "".join(sys.argv[1:]).split(",") if name]
print(*project["dependencies"], sep="\n")
for extra in extras:
    print(*project["optional-dependencies"][extra], sep="\n")
