"""`ddflows cache`: what it shows, and that it removes only what it was asked to and is ours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from flows.cli.main import cli

pytestmark = pytest.mark.slow

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"
_DAY = 86_400
Ask = Callable[..., str]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Path]:
    """Two versions of `story`, one of `50% tea`, rows of a batch, and files of others."""
    root = tmp_path / "storage"
    put(root, "story", FIRST, 0, days=40)
    put(root, "story", FIRST, 1000, days=40)
    put(root, "story", SECOND, 0, days=2)
    put(root, "50%25 tea", FIRST, 3000, days=10)
    put(root, "parts", SECOND, 0, days=20)
    for name in (f"story/{FIRST}/notes.parquet", "story/readme.md", "0d3b4c5e", f"{FIRST}/x.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("of somebody else")
        os.utime(root / name, (0, 0))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: root}):
        yield root


def put(root: Path, folder: str, fingerprint: str, start: int, *, days: float) -> None:
    path = root / folder / fingerprint / f"rows-{start:09d}-{start + 1000:09d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    when = time.time() - days * _DAY
    for each, size in ((path, 1_000_000), (path.with_name(f"{path.name}.json"), 100)):
        each.write_bytes(b"x" * size)
        os.utime(each, (when, when))


def ask(*arguments: str, code: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["cache", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def left(root: Path) -> set[str]:
    """What is left of ours; all of the others' must be."""
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    others = {f"story/{FIRST}/notes.parquet", "story/readme.md", "0d3b4c5e", f"{FIRST}/x.json"}
    assert others <= found
    ours = found - others
    assert {f"{key}.json" for key in ours if key.endswith(".parquet")} <= ours
    return {key.removesuffix(".parquet") for key in ours if key.endswith(".parquet")}


STORY = {f"story/{FIRST}/rows-000000000-000001000", f"story/{FIRST}/rows-000001000-000002000"}
NEW = {f"story/{SECOND}/rows-000000000-000001000"}
TEA = {f"50%25 tea/{FIRST}/rows-000003000-000004000"}
PARTS = {f"parts/{SECOND}/rows-000000000-000001000"}


def test_what_is_kept_is_listed_with_its_datasets(storage: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "artifacts" / "tales"
    dataset.mkdir(parents=True)
    fingerprints = f'{{"column_fingerprints": {{"story": "{FIRST}"}}}}'
    (dataset / "metadata.json").write_text(fingerprints)
    shown = ask("list", "-o", str(tmp_path / "artifacts"))
    line = next(line for line in shown.splitlines() if "story" in line and FIRST in line)
    for text in ("2,000", "0-1,999", "2.0 MB", "40 d", "tales"):
        assert text in line
    assert "50% tea" in shown and "(rows of batches)" in shown
    assert "3.0 MB  story" in ask("size")
    assert "5.0 MB  in total" in ask("size")


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (["--older-than", "30d"], STORY),
        (["--older-than", "1w"], STORY | TEA | PARTS),
        (["--older-than", "1w", "--column", "50% tea"], TEA),
        (["--keep-latest", "1"], STORY),
        (["--max-size", "3.1MB"], STORY),
        (["--max-size", "1 GB"], set[str]()),
        (["--column", "story"], STORY | NEW),
    ],
)
def test_what_the_rules_name_is_removed(storage: Path, options: list[str], gone: set[str]) -> None:
    everything = left(storage)
    ask("prune", *options, "--dry-run")
    assert left(storage) == everything == STORY | NEW | TEA | PARTS
    ask("prune", *options)
    assert left(storage) == everything - gone


def test_a_prune_without_a_rule_or_with_a_wrong_one_is_refused(storage: Path) -> None:
    assert "specify what to remove" in ask("prune", code=2)
    assert "such as 30d" in ask("prune", "--older-than", "a month", code=2)
    assert len(left(storage)) == 5
