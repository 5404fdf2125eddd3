"""Imports names and kinds when they are first needed.

This module must stay cheap to import, because all public facades import it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from threading import RLock
from types import ModuleType
from typing import Any, cast

from dd_core.declaration.syntax import parse

_lock = RLock()
_loader: Callable[[], None] | None = None


def set_loader(loader: Callable[[], None]) -> None:
    """Register the function that loads all kinds. It is called once, before the first use."""
    global _loader
    _loader = loader


def ensure_loaded() -> None:
    """Load all kinds if that has not happened yet."""
    global _loader
    with _lock:  # other threads wait until all kinds are loaded
        loader, _loader = _loader, None
        if loader is None:
            return
        try:
            loader()
        except BaseException:
            _loader = loader  # the next use reports the problem again
            raise


def export_lazily(
    module: str,
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Create `__getattr__`, `__dir__` and `__all__` of a facade that imports names on first use.

    The names are those that the module imports under `if TYPE_CHECKING:` with an `as` clause that
    repeats the name, for example `from .columns import Column as Column`. Type checkers and this
    function read the same list, so a new name takes one line.
    """
    homes = _exports_of(module)

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(import_module(*homes[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return load, names, sorted(homes)


def register_alias(alias: str, package: str) -> None:
    """Make a package importable by a second name, without loading any module twice."""
    sys.modules[alias] = import_module(package)
    sys.meta_path.insert(0, _AliasedModules(alias, package))


class _AliasedModules:
    """Finds the modules of a package by the package's second name.

    It has no base class, because `importlib.abc` takes a third of the time to import a facade.
    """

    def __init__(self, alias: str, package: str) -> None:
        self._alias = f"{alias}."
        self._package = f"{package}."

    def find_spec(
        self, fullname: str, path: object = None, target: object = None, /
    ) -> ModuleSpec | None:
        """The specification of a module below the second name; None for all others."""
        if not fullname.startswith(self._alias):
            return None
        original = find_spec(self._package + fullname.removeprefix(self._alias))
        if original is None:
            return None
        return spec_from_loader(
            fullname, cast("Any", self), is_package=original.submodule_search_locations is not None
        )

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that the package itself imports in place of the new one."""
        name = module.__name__.removeprefix(self._alias)
        sys.modules[module.__name__] = import_module(self._package + name)


def _exports_of(module: str) -> dict[str, tuple[str, str | None]]:
    """The exported names, each with its module and the package that a relative import starts at."""
    spec = sys.modules[module].__spec__
    read = getattr(spec.loader, "get_source", None) if spec is not None else None
    source: str | None = read(module) if read is not None else None
    if spec is None or source is None:
        raise ImportError(f"{module} cannot be loaded without its source file")
    blocks = [node for node in parse(source).body if isinstance(node, ast.If)]
    return {
        alias.name: ("." * node.level + (node.module or ""), spec.parent)
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
