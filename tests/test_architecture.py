"""Rules of the project that no linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import networkx as nx
import pytest

import dd_core.config as dd
from dd_core.declaration.kind import Kind
from dd_core.extend import Column, ProcessorConfig, SamplerParams, SeedSource, ValidatorParams

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "flows" / "cli" / "recipes" / "catalogue"
"""Files that are copied into users' projects."""
SOURCES = sorted(
    path
    for folder in ("dd_core", "flows")
    for path in (ROOT / folder).rglob("*.py")
    if RECIPES not in path.parents
)
FOLDERS = sorted({path.parent for path in SOURCES})
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

MOST_LINES = 400
LONGEST_FUNCTION = 50
MOST_ENTRIES = 14
MOST_FOLDERS = 3
DOORS = {"config", "extend", "dataset.py", "batch.py", "entry.py", "workflow.py"}
"""What users import from, or Prefect loads flows from; it counts apart."""
CATALOGUES = tuple(
    f"kinds/{name}" for name in ("columns", "processors", "samplers", "seeds", "validators")
)
"""Folders of kinds may have as many entries as there are kinds."""
VAGUE_NAMES = re.compile(r"(util|helper|common|manager|service|misc)s?$")
HEAVY = [
    *("aiohttp", "click", "faker", "httpx", "jinja2", "networkx", "numpy", "pandas", "prefect"),
    *("pyarrow", "pydantic", "rich", "scipy", "yaml"),
]

_VERBS = """
    accept acquire add admit allow analyze announce append as ask backfill bind bound build cancel
    check choose collect combine compile complete compute concatenate configure converse convert
    correct count create decode deploy derive describe detect digest display drop dump encode ensure
    escape estimate evaluate exit expand explain export extract fill find finish fit format free
    generate get guess hash hold import inline inspect install is iterate join judge label lease
    leave lint list load locate main make map mark mask measure merge normalize notify observe on
    open parse pause permute pick preview process profile prune publish push put quiet quote read
    reap recompile record register release remove render renew repair repeat replace report request
    require reseed reset resolve restore resume retry review run sanitize say scale seal select
    serve set settle shorten show simplify size split stage stamp strip sum summarize sync tag take
    to translate unify unroll untag update validate verify wait warn widen write
"""
VERBS = frozenset(_VERBS.split())

