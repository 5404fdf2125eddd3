"""The modules of NeMo Data Designer from which its users import, and where our counterparts live.

`dd_core.config.<module>` exists for each of `CONFIG_MODULES`, and so does
`data_designer.<module>` for each of `ALIAS_MODULES` once the alias of `alias.py` is installed. The
modules are empty. A name is looked up in `HOMES`, and else in `dd_core.config`, `dd_core` and
`dd_core.errors`, whichever module it is imported from, because NeMo Data Designer's modules also
offer the names that they import themselves, and names move from version to version.
"""

from __future__ import annotations

from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

_CONFIG_MODULES = """
    analysis analysis.column_profilers analysis.column_statistics analysis.dataset_profiler
    analysis.utils analysis.utils.errors analysis.utils.reporting base column_configs
    column_types config_builder custom_column data_designer_config default_model_settings
    errors exportable_config interface mcp models preview_results processor_types processors
    request_admission run_config run_config_deprecated sampler_constraints sampler_params
    scheduling script_params seed seed_source seed_source_dataframe seed_source_types utils
    utils.code_lang utils.constants utils.errors utils.info utils.media_helpers utils.misc
    utils.trace_type validator_params version
"""
CONFIG_MODULES = frozenset(_CONFIG_MODULES.split())
_ALIAS_MODULES = """
    engine engine.errors engine.models engine.models.errors engine.models.facade
    engine.resources engine.resources.seed_reader engine.secret_resolver errors integrations
    integrations.huggingface integrations.huggingface.client interface interface.composite_workflow
    interface.data_designer interface.errors interface.results interface.workflow_metadata
    lazy_heavy_imports logging
"""
ALIAS_MODULES = frozenset(_ALIAS_MODULES.split())

