"""The small model on this machine: it answers, keeps to schemas, and dies with its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import LocalModelError
from dd_core.models.local.launcher import (
    LOCAL_MODEL_ID,
    LocalServer,
    find_weights,
    require_installed,
)

_PARENT = """
import time
from dd_core.models.local.launcher import LocalServer
server = LocalServer.launch()
print(server.pid, flush=True)
time.sleep(600)
"""


def _is_installed() -> bool:
    try:
        require_installed()
    except LocalModelError:
        return False
    return True


needs_model = pytest.mark.skipif(
    not _is_installed(), reason="the local model is not installed: ddflows local install"
)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    running = LocalServer.launch()
    yield running
    running.close()


@needs_model
@pytest.mark.slow
def test_it_answers_within_a_schema(server: LocalServer) -> None:
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string", "maxLength": 20},
            "mood": {"enum": ["calm", "angry"]},
        },
        "required": ["title", "mood"],
        "additionalProperties": False,
    }
    request = {
        "model": LOCAL_MODEL_ID,
        "messages": [{"role": "user", "content": "A title for a story about tea, and its mood."}],
        "max_tokens": 60,
        "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}},
    }
    response = httpx.post(f"{server.url}/chat/completions", json=request, timeout=300)
    answer = json.loads(response.json()["choices"][0]["message"]["content"])
    assert set(answer) == {"title", "mood"}
    assert len(answer["title"]) <= 20


@needs_model
@pytest.mark.slow
def test_a_configuration_that_names_it_just_works() -> None:
    parameters = dd.ChatCompletionInferenceParams(max_tokens=12)
    builder = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(
                alias="tiny",
                model=LOCAL_MODEL_ID,
                provider="local",
                inference_parameters=parameters,
            )
        ]
    )
    builder.add_column(name="line", column_type="llm-text", model_alias="tiny", prompt="Say hi.")
    frame = DataDesigner().preview(builder, num_records=2).dataset
    assert frame["line"].str.len().gt(0).all()


@needs_model
@pytest.mark.slow
def test_it_dies_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _is_alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while _is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(child)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as status:  # noqa: PTH123  (a zombie is dead enough)
            return status.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_missing_weights_are_explained() -> None:
    with pytest.raises(LocalModelError, match="ddflows local install"):
        find_weights("a-distribution-that-is-not-there")
