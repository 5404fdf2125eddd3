"""Loads kinds from other packages and from the user's own files.

A package provides kinds through an entry point in the group `dd_core.kinds`, which names the module
that declares them. The environment variable `DD_KINDS` names the user's own files and modules,
separated by commas. Set it wherever configurations are loaded, including on workers.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from dd_core.errors import PluginError

GROUP = "dd_core.kinds"
VARIABLE = "DD_KINDS"
_DISABLED = "DISABLE_DATA_DESIGNER_PLUGINS"


def load_packages() -> None:
    """Import what entry points name; a package that fails to import is skipped with a warning."""
    if os.environ.get(_DISABLED, "").lower() in ("1", "true", "yes"):
        return
    for entry_point in entry_points(group=GROUP):
        try:
            entry_point.load()
        except Exception as error:  # third-party code may raise anything
            warnings.warn(
                f"the kinds of {entry_point.value!r} were skipped: {type(error).__name__}: {error}",
                stacklevel=2,
            )


def load_files() -> None:
    """Import the files and modules that `DD_KINDS` names.

    Raises `PluginError` for a name that cannot be imported, because the user who set the variable
    can fix it.
    """
    for name in os.environ.get(VARIABLE, "").split(","):
        if name.strip():
            _import(name.strip())


def _import(name: str) -> None:
    try:
        if name.endswith(".py"):
            _import_file(Path(name).expanduser().resolve())
        else:
            import_module(name)
    except Exception as error:
        raise PluginError(
            f"{VARIABLE} lists {name!r}, which cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _import_file(path: Path) -> None:
    """Import a file as a top-level module, so that its functions and classes have import names."""
    known = sys.modules.get(path.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return
        raise ImportError(f"a module named {path.stem!r} is already loaded; rename the file")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
