"""Synthetic datasets from declarations: an asyncio engine, a client of inference servers.

import dd_core.config as dd
from dd_core import DataDesigner
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dd_core.designer.designer import DataDesigner
    from dd_core.designer.hub import HuggingFaceHubClient
    from dd_core.designer.results import DatasetCreationResults, PreviewResults
    from dd_core.errors import (
        DataDesignerEarlyShutdownError,
        DataDesignerError,
        DataDesignerGenerationError,
        DataDesignerProfilingError,
        InvalidConfigError,
    )
    from dd_core.storage.resume import ResumeMode

_HOME = {
    "DataDesigner": "designer.designer",
    "DataDesignerEarlyShutdownError": "errors",
    "DataDesignerError": "errors",
    "DataDesignerGenerationError": "errors",
    "DataDesignerProfilingError": "errors",
    "DatasetCreationResults": "designer.results",
    "HuggingFaceHubClient": "designer.hub",
    "InvalidConfigError": "errors",
    "PreviewResults": "designer.results",
    "ResumeMode": "storage.resume",
}

__all__ = [
    "DataDesigner",
    "DataDesignerEarlyShutdownError",
    "DataDesignerError",
    "DataDesignerGenerationError",
    "DataDesignerProfilingError",
    "DatasetCreationResults",
    "HuggingFaceHubClient",
    "InvalidConfigError",
    "PreviewResults",
    "ResumeMode",
]


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: declarations alone should load fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'dd_core' has no attribute {name!r}")
    from importlib import import_module

    import_module("dd_core.config")
    return getattr(import_module(f"dd_core.{_HOME[name]}"), name)
