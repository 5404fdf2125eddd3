"""A model server that calls a tool before it answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dd_core.config as dd
from tests.echo import chat, http, serve_echo
from tests.scripted import PROBE, model


@contextmanager
def serve_tool_caller(tool: str, argument: str) -> Iterator[str]:
    """The URL of a model that calls a tool with the prompt, and then answers with the result."""

    def respond(body: str, said: str) -> bytes:
        last: dict[str, Any] = json.loads(body)["messages"][-1]
        if last["role"] == "tool":
            return http(chat(f"I found: {last['content']}"))
        if last["content"] == PROBE:
            return http(chat("Hello."))
        arguments = json.dumps({argument: last["content"]})
        call = {"id": "c1", "type": "function", "function": {"name": tool, "arguments": arguments}}
        message = {"content": None, "tool_calls": [call]}
        return http(chat("", message=message, finish_reason="tool_calls"))

    with serve_echo(respond) as url:
        yield url


def asking_with_tools(url: str, alias: str, provider: str, **fields: Any) -> dd.DataDesignerConfig:
    """A column `id`, and a column `text` whose model may use the tools of a server."""
    builder = dd.DataDesignerConfigBuilder([model(base_url=url, **fields)])
    builder.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    builder.add_column(
        name="text",
        column_type="llm-text",
        model_alias=fields.get("alias", "m"),
        prompt="On {{ id }}",
        tool_alias=alias,
    )
    builder.add_tool_config(dd.ToolConfig(tool_alias=alias, providers=[provider]))
    return builder.build()
