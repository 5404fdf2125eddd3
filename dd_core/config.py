"""Every declarative name in one place: `import dd_core.config as dd`.

Importing this module declares all kinds, so it comes before anything that validates a config.
"""

from __future__ import annotations

from dd_core.dataset.builder import DataDesignerConfigBuilder, load_model_configs
from dd_core.dataset.compatibility import (
    LocalStdioMCPProvider,
    MCPProvider,
    SchedulingMetadata,
    SchedulingMetadataError,
    ThrottleConfig,
    ToolConfig,
)
from dd_core.dataset.config import BuilderConfig, DataDesignerConfig, JudgeScoreProfilerConfig
from dd_core.dataset.files import DataDesignerScriptParams, load_config
from dd_core.dataset.gates import ColumnGates, Gates
from dd_core.dataset.info import InfoType
from dd_core.dataset.run_config import JinjaRenderingEngine, RunConfig
from dd_core.declaration.kind import import_kinds
from dd_core.declaration.plugins import load_kinds
from dd_core.kinds.code_lang import CodeLang
from dd_core.kinds.columns._custom_function import GenerationStrategy, custom_column_generator
from dd_core.kinds.columns._llm import TraceType
from dd_core.kinds.columns.column import DataDesignerColumnType, SkipConfig
from dd_core.kinds.columns.custom import CustomColumnConfig
from dd_core.kinds.columns.embedding import EmbeddingColumnConfig
from dd_core.kinds.columns.expression import ExpressionColumnConfig
from dd_core.kinds.columns.image import ImageColumnConfig
from dd_core.kinds.columns.llm_code import LLMCodeColumnConfig
from dd_core.kinds.columns.llm_judge import LLMJudgeColumnConfig, Score
from dd_core.kinds.columns.llm_structured import LLMStructuredColumnConfig
from dd_core.kinds.columns.llm_text import LLMTextColumnConfig
from dd_core.kinds.columns.sampler import SamplerColumnConfig
from dd_core.kinds.columns.seed_dataset import SeedDatasetColumnConfig
from dd_core.kinds.columns.validation import ValidationColumnConfig
from dd_core.kinds.constraint import (
    ColumnInequalityConstraint,
    ConstraintType,
    InequalityOperator,
    ScalarInequalityConstraint,
)
from dd_core.kinds.media import (
    AudioContext,
    AudioFormat,
    ImageContext,
    ImageFormat,
    Modality,
    ModalityContext,
    ModalityDataType,
    VideoContext,
    VideoFormat,
)
from dd_core.kinds.processors.deduplicate import DeduplicateProcessorConfig
from dd_core.kinds.processors.drop_columns import DropColumnsProcessorConfig
from dd_core.kinds.processors.filter_rows import FilterRowsProcessorConfig
from dd_core.kinds.processors.processor import ProcessorType
from dd_core.kinds.processors.schema_transform import SchemaTransformProcessorConfig
from dd_core.kinds.samplers.bernoulli import BernoulliSamplerParams
from dd_core.kinds.samplers.bernoulli_mixture import BernoulliMixtureSamplerParams
from dd_core.kinds.samplers.binomial import BinomialSamplerParams
from dd_core.kinds.samplers.category import CategorySamplerParams
from dd_core.kinds.samplers.datetime import DatetimeSamplerParams
from dd_core.kinds.samplers.gaussian import GaussianSamplerParams
from dd_core.kinds.samplers.person import PersonSamplerParams
from dd_core.kinds.samplers.person_from_faker import PersonFromFakerSamplerParams
from dd_core.kinds.samplers.poisson import PoissonSamplerParams
from dd_core.kinds.samplers.sampler import SamplerType
from dd_core.kinds.samplers.scipy import ScipySamplerParams
from dd_core.kinds.samplers.subcategory import SubcategorySamplerParams
from dd_core.kinds.samplers.timedelta import TimeDeltaSamplerParams
from dd_core.kinds.samplers.uniform import UniformSamplerParams
from dd_core.kinds.samplers.uuid import UUIDSamplerParams
from dd_core.kinds.seeds.agent_rollout import AgentRolloutFormat, AgentRolloutSeedSource
from dd_core.kinds.seeds.dataframe import DataFrameSeedSource
from dd_core.kinds.seeds.directory import DirectorySeedSource, FileContentsSeedSource
from dd_core.kinds.seeds.hugging_face import HuggingFaceSeedSource
from dd_core.kinds.seeds.local import LocalFileSeedSource
from dd_core.kinds.seeds.seed import IndexRange, PartitionBlock, SamplingStrategy, SeedConfig
from dd_core.kinds.validators.code import CodeValidatorParams
from dd_core.kinds.validators.local_callable import (
    LocalCallableValidatorParams,
    validation_function,
)
from dd_core.kinds.validators.remote import RemoteValidatorParams
from dd_core.kinds.validators.validator import ValidatorType
from dd_core.models.admission.limiter import RequestAdmissionTuningConfig
from dd_core.models.config import Endpoint, GenerationType, ModelConfig, ModelProvider, Price
from dd_core.models.parameters import (
    ChatCompletionInferenceParams,
    EmbeddingInferenceParams,
    ImageInferenceParams,
    ManualDistribution,
    ManualDistributionParams,
    UniformDistribution,
    UniformDistributionParams,
)
from dd_core.models.usage import Budget
from dd_core.storage.resume import ResumeMode

