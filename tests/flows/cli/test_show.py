"""`ddflows preview` and `ddflows show`: records in full, one by one in a terminal."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dd_core import DataDesigner
from flows.cli.main import cli
from tests.terminal import Terminal

CONFIG = """
columns:
- {name: number, column_type: sampler, sampler_type: uuid, params: {}}
- name: text
  column_type: expression
  expr: "{{ number }} <script>x</script> [red]y[/red] LONG_END"
"""
LONG = "word " * 100
PROGRAM = [sys.executable, "-c", "from flows.cli import run_program; run_program()"]
PROMPT = "q: quit"


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("LONG", LONG))
    return str(tmp_path / "config.yaml")


@pytest.fixture
def dataset(config: str, tmp_path: Path) -> Path:
    DataDesigner(tmp_path).create(config, num_records=5, dataset_name="made")
    return tmp_path / "made"


def call(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_without_a_terminal_all_records_are_printed_in_full_with_a_profile(config: str) -> None:
    code, text = call("preview", config, "-n", "3")
    assert code == 0
    assert [f"Record {number} of 3" in text for number in (1, 2, 3)] == [True] * 3
    assert text.count("_END") == 3  # nothing is cut
    assert text.count("[red]y[/red]") == 3
    assert text.index("Record 3 of 3") < text.index("expression columns")
    assert PROMPT not in text


@pytest.mark.slow
def test_records_are_browsed_with_keys(config: str) -> None:
    with Terminal([*PROGRAM, "preview", config, "-n", "4"]) as terminal:
        terminal.expect("Record 1 of 4")
        for keys, record in [
            ("n", 2), ("\r", 3), ("p", 2), ("\x1b[D", 1), ("p", 4), ("\x1b[C", 1), ("xn", 2),
        ]:  # fmt: skip
            terminal.expect(PROMPT)
            terminal.send(keys)
            terminal.expect(f"Record {record} of 4")
        terminal.expect(PROMPT)
        terminal.send("g")
        terminal.expect("Record (1-4): ")
        terminal.send("5\r")
        terminal.expect("Error: 5 is not in the range 1<=x<=4")
        terminal.expect("Record (1-4): ")
        terminal.send("4\r")
        terminal.expect("Record 4 of 4")
        terminal.expect(PROMPT)
        terminal.send("q")
        terminal.expect("expression columns")  # the profile
        assert terminal.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("key", ["\x1b", "\x03"])
def test_a_dataset_is_browsed_from_a_record_on_and_left_by_any_means(
    key: str, dataset: Path
) -> None:
    with Terminal([*PROGRAM, "show", str(dataset), "4"]) as terminal:
        terminal.expect("Record 4 of 5")
        terminal.expect(PROMPT)
        terminal.send("n")
        terminal.expect("Record 5 of 5")
        terminal.expect(PROMPT)
        terminal.send("n")
        terminal.expect("Record 1 of 5")
        terminal.expect(PROMPT)
        terminal.send(key)
        assert terminal.wait() == 0


def test_records_of_a_dataset_are_shown_and_nothing_changes(dataset: Path) -> None:
    def digest() -> dict[str, str]:
        files = [path for path in dataset.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = digest()
    code, text = call("show", dataset)
    assert (code, text.count("Record ")) == (0, 5)
    code, text = call("show", dataset, "2")
    assert (code, "Record 2 of 5" in text, text.count("Record ")) == (0, True, 1)
    code, text = call("show", dataset, "2", "-n", "3")
    assert [f"Record {number} of 5" in text for number in range(1, 6)] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert digest() == before


@pytest.mark.parametrize("command", ["preview", "show"])
def test_a_page_is_written_instead(
    command: str, config: str, dataset: Path, tmp_path: Path
) -> None:
    page = tmp_path / "new" / "page.html"
    given = config if command == "preview" else dataset
    options = ("--theme", "light", "--display-width", "60")
    code, text = call(command, given, "-n", "3", "--save-html", page, *options)
    assert code == 0
    assert f"3 records written to {page}" in text
    assert "_END" not in text
    written = page.read_text()
    assert written.count("<section ") == 3
    assert "&lt;script&gt;x" in written


def test_what_cannot_be_shown_is_told(config: str, dataset: Path, tmp_path: Path) -> None:
    for arguments, code, message in [
        (("show", dataset, "6"), 2, "there is no record 6; the dataset has 5"),
        (("show", dataset, "0"), 2, "0 is not in the range x>=1"),
        (("show", tmp_path / "none"), 1, "there is no dataset in"),
        (("show", dataset, "--save-html", "x.pdf"), 2, "'x.pdf' must end with .html"),
        (("preview", config, "--save-html", tmp_path / "config.yaml" / "x.html"), 1, "is a file"),
    ]:
        found, text = call(*arguments)
        assert (found, message in text) == (code, True), text


def test_a_version_is_shown(config: str, tmp_path: Path) -> None:
    import shutil

    DataDesigner(tmp_path).create(config, num_records=2, dataset_name="plain")
    versions = tmp_path / "whole" / "versions"
    versions.mkdir(parents=True)
    shutil.copytree(tmp_path / "plain", versions / "2026-11-24")
    code, text = call("show", versions / "2026-11-24", "2")
    assert (code, "Record 2 of 2" in text) == (0, True)