NOT_VERBS = {
    # Decorators and context managers are named for what they make.
    "custom_column_generator",
    "keyless_flow",
    "packaged_flow",
    "validation_function",
    "remote_batch",
    # Predicates
    "are_keys",
    "has_loop",
    "process_is_alive",
    "process_is_dead",
    # Groups and options of the command line
    "cache",
    "cli",
    "config",
    "init",
    "kinds",
    "limits",
    "local",
    "models",
    "new",
    "personas",
    "recipes",
    "schema",
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(node.module or "")
    return found


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_a_module_fits_in_the_head() -> None:
    found: list[str] = []
    for path in SOURCES:
        if len(path.read_text().splitlines()) > MOST_LINES:
            found.append(f"{_name(path)} has more than {MOST_LINES} lines")
        if not ast.get_docstring(_tree(path)):
            found.append(f"{_name(path)} does not say what it is for")
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                length -= len((ast.get_docstring(node) or "").splitlines())
                if length > LONGEST_FUNCTION:
                    found.append(f"{_name(path)}: {node.name} has {length} lines")
    assert found == []


def test_a_module_is_named_for_what_it_is() -> None:
    assert [_name(path) for path in SOURCES if VAGUE_NAMES.search(path.stem)] == []
    depths = {_name(path): len(path.relative_to(ROOT).parent.parts) for path in SOURCES}
    assert [name for name, depth in depths.items() if depth > 1 + MOST_FOLDERS] == []


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    own = {"__pycache__", "__init__.py", "py.typed"}
    counts = {
        _name(folder): len({path.name for path in folder.iterdir()} - own - DOORS)
        for folder in FOLDERS
        if not folder.as_posix().endswith(CATALOGUES)
    }
    assert {name: count for name, count in counts.items() if count > MOST_ENTRIES} == {}


def test_public_functions_are_verbs() -> None:
    names = [
        f"{_name(path)}: {node.name}"
        for path in SOURCES
        for node in _tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name[0] != "_" and node.name not in NOT_VERBS
        if node.name.split("_")[0] not in VERBS
    ]
    assert names == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for type checkers count: a circle that only they see is a circle all the same."""
    graph = grimp.build_graph("dd_core", "flows")
    imports = nx.DiGraph(
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    )
    assert [each for each in nx.strongly_connected_components(imports) if len(each) > 1] == []


def test_one_module_imports_the_http_libraries_when_it_is_loaded() -> None:
    loading = [
        _name(path)
        for path in SOURCES
        if "flows" not in path.parts
        for node in _tree(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        if {"httpx", "aiohttp"} & {*_imports(node)}
    ]
    assert {*loading} == {"dd_core/models/wire/connections.py"}


def test_the_package_of_flows_does_not_depend_on_its_name() -> None:
    sources = [path for path in SOURCES if _name(path).startswith("flows/")]
    names = {_name(path): [n.split(".")[0] for n in _imports(_tree(path))] for path in sources}
    assert [path for path, imported in names.items() if "flows" in imported] == []


def test_tests_fake_the_wire_and_not_our_code() -> None:
    fakes = [
        _name(path)
        for path in TESTS
        if any(name.startswith(("unittest", "mock")) for name in _imports(_tree(path)))
    ]
    assert fakes == []


FAMILIES: list[tuple[type[Kind], str, str, str]] = [
    (Column, "columns", "docs/columns/{page}.md", "docs/columns/README.md"),
    (SamplerParams, "samplers", "docs/samplers.md", "docs/samplers.md"),
    (SeedSource, "seeds", "docs/seeds.md", "docs/seeds.md"),
    (ValidatorParams, "validators", "docs/columns/validation.md", "docs/columns/validation.md"),
    (ProcessorConfig, "processors", "docs/processors.md", "docs/processors.md"),
]


@pytest.mark.parametrize(
    ("family", "folder", "page", "overview"), FAMILIES, ids=[each[1] for each in FAMILIES]
)
def test_every_kind_is_exported_described_and_tested(
    family: type[Kind], folder: str, page: str, overview: str
) -> None:
    ours = {
        tag: kind
        for tag, kind in family.all_kinds().items()
        if kind.__module__.startswith("dd_core.")
    }
    tests = "\n".join(path.read_text() for path in TESTS)
    for tag, kind in ours.items():
        assert kind.__name__ in dd.__all__, f"dd_core.config does not export {kind.__name__}"
        assert getattr(dd, kind.__name__) is kind
        described = ROOT / page.format(page=tag)
        assert described.exists(), f"{described} is missing"
        for listing in {described, ROOT / overview}:
            assert f"`{tag}`" in listing.read_text(), f"{listing} does not mention `{tag}`"
        in_yaml = rf"{family.family_tag}: {tag}\b"
        assert re.search(rf"{kind.__name__}|[\"']{tag}[\"']|{in_yaml}", tests), f"no test of {tag}"
    modules = {
        path.stem
        for path in (ROOT / "dd_core" / "kinds" / folder).glob("*.py")
        if not path.stem.startswith("_")
    }
    assert {kind.__module__.rsplit(".", 1)[1] for kind in ours.values()} < modules
    assert len(modules) - 1 <= len(ours), "a module besides the contract declares no kind"


def test_the_facade_names_each_home_once() -> None:
    tree = ast.parse((ROOT / "dd_core" / "config" / "__init__.py").read_text())
    shown = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dd_core.")
        for alias in node.names
    }
    for name in dd.__all__:
        if name != "get_library_version":
            assert getattr(dd, name).__module__.startswith("dd_core.")
            assert shown[name] is not None


def test_the_facade_loads_nothing_before_it_is_used() -> None:
    check = (
        f"import sys, dd_core.config;print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_name_of_the_facade_loads_only_what_it_needs() -> None:
    check = (
        "import sys, dd_core.config as dd; dd.ModelConfig;"
        "print(*[name for name in ('asyncio', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_declarations_load_without_what_only_runs_need() -> None:
    needed = {"numpy", "pydantic"}
    check = (
        "import sys, dd_core.config as dd;"
        "[getattr(dd, name) for name in dd.__all__]; dd.load_all_kinds();"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} <= needed


def test_the_command_line_starts_without_prefect() -> None:
    check = "import sys, flows.cli.main; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_links_lead_somewhere() -> None:
    missing = [
        f"{_name(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert missing == []
