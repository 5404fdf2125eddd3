"""A script for NeMo Data Designer that starts itself a second time, to serve its tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dd_core.declaration import scripts
from tests.tool_calling import serve_tool_caller

ROOT = Path(__file__).parents[2]
SCRIPT = '''
import json, os, sys
from pathlib import Path

from mcp.server.fastmcp import FastMCP

import data_designer.config as dd
from data_designer.interface import DataDesigner

server = FastMCP("facts")


@server.tool()
def look_up(topic: str) -> str:
    """Look a topic up."""
    return f"{topic} in {dd.ToolConfig.__module__}"


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        server.run()
        return
    provider = dd.LocalStdioMCPProvider(
        name="facts",
        command=sys.executable,
        args=[str(Path(__file__).resolve()), "serve"],
        env={"PYTHONPATH": os.environ["PYTHONPATH"]},
    )
    endpoint = dd.ModelProvider(name="here", endpoint=sys.argv[1])
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="tiny", provider="here")],
        tool_configs=[dd.ToolConfig(tool_alias="facts", providers=["facts"])],
    )
    builder.add_column(
        dd.SamplerColumnConfig(
            name="topic",
            sampler_type=dd.SamplerType.CATEGORY,
            params=dd.CategorySamplerParams(values=["tea"]),
        )
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="text", model_alias="m", prompt="{{ topic }}", tool_alias="facts"
        )
    )
    designer = DataDesigner(model_providers=[endpoint], mcp_providers=[provider])
    preview = designer.preview(builder, num_records=1)
    print(json.dumps(preview.dataset["text"].tolist()))


if __name__ == "__main__":
    main()
'''


@pytest.mark.slow
def test_a_script_serves_its_own_tools(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with serve_tool_caller("look_up", "topic") as url:
        done = subprocess.run(
            [sys.executable, "-m", "dd_core.config.alias", str(script), url],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0, done.stderr
    (text,) = json.loads(done.stdout.splitlines()[-1])
    assert text.startswith("I found: tea in dd_core.")


@pytest.mark.parametrize(
    ("command", "args", "completed"),
    [
        (sys.executable, ["a.py", "-m"], ["-m", "runner", "a.py", "-m"]),
        (sys.executable, ["-u", "a.py"], ["-u", "-m", "runner", "a.py"]),
        (sys.executable, ["-m", "a.py"], ["-m", "a.py"]),
        (sys.executable, ["-c", "a.py"], ["-c", "a.py"]),
        (sys.executable, ["serve"], ["serve"]),
        (sys.executable, [], []),
        ("/elsewhere/bin/python", ["a.py"], ["a.py"]),
        (str(Path(sys.executable).with_name("uvx")), ["a.py"], ["a.py"]),
    ],
)
def test_only_scripts_of_this_interpreter_have_the_alias(
    command: str, args: list[str], completed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "_runner", None)
    assert scripts.complete_command(command, args) == [command, *args]
    scripts.set_script_runner("runner")
    assert scripts.complete_command(command, args) == [command, *completed]
