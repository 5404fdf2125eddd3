"""Rules of the house that no linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "dd_core").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_MOST_LINES = 300
_LONGEST_FUNCTION = 50
_VAGUE_NAMES = re.compile(r"(util|helper|common|manager|service|misc)s?$")
_HEAVY = "httpx aiohttp pandas pyarrow prefect networkx jinja2 faker scipy yaml rich click"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_module_fits_in_the_head(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= _MOST_LINES
    tree = ast.parse(text)
    assert not text.strip() or ast.get_docstring(tree), "it says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            length -= len((ast.get_docstring(node) or "").splitlines())
            assert length <= _LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_module_is_named_for_what_it_is(path: Path) -> None:
    assert not _VAGUE_NAMES.search(path.stem)
    assert len(path.relative_to(ROOT).parts) <= 3, "at most two folder levels"


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_tests_fake_the_wire_and_not_our_code(path: Path) -> None:
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not any((name or "").startswith(("unittest", "mock")) for name in imported)


def test_declarations_load_without_what_only_runs_need() -> None:
    check = (
        "import sys, dd_core.config;"
        f"print(*[name for name in {_HEAVY.split()!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_command_line_starts_without_prefect() -> None:
    check = "import sys, flows.cli.main; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{target} is missing"
