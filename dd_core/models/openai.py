"""Messages in the wire format of OpenAI-compatible servers."""

from __future__ import annotations

from dd_core.media import Block
from dd_core.media_format import Encoded


def on_the_wire(block: Block) -> Block:
    """A block as OpenAI-compatible servers take it."""
    kind = block["type"]
    if kind == "text":
        return block
    source = block["source"]
    if source["type"] == "url":
        return {"type": f"{kind}_url", f"{kind}_url": {"url": source["url"]}}
    if kind == "audio":
        name = source["media_type"].partition("/")[2]
        return {"type": "input_audio", "input_audio": {"data": source["data"], "format": name}}
    uri = Encoded(source["data"], source["media_type"]).uri
    return {"type": f"{kind}_url", f"{kind}_url": {"url": uri}}
