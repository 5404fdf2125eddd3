"""Synthetic datasets from declarations: an asyncio engine and a client for inference servers.

import dd_core.config as dd
from dd_core import DataDesigner
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dd_core.declaration.loading import export_lazily, set_loader

if TYPE_CHECKING:
    from dd_core.config.alias import install_alias as install_alias
    from dd_core.designer.designer import DataDesigner as DataDesigner
    from dd_core.designer.hub import HuggingFaceHubClient as HuggingFaceHubClient
    from dd_core.designer.logging_setup import (
        LoggerConfig as LoggerConfig,
        LoggingConfig as LoggingConfig,
        OutputConfig as OutputConfig,
        configure_logging as configure_logging,
        is_logging_configured as is_logging_configured,
        quiet_noisy_logger as quiet_noisy_logger,
        reset_logging as reset_logging,
    )
    from dd_core.designer.results import (
        DatasetCreationResults as DatasetCreationResults,
        PreviewResults as PreviewResults,
    )
    from dd_core.designer.workflow.composite.metadata import (
        CompletedWorkflowStageMetadata as CompletedWorkflowStageMetadata,
        FailedWorkflowStageMetadata as FailedWorkflowStageMetadata,
        RunningWorkflowStageMetadata as RunningWorkflowStageMetadata,
        SkippedWorkflowStageMetadata as SkippedWorkflowStageMetadata,
        WorkflowMetadata as WorkflowMetadata,
        WorkflowStageMetadata as WorkflowStageMetadata,
        validate_workflow_stage_metadata as validate_workflow_stage_metadata,
    )
    from dd_core.designer.workflow.composite.results import (
        CompositeWorkflowResults as CompositeWorkflowResults,
        SkippedStageResult as SkippedStageResult,
        SkippedStageStatus as SkippedStageStatus,
    )
    from dd_core.designer.workflow.composite.workflow import CompositeWorkflow as CompositeWorkflow
    from dd_core.errors import (
        DataDesignerEarlyShutdownError as DataDesignerEarlyShutdownError,
        DataDesignerError as DataDesignerError,
        DataDesignerGenerationError as DataDesignerGenerationError,
        DataDesignerProfilingError as DataDesignerProfilingError,
        DataDesignerWorkflowError as DataDesignerWorkflowError,
        InvalidConfigError as InvalidConfigError,
    )
    from dd_core.storage.resume import ResumeMode as ResumeMode


def _load_all_kinds() -> None:
    import_module("dd_core.config").load_all_kinds()


set_loader(_load_all_kinds)

if not TYPE_CHECKING:  # type checkers read the imports above
    __getattr__, __dir__, __all__ = export_lazily(__name__)
