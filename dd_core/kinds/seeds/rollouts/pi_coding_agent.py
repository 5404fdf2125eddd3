"""Sessions of the Pi coding agent: a tree of entries. The trace is the branch of the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dd_core.kinds.seeds._text import show_path
from dd_core.kinds.seeds.rollouts.trace import (
    MalformedRolloutError,
    Message,
    Record,
    Trace,
    compute_span,
    drop_duplicates,
    drop_repeated,
    extract_text,
    get_text,
    make_message,
    make_record,
    make_records,
    make_tool_call,
    read_json_lines,
)


class PiCodingAgent:
    """Reads the files in `~/.pi/agent/sessions`."""

    default_path = "~/.pi/agent/sessions"
    default_pattern = "*.jsonl"

    def wants(self, path: Path, root: Path) -> bool:
        """Accept all `*.jsonl` files."""
        return path.suffix == ".jsonl"

    def read(self, path: Path, root: Path) -> list[Trace]:
        """The one trace in a file."""
        head, *entries = read_json_lines(path)
        if head.get("type") != "session":
            raise MalformedRolloutError("the first line is not a session entry")
        branch = _find_branch(entries)
        messages = [each for entry in branch for each in _messages(entry)]
        if not messages:
            raise MalformedRolloutError("it has no messages")
        contents = [_get_message(entry) for entry in branch]
        models = [
            entry.get("modelId") or content.get("model")
            for entry, content in zip(branch, contents, strict=True)
        ]
        children = Counter(filter(None, (get_text(entry.get("parentId")) for entry in entries)))
        started, ended = compute_span([head, *entries])
        return [
            Trace(
                trace_id=get_text(head.get("id")) or show_path(path.stem),
                cwd=get_text(head.get("cwd")),
                started_at=started,
                ended_at=ended,
                messages=messages,
                source_meta={
                    "record_count": len(entries) + 1,
                    "entry_types": drop_duplicates(entry.get("type") for entry in entries),
                    "stop_reasons": drop_repeated(each.get("stopReason") for each in contents),
                    "session_version": head.get("version"),
                    "parent_session": head.get("parentSession"),
                    "models_used": drop_repeated(models),
                    "has_branches": any(count > 1 for count in children.values()) or None,
                    "bash_execution_count": sum(
                        each.get("role") == "bashExecution" for each in contents
                    )
                    or None,
                },
            )
        ]


def _find_branch(entries: Sequence[Record]) -> list[Record]:
    """The entries from the root of the tree to the last entry."""
    known = {entry["id"]: entry for entry in entries if get_text(entry.get("id"))}
    if not known:  # version 1 of the format is a plain list
        return [*entries]
    path: list[Record] = []
    entry: Record | None = next(entry for entry in reversed(entries) if entry.get("id") in known)
    while entry is not None:
        path.append(entry)
        # Without the entry itself, because an entry may be its own ancestor.
        del known[entry["id"]]
        entry = known.get(str(entry.get("parentId")))
    return path[::-1]


def _get_message(entry: Record) -> Record:
    return make_record(entry.get("message"))


def _messages(entry: Record) -> Iterator[Message]:
    match entry.get("type"):
        case "message":
            yield from _read_message(entry, _get_message(entry))
        case "custom_message":
            yield from _read_injected(entry)
        case "branch_summary" | "compaction":
            yield from _read_summary(entry)
        case _:
            pass


def _read_message(entry: Record, message: Record) -> Iterator[Message]:
    role, content = message.get("role"), message.get("content")
    match role:
        case "assistant":
            yield _read_answer(content)
        case "toolResult":
            yield make_message("tool", content, tool_call_id=get_text(message.get("toolCallId")))
        case "bashExecution":
            if not message.get("excludeFromContext"):
                yield from _read_command(entry, message)
        case "branchSummary" | "compactionSummary":
            yield from _read_summary(message)
        case "user":
            yield make_message("user", content)
        case "custom":
            yield from _read_injected(message)
        case _:
            pass


def _read_injected(message: Record) -> Iterator[Message]:
    """What an extension added to the conversation, unless it is hidden from the user."""
    if message.get("display"):
        yield make_message("system", message.get("content"))


def _read_summary(message: Record) -> Iterator[Message]:
    if summary := extract_text(message.get("summary")):
        yield make_message("system", summary)


def _read_answer(content: Any) -> Message:
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
    texts = [extract_text(each.get("text")) for each in blocks if each.get("type") == "text"]
    shown, thought = ("\n\n".join(filter(None, each)) for each in (texts, thoughts))
    return make_message("assistant", shown, reasoning=thought, tool_calls=calls)


def _read_command(entry: Record, message: Record) -> Iterator[Message]:
    """A command that the user ran, as a tool call of the agent."""
    call_id = f"bash_{entry.get('id') or entry.get('timestamp')}"
    call = make_tool_call(call_id, "bash", {"command": message.get("command")})
    yield make_message("assistant", "", tool_calls=[call])
    lines = [extract_text(message.get("output"))]
    if message.get("exitCode") is not None:
        lines.append(f"[exit code: {message['exitCode']}]")
    yield make_message("tool", "\n".join(filter(None, lines)), tool_call_id=call_id)
