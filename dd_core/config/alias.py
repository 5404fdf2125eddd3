"""Lets scripts written for NeMo Data Designer run without a change: `import data_designer`.

In a script or a notebook, call `install_alias` before the imports; for scripts that must stay as
they are, use `python -m dd_core.config.alias script.py`. The alias is installed on request only, so
it never takes the place of an installed data-designer by itself.
"""

from __future__ import annotations

import runpy
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from dd_core.config._counterparts import ALIAS_MODULES, CounterpartModules
from dd_core.declaration.loading import register_alias
from dd_core.declaration.scripts import set_script_runner

_NAME = "data_designer"
_ROOT_DOC = "This project by the name of NeMo Data Designer; see docs/migrating.md."


def install_alias(*, unless_installed: bool = False) -> None:
    """Make this project importable as `data_designer` until the process ends.

    With `unless_installed`, nothing happens if NeMo Data Designer is installed. Raises
    `ImportError` if it has been imported already, because objects of both would then be mixed.
    """
    known = sys.modules.get(_NAME)
    if known is not None:
        if known.__doc__ == _ROOT_DOC or unless_installed:
            return
        raise ImportError(
            "data_designer is already imported from elsewhere; call install_alias() before that"
        )
    if unless_installed and find_spec(_NAME) is not None:
        return
    root = ModuleType(_NAME, _ROOT_DOC)
    root.__path__ = []
    root.__spec__ = ModuleSpec(_NAME, None, is_package=True)
    sys.modules[_NAME] = root
    sys.meta_path.insert(0, _Unserved())
    sys.meta_path.insert(0, CounterpartModules(_NAME, ALIAS_MODULES))
    register_alias(f"{_NAME}.config", "dd_core.config")
    set_script_runner("dd_core.config.alias")
    root.config = sys.modules[f"{_NAME}.config"]  # pyright: ignore[reportAttributeAccessIssue]


class _Unserved:
    """Says why a module of NeMo Data Designer cannot be imported."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None, /
    ) -> ModuleSpec | None:
        """Raise `ModuleNotFoundError` for all modules below `data_designer`."""
        if fullname.startswith(f"{_NAME}.") and not fullname.startswith(f"{_NAME}.config."):
            raise ModuleNotFoundError(
                f"{fullname} has no counterpart in this project; see docs/migrating.md, and "
                "docs/own-kinds.md for plugins",
                name=fullname,
            )
        return None


def main() -> None:
    """Run the script that the command line names, with the alias and its own arguments."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m dd_core.config.alias SCRIPT [ARGS]...")
    install_alias()
    script = sys.argv[1]
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
