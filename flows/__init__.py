"""Datasets as Prefect flows.

from flows import generate_dataset
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .artifacts.summary import RunSummary
    from .batch import generate_batch
    from .blocks.types import DataDesignerProvider, DatasetStorage
    from .dataset import generate_dataset
    from .tasks import generate_column

__all__ = [
    "DataDesignerProvider",
    "DatasetStorage",
    "RunSummary",
    "generate_batch",
    "generate_column",
    "generate_dataset",
]

_HOME = {
    "DataDesignerProvider": "blocks.types",
    "DatasetStorage": "blocks.types",
    "RunSummary": "artifacts.summary",
    "generate_batch": "batch",
    "generate_column": "tasks",
    "generate_dataset": "dataset",
}


def __getattr__(name: str) -> object:
    """Import Prefect only when a flow is asked for: the command line starts without it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    """With what is not imported yet: `prefect block register -m flows` looks for blocks here."""
    return sorted({*globals(), *_HOME})
