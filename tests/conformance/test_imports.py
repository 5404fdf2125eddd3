"""Imports that NeMo Data Designer's users write work here: changed, and with the alias unchanged.

`reference_names.json` has the public classes and functions of data-designer 0.9.7 by module.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core.config._counterparts import ALIAS_MODULES, CONFIG_MODULES, HOMES, resolve_name

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES: dict[str, list[str]] = json.loads((HERE / "reference_names.json").read_text())

_INTERNAL = """
    config.dataset_metadata config.fingerprint config.utils.io_helpers
    config.utils.numerical_helpers config.utils.trace_renderer config.utils.type_helpers
    config.utils.visualization config.utils.warning_helpers
"""
INTERNAL_MODULES = {*_INTERNAL.split()}
"""Modules that only NeMo Data Designer itself and its plugins import from."""

_INTERNAL_NAMES = """
    ColumnProfilerType DataDesignerInterface DatasetSampleDisplayError DistributionType ErrorTrap
    ConfigBuilderInfo InfoDisplay InvalidBufferValueError InvalidDiscriminatorFieldError
    InvalidEnumValueError InvalidTypeUnionError JudgeScoreDistributions NordColor RandomEmoji
    LocalCallableValidationError RemoteValidationSchemaError ResultsProtocol
    DataDesignerFileHandler DataDesignerManagedHandler DataDesignerStreamHandler
    catch_llm_exceptions acatch_llm_exceptions handle_llm_exceptions get_exception_primary_cause
    aload_image_url_to_base64 assert_valid_jinja2_template audio_format_from_mime_type
    audio_mime_type can_run_data_designer_locally code_lang_to_syntax_lexer
    create_judge_score_summary_table decode_base64_image detect_image_format
    extract_base64_from_data_uri extract_keywords_from_jinja2_template generate_analysis_report
    get_agent_rollout_format_defaults get_builtin_model_configs get_builtin_model_providers
    get_claude_code_default_path get_codex_default_path get_column_config_cls_from_type
    get_column_config_from_kwargs get_column_display_order get_column_emoji_from_type
    get_default_inference_parameters get_hermes_agent_default_path get_media_base64_context
    get_media_context get_media_url_context get_pi_coding_agent_default_path
    get_processor_config_from_kwargs get_providers_with_missing_api_keys
    image_format_from_mime_type is_audio_path is_base64_image is_image_diffusion_model
    is_image_path is_image_url is_media_url is_notebook_environment is_numerical_sampler_type
    is_plugin_column_type is_video_path json_indent_list_of_strings kebab_to_snake
    load_image_path_to_base64 load_image_url_to_base64 normalize_media_context_values
    parse_base64_data_uri resolve_constraint_input_type resolve_seed_default_model_settings
    template_error_handler validate_generator_signature validate_image
    video_format_from_mime_type video_mime_type
