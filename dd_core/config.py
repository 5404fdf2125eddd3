"""Every declarative name in one place: `import dd_core.config as dd`.

Importing this module declares all kinds, so it comes before anything that validates a config.
"""

from __future__ import annotations

from dd_core.builder import DataDesignerConfigBuilder
from dd_core.builder_models import load_model_configs
from dd_core.code_lang import CodeLang
from dd_core.column import DataDesignerColumnType, SkipConfig
from dd_core.columns.custom import CustomColumnConfig
from dd_core.columns.embedding import EmbeddingColumnConfig
from dd_core.columns.expression import ExpressionColumnConfig
from dd_core.columns.image import ImageColumnConfig
from dd_core.columns.llm import TraceType
from dd_core.columns.llm_code import LLMCodeColumnConfig
from dd_core.columns.llm_judge import LLMJudgeColumnConfig, Score
from dd_core.columns.llm_structured import LLMStructuredColumnConfig
from dd_core.columns.llm_text import LLMTextColumnConfig
from dd_core.columns.sampler import SamplerColumnConfig
from dd_core.columns.seed_dataset import SeedDatasetColumnConfig
from dd_core.columns.validation import ValidationColumnConfig
from dd_core.config_file import DataDesignerScriptParams, load_config
from dd_core.constraint import (
    ColumnInequalityConstraint,
    ConstraintType,
    InequalityOperator,
    ScalarInequalityConstraint,
)
from dd_core.custom import GenerationStrategy, custom_column_generator
from dd_core.dataset_config import BuilderConfig, DataDesignerConfig
from dd_core.gates import ColumnGates, Gates
from dd_core.info import InfoType
from dd_core.media import (
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
from dd_core.models.config import (
    ChatCompletionInferenceParams,
    EmbeddingInferenceParams,
    Endpoint,
    GenerationType,
    ImageInferenceParams,
    ModelConfig,
    ModelProvider,
)
from dd_core.models.distribution import (
    ManualDistribution,
    ManualDistributionParams,
    UniformDistribution,
    UniformDistributionParams,
)
from dd_core.models.price import Price
from dd_core.plugins import load_kinds
from dd_core.processor import ProcessorType
from dd_core.processors.deduplicate import DeduplicateProcessorConfig
from dd_core.processors.drop_columns import DropColumnsProcessorConfig
from dd_core.processors.filter_rows import FilterRowsProcessorConfig
from dd_core.processors.schema_transform import SchemaTransformProcessorConfig
from dd_core.profiler import JudgeScoreProfilerConfig
from dd_core.run_config import (
    Budget,
    JinjaRenderingEngine,
    RequestAdmissionTuningConfig,
    ResumeMode,
    RunConfig,
    ThrottleConfig,
)
from dd_core.sampler import SamplerType
from dd_core.samplers.bernoulli import BernoulliSamplerParams
from dd_core.samplers.bernoulli_mixture import BernoulliMixtureSamplerParams
from dd_core.samplers.binomial import BinomialSamplerParams
from dd_core.samplers.category import CategorySamplerParams
from dd_core.samplers.datetime import DatetimeSamplerParams
from dd_core.samplers.gaussian import GaussianSamplerParams
from dd_core.samplers.person import PersonSamplerParams
from dd_core.samplers.person_from_faker import PersonFromFakerSamplerParams
from dd_core.samplers.poisson import PoissonSamplerParams
from dd_core.samplers.scipy import ScipySamplerParams
from dd_core.samplers.subcategory import SubcategorySamplerParams
from dd_core.samplers.timedelta import TimeDeltaSamplerParams
from dd_core.samplers.uniform import UniformSamplerParams
from dd_core.samplers.uuid import UUIDSamplerParams
from dd_core.scheduling import SchedulingMetadata, SchedulingMetadataError
from dd_core.seed import IndexRange, PartitionBlock, SamplingStrategy, SeedConfig
from dd_core.seeds.agent_rollout import AgentRolloutFormat, AgentRolloutSeedSource
from dd_core.seeds.dataframe import DataFrameSeedSource
from dd_core.seeds.directory import DirectorySeedSource, FileContentsSeedSource
from dd_core.seeds.hugging_face import HuggingFaceSeedSource
from dd_core.seeds.local import LocalFileSeedSource
from dd_core.tools import LocalStdioMCPProvider, MCPProvider, ToolConfig
from dd_core.validator import ValidatorType
from dd_core.validators.code import CodeValidatorParams
from dd_core.validators.local_callable import LocalCallableValidatorParams, validation_function
from dd_core.validators.remote import RemoteValidatorParams

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


load_kinds()
