"""Sessions of Hermes Agent: logs of its command line, and transcripts of its gateways."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dd_core.kinds.seeds._text import show_path
from dd_core.kinds.seeds.rollouts.trace import (
    MalformedRolloutError,
    Message,
    Record,
    Trace,
    compute_span,
    get_text,
    make_message,
    make_record,
    make_records,
    make_tool_call,
    read_json_lines,
    read_json_object,
)

_INDEX = "sessions.json"
_META_FIELDS = ("model", "base_url", "platform")
_INDEX_FIELDS = (
    *("session_key", "display_name", "platform", "chat_type", "origin", "input_tokens"),
    *("output_tokens", "total_tokens", "last_prompt_tokens", "cache_read_tokens"),
    *("cache_write_tokens", "estimated_cost_usd", "cost_status", "memory_flushed"),
)


class HermesAgent:
    """Reads the files in `~/.hermes/sessions`."""

    default_path = "~/.hermes/sessions"
    default_pattern = "*.json*"

    def wants(self, path: Path, root: Path) -> bool:
        """Accept `session_*.json` and all `*.jsonl` files."""
        is_log = path.suffix == ".json" and path.name.startswith("session_")
        return is_log or path.suffix == ".jsonl"

    def read(self, path: Path, root: Path) -> list[Trace]:
        """The one trace in a file."""
        return [_read_log(path) if path.suffix == ".json" else _read_transcript(path)]


def _read_log(path: Path) -> Trace:
    session = read_json_object(path)
    records = make_records(session.get("messages"))
    prompt = get_text(session.get("system_prompt"))
    opening = [make_message("system", prompt)] if prompt else []
    return Trace(
        trace_id=get_text(session.get("session_id"))
        or show_path(path.stem).removeprefix("session_"),
        started_at=get_text(session.get("session_start")),
        ended_at=get_text(session.get("last_updated")),
        messages=[*opening, *_messages(records)],
        source_meta={
            "session_format": "cli_session_log",
            **_facts(records, session.get("tools")),
            **{key: session.get(key) for key in _META_FIELDS},
            "has_system_prompt": bool(prompt),
            "system_prompt_chars": len(prompt or ""),
        },
    )


def _read_transcript(path: Path) -> Trace:
    records = read_json_lines(path)
    meta = _first(each for each in records if each.get("role") == "session_meta")
    entry = _find_index_entry(path)
    started, ended = compute_span(records)
    return Trace(
        trace_id=show_path(path.stem),
        started_at=get_text(entry.get("created_at")) or started,
        ended_at=get_text(entry.get("updated_at")) or ended,
        messages=_messages(records),
        source_meta={
            "session_format": "gateway_transcript",
            **_facts(records, meta.get("tools")),
            **{key: meta.get(key) for key in _META_FIELDS},
            **{key: entry[key] for key in _INDEX_FIELDS if key in entry},
        },
    )


def _find_index_entry(path: Path) -> Record:
    try:
        entries = read_json_object(path.with_name(_INDEX)).values()
    except (MalformedRolloutError, OSError):
        return {}
    return _first(e for e in make_records([*entries]) if e.get("session_id") == path.stem)


def _first(records: Iterable[Record]) -> Record:
    return next(iter(records), Record())


def _facts(records: Sequence[Record], tools: Any) -> Record:
    listed = make_records(tools)
    functions = [make_record(each.get("function", each)) for each in listed]
    return {
        "record_count": len(records),
        "available_tool_count": len(listed),
        "available_tool_names": [each.get("name") for each in functions],
        "finish_reasons": [each["finish_reason"] for each in records if each.get("finish_reason")],
        "tools": json.dumps(listed, sort_keys=True) if listed else None,
    }


def _messages(records: Sequence[Record]) -> list[Message]:
    messages: list[Message] = []
    for record in records:
        role = record.get("role")
        if role in ("user", "assistant", "system", "developer", "tool"):
            calls: list[Record] = []
            for call in make_records(record.get("tool_calls")):
                function = make_record(call.get("function"))
                call_id = call.get("call_id") or call.get("id")
                name, arguments = function.get("name"), function.get("arguments", "")
                calls.append(make_tool_call(call_id, name, arguments))
            messages.append(
                make_message(
                    str(role),
                    record.get("content"),
                    reasoning=get_text(record.get("reasoning")),
                    tool_calls=calls,
                    tool_call_id=get_text(record.get("tool_call_id")),
                )
            )
    if not messages:
        raise MalformedRolloutError("it has no messages")
    return messages