"""
INTERNAL_NAMES = {*_INTERNAL_NAMES.split()} - {"ConfigBuilderInfo"}
"""Names that its documentation does not import."""

OFFERED = [
    (module, name)
    for module, names in NAMES.items()
    if module not in INTERNAL_MODULES
    for name in names
    if name not in INTERNAL_NAMES
]


def run(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "", **variables},
    )


@pytest.mark.parametrize(
    ("module", "name"), [each for each in OFFERED if each[0].startswith("config.")]
)
def test_names_can_be_imported_from_the_modules_that_users_know(module: str, name: str) -> None:
    home = import_module(f"dd_core.{module}")
    assert getattr(home, name) is resolve_name(name)
    assert name not in dd.__all__ or getattr(dd, name) is getattr(home, name)


def test_a_module_offers_the_names_that_it_imports_itself() -> None:
    from dd_core.config.config_builder import (  # pyright: ignore[reportMissingImports]
        DataDesignerConfigBuilder,
        ModelConfig,
    )

    from dd_core.config import seed  # pyright: ignore[reportAttributeAccessIssue]

    assert (DataDesignerConfigBuilder, ModelConfig) == (
        dd.DataDesignerConfigBuilder,
        dd.ModelConfig,
    )
    assert seed.SeedConfig is dd.SeedConfig
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from dd_core.config.seed import Nothing  # noqa: F401 # pyright: ignore
    with pytest.raises(ModuleNotFoundError, match=r"dd_core\.config\.nothing"):
        import_module("dd_core.config.nothing")


def test_every_counterpart_exists() -> None:
    for name in HOMES:
        assert resolve_name(name) is not None
    assert {each.removeprefix("config.") for each in NAMES if each.startswith("config.")} >= {
        each for each in CONFIG_MODULES if each not in ("analysis", "analysis.utils", "utils")
    } - {"processor_types", "seed_source_types", "utils.constants", "interface"}
    assert not CONFIG_MODULES & {"alias"}
    assert {"interface", "errors", "logging"} <= ALIAS_MODULES


@pytest.mark.slow
def test_with_the_alias_no_import_changes(tmp_path: Path) -> None:
    """All recipes, every name, and the errors that users catch."""
    shutil.copytree(ROOT / "tests" / "dd_core" / "kinds" / "rollouts", tmp_path / "rollouts")
    recipes = sorted((HERE / "recipes").glob("*.py"))
    offered = [*OFFERED, *(("interface", name) for name in ("DataDesigner", "ResumeMode"))]
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import sys, runpy, logging, json
from importlib import import_module
assert sys.argv[1:] == ["--flag"], sys.argv
import data_designer.config as dd
from data_designer.config.seed_source import SeedSource
from data_designer.interface import DataDesigner, DataDesignerGenerationError
from data_designer.interface.errors import DataDesignerGenerationError as same
from data_designer.lazy_heavy_imports import np, pd
assert pd.DataFrame(dict(a=np.arange(2))).a.sum() == 1
from data_designer.errors import DataDesignerError
from data_designer.engine.secret_resolver import EnvironmentResolver
import dd_core, dd_core.config, dd_core.errors
assert dd is dd_core.config
assert same is DataDesignerGenerationError is dd_core.errors.DataDesignerGenerationError
assert import_module("data_designer.config.seed") is import_module("dd_core.config.seed")
for module, name in {offered!r}:
    assert getattr(import_module("data_designer." + module), name) is not None, (module, name)
for recipe in {[*map(str, recipes)]!r}:
    builder = runpy.run_path(recipe)["load_config_builder"]()
    assert builder.build().columns, recipe
builder = dd.DataDesignerConfigBuilder()
builder.add_column(
    name="n", column_type="sampler", sampler_type="uniform", params={{"low": 0, "high": 1}}
)
print(len(DataDesigner().preview(builder, num_records=3).dataset))
try:
    DataDesigner(artifact_path=".").validate(config_builder=builder.add_column(
        name="bad", column_type="expression", expr="{{{{ nothing }}}}"))
except DataDesignerError as error:
    print(type(error).__name__)
try:
    import data_designer.plugins
except ImportError as error:
    print(error)
"""
    )
    done = run("-m", "dd_core.config.alias", str(script), "--flag", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "3",
        "InvalidConfigError",
        "data_designer.plugins has no counterpart in this project; see docs/migrating.md, and "
        "docs/own-kinds.md for plugins",
    ]


def test_the_alias_stands_back_behind_an_installed_data_designer(tmp_path: Path) -> None:
    package = tmp_path / "data_designer"
    package.mkdir()
    (package / "__init__.py").write_text("own = True\n")
    path = f"{tmp_path}:{ROOT}"
    here = "import dd_core.config, dd_core.config.seed, data_designer; assert data_designer.own"
    assert run("-c", here, PYTHONPATH=path).returncode == 0
    fallback = "from dd_core import install_alias; install_alias(unless_installed=True);" + here
    assert run("-c", fallback, PYTHONPATH=path).returncode == 0
    late = run("-c", "import data_designer, dd_core; dd_core.install_alias()", PYTHONPATH=path)
    assert "already imported from elsewhere; call install_alias() before that" in late.stderr
    asked = "import dd_core; dd_core.install_alias(); dd_core.install_alias();"
    asked += "import data_designer.config as dd; assert dd is dd_core.config"
    done = run("-c", asked, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_ddflows_reads_scripts_for_data_designer(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import data_designer.config as dd\n"
        "from data_designer.config.script_params import DataDesignerScriptParams\n"
        "def load_config_builder(params: DataDesignerScriptParams):\n"
        "    return dd.DataDesignerConfigBuilder().add_column(\n"
        "        name='a', column_type='expression', expr=params.argv[0]\n"
        "    )\n"
    )
    start = "from flows.cli.main import cli; cli()"
    done = run("-c", start, "validate", str(script), "--", "hello")
    assert done.returncode == 0, done.stdout + done.stderr


def test_usage_of_the_alias() -> None:
    done = run("-m", "dd_core.config.alias")
    assert done.returncode == 1
    assert "usage: python -m dd_core.config.alias SCRIPT [ARGS]..." in done.stderr
