"""Kinds from other packages and from the user's own files.

A package offers its kinds by an entry point of the group `dd_core.kinds` that names the module
which declares them. A file or module of one's own is named by the environment variable
`DD_KINDS`, several separated by commas; set it wherever configurations are read, workers included.
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


def load_kinds() -> None:
    """Import what declares further kinds. A broken package is left out with a warning.

    Raises `PluginError` for what `DD_KINDS` names, because its owner is the one who runs this.
    """
    if os.environ.get(_DISABLED, "").lower() not in ("1", "true", "yes"):
        for entry_point in entry_points(group=GROUP):
            try:
                entry_point.load()
            except Exception as error:  # whatever a foreign package may raise
                warnings.warn(
                    f"the kinds of {entry_point.value!r} are left out: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )
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
            f"{VARIABLE} names {name!r}, which cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _import_file(path: Path) -> None:
    """Import a file under its own name, so that its functions and classes are found again."""
    known = sys.modules.get(path.stem)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return
        raise ImportError(f"there is already a module {path.stem!r}; rename the file")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