_DOORS = ("dd_core.config", "dd_core", "dd_core.errors")
_STATISTICS = "dd_core.kinds.statistics"
HOMES = {
    # Base classes and families
    "ColumnConfigT": "dd_core.kinds.columns.column:Column",
    "ColumnConstraintInputT": "dd_core.kinds.constraint:Constraint",
    "ColumnConstraintT": "dd_core.kinds.constraint:Constraint",
    "ConfigBase": "dd_core.declaration.kind:Declaration",
    "ExportableConfigBase": "dd_core.dataset.config:Exportable",
    "FileSystemSeedSource": "dd_core.kinds.seeds.directory:FolderSource",
    "ProcessorConfig": "dd_core.kinds.processors.processor:ProcessorConfig",
    "ProcessorConfigT": "dd_core.kinds.processors.processor:ProcessorConfig",
    "SamplerParamsT": "dd_core.kinds.samplers.sampler:SamplerParams",
    "FileSystemSeedReader": "dd_core.kinds.seeds._reader:FileSystemSeedReader",
    "SeedReader": "dd_core.kinds.seeds._reader:SeedReader",
    "SeedReaderFileSystemContext": "dd_core.kinds.seeds._reader:SeedReaderFileSystemContext",
    "SeedSource": "dd_core.kinds.seeds.seed:SeedSource",
    "SeedSourceT": "dd_core.kinds.seeds.seed:SeedSource",
    "SingleColumnConfig": "dd_core.kinds.columns.column:Column",
    "ValidatorParamsT": "dd_core.kinds.validators.validator:ValidatorParams",
    # Models
    "Constraint": "dd_core.kinds.constraint:Constraint",
    "Distribution": "dd_core.models.parameters:Distribution",
    "BaseInferenceParams": "dd_core.models.parameters:InferenceParams",
    "DistributionT": "dd_core.models.parameters:Distribution",
    "InferenceParamsT": "dd_core.models.parameters:InferenceParameters",
    "ModelFacade": "dd_core.models.handle:ModelHandle",
    "MultiModalContextT": "dd_core.kinds.media:ModalityContext",
    "get_default_model_configs": "dd_core.models.providers:load_default_models",
    "get_default_providers": "dd_core.models.providers:load_default_providers",
    # Statistics. Ours do not have a class for each type of column.
    "BaseColumnStatistics": f"{_STATISTICS}:ColumnStatistics",
    "ColumnProfilerConfigT": "dd_core.dataset.config:JudgeScoreProfilerConfig",
    "CategoricalDistribution": f"{_STATISTICS}:CategoricalDistribution",
    "CategoricalHistogramData": f"{_STATISTICS}:CategoricalHistogram",
    "ColumnDistributionType": f"{_STATISTICS}:ColumnDistributionType",
    "ColumnProfilerResults": f"{_STATISTICS}:JudgeProfile",
    "ColumnProfilerResultsT": f"{_STATISTICS}:JudgeProfile",
    "ColumnStatisticsT": f"{_STATISTICS}:ColumnStatistics",
    "DatasetProfilerResults": "dd_core.quality.report:DatasetProfilerResults",
    "ExpressionColumnStatistics": f"{_STATISTICS}:ColumnStatistics",
    "GeneralColumnStatistics": f"{_STATISTICS}:ColumnStatistics",
    "JudgeScoreProfilerResults": f"{_STATISTICS}:JudgeProfile",
    "JudgeScoreSample": f"{_STATISTICS}:ScoreSample",
    "JudgeScoreSummary": f"{_STATISTICS}:ScoreProfile",
    "LLMCodeColumnStatistics": f"{_STATISTICS}:LLMColumnStatistics",
    "LLMJudgedColumnStatistics": f"{_STATISTICS}:LLMJudgeColumnStatistics",
    "LLMStructuredColumnStatistics": f"{_STATISTICS}:LLMColumnStatistics",
    "LLMTextColumnStatistics": f"{_STATISTICS}:LLMColumnStatistics",
    "MissingValue": f"{_STATISTICS}:MissingValue",
    "NumericalDistribution": f"{_STATISTICS}:NumericalDistribution",
    "ReportSection": "dd_core.quality.report:ReportSection",
    "SamplerColumnStatistics": f"{_STATISTICS}:SamplerColumnStatistics",
    "SeedDatasetColumnStatistics": f"{_STATISTICS}:ColumnStatistics",
    "ValidationColumnStatistics": f"{_STATISTICS}:ValidationColumnStatistics",
    # Constants and help
    "ConfigBuilderInfo": "dd_core.dataset.info:Info",
    "InterfaceInfo": "dd_core.dataset.info:Info",
    "REASONING_CONTENT_COLUMN_POSTFIX": "dd_core.kinds.columns._llm:REASONING_SUFFIX",
    "TRACE_COLUMN_POSTFIX": "dd_core.kinds.columns._llm:TRACE_SUFFIX",
    # Packages that recipes import by way of NeMo Data Designer
    "np": "numpy",
    "pd": "pandas",
    # Errors with other names
    "DataDesignerRuntimeError": "dd_core.errors:DataDesignerError",
    "GenerationValidationFailureError": "dd_core.errors:ResponseParseError",
    "HuggingFaceHubClientUploadError": "dd_core.errors:ArtifactStorageError",
    "ModelAPIError": "dd_core.errors:ModelError",
    "ModelRequestAdmissionTimeoutError": "dd_core.errors:ModelTimeoutError",
    "ModelRequestRejectedError": "dd_core.errors:ModelBadRequestError",
    "ModelStructuredOutputError": "dd_core.errors:ResponseParseError",
    "ModelUnprocessableEntityError": "dd_core.errors:ModelBadRequestError",
    "ModelUnsupportedParamsError": "dd_core.errors:ModelBadRequestError",
    "NoModelProvidersError": "dd_core.errors:UnknownProviderError",
    "SeedReaderConfigError": "dd_core.errors:SeedDatasetError",
    "SeedReaderError": "dd_core.errors:SeedDatasetError",
    "UserJinjaTemplateSyntaxError": "dd_core.errors:UserTemplateError",
}
"""Our counterparts of names that no public module of ours has, as `module:name` or `module`."""


def resolve_name(name: str) -> object:
    """Return our counterpart of a name; raises `AttributeError` if there is none."""
    if name in HOMES:
        module, _, attribute = HOMES[name].partition(":")
        found = import_module(module)
        return getattr(found, attribute) if attribute else found
    if not name.startswith("_"):
        for door in _DOORS:
            found = getattr(import_module(door), name, None)
            if found is not None and not isinstance(found, ModuleType):
                return found
    raise AttributeError(f"{name!r} has no counterpart here; see docs/migrating.md")


class CounterpartModules:
    """Finds modules of a package that exist only in `CONFIG_MODULES` or `ALIAS_MODULES`."""

    def __init__(self, package: str, modules: frozenset[str]) -> None:
        self._prefix = f"{package}."
        self._modules = modules

    def find_spec(
        self, fullname: str, path: object = None, target: object = None, /
    ) -> ModuleSpec | None:
        """The specification of one of the modules; None for all others."""
        name = fullname.removeprefix(self._prefix)
        if name == fullname or name not in self._modules:
            return None
        return ModuleSpec(fullname, cast("Any", self), is_package=True)

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module look its names up when they are used."""

        def load(name: str) -> object:
            value = resolve_name(name)
            setattr(module, name, value)
            return value

        module.__doc__ = f"Names of NeMo Data Designer's `{module.__name__}`; import from dd_core."
        module.__getattr__ = load
