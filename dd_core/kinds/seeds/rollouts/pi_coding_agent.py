"""Sessions of the Pi coding agent: entries that form a tree, whose last entry ends the trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dd_core.kinds.seeds.rollouts.trace import (
    MalformedRolloutError,
    Message,
    Record,
    Trace,
    compute_span,
    drop_duplicates,
    extract_text,
    get_text,
    make_message,
    make_record,
    make_records,
    make_tool_call,
    read_json_lines,
)


class PiCodingAgent:
    """Files of `~/.pi/agent/sessions`."""

    default_path = "~/.pi/agent/sessions"
    default_pattern = "*.jsonl"

    def wants(self, path: Path, root: Path) -> bool:
        """Every file of lines."""
        return path.suffix == ".jsonl"

    def read(self, path: Path, root: Path) -> list[Trace]:
        """The trace of a file."""
        head, *entries = read_json_lines(path)
        if head.get("type") != "session":
            raise MalformedRolloutError("the first line is no session")
        active = _active(entries)
        messages = [each for entry in active for each in _messages(entry)]
        if not messages:
            raise MalformedRolloutError("it has no messages")
        said = [_said(entry) for entry in active]
        models = [entry.get("modelId") for entry in active] + [each.get("model") for each in said]
        children = Counter(entry.get("parentId") for entry in entries)
        started, ended = compute_span([head, *active])
        return [
            Trace(
                trace_id=get_text(head.get("id")) or path.stem,
                cwd=get_text(head.get("cwd")),
                started_at=started,
                ended_at=ended,
                messages=messages,
                source_meta={
                    "record_count": len(entries) + 1,
                    "entry_types": drop_duplicates(entry.get("type") for entry in entries),
                    "stop_reasons": [e["stopReason"] for e in said if e.get("stopReason")],
                    "session_version": head.get("version"),
                    "parent_session": head.get("parentSession"),
                    "models_used": drop_duplicates(models),
                    "has_branches": any(count > 1 for count in children.values()),
                    "bash_execution_count": sum(e.get("role") == "bashExecution" for e in said),
                },
            )
        ]


def _active(entries: Sequence[Record]) -> list[Record]:
    """The entries from the root to the last one."""
    known = {entry["id"]: entry for entry in entries if get_text(entry.get("id"))}
    if not known:  # the first version of the format is a plain list
        return [*entries]
    path: list[Record] = []
    entry: Record | None = next(entry for entry in reversed(entries) if entry.get("id") in known)
    while entry is not None:
        path.append(entry)
        if len(path) > len(entries):
            raise MalformedRolloutError("entries are their own ancestors")
        entry = known.get(str(entry.get("parentId")))
    return path[::-1]


def _said(entry: Record) -> Record:
    return make_record(entry.get("message"))


def _messages(entry: Record) -> Iterator[Message]:
    match entry.get("type"):
        case "message":
            yield from _of_message(entry, _said(entry))
        case "custom_message":
            yield make_message("user", entry.get("content"))
        case "branch_summary" | "compaction":
            yield make_message("user", entry.get("summary"))
        case _:
            pass


def _of_message(entry: Record, said: Record) -> Iterator[Message]:
    role, content = said.get("role"), said.get("content")
    match role:
        case "assistant":
            yield _assistant(content)
        case "toolResult":
            yield make_message("tool", content, tool_call_id=get_text(said.get("toolCallId")))
        case "bashExecution":
            if not said.get("excludeFromContext"):
                yield from _bash(entry, said)
        case "branchSummary" | "compactionSummary":
            yield make_message("user", said.get("summary"))
        case "user" | "system":
            yield make_message(str(role), content)
        case "custom":
            yield make_message("user", content)
        case _:
            pass


def _assistant(content: Any) -> Message:
    if not isinstance(content, list):
        return make_message("assistant", content)
    blocks = make_records(content)  # pyright: ignore[reportUnknownArgumentType]
    thoughts = [
        extract_text(each.get("thinking")) for each in blocks if each.get("type") == "thinking"
    ]
    calls = [
        make_tool_call(each.get("id"), each.get("name"), each.get("arguments", {}))
        for each in blocks
        if each.get("type") == "toolCall"
    ]
    spoken = [each for each in blocks if each.get("type") not in ("thinking", "toolCall")]
    return make_message("assistant", spoken, reasoning="\n\n".join(thoughts), tool_calls=calls)


def _bash(entry: Record, said: Record) -> Iterator[Message]:
    """A command that the user ran, as if the agent had."""
    call_id = f"bash_{entry.get('id') or entry.get('timestamp')}"
    call = make_tool_call(call_id, "bash", {"command": said.get("command")})
    yield make_message("assistant", "", tool_calls=[call])
    output = extract_text(said.get("output"))
    if said.get("exitCode") is not None:
        output = f"{output}\n[exit code: {said['exitCode']}]"
    yield make_message("tool", output, tool_call_id=call_id)
