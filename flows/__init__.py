"""Generate datasets as Prefect flows.

from flows import generate_dataset
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dd_core.declaration.loading import export_lazily

if TYPE_CHECKING:
    from .artifacts.summary import RunSummary as RunSummary
    from .batch import generate_batch as generate_batch
    from .blocks.types import (
        DataDesignerProvider as DataDesignerProvider,
        DatasetStorage as DatasetStorage,
    )
    from .dataset import generate_dataset as generate_dataset
    from .tasks import generate_column as generate_column

if not TYPE_CHECKING:  # Prefect is imported when a flow is used: the command line starts without it
    __getattr__, __dir__, __all__ = export_lazily(__name__)
