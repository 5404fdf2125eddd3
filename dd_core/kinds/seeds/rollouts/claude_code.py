"""Sessions of Claude Code: one event per line, and a separate file for each sidechain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from dd_core.kinds.seeds._text import show_path
from dd_core.kinds.seeds.rollouts.trace import (
    MalformedRolloutError,
    Message,
    Record,
    Trace,
    compute_span,
    drop_duplicates,
    extract_text,
    get_first_text,
    get_text,
    make_message,
    make_record,
    make_records,
    make_tool_call,
    read_json_lines,
    read_json_object,
)

_HISTORY = "history.jsonl"
_INDEX = "sessions-index.json"


class ClaudeCode:
    """Reads the files in `~/.claude/projects`."""

    default_path = "~/.claude/projects"
    default_pattern = "*.jsonl"

    def wants(self, path: Path, root: Path) -> bool:
        """Accept all files except stored tool results and the prompt history."""
        is_tool_result = "tool-results" in path.relative_to(root).parts[:-1]
        return path.suffix == ".jsonl" and path.name != _HISTORY and not is_tool_result

    def read(self, path: Path, root: Path) -> list[Trace]:
        """The one trace in a file."""
        records = read_json_lines(path)
        session = get_first_text(records, "sessionId") or show_path(path.stem)
        agent = get_first_text(records, "agentId")
        is_sidechain = any(record.get("isSidechain") is True for record in records)
        indexed = _find_index_entry(path, root, session)
        messages = [each for record in records for each in _messages(record)]
        if not messages:
            raise MalformedRolloutError("it has no messages")
        started, ended = compute_span(records)
        return [
            Trace(
                trace_id=f"{session}:{agent}" if agent else session,
                root_session_id=session,
                agent_id=agent,
                is_sidechain=is_sidechain,
                cwd=get_first_text(records, "cwd"),
                project_path=get_text(indexed.get("projectPath")),
                git_branch=get_first_text(records, "gitBranch"),
                started_at=started,
                ended_at=ended,
                messages=messages,
                source_meta={
                    "record_count": len(records),
                    "record_types": drop_duplicates(record.get("type") for record in records),
                    "claude_versions": drop_duplicates(record.get("version") for record in records),
                    "summary": indexed.get("summary") or get_first_text(records, "summary"),
                    "first_prompt": indexed.get("firstPrompt"),
                },
            )
        ]


def _find_index_entry(path: Path, root: Path, session: str) -> Record:
    """The entry of a session in the index of its folder or of a folder above, up to `root`."""
    for folder in path.parents:
        if (folder / _INDEX).is_file():
            try:
                entries = read_json_object(folder / _INDEX).get("entries")
            except (MalformedRolloutError, OSError):
                entries = None
            for entry in make_records(entries):
                if entry.get("sessionId") == session:
                    return entry
        if folder == root:
            break
    return {}


def _messages(record: Record) -> Iterator[Message]:
    message = make_record(record.get("message"))
    if record.get("type") not in ("user", "assistant") or not message:
        return
    role = str(message.get("role") or record["type"])
    content: Any = message.get("content")
    if isinstance(content, dict):  # a single block
        content = [content]
    if isinstance(content, list):
        yield from _read_blocks(role, cast("list[Any]", content))
    elif content is not None or role != "assistant":
        yield make_message(role, content)


def _read_blocks(role: str, blocks: list[Any]) -> Iterator[Message]:
    """Everything together as one message, and each tool result as a message after it."""
    content: list[Any] = []
    results: list[Message] = []
    thoughts: list[str] = []
    calls: list[Record] = []
    for given in blocks:
        block = make_record(given)
        match block.get("type"):
            case "tool_result":
                call = get_text(block.get("tool_use_id"))
                if call is None:
                    raise MalformedRolloutError("a tool_result has no tool_use_id")
                results.append(make_message("tool", block.get("content"), tool_call_id=call))
            case "tool_use":
                calls.append(
                    make_tool_call(block.get("id"), block.get("name"), block.get("input", {}))
                )
            case "thinking":
                thoughts.append(extract_text(block.get("thinking")))
            case "redacted_thinking":
                pass
            case _:
                content.append(given)
    if content or thoughts or calls:
        thought = "\n\n".join(filter(None, thoughts))
        yield make_message(role, content, reasoning=thought, tool_calls=calls)
    yield from results
