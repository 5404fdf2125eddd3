"""Removes from an environment what no run needs: `python slim.py /opt/venv`.

The Dockerfile runs this in the build stage. `warm_up.py` shows afterwards that what a run needs is
still there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

UNUSED = {
    "**/__pycache__": "bytecode: `warm_up.py` compiles the modules that runs import",
    "*/**/tests": "tests of pandas, NumPy, SciPy and others",
    "pyarrow/include": "headers to compile against Arrow",
    "pyarrow/src": "sources to compile against Arrow",
    "pyarrow/*flight*": "Arrow Flight, a protocol between databases",
    "pyarrow/*s3*": "Arrow's own client for S3: storage is read through fsspec and s3fs",
    "prefect/server/ui": "Prefect's UI: the server has its own image",
    "prefect/server/ui-v2": "the same, version 2",
    "**/*.a": "libraries to link against",
    "**/*.h": "headers",
    "**/*.pyx": "Cython sources of compiled modules",
    "**/*.pxd": "Cython declarations",
    "**/*.pxi": "Cython includes",
    "**/*.pyi": "type hints for editors",
}
"""Patterns in `site-packages`, and what they match."""


def main(environment: Path) -> None:
    """Remove unused files and debug symbols, and store identical libraries once."""
    [packages] = environment.glob("lib/python3.*/site-packages")
    before = count_megabytes(environment)
    for pattern in UNUSED:
        for path in [*packages.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    link_copies(packages / "pyarrow")
    strip_symbols(packages)
    print(f"{environment}: {before:.0f} MB before, {count_megabytes(environment):.0f} MB after")


def link_copies(folder: Path) -> None:
    """Wheels cannot contain links, so libraries with several names are stored several times."""
    for path in sorted(folder.glob("*.so")):
        for copy in sorted(folder.glob(f"{path.name}.*")):
            if copy.read_bytes() == path.read_bytes():
                copy.unlink()
                copy.symlink_to(path.name)


def strip_symbols(packages: Path) -> None:
    """Remove debug symbols from libraries.

    NumPy, SciPy and the folders `*.libs` are left alone: auditwheel has rewritten their libraries,
    and they no longer load after `strip`.
    """
    spared = {"numpy", "scipy"}
    libraries = [
        path
        for path in packages.rglob("*.so*")
        if (top := path.relative_to(packages).parts[0]) not in spared and ".libs" not in top
        if not path.is_symlink()
    ]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)  # noqa: S607


def count_megabytes(folder: Path) -> float:
    """The space that the files of a folder occupy on disk, as `du -sm` counts it."""
    files = (path.lstat() for path in folder.rglob("*"))
    return sum(file.st_blocks * 512 for file in files) / 2**20


if __name__ == "__main__":
    main(Path(sys.argv[1]))
