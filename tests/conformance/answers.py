"""Answers as a model would give them: JSON where a schema is asked for, code, text, pictures."""

from __future__ import annotations

import json
import re

import httpx

from benchmarks.schema_values import value_of
from tests.scripted import Body, chat_response

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
_SCHEMA = re.compile(r"<response_schema>\s*(\{.*?\})\s*</response_schema>", re.DOTALL)


def texts_of(body: Body) -> str:
    """All the text of a conversation."""
    parts: list[str] = []
    for message in body.get("messages", []):
        content = message["content"]
        blocks = [{"text": content}] if isinstance(content, str) else content
        parts += [block["text"] for block in blocks if "text" in block]
    return "\n".join(parts)


def answer(body: Body) -> httpx.Response:
    """A response to a chat, an embedding or an image request."""
    if "input" in body:
        size = body.get("dimensions", 4)
        data = [{"index": i, "embedding": [0.5] * size} for i, _ in enumerate(body["input"])]
        return httpx.Response(200, json={"data": data, "usage": {"prompt_tokens": 2}})
    if "messages" not in body:
        return httpx.Response(200, json={"data": [{"b64_json": PIXEL}]})
    asked = texts_of(body)
    if found := _SCHEMA.search(asked):
        return chat_response(f"```json\n{json.dumps(value_of(json.loads(found[1])))}\n```")
    if "sql" in asked.lower() and "code" in asked:
        return chat_response("```sql\nSELECT a, b FROM t WHERE a > 1\n```")
    if "python" in asked.lower() and "code" in asked:
        return chat_response('```python\n"""It prints."""\n\nprint(1)\n```')
    return chat_response("It is so.", reasoning="Because it is.")
