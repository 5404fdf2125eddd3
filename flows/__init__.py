"""Generate datasets as Prefect flows.

from prefect_data_designer import generate_dataset

In the repository, this package is also the folder `flows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dd_core.declaration.loading import export_lazily, register_alias

if TYPE_CHECKING:
    from .artifacts.summary import RunSummary as RunSummary
    from .batch import generate_batch as generate_batch
    from .blocks.types import (
        DataDesignerProvider as DataDesignerProvider,
        DataDesignerToolServer as DataDesignerToolServer,
        DatasetStorage as DatasetStorage,
    )
    from .dataset import generate_dataset as generate_dataset
    from .entry import (
        AcceptedDataset as AcceptedDataset,
        generate_dataset_sync as generate_dataset_sync,
        generate_dataset_task as generate_dataset_task,
        load_latest as load_latest,
    )
    from .tasks import generate_column as generate_column
    from .workflow import generate_workflow as generate_workflow

if not TYPE_CHECKING:
    if __name__ == "flows":  # no module may be loaded under two names
        register_alias("flows", "prefect_data_designer")
    else:  # Prefect is imported when a flow is used: the command line starts without it
        _load, __dir__, __all__ = export_lazily(__name__)

        def __getattr__(name: str) -> object:
            if name == "__version__":
                from importlib.metadata import version

                return version("prefect-data-designer")
            return _load(name)
