"""Batches on other machines get the tool servers of the run, and share its limits."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from dd_core.storage.directory import DatasetDirectory
from flows import DataDesignerToolServer
from flows.distributed.records import RunSpec
from flows.limits.tag_limits import make_tool_tag, set_limit
from tests.flows.distributed.test_many_machines import Deployed, _rows, _run, deployed
from tests.flows.limits.test_tool_limits import Load
from tests.serving import find_free_port
from tests.tool_calling import asking_with_tools, serve_tool_caller
from tests.tool_servers import serving_tools

__all__ = ["deployed"]


@pytest.mark.slow
async def test_batches_on_other_machines_call_tools(tmp_path: Path, deployed: Deployed) -> None:
    alias, load = f"t{uuid4().hex[:8]}", Load(find_free_port())
    block = DataDesignerToolServer(
        endpoint=load.provider.endpoint,
        provider_type="streamable_http",
        api_key=SecretStr("of-the-block"),
    )
    await block.save("load", overwrite=True)  # type: ignore[misc]
    await set_limit(deployed.client, make_tool_tag(alias), 1)
    with (
        serving_tools(load.server, "streamable_http", load.server.settings.port),
        serve_tool_caller("look_up", "text") as url,
    ):
        async with deployed.worker():
            summary = await _run(
                asking_with_tools(url, alias, "load"), tmp_path, 10,
                batches_on=deployed.name, mcp_providers=["block:load"],
            )  # fmt: skip
    assert summary.rows_written == 10
    assert (load.calls, load.most) == (10, 1)
    assert all(_rows(summary.path)["text"].str.startswith("I found: all about On "))
    directory = DatasetDirectory(Path(summary.path))
    assert RunSpec.read(directory).mcp_providers == ["block:load"]
    assert directory.metadata.usage["m"]["text"]["tool/look_up/calls"] == 10
