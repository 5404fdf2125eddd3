"""Datasets as Prefect flows.

from flows import generate_dataset
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.batch import generate_batch
    from flows.blocks import DataDesignerProvider, DatasetStorage
    from flows.column import generate_column
    from flows.dataset import RunSummary, generate_dataset

__all__ = [
    "DataDesignerProvider",
    "DatasetStorage",
    "RunSummary",
    "generate_batch",
    "generate_column",
    "generate_dataset",
]

_HOME = {
    "DataDesignerProvider": "blocks",
    "DatasetStorage": "blocks",
    "RunSummary": "dataset",
    "generate_batch": "batch",
    "generate_column": "column",
    "generate_dataset": "dataset",
}


def __getattr__(name: str) -> object:
    """Import Prefect only when a flow is asked for: the command line starts without it."""
    if name not in _HOME:
        raise AttributeError(f"module 'flows' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"flows.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """With what is not imported yet: `prefect block register -m flows` looks for blocks here."""
    return sorted({*globals(), *_HOME})
