"""The progress of a run: bars on a terminal and in a notebook, lines elsewhere."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.designer.view.progress_bars import render_bars
from tests.scripted import ScriptedModel
from tests.terminal import Terminal

QUICK = 0.01
"""Seconds between lines."""


def asking() -> dd.DataDesignerConfigBuilder:
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="m", model="m", base_url="http://x")])
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    made.add_column(name="text", column_type="llm-text", model_alias="m", prompt="On {{ id }}")
    return made


def designer(folder: Path, **settings: Any) -> DataDesigner:
    settings = {"progress_interval": QUICK, **settings}
    transport = ScriptedModel("fine", latency=0.3)
    return DataDesigner(folder, transport=transport, run_config=dd.RunConfig(**settings))


@pytest.mark.parametrize("call", ["preview", "create", "estimate"])
def test_without_a_terminal_progress_is_lines_on_stderr(
    call: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    getattr(designer(tmp_path, display_tui=True), call)(asking(), num_records=3)
    said = capsys.readouterr()
    assert said.out == ""
    assert "text 0/" in said.err
    assert "id " not in said.err  # only columns that call a model take long


def test_by_default_the_library_only_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dd_core")
    designer(tmp_path).preview(asking(), num_records=3)
    assert [text for text in caplog.messages if "text 0/3" in text]
    assert capsys.readouterr().err == ""


_PROGRAM = """
import logging, sys
from pathlib import Path
from dd_core import DataDesigner
from tests.dd_core.designer.test_progress import asking, designer
logging.basicConfig(level=logging.WARNING, format="LOG %(message)s")

def tell(path):
    logging.warning("a file is written")

designer(Path(sys.argv[1]), display_tui=True, buffer_size=2).create(
    asking(), num_records=4, on_batch_complete=tell)
"""


def test_a_terminal_shows_bars_and_log_lines_above_them(tmp_path: Path) -> None:
    with Terminal([sys.executable, "-c", _PROGRAM, str(tmp_path)]) as terminal:
        assert terminal.wait() == 0
        text = terminal.text
    assert "4/4" in text
    assert "4 requests" in text
    assert "\x1b[1A" in text  # drawn again in place
    logged = [line for line in text.splitlines() if "a file is written" in line]
    assert len(logged) == 2
    assert all(line.rpartition("\x1b[2K")[2] == "LOG a file is written" for line in logged)


def test_a_notebook_updates_one_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython is not installed here, so the two names of it that are used stand in for it."""
    shown: list[str] = []

    def display(content: str, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append(content)
        return SimpleNamespace(update=shown.append)

    module: Any = ModuleType("IPython.display")
    module.display, module.HTML = display, str
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    designer(tmp_path, display_tui=True).preview(asking(), num_records=3)
    assert shown[0].startswith("<pre>")
    assert "3/3" in shown[-1]
    assert "100%" in shown[-1]


def render(columns: dict[str, Any], most: int = 10, waits: list[str] | None = None) -> str:
    class Run:
        engine: Any = SimpleNamespace(
            plan=SimpleNamespace(
                columns={
                    name: SimpleNamespace(column=SimpleNamespace(get_model_aliases=list))
                    for name in columns
                }
            )
        )
        seconds = 12.0

        def progress(self) -> Any:
            return {
                name: SimpleNamespace(settled=settled, dropped=dropped, total=10)
                for name, (settled, dropped) in columns.items()
            }

        def usage(self) -> Any:
            return SimpleNamespace(requests=1234)

        def describe_waits(self) -> list[str]:
            return waits or []

    console = Console(width=100, file=io.StringIO())
    console.print(render_bars(Run(), most))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_bars_tell_what_a_run_has_done_and_waits_for() -> None:
    text = render({"[red]a": (10, 1), "b": (5, 2)}, waits=["model 'm' waits until noon"])
    assert "[red]a" in text
    assert "5/10" in text
    assert "75% · 12 s · 2 rows dropped · 1,234 requests" in text
    assert "model 'm' waits until noon" in text


def test_columns_that_are_not_done_come_first_if_not_all_fit() -> None:
    text = render({"done": (10, 0), "first": (1, 0), "second": (0, 0)}, most=2)
    assert "done" not in text
    assert text.index("first") < text.index("second")
    assert "and 1 more columns" in text
