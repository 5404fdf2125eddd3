"""The filter that writes a list of messages as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from jinja2 import pass_context

from dd_core.templates.meter import RenderContext
from dd_core.templates.selection import list_items


@pass_context
def _write_transcript(context: RenderContext, value: Any) -> str:
    """Return one paragraph for each message: `name: content`; a message without a name has a role.

    Calls of tools are written after the content.
    """
    texts = [_write_message(each) for each in list_items(context, "transcript", value, None)]
    text: str = context.settle("\n\n".join(texts))
    return text


def _write_message(given: Any) -> str:
    if not isinstance(given, Mapping) or "content" not in given:
        raise TypeError("transcript needs a list of messages, each with a content and a role")
    message = cast("Mapping[str, Any]", given)
    speaker = message.get("name") or message.get("role")
    content = message["content"] or ""
    if not isinstance(content, str):
        content = "\n".join(str(block.get("text", "")) for block in content)
    calls = [each["function"] for each in message.get("tool_calls") or ()]
    made = [f"[calls {each['name']} with {each['arguments']}]" for each in calls]
    return f"{speaker}: {' '.join([*([content] if content else []), *made])}"


MESSAGE_FILTERS: dict[str, Callable[..., Any]] = {"transcript": _write_transcript}
"""The filter by name."""
