"""Every declarative name in one place: `import dd_core.config as dd`.

The package contains no declarations. It also lets scripts for NeMo Data Designer import from the
modules that they know, such as `dd_core.config.models`; see `_counterparts.py`.

A name is imported when it is first used. All kinds are imported when the first configuration is
validated, including those of other packages and those that `DD_KINDS` names.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dd_core.declaration.loading import export_lazily

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    # A name that is imported here as itself is a name of the facade.
    from dd_core.dataset.builder import DataDesignerConfigBuilder as DataDesignerConfigBuilder
    from dd_core.dataset.compatibility import (
        SchedulingMetadata as SchedulingMetadata,
        SchedulingMetadataError as SchedulingMetadataError,
        ThrottleConfig as ThrottleConfig,
    )
    from dd_core.dataset.config import (
        BuilderConfig as BuilderConfig,
        DataDesignerConfig as DataDesignerConfig,
        JudgeScoreProfilerConfig as JudgeScoreProfilerConfig,
    )
    from dd_core.dataset.files import (
        DataDesignerScriptParams as DataDesignerScriptParams,
        load_config as load_config,
        load_model_configs as load_model_configs,
    )
    from dd_core.dataset.gates import ColumnGates as ColumnGates, Gates as Gates
    from dd_core.dataset.info import InfoType as InfoType
    from dd_core.dataset.planning.acceptance import Accept as Accept
    from dd_core.dataset.planning.repeat import Repeat as Repeat
    from dd_core.dataset.run_config import (
        JinjaRenderingEngine as JinjaRenderingEngine,
        RunConfig as RunConfig,
    )
    from dd_core.dataset.workflow.config import (
        WorkflowBuilder as WorkflowBuilder,
        WorkflowConfig as WorkflowConfig,
        WorkflowStage as WorkflowStage,
        load_workflow as load_workflow,
    )
    from dd_core.dataset.workflow.steps import (
        CollectStep as CollectStep,
        ExplodeStep as ExplodeStep,
        FilterStep as FilterStep,
        JoinStep as JoinStep,
        SelectStep as SelectStep,
        UnionStep as UnionStep,
    )
    from dd_core.declaration.secrets import (
        CompositeResolver as CompositeResolver,
        EnvironmentResolver as EnvironmentResolver,
        PlaintextResolver as PlaintextResolver,
        SecretResolver as SecretResolver,
        SecretsFileResolver as SecretsFileResolver,
    )
    from dd_core.kinds.code_lang import CodeLang as CodeLang
    from dd_core.kinds.columns._custom_function import (
        GenerationStrategy as GenerationStrategy,
        custom_column_generator as custom_column_generator,
    )
    from dd_core.kinds.columns._llm import TraceType as TraceType
    from dd_core.kinds.columns.column import (
        DataDesignerColumnType as DataDesignerColumnType,
        SkipConfig as SkipConfig,
    )
    from dd_core.kinds.columns.conversation import (
        ConversationColumnConfig as ConversationColumnConfig,
        ConversationRole as ConversationRole,
    )
    from dd_core.kinds.columns.custom import CustomColumnConfig as CustomColumnConfig
    from dd_core.kinds.columns.embedding import EmbeddingColumnConfig as EmbeddingColumnConfig
    from dd_core.kinds.columns.examples import ExamplesColumnConfig as ExamplesColumnConfig
    from dd_core.kinds.columns.expression import ExpressionColumnConfig as ExpressionColumnConfig
    from dd_core.kinds.columns.image import ImageColumnConfig as ImageColumnConfig
    from dd_core.kinds.columns.llm_code import LLMCodeColumnConfig as LLMCodeColumnConfig
    from dd_core.kinds.columns.llm_compare import LLMCompareColumnConfig as LLMCompareColumnConfig
    from dd_core.kinds.columns.llm_completion import (
        LLMCompletionColumnConfig as LLMCompletionColumnConfig,
    )
    from dd_core.kinds.columns.llm_judge import (
        LLMJudgeColumnConfig as LLMJudgeColumnConfig,
        Score as Score,
    )
    from dd_core.kinds.columns.llm_structured import (
        LLMStructuredColumnConfig as LLMStructuredColumnConfig,
    )
    from dd_core.kinds.columns.llm_text import LLMTextColumnConfig as LLMTextColumnConfig
    from dd_core.kinds.columns.neighbours import NeighboursColumnConfig as NeighboursColumnConfig
    from dd_core.kinds.columns.row_number import RowNumberColumnConfig as RowNumberColumnConfig
    from dd_core.kinds.columns.sampler import SamplerColumnConfig as SamplerColumnConfig
    from dd_core.kinds.columns.seed_dataset import (
        SeedDatasetColumnConfig as SeedDatasetColumnConfig,
    )
    from dd_core.kinds.columns.validation import ValidationColumnConfig as ValidationColumnConfig
    from dd_core.kinds.constraint import (
        ColumnInequalityConstraint as ColumnInequalityConstraint,
        ConstraintType as ConstraintType,
        InequalityOperator as InequalityOperator,
        ScalarInequalityConstraint as ScalarInequalityConstraint,
    )
    from dd_core.kinds.media import (
        AudioContext as AudioContext,
        AudioFormat as AudioFormat,
        ImageContext as ImageContext,
        ImageFormat as ImageFormat,
        Modality as Modality,
        ModalityContext as ModalityContext,
        ModalityDataType as ModalityDataType,
        VideoContext as VideoContext,
        VideoFormat as VideoFormat,
    )
    from dd_core.kinds.processors.balance import BalanceProcessorConfig as BalanceProcessorConfig
    from dd_core.kinds.processors.decontaminate import (
        Benchmark as Benchmark,
        DecontaminateProcessorConfig as DecontaminateProcessorConfig,
    )
    from dd_core.kinds.processors.deduplicate import (
        DeduplicateProcessorConfig as DeduplicateProcessorConfig,
    )
    from dd_core.kinds.processors.drop_columns import (
        DropColumnsProcessorConfig as DropColumnsProcessorConfig,
    )
    from dd_core.kinds.processors.filter_rows import (
        FilterRowsProcessorConfig as FilterRowsProcessorConfig,
    )
    from dd_core.kinds.processors.processor import ProcessorType as ProcessorType
    from dd_core.kinds.processors.schema_transform import (
        SchemaTransformProcessorConfig as SchemaTransformProcessorConfig,
    )
    from dd_core.kinds.processors.select import (
        Diversity as Diversity,
        SelectProcessorConfig as SelectProcessorConfig,
    )
    from dd_core.kinds.samplers.bernoulli import BernoulliSamplerParams as BernoulliSamplerParams
    from dd_core.kinds.samplers.bernoulli_mixture import (
        BernoulliMixtureSamplerParams as BernoulliMixtureSamplerParams,
    )
    from dd_core.kinds.samplers.binomial import BinomialSamplerParams as BinomialSamplerParams
    from dd_core.kinds.samplers.category import CategorySamplerParams as CategorySamplerParams
    from dd_core.kinds.samplers.datetime import DatetimeSamplerParams as DatetimeSamplerParams
    from dd_core.kinds.samplers.gaussian import GaussianSamplerParams as GaussianSamplerParams
    from dd_core.kinds.samplers.person import PersonSamplerParams as PersonSamplerParams
    from dd_core.kinds.samplers.person_from_faker import (
        PersonFromFakerSamplerParams as PersonFromFakerSamplerParams,
    )
    from dd_core.kinds.samplers.poisson import PoissonSamplerParams as PoissonSamplerParams
    from dd_core.kinds.samplers.sampler import SamplerType as SamplerType
    from dd_core.kinds.samplers.scipy import ScipySamplerParams as ScipySamplerParams
    from dd_core.kinds.samplers.subcategory import (
        SubcategorySamplerParams as SubcategorySamplerParams,
    )
    from dd_core.kinds.samplers.timedelta import TimeDeltaSamplerParams as TimeDeltaSamplerParams
    from dd_core.kinds.samplers.uniform import UniformSamplerParams as UniformSamplerParams
    from dd_core.kinds.samplers.uuid import UUIDSamplerParams as UUIDSamplerParams
    from dd_core.kinds.seeds.agent_rollout import (
        AgentRolloutFormat as AgentRolloutFormat,
        AgentRolloutSeedSource as AgentRolloutSeedSource,
    )
    from dd_core.kinds.seeds.dataframe import DataFrameSeedSource as DataFrameSeedSource
    from dd_core.kinds.seeds.dataset import DatasetSeedSource as DatasetSeedSource
    from dd_core.kinds.seeds.directory import (
        DirectorySeedSource as DirectorySeedSource,
        FileContentsSeedSource as FileContentsSeedSource,
    )
    from dd_core.kinds.seeds.documents import DocumentsSeedSource as DocumentsSeedSource
    from dd_core.kinds.seeds.hugging_face import HuggingFaceSeedSource as HuggingFaceSeedSource
    from dd_core.kinds.seeds.local import LocalFileSeedSource as LocalFileSeedSource
    from dd_core.kinds.seeds.seed import (
        IndexRange as IndexRange,
        PartitionBlock as PartitionBlock,
        SamplingStrategy as SamplingStrategy,
        SeedConfig as SeedConfig,
    )
    from dd_core.kinds.validators.code import CodeValidatorParams as CodeValidatorParams
    from dd_core.kinds.validators.local_callable import (
        LocalCallableValidatorParams as LocalCallableValidatorParams,
        validation_function as validation_function,
    )
    from dd_core.kinds.validators.remote import RemoteValidatorParams as RemoteValidatorParams
    from dd_core.kinds.validators.validator import ValidatorType as ValidatorType
    from dd_core.models.admission.limiter import (
        RequestAdmissionTuningConfig as RequestAdmissionTuningConfig,
    )
    from dd_core.models.config import (
        Endpoint as Endpoint,
        GenerationType as GenerationType,
        ModelConfig as ModelConfig,
        ModelProvider as ModelProvider,
        Price as Price,
    )
    from dd_core.models.parameters import (
        ChatCompletionInferenceParams as ChatCompletionInferenceParams,
        EmbeddingInferenceParams as EmbeddingInferenceParams,
        ImageInferenceParams as ImageInferenceParams,
        ManualDistribution as ManualDistribution,
        ManualDistributionParams as ManualDistributionParams,
        UniformDistribution as UniformDistribution,
        UniformDistributionParams as UniformDistributionParams,
    )
    from dd_core.models.tools.config import (
        LocalStdioMCPProvider as LocalStdioMCPProvider,
        MCPProvider as MCPProvider,
        ToolConfig as ToolConfig,
    )
    from dd_core.models.usage import Budget as Budget
    from dd_core.storage.resume import ResumeMode as ResumeMode

_FAMILIES = ("columns", "samplers", "seeds", "validators", "processors")


def get_library_version() -> str:
    """Version of the installed library."""
    from importlib.metadata import version

    return version("prefect-data-designer")


def load_all_kinds() -> None:
    """Import every kind: our own, those of other packages, and the user's."""
    from dd_core.declaration.kind import import_kinds
    from dd_core.declaration.plugins import load_packages

    for family in _FAMILIES:
        import_kinds(f"dd_core.kinds.{family}")
    load_packages()
    _load_files()


def _load_files() -> None:
    if os.environ.get("DD_KINDS"):
        from dd_core.declaration.plugins import load_files

        load_files()


if not TYPE_CHECKING:  # type checkers read the imports above
    __getattr__, __dir__, _names = export_lazily(__name__)
    __all__ = sorted([*_names, "get_library_version"])


class _Submodules:
    """Finds the modules of `_counterparts.py`, which is imported when one of them is."""

    @staticmethod
    def find_spec(
        fullname: str, path: object = None, target: object = None, /
    ) -> ModuleSpec | None:
        """The specification of one of the modules; None for all others."""
        if not fullname.startswith("dd_core.config."):
            return None
        from dd_core.config._counterparts import CONFIG_MODULES, CounterpartModules

        return CounterpartModules("dd_core.config", CONFIG_MODULES).find_spec(fullname)


sys.meta_path.append(_Submodules())
_load_files()  # the user who set the variable learns at once what is wrong with it