__all__ = [
    "AgentRolloutFormat",
    "AgentRolloutSeedSource",
    "AudioContext",
    "AudioFormat",
    "BernoulliMixtureSamplerParams",
    "BernoulliSamplerParams",
    "BinomialSamplerParams",
    "Budget",
    "BuilderConfig",
    "CategorySamplerParams",
    "ChatCompletionInferenceParams",
    "CodeLang",
    "CodeValidatorParams",
    "ColumnGates",
    "ColumnInequalityConstraint",
    "ConstraintType",
    "CustomColumnConfig",
    "DataDesignerColumnType",
    "DataDesignerConfig",
    "DataDesignerConfigBuilder",
    "DataDesignerScriptParams",
    "DataFrameSeedSource",
    "DatetimeSamplerParams",
    "DeduplicateProcessorConfig",
    "DirectorySeedSource",
    "DropColumnsProcessorConfig",
    "EmbeddingColumnConfig",
    "EmbeddingInferenceParams",
    "Endpoint",
    "ExpressionColumnConfig",
    "FileContentsSeedSource",
    "FilterRowsProcessorConfig",
    "Gates",
    "GaussianSamplerParams",
    "GenerationStrategy",
    "GenerationType",
    "HuggingFaceSeedSource",
    "ImageColumnConfig",
    "ImageContext",
    "ImageFormat",
    "ImageInferenceParams",
    "IndexRange",
    "InequalityOperator",
    "InfoType",
    "JinjaRenderingEngine",
    "JudgeScoreProfilerConfig",
    "LLMCodeColumnConfig",
    "LLMJudgeColumnConfig",
    "LLMStructuredColumnConfig",
    "LLMTextColumnConfig",
    "LocalCallableValidatorParams",
    "LocalFileSeedSource",
    "LocalStdioMCPProvider",
    "MCPProvider",
    "ManualDistribution",
    "ManualDistributionParams",
    "Modality",
    "ModalityContext",
    "ModalityDataType",
    "ModelConfig",
    "ModelProvider",
    "PartitionBlock",
    "PersonFromFakerSamplerParams",
    "PersonSamplerParams",
    "PoissonSamplerParams",
    "Price",
    "ProcessorType",
    "RemoteValidatorParams",
    "RequestAdmissionTuningConfig",
    "ResumeMode",
    "RunConfig",
    "SamplerColumnConfig",
    "SamplerType",
    "SamplingStrategy",
    "ScalarInequalityConstraint",
    "SchedulingMetadata",
    "SchedulingMetadataError",
    "SchemaTransformProcessorConfig",
    "ScipySamplerParams",
    "Score",
    "SeedConfig",
    "SeedDatasetColumnConfig",
    "SkipConfig",
    "SubcategorySamplerParams",
    "ThrottleConfig",
    "TimeDeltaSamplerParams",
    "ToolConfig",
    "TraceType",
    "UUIDSamplerParams",
    "UniformDistribution",
    "UniformDistributionParams",
    "UniformSamplerParams",
    "ValidationColumnConfig",
    "ValidatorType",
    "VideoContext",
    "VideoFormat",
    "custom_column_generator",
    "get_library_version",
    "load_config",
    "load_model_configs",
    "validation_function",
]


def get_library_version() -> str:
    """Version of the installed library."""
    from importlib.metadata import version

    return version("prefect-data-designer")


for _family in ("columns", "samplers", "seeds", "validators", "processors"):
    import_kinds(f"dd_core.kinds.{_family}")
load_kinds()
