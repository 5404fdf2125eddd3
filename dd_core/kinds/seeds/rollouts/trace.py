"""The common form of all rollout formats: a trace with chat messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

from dd_core.kinds.seeds._text import show_path

Record: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
"""A chat message: `role`, `content` as a list of parts, and optionally `reasoning_content`,
`tool_calls` and `tool_call_id`."""


_NOTHING: tuple[Any, ...] = (None, "", [], {})


class MalformedRolloutError(ValueError):
    """A file does not follow its format, so it gives no rows."""


@dataclass
class Trace:
    """One conversation of an agent, which becomes one seed row."""

    trace_id: str
    root_session_id: str | None = None
    agent_id: str | None = None
    is_sidechain: bool = False
    cwd: str | None = None
    project_path: str | None = None
    git_branch: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    messages: list[Message] = field(default_factory=list[Message])
    source_meta: Record = field(default_factory=Record)

    def row(self, kind: str, path: Path) -> Record:
        """The values of the seed columns."""
        return {
            "trace_id": self.trace_id,
            "source_kind": kind,
            "source_path": show_path(path),
            "root_session_id": self.root_session_id or self.trace_id,
            "agent_id": self.agent_id,
            "is_sidechain": self.is_sidechain,
            "cwd": self.cwd,
            "project_path": self.project_path or self.cwd,
            "git_branch": self.git_branch,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "messages": self.messages,
            "source_meta": {
                key: value for key, value in self.source_meta.items() if value not in _NOTHING
            },
            "message_count": len(self.messages),
            "tool_call_count": sum(len(each.get("tool_calls", ())) for each in self.messages),
            "final_assistant_message": self._final(),
        }

    def _final(self) -> str | None:
        for message in reversed(self.messages):
            parts = [extract_text(part["text"]) for part in message["content"] if "text" in part]
            text = "\n\n".join(filter(None, parts)).strip()
            if message["role"] == "assistant" and text:
                return text
        return None


class Reader(Protocol):
    """Reads one format of session files."""

    @property
    def default_path(self) -> str | None:
        """The folder in which the agent stores its files; None if there is no such folder."""
        ...

    @property
    def default_pattern(self) -> str:
        """The default pattern for file names."""
        ...

    def wants(self, path: Path, root: Path) -> bool:
        """Whether a file that matches the pattern is a rollout in this format."""
        ...

    def read(self, path: Path, root: Path) -> list[Trace]:
        """Read the traces in a file; raises `MalformedRolloutError` or `OSError`."""
        ...


def make_message(
    role: str,
    content: Any,
    *,
    reasoning: str | None = None,
    tool_calls: Sequence[Record] = (),
    tool_call_id: str | None = None,
) -> Message:
    """A chat message; the role `developer` becomes `system`."""
    message: Message = {
        "role": "system" if role == "developer" else role,
        "content": list_parts(content),
    }
    if reasoning:
        message["reasoning_content"] = reasoning
    if tool_calls:
        message["tool_calls"] = [*tool_calls]
    if tool_call_id is not None:
        message["tool_call_id"] = tool_call_id
    return message


def make_tool_call(call_id: Any, name: Any, arguments: Any) -> Record:
    """A tool call; arguments that are not a string are encoded as JSON."""
    if not call_id or not name:
        raise MalformedRolloutError("a tool call has no id or no name")
    given: Any = {} if arguments is None else arguments
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return {"id": str(call_id), "type": "function", "function": {"name": name, "arguments": text}}


def list_parts(content: Any) -> list[Record]:
    """Content as a list of parts; every kind of text becomes `{"type": "text", "text": ...}`."""
    if not isinstance(content, list):
        return [{"type": "text", "text": extract_text(content)}]
    parts: list[Record] = []
    for part in cast("list[Any]", content):
        if isinstance(part, dict) and "text" not in part:
            parts.append(cast("Record", part))
        else:
            parts.append({"type": "text", "text": extract_text(part)})
    return parts


def extract_text(content: Any) -> str:
    """The text of one part or several parts; anything else as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(extract_text, cast("list[Any]", content))))
    if isinstance(content, dict):
        part = cast("Record", content)
        return (
            extract_text(part["text"]) if "text" in part else json.dumps(part, ensure_ascii=False)
        )
    return json.dumps(content, ensure_ascii=False)


def read_json_lines(path: Path) -> list[Record]:
    """The objects in a file with one JSON object per line."""
    records: list[Record] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                records.append(_parse_object(line, f"line {number}"))
    if not records:
        raise MalformedRolloutError("it is empty")
    return records


def read_json_object(path: Path) -> Record:
    """The object in a file that is one JSON object."""
    return _parse_object(path.read_text(encoding="utf-8", errors="replace"), "the file")


def _parse_object(text: str, place: str) -> Record:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise MalformedRolloutError(f"{place} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedRolloutError(f"{place} is not a JSON object")
    return cast("Record", value)


def make_record(value: Any) -> Record:
    """The value if it is a JSON object, otherwise an empty object."""
    return cast("Record", value) if isinstance(value, dict) else {}


def make_records(value: Any) -> list[Record]:
    """The JSON objects in a list; empty if the value is not a list."""
    if not isinstance(value, list):
        return []
    return [make_record(each) for each in cast("list[Any]", value) if isinstance(each, dict)]


def get_text(value: Any) -> str | None:
    """The value if it is a non-empty string, otherwise None."""
    return value if isinstance(value, str) and value else None


def get_first_text(records: Iterable[Mapping[str, Any]], key: str) -> str | None:
    """The first non-empty string under a key."""
    return next(filter(None, (get_text(record.get(key)) for record in records)), None)


def drop_duplicates(values: Iterable[Any]) -> list[str]:
    """The distinct non-empty strings among the values, sorted."""
    return sorted(drop_repeated(values))


def drop_repeated(values: Iterable[Any]) -> list[str]:
    """The distinct non-empty strings among the values, in order."""
    return [*dict.fromkeys(value for value in values if isinstance(value, str) and value)]


def compute_span(records: Iterable[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """The earliest and the latest `timestamp` of the records, as they are written."""
    stamps = [text for each in records if (text := get_text(each.get("timestamp")))]
    known = sorted((when, text) for text in stamps if (when := _parse_time(text)) is not None)
    return (known[0][1], known[-1][1]) if known else (None, None)


def _parse_time(text: str) -> datetime | None:
    """A time in ISO 8601, in UTC if it names no zone; None for anything else."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
