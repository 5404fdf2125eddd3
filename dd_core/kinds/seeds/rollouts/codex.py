"""Sessions of Codex: `rollout-*.jsonl` files with one event per line."""

from __future__ import annotations

from collections.abc import Iterator
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
    extract_text,
    get_text,
    list_parts,
    make_message,
    make_record,
    make_tool_call,
    read_json_lines,
)

_CALLS = ("function_call", "custom_tool_call", "apply_patch_call", "local_shell_call")
_OUTPUTS = tuple(f"{call}_output" for call in _CALLS)


class Codex:
    """Reads the files in `~/.codex/sessions`."""

    default_path = "~/.codex/sessions"
    default_pattern = "*.jsonl"

    def wants(self, path: Path, root: Path) -> bool:
        """Accept only files that are named `rollout-*.jsonl`."""
        return path.name.startswith("rollout-") and path.suffix == ".jsonl"

    def read(self, path: Path, root: Path) -> list[Trace]:
        """The one trace in a file."""
        records = read_json_lines(path)
        heads = [_payload(each) for each in records if each.get("type") == "session_meta"]
        meta = heads[0] if heads else Record()
        items = [_payload(each) for each in records if each.get("type") == "response_item"]
        conversation = _Conversation()
        messages = [each for record in records for each in conversation.messages(record)]
        if not messages:
            raise MalformedRolloutError("it has no messages")
        started, ended = compute_span(records)
        branch = make_record(meta.get("git")).get("branch")
        return [
            Trace(
                trace_id=get_text(meta.get("id")) or show_path(path.stem),
                cwd=get_text(meta.get("cwd")),
                git_branch=get_text(meta.get("git_branch") or branch),
                started_at=get_text(meta.get("timestamp")) or started,
                ended_at=ended,
                messages=messages,
                source_meta={
                    "record_count": len(records),
                    "record_types": drop_duplicates(record.get("type") for record in records),
                    "response_item_types": drop_duplicates(item.get("type") for item in items),
                    "unattached_reasoning": conversation.thoughts,
                    **{
                        key: meta.get(key)
                        for key in ("originator", "cli_version", "model_provider", "source")
                    },
                },
            )
        ]


class _Conversation:
    """The messages in order. Reasoning belongs to the agent's next message or tool call."""

    def __init__(self) -> None:
        self.thoughts: list[str] = []

    def messages(self, record: Record) -> Iterator[Message]:
        """The messages that an event adds."""
        item = _payload(record)
        kind = item.get("type")
        if record.get("type") == "event_msg":
            if kind == "agent_reasoning":
                self._think(extract_text(item.get("text")))
        elif record.get("type") != "response_item":
            return
        elif kind == "reasoning":
            self._think(extract_text(item.get("summary")) or extract_text(item.get("content")))
        elif kind == "message":
            role = str(item.get("role"))
            reasoning = self._take_thoughts() if role == "assistant" else None
            yield make_message(role, list_parts(item.get("content")), reasoning=reasoning)
        elif kind in _CALLS:
            arguments: Any = item.get("arguments", item.get("input", item.get("action", "")))
            name = item.get("name") or str(kind).removesuffix("_call")
            call = make_tool_call(item.get("call_id") or item.get("id"), name, arguments)
            yield make_message("assistant", "", reasoning=self._take_thoughts(), tool_calls=[call])
        elif kind in _OUTPUTS:
            call_id = get_text(item.get("call_id"))
            if call_id is None:
                raise MalformedRolloutError("an output has no call_id")
            yield make_message("tool", item.get("output"), tool_call_id=call_id)

    def _think(self, text: str) -> None:
        if text and text not in self.thoughts:  # a summary is recorded as an event and as an item
            self.thoughts.append(text)

    def _take_thoughts(self) -> str:
        thoughts, self.thoughts = self.thoughts, []
        return "\n\n".join(thoughts)


def _payload(record: Record) -> Record:
    return make_record(record.get("payload"))
